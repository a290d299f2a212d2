//! Floats and `numeric`: the spelling of `float4out`, `float8out` and `numeric_out`.

use std::io::Write;

use super::{CopyProblem, Malformed};

/// `NUMERIC_POS`, `_NEG`, `_NAN`, `_PINF` and `_NINF` of the server's `numeric.c`.
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

pub(super) fn numeric(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let ([count, weight, sign, scale], digits) = header(value)?;
    match sign {
        NAN => out.extend_from_slice(b"NaN"),
        INFINITY => out.extend_from_slice(b"Infinity"),
        MINUS_INFINITY => out.extend_from_slice(b"-Infinity"),
        POSITIVE | NEGATIVE => {
            if digits.len() != usize::from(count) || scale > 0x3fff {
                return Err(CopyProblem::Malformed);
            }
            if sign == NEGATIVE {
                out.push(b'-');
            }
            return decimal(weight as i16, usize::from(scale), digits, out);
        }
        _ => return Err(CopyProblem::Malformed),
    }
    Ok(())
}

fn header(value: &[u8]) -> Result<([u16; 4], &[[u8; 2]]), Malformed> {
    let (pairs, []) = value.as_chunks::<2>() else { return Err(CopyProblem::Malformed) };
    let (head, digits) = pairs.split_first_chunk::<4>().ok_or(CopyProblem::Malformed)?;
    let [count, weight, sign, scale] = *head;
    let of = u16::from_be_bytes;
    Ok(([of(count), of(weight), of(sign), of(scale)], digits))
}

/// Digits of base 10,000, of which the first has the weight 10,000^`weight`, with `scale` decimals.
fn decimal(weight: i16, scale: usize, digits: &[[u8; 2]], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let digit = |at: i32| -> Result<u16, Malformed> {
        let digit =
            usize::try_from(at).ok().and_then(|at| digits.get(at)).map_or(0, |d| u16::from_be_bytes(*d));
        if digit < 10_000 { Ok(digit) } else { Err(CopyProblem::Malformed) }
    };
    let weight = i32::from(weight);
    if weight < 0 {
        out.push(b'0');
    } else {
        super::integer(digit(0)?, out);
        for at in 1..=weight {
            four(digit(at)?, out);
        }
    }
    if scale > 0 {
        out.push(b'.');
        let end = out.len() + scale;
        let mut at = weight + 1;
        while out.len() < end {
            four(digit(at)?, out);
            at += 1;
        }
        out.truncate(end);
    }
    Ok(())
}

#[inline]
fn four(digit: u16, out: &mut Vec<u8>) {
    let (high, low) = ((digit / 100) as u8, (digit % 100) as u8);
    out.extend_from_slice(&[b'0' + high / 10, b'0' + high % 10, b'0' + low / 10, b'0' + low % 10]);
}

pub(super) fn float4(value: f32, out: &mut Vec<u8>) {
    // The mantissa is that of a double's with the bits that a float does not have left out; the server prints up to six
    // digits before the point.
    let bits = value.to_bits();
    let (fraction, exponent) = (u64::from(bits & 0x7f_ffff), (bits >> 23 & 0xff) as i32);
    let exact = exact(fraction, exponent, 23, 150);
    float(value.is_nan(), value.is_infinite(), value.is_sign_negative(), value == 0.0, out, |out| {
        let spelled = Spelled::new(|buffer, precision| match precision {
            None => write!(buffer, "{:e}", value.abs()),
            Some(digits) => write!(buffer, "{:.digits$e}", value.abs()),
        });
        spelled.inside(exact, |text| text.parse() == Ok(value.abs())).write(6, out);
    });
}

pub(super) fn float8(value: f64, out: &mut Vec<u8>) {
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & 0xf_ffff_ffff_ffff, (bits >> 52 & 0x7ff) as i32);
    let exact = exact(fraction, exponent, 52, 1075);
    float(value.is_nan(), value.is_infinite(), value.is_sign_negative(), value == 0.0, out, |out| {
        let spelled = Spelled::new(|buffer, precision| match precision {
            None => write!(buffer, "{:e}", value.abs()),
            Some(digits) => write!(buffer, "{:.digits$e}", value.abs()),
        });
        spelled.inside(exact, |text| text.parse() == Ok(value.abs())).write(15, out);
    });
}

fn float(
    nan: bool,
    infinite: bool,
    negative: bool,
    zero: bool,
    out: &mut Vec<u8>,
    finite: impl FnOnce(&mut Vec<u8>),
) {
    if nan {
        return out.extend_from_slice(b"NaN");
    }
    if negative {
        out.push(b'-');
    }
    match (infinite, zero) {
        (true, _) => out.extend_from_slice(b"Infinity"),
        (_, true) => out.push(b'0'),
        _ => finite(out),
    }
}

/// A float as mantissa × 2^exponent.
fn exact(fraction: u64, exponent: i32, bits: u32, bias: i32) -> (u64, i32) {
    if exponent == 0 { (fraction, 1 - bias) } else { (fraction | 1 << bits, exponent - bias) }
}

/// The shortest digits that tell a float from its neighbours, and a way to get more of them.
struct Spelled<F> {
    text: [u8; 32],
    length: usize,
    spell: F,
}

impl<F: Fn(&mut &mut [u8], Option<usize>) -> std::io::Result<()>> Spelled<F> {
    fn new(spell: F) -> Self {
        let mut spelled = Spelled { text: [0; 32], length: 0, spell };
        spelled.set(None);
        spelled
    }

    fn set(&mut self, precision: Option<usize>) {
        let mut rest = &mut self.text[..];
        // 17 digits, a point and an exponent always fit.
        let written = (self.spell)(&mut rest, precision);
        self.length = if written.is_ok() { 32 - rest.len() } else { 0 };
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }

    /// Digits without the point, and the decimal exponent of the first.
    fn parts(&self) -> ([u8; 20], usize, i32) {
        let (mantissa, exponent) = self.text().split_once('e').unwrap_or(("", ""));
        let mut digits = [b'0'; 20];
        let mut count = 0;
        for byte in mantissa.bytes().filter(u8::is_ascii_digit).take(20) {
            digits[count] = byte;
            count += 1;
        }
        while count > 1 && digits[count - 1] == b'0' {
            count -= 1;
        }
        (digits, count, exponent.parse().unwrap_or(0))
    }

    /// Digits that lie truly inside of what rounds to the float. The server does not take those that lie just half-way
    /// to a neighbour, which would be read as this float only because halves are rounded to even ones.
    fn inside(mut self, (mantissa, exponent): (u64, i32), same: impl Fn(&str) -> bool) -> Self {
        let mut precision = self.parts().1;
        if self.is_tie(mantissa, exponent) {
            // Of two that are equally close the server takes the even one, and so does this.
            self.set(Some(precision - 1));
            if !same(self.text()) {
                self.set(None);
            }
        }
        while self.is_half_way(mantissa, exponent) && precision < 20 {
            self.set(Some(precision));
            while !same(self.text()) && precision < 20 {
                precision += 1;
                self.set(Some(precision));
            }
            precision += 1;
        }
        self
    }

    /// Whether the float mantissa × 2^exponent is just half-way between the digits and their next.
    fn is_tie(&self, mantissa: u64, exponent: i32) -> bool {
        let (number, tens) = self.number();
        let float = (u128::from(mantissa), exponent);
        same_value((10 * number + 5, tens - 1), float) || same_value((10 * number - 5, tens - 1), float)
    }

    /// The digits as number × 10^tens.
    fn number(&self) -> (u128, i32) {
        let (digits, count, first) = self.parts();
        let number = digits[..count].iter().fold(0u128, |n, digit| n * 10 + u128::from(digit - b'0'));
        (number, first - (count as i32 - 1))
    }

    /// Whether the digits are just half-way between the float mantissa × 2^exponent and one of its neighbours.
    fn is_half_way(&self, mantissa: u64, exponent: i32) -> bool {
        let (number, tens) = self.number();
        let mantissa = u128::from(mantissa);
        let above = (2 * mantissa + 1, exponent - 1);
        // Below a power of two the floats lie twice as close.
        let below = if mantissa.is_power_of_two() {
            (4 * mantissa - 1, exponent - 2)
        } else {
            (2 * mantissa - 1, exponent - 1)
        };
        [above, below].into_iter().any(|half| same_value((number, tens), half))
    }

    /// Writes the digits, without an exponent where the first has one from -4 to below `most`.
    fn write(&self, most: i32, out: &mut Vec<u8>) {
        let (digits, count, exponent) = self.parts();
        let digits = &digits[..count];
        if !(-4..most).contains(&exponent) {
            out.extend_from_slice(&digits[..1]);
            if count > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                out.push(b'0');
            }
            super::integer(exponent.abs(), out);
        } else if exponent < 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + (-1 - exponent) as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            let whole = exponent as usize + 1;
            out.extend_from_slice(&digits[..whole.min(count)]);
            if count > whole {
                out.push(b'.');
                out.extend_from_slice(&digits[whole..]);
            } else {
                out.resize(out.len() + whole - count, b'0');
            }
        }
    }
}

/// Whether number × 10^tens = other × 2^twos.
fn same_value((number, tens): (u128, i32), (other, twos): (u128, i32)) -> bool {
    if number == 0 || other == 0 {
        return false;
    }
    let odd = |n: u128| (n >> n.trailing_zeros(), n.trailing_zeros() as i32);
    let (mut left, left_twos) = odd(number);
    let (mut right, right_twos) = odd(other);
    if left_twos + tens != right_twos + twos {
        return false;
    }
    // Beyond what 128 bits hold they differ: neither side has a factor of so many fives.
    for _ in 0..tens.unsigned_abs().min(60) {
        let side = if tens > 0 { &mut left } else { &mut right };
        match side.checked_mul(5) {
            Some(product) => *side = product,
            None => return false,
        }
    }
    tens.unsigned_abs() <= 60 && left == right
}
