//! `numeric`: decimal digits to groups of four of them (`numeric_recv`).

use super::Unsure;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
/// The most digits behind the point (`NUMERIC_DSCALE_MASK`).
const MOST_SCALE: usize = 0x3FFF;

/// An optional minus, digits, and perhaps a point with digits behind it; or NaN.
pub fn numeric(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    if text == b"NaN" {
        head(out, 0, 0, NAN, 0);
        return Ok(());
    }
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (NEGATIVE, digits),
        digits => (0, digits),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (digits.get(..at).unwrap_or_default(), digits.get(at + 1..).unwrap_or_default()),
        None => (digits, &[][..]),
    };
    if whole.is_empty() || point.is_some() == fraction.is_empty() || fraction.len() > MOST_SCALE {
        return Err(Unsure);
    }
    let start = out.len();
    head(out, 0, 0, 0, 0);
    // Groups count from the point, so the first may be short.
    let zeros = whole.iter().take_while(|byte| **byte == b'0').count();
    let whole = whole.get(zeros..).unwrap_or_default();
    let (short, groups) = whole.split_at(whole.len() % 4);
    let mut weight = whole.len().div_ceil(4) as i64 - 1;
    if !short.is_empty() {
        out.extend_from_slice(&group(short)?.to_be_bytes());
    }
    for four in groups.chunks(4) {
        out.extend_from_slice(&group(four)?.to_be_bytes());
    }
    for four in fraction.chunks(4) {
        let number = group(four)? * [1, 1000, 100, 10, 1][four.len()];
        if number == 0 && out.len() == start + HEAD {
            // Nothing but zeros before it.
            weight -= 1;
            continue;
        }
        out.extend_from_slice(&number.to_be_bytes());
    }
    while out.len() > start + HEAD && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
    }
    let count = (out.len() - start - HEAD) / 2;
    let (weight, sign) = if count == 0 { (0, 0) } else { (weight, sign) };
    let count = u16::try_from(count).map_err(|_| Unsure)?;
    let weight = i16::try_from(weight).map_err(|_| Unsure)?;
    let mut beginning = Vec::with_capacity(HEAD);
    head(&mut beginning, count, weight, sign, fraction.len() as u16);
    out.get_mut(start..start + HEAD).ok_or(Unsure)?.copy_from_slice(&beginning);
    Ok(())
}

const HEAD: usize = 8;

fn head(out: &mut Vec<u8>, count: u16, weight: i16, sign: u16, scale: u16) {
    for part in [count, weight as u16, sign, scale] {
        out.extend_from_slice(&part.to_be_bytes());
    }
}

/// Up to four digits as a number.
#[inline]
fn group(digits: &[u8]) -> Result<u16, Unsure> {
    let mut number = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Unsure);
        }
        number = number * 10 + u16::from(digit);
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &str) -> Result<Vec<u16>, Unsure> {
        let mut out = Vec::new();
        numeric(text.as_bytes(), &mut out)?;
        Ok(out.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
    }

    #[test]
    fn digits_stand_in_groups_of_four_that_begin_at_the_point() {
        let minus_one = u16::MAX;
        for (text, expected) in [
            ("0", vec![0, 0, 0, 0]),
            ("0.00", vec![0, 0, 0, 2]),
            ("-0.0", vec![0, 0, 0, 1]),
            ("1", vec![1, 0, 0, 0, 1]),
            ("12345.678", vec![3, 1, 0, 3, 1, 2345, 6780]),
            ("-10000", vec![1, 1, NEGATIVE, 0, 1]),
            ("0.5", vec![1, minus_one, 0, 1, 5000]),
            ("0.00001230", vec![1, minus_one - 1, 0, 8, 1230]),
            ("10000.00010000", vec![3, 1, 0, 8, 1, 0, 1]),
            ("NaN", vec![0, 0, NAN, 0]),
        ] {
            assert_eq!(packed(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_the_server_does_not_print_is_unsure() {
        for text in
            ["", "-", ".", "1.", ".5", "+1", "1e5", " 1", "1 ", "--1", "1.2.3", "Infinity", "0x10", "1_0"]
        {
            assert_eq!(packed(text), Err(Unsure), "{text:?}");
        }
        assert!(packed(&"9".repeat(131_072)).is_ok());
        assert!(packed(&"9".repeat(131_073)).is_err());
        assert!(packed(&format!("0.{}", "1".repeat(16_384))).is_err());
    }
}
