//! Numbers of fixed size, uuids, bytes and network addresses, from the text that the server prints to what its receive
//! functions take.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Unsure;

/// An integer in decimal: an optional minus and digits, nothing else.
#[inline]
fn integer(text: &[u8]) -> Result<i64, Unsure> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // Nineteen digits may be too many for an i64, and twenty are.
    if digits.is_empty() || digits.len() > 19 {
        return Err(Unsure);
    }
    let mut number: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Unsure);
        }
        // Nineteen digits fit.
        number = number * 10 + u64::from(digit);
    }
    if negative { 0_i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() }.ok_or(Unsure)
}

pub fn int2(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    let number = i16::try_from(integer(text)?).map_err(|_| Unsure)?;
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

pub fn int4(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    let number = i32::try_from(integer(text)?).map_err(|_| Unsure)?;
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

pub fn int8(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    out.extend_from_slice(&integer(text)?.to_be_bytes());
    Ok(())
}

pub fn oid(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    let number = u32::try_from(integer(text)?).map_err(|_| Unsure)?;
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

/// The text of a finite decimal number, and whether it is zero.
fn decimal(text: &[u8]) -> Result<(&str, bool), Unsure> {
    let known = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.iter().all(known) {
        return Err(Unsure);
    }
    let mantissa = text.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
    let zero = !mantissa.iter().any(|byte| matches!(byte, b'1'..=b'9'));
    Ok((std::str::from_utf8(text).map_err(|_| Unsure)?, zero))
}

/// Both sides round a decimal number to the nearest binary one, and print the shortest that gives it back.
pub fn float8(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    let number = match text {
        b"NaN" => f64::NAN,
        b"Infinity" => f64::INFINITY,
        b"-Infinity" => f64::NEG_INFINITY,
        _ => {
            let (decimal, zero) = decimal(text)?;
            let number: f64 = decimal.parse().map_err(|_| Unsure)?;
            // Too large or too small for the type.
            if !number.is_finite() || (number == 0.0) != zero {
                return Err(Unsure);
            }
            number
        }
    };
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

/// As [`float8`].
pub fn float4(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    let number = match text {
        b"NaN" => f32::NAN,
        b"Infinity" => f32::INFINITY,
        b"-Infinity" => f32::NEG_INFINITY,
        _ => {
            let (decimal, zero) = decimal(text)?;
            let number: f32 = decimal.parse().map_err(|_| Unsure)?;
            if !number.is_finite() || (number == 0.0) != zero {
                return Err(Unsure);
            }
            number
        }
    };
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

/// What is no hexadecimal digit.
const NO_DIGIT: u8 = 0xff;

/// What each byte means as a hexadecimal digit.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut n = 0;
    while n < 10 {
        digits[b'0' as usize + n] = n as u8;
        n += 1;
    }
    while n < 16 {
        digits[b'a' as usize + n - 10] = n as u8;
        digits[b'A' as usize + n - 10] = n as u8;
        n += 1;
    }
    digits
};

#[inline]
fn hex(high: u8, low: u8) -> Result<u8, Unsure> {
    let (high, low) = (DIGITS[usize::from(high)], DIGITS[usize::from(low)]);
    // Of a digit the high half is zero.
    if (high | low) > 15 { Err(Unsure) } else { Ok(high << 4 | low) }
}

/// Digits in groups of 8, 4, 4, 4 and 12.
pub fn uuid(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    let text: &[u8; 36] = text.try_into().map_err(|_| Unsure)?;
    if [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
        return Err(Unsure);
    }
    let mut bytes = [0; 16];
    const PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (byte, at) in bytes.iter_mut().zip(PAIRS) {
        *byte = hex(text[at], text[at + 1])?;
    }
    out.extend_from_slice(&bytes);
    Ok(())
}

/// The JSON string at `at`, behind its quote, which means `\x` and hexadecimal digits; returns where it ends.
pub fn bytea(line: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Unsure> {
    const PREFIX: &[u8] = b"\\\\x";
    let rest = line.get(at..).unwrap_or_default();
    let digits = rest.strip_prefix(PREFIX).ok_or(Unsure)?;
    let length = memchr::memchr(b'"', digits).ok_or(Unsure)?;
    let (pairs, []) = digits.get(..length).unwrap_or_default().as_chunks::<2>() else { return Err(Unsure) };
    for [high, low] in pairs {
        out.push(hex(*high, *low)?);
    }
    Ok(at + PREFIX.len() + length + 1)
}

/// An address with the bits of its network behind a slash, which only an `inet` with all bits has not.
pub fn inet(text: &[u8], cidr: bool, out: &mut Vec<u8>) -> Result<(), Unsure> {
    // Of the server's own (`inet.h`): AF_INET, and AF_INET + 1 whatever the system's AF_INET6 is.
    const FOUR: u8 = 2;
    const SIX: u8 = 3;
    let text = std::str::from_utf8(text).map_err(|_| Unsure)?;
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(integer(bits.as_bytes())?)),
        None if cidr => return Err(Unsure),
        None => (text, None),
    };
    let mut write = |family: u8, address: &[u8]| {
        let all = address.len() * 8;
        let bits = bits.map_or(Some(all), |b| usize::try_from(b).ok()).filter(|b| *b <= all).ok_or(Unsure)?;
        out.extend_from_slice(&[family, bits as u8, u8::from(cidr), address.len() as u8]);
        out.extend_from_slice(address);
        Ok(())
    };
    if address.contains(':') {
        // A zone is no part of the type.
        let address: Ipv6Addr = address.parse().map_err(|_| Unsure)?;
        write(SIX, &address.octets())
    } else {
        let address: Ipv4Addr = address.parse().map_err(|_| Unsure)?;
        write(FOUR, &address.octets())
    }
}
