//! Dates and times, as printed under `DateStyle = ISO` and, with a zone, in UTC: days and microseconds since 2000-01-01.

use super::Unsure;

const DAY: i64 = 86_400_000_000;
/// 2000-01-01 in days since 1970-01-01.
const EPOCH: i64 = 10_957;
/// More digits than this no year has that the types can hold; it also keeps all sums small.
const MOST_YEAR_DIGITS: usize = 7;

pub fn date(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    let days = match text {
        b"infinity" => i32::MAX,
        b"-infinity" => i32::MIN,
        _ => {
            let (text, before_christ) = era(text);
            let (days, rest) = day(text, before_christ)?;
            if !rest.is_empty() {
                return Err(Unsure);
            }
            i32::try_from(days).map_err(|_| Unsure)?
        }
    };
    out.extend_from_slice(&days.to_be_bytes());
    Ok(())
}

pub fn time(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    let (micros, rest) = clock(text)?;
    if !rest.is_empty() || micros > DAY {
        return Err(Unsure);
    }
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

pub fn timestamp(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    moment::<false>(text, out)
}

pub fn timestamptz(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    moment::<true>(text, out)
}

/// A date and a time, and if `ZONED` the zone's offset, which is none.
#[inline]
fn moment<const ZONED: bool>(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    let micros = match text {
        b"infinity" => i64::MAX,
        b"-infinity" => i64::MIN,
        _ => {
            let (text, before_christ) = era(text);
            let (days, rest) = day(text, before_christ)?;
            let (micros, rest) = clock(rest.strip_prefix(b" ").ok_or(Unsure)?)?;
            let zone = matches!(rest, [b'+', b'0', b'0']);
            if zone != ZONED || !(zone || rest.is_empty()) || micros >= DAY {
                return Err(Unsure);
            }
            days.checked_mul(DAY).and_then(|start| start.checked_add(micros)).ok_or(Unsure)?
        }
    };
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

/// The text without " BC", and whether that stood there.
#[inline]
fn era(text: &[u8]) -> (&[u8], bool) {
    match text {
        [text @ .., b' ', b'B', b'C'] => (text, true),
        text => (text, false),
    }
}

/// The date that the text begins with, in days since 2000-01-01, and what follows.
#[inline]
fn day(text: &[u8], before_christ: bool) -> Result<(i64, &[u8]), Unsure> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(4..=MOST_YEAR_DIGITS).contains(&digits) {
        return Err(Unsure);
    }
    let (year, rest) = text.split_at(digits);
    let [b'-', m1, m2, b'-', d1, d2, rest @ ..] = rest else { return Err(Unsure) };
    let mut number = 0;
    for byte in year {
        number = number * 10 + i64::from(byte - b'0');
    }
    // There is no year 0: 1 BC comes before 1.
    let year = match (number, before_christ) {
        (0, _) => return Err(Unsure),
        (number, true) => 1 - number,
        (number, false) => number,
    };
    let (month, day) = (two(*m1, *m2)?, two(*d1, *d2)?);
    if day < 1 || day > days_of(year, month)? {
        return Err(Unsure);
    }
    Ok((days_from_civil(year, month, day) - EPOCH, rest))
}

/// The time of day that the text begins with, in microseconds, and what follows.
#[inline]
fn clock(text: &[u8]) -> Result<(i64, &[u8]), Unsure> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = text else { return Err(Unsure) };
    let (hours, minutes, seconds) = (two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?);
    if hours > 24 || minutes > 59 || seconds > 59 {
        return Err(Unsure);
    }
    let mut micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000;
    let mut rest = rest;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=6).contains(&digits) {
            return Err(Unsure);
        }
        let (fraction, behind) = fraction.split_at(digits);
        let mut number = 0;
        for byte in fraction {
            number = number * 10 + i64::from(byte - b'0');
        }
        micros += number * [1_000_000, 100_000, 10_000, 1000, 100, 10, 1][digits];
        rest = behind;
    }
    Ok((micros, rest))
}

#[inline]
fn two(high: u8, low: u8) -> Result<i64, Unsure> {
    let (high, low) = (high.wrapping_sub(b'0'), low.wrapping_sub(b'0'));
    if high > 9 || low > 9 { Err(Unsure) } else { Ok(i64::from(high) * 10 + i64::from(low)) }
}

fn days_of(year: i64, month: i64) -> Result<i64, Unsure> {
    Ok(match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return Err(Unsure),
    })
}

/// Days since 1970-01-01 in the Gregorian calendar, extended to all years. Counted in eras of 400 years that begin in
/// March, so that the leap day is a year's last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Result<i64, Unsure> {
        let mut out = Vec::new();
        timestamp(text.as_bytes(), &mut out)?;
        Ok(i64::from_be_bytes(out.try_into().map_err(|_| Unsure)?))
    }

    #[test]
    fn moments_count_from_the_year_2000() {
        // What a server says: extract(epoch from …) less that of 2000-01-01.
        for (text, expected) in [
            ("2000-01-01 00:00:00", 0),
            ("1999-12-31 23:59:59.999999", -1),
            ("2000-02-29 12:00:00.5", 59 * DAY + DAY / 2 + 500_000),
            ("1970-01-01 00:00:00", -EPOCH * DAY),
            ("0001-01-01 00:00:00", -730_119 * DAY),
            ("0001-12-31 00:00:00 BC", -730_120 * DAY),
            ("294276-12-31 23:59:59.999999", 9_223_371_331_199_999_999),
            ("infinity", i64::MAX),
            ("-infinity", i64::MIN),
        ] {
            assert_eq!(micros(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_the_server_does_not_print_is_unsure() {
        for text in [
            "",
            "2000-01-01",
            "2000-01-01T00:00:00",
            "2000-1-1 00:00:00",
            "2001-02-29 00:00:00",
            "1900-02-29 00:00:00",
            "0000-01-01 00:00:00",
            "2000-13-01 00:00:00",
            "2000-00-01 00:00:00",
            "2000-01-00 00:00:00",
            "2000-01-01 24:00:00",
            "2000-01-01 00:60:00",
            "2000-01-01 00:00:60",
            "2000-01-01 00:00:00.",
            "2000-01-01 00:00:00.1234567",
            "2000-01-01 00:00:00+00",
            "2000-01-01 00:00:00 AD",
            "now",
            "99999999-01-01 00:00:00",
            "-2000-01-01 00:00:00",
            "9999999-01-01 00:00:00",
        ] {
            assert_eq!(micros(text), Err(Unsure), "{text:?}");
        }
        let mut out = Vec::new();
        assert_eq!(timestamptz(b"2000-01-01 00:00:00+01", &mut out), Err(Unsure));
        assert_eq!(timestamptz(b"2000-01-01 00:00:00", &mut out), Err(Unsure));
        assert_eq!(time(b"24:00:00", &mut out), Ok(()));
        assert_eq!(time(b"24:00:00.000001", &mut out), Err(Unsure));
    }
}
