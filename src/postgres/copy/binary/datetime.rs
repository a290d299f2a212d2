//! Dates and times: days and microseconds from 2000-01-01 on, spelled as under `DateStyle = ISO`, `TimeZone = UTC` and
//! `IntervalStyle = postgres`.

use super::{CopyProblem, Malformed, integer};

const DAY: i64 = 86_400_000_000;
const HOUR: i64 = 3_600_000_000;
const MINUTE: i64 = 60_000_000;
const SECOND: i64 = 1_000_000;

/// Days from 0000-03-01 (proleptic Gregorian) to 2000-01-01.
const EPOCH: i64 = 730_425;

/// What Postgres takes for a date: from 4714-11-24 BC to the year 5874897 (manual, 8.5).
const DAYS: std::ops::Range<i64> = -2_451_545..2_145_031_949;

/// The day that was written last: rows that lie together are mostly of one day.
#[derive(Clone, Debug, Default)]
pub struct LastDay {
    day: Option<i64>,
    text: Vec<u8>,
    before_christ: bool,
}

impl LastDay {
    /// Writes the day. Returns what follows at the very end.
    #[inline]
    fn write(&mut self, day: i64, out: &mut Vec<u8>) -> Result<&'static [u8], Malformed> {
        if self.day != Some(day) {
            self.day = None;
            self.text.clear();
            self.before_christ = !self::day(day, &mut self.text)?.is_empty();
            self.day = Some(day);
        }
        out.extend_from_slice(&self.text);
        Ok(if self.before_christ { b" BC" } else { b"" })
    }
}

pub(super) fn date(days: i32, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            let before_christ = day(days.into(), out)?;
            out.extend_from_slice(before_christ);
        }
    }
    Ok(())
}

/// A time stamp; `zone` is what follows the time of day.
#[inline]
pub(super) fn timestamp(
    microseconds: i64,
    zone: &[u8],
    last: &mut LastDay,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    match microseconds {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            let before_christ = last.write(microseconds.div_euclid(DAY), out)?;
            out.push(b' ');
            clock(microseconds.rem_euclid(DAY), out);
            out.extend_from_slice(zone);
            out.extend_from_slice(before_christ);
        }
    }
    Ok(())
}

pub(super) fn time(microseconds: i64, out: &mut Vec<u8>) -> Result<(), Malformed> {
    // 24:00:00 is one.
    if !(0..=DAY).contains(&microseconds) {
        return Err(CopyProblem::Malformed);
    }
    clock(microseconds, out);
    Ok(())
}

pub(super) fn time_tz(value: [u8; 12], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let [a, b, c, d, e, f, g, h, zone @ ..] = value;
    time(i64::from_be_bytes([a, b, c, d, e, f, g, h]), out)?;
    // Seconds to the west.
    let zone = i64::from(i32::from_be_bytes(zone));
    out.push(if zone <= 0 { b'+' } else { b'-' });
    let zone = zone.abs();
    let (hours, minutes, seconds) = (zone / 3600, zone / 60 % 60, zone % 60);
    two(hours, out);
    if minutes != 0 || seconds != 0 {
        out.push(b':');
        two(minutes, out);
    }
    if seconds != 0 {
        out.push(b':');
        two(seconds, out);
    }
    Ok(())
}

pub(super) fn interval(value: [u8; 16], may_be_infinite: bool, out: &mut Vec<u8>) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = value;
    let microseconds = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let (days, months) = (i32::from_be_bytes([i, j, k, l]), i32::from_be_bytes([m, n, o, p]));
    match (microseconds, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) if may_be_infinite => return out.extend_from_slice(b"infinity"),
        (i64::MIN, i32::MIN, i32::MIN) if may_be_infinite => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let start = out.len();
    // A number behind a negative one shows its sign, and so does a time.
    let mut after_negative = false;
    for (amount, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if amount == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        if after_negative && amount > 0 {
            out.push(b'+');
        }
        integer(amount, out);
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if amount != 1 {
            out.push(b's');
        }
        after_negative = amount < 0;
    }
    if microseconds == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(b' ');
    }
    if microseconds < 0 {
        out.push(b'-');
    } else if after_negative {
        out.push(b'+');
    }
    clock_unsigned(microseconds.unsigned_abs(), out);
}

/// Writes the day; returns what follows at the very end where it is before Christ.
#[inline]
fn day(days: i64, out: &mut Vec<u8>) -> Result<&'static [u8], Malformed> {
    if !DAYS.contains(&days) {
        return Err(CopyProblem::Malformed);
    }
    // Years that begin in March have their leap day at their end. Eras of 400 years have 146,097 days.
    let from_march = days + EPOCH;
    let era = from_march.div_euclid(146_097);
    let of_era = from_march.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let january = month >= 10;
    let year = year + 400 * era + i64::from(january);
    let month = if january { month - 9 } else { month + 3 };
    let shown = if year > 0 { year } else { 1 - year };
    if shown < 10_000 {
        two(shown / 100, out);
        two(shown % 100, out);
    } else {
        integer(shown, out);
    }
    out.push(b'-');
    two(month, out);
    out.push(b'-');
    two(day, out);
    Ok(if year > 0 { b"" } else { b" BC" })
}

#[inline]
fn clock(microseconds: i64, out: &mut Vec<u8>) {
    clock_unsigned(microseconds.unsigned_abs(), out);
}

/// Hours, minutes and seconds, these with the fewest decimals that tell all.
#[inline]
fn clock_unsigned(microseconds: u64, out: &mut Vec<u8>) {
    let hours = microseconds / HOUR as u64;
    if hours < 100 {
        two(hours as i64, out);
    } else {
        integer(hours, out);
    }
    out.push(b':');
    two((microseconds % HOUR as u64 / MINUTE as u64) as i64, out);
    out.push(b':');
    two((microseconds % MINUTE as u64 / SECOND as u64) as i64, out);
    let fraction = (microseconds % SECOND as u64) as i64;
    if fraction != 0 {
        out.push(b'.');
        two(fraction / 10_000, out);
        two(fraction / 100 % 100, out);
        two(fraction % 100, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Writes a number below 100 in two digits.
#[inline]
fn two(number: i64, out: &mut Vec<u8>) {
    let number = number as u8;
    out.extend_from_slice(&[b'0' + number / 10 % 10, b'0' + number % 10]);
}
