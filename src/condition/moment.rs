//! Dates and times in microseconds since the beginning of 2000, as Postgres prints them under ISO and UTC, and as people type them.

/// `-infinity` and `infinity`.
const FIRST: i128 = i128::MIN;
const LAST: i128 = i128::MAX;
const DAY: i128 = 86_400_000_000;
/// A literal's years: what lies near the limits of the types is left to the server.
const TYPED_YEARS: std::ops::RangeInclusive<i64> = -4000..=99_999;

/// What a text says.
struct Parts<'a> {
    /// That before 1 is 0, which is 1 BC.
    year: i64,
    days: i64,
    time: Option<i128>,
    /// What is behind the time, with BC taken off.
    zone: &'a str,
}

/// An archived date or timestamp, with a time zone or without: all are printed in UTC.
pub fn archived(text: &str) -> Option<i128> {
    if let Some(named) = named(text) {
        return Some(named);
    }
    let parts = Parts::read(text)?;
    matches!(parts.zone, "" | "+00").then(|| parts.moment())
}

/// A literal of type `date`: it has no time.
pub fn typed_date(text: &str) -> Option<i128> {
    let whole = |text| Parts::typed(text).filter(|parts| parts.time.is_none() && parts.zone.is_empty());
    typed_named(text).or_else(|| whole(text).map(|parts| parts.moment()))
}

/// A literal of a timestamp. The zone counts where the type `has_zone`, and is read over where not, as by the server.
pub fn typed_moment(text: &str, has_zone: bool) -> Option<i128> {
    if let Some(named) = typed_named(text) {
        return Some(named);
    }
    let parts = Parts::typed(text)?;
    let offset = match parts.zone {
        "" => 0,
        // A date with a zone alone is read by rules of its own.
        _ if parts.time.is_none() => return None,
        "Z" | " UTC" => 0,
        zone => offset(zone)?,
    };
    Some(parts.moment() - if has_zone { offset } else { 0 })
}

/// `hh:mm:ss` with up to six digits behind; 24:00:00 is a time of day, too.
pub fn time_of_day(text: &str) -> Option<i128> {
    let (time, rest) = clock(text, 24)?;
    rest.is_empty().then_some(time)
}

/// A literal of type `time`.
pub fn typed_time_of_day(text: &str) -> Option<i128> {
    let (time, rest) = clock(text, 23)?;
    rest.is_empty().then_some(time)
}

fn named(text: &str) -> Option<i128> {
    match text {
        "infinity" => Some(LAST),
        "-infinity" => Some(FIRST),
        _ => None,
    }
}

fn typed_named(text: &str) -> Option<i128> {
    named(&text.to_ascii_lowercase())
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Option<Parts<'a>> {
        let (text, before) = match text.strip_suffix(" BC") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (year, rest) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        if !(4..=7).contains(&year.len()) {
            return None;
        }
        let year: i64 = year.parse().ok().filter(|year| *year > 0)?;
        let year = if before { 1 - year } else { year };
        let (month, rest) = two_digits(rest.strip_prefix('-')?)?;
        let (day, rest) = two_digits(rest.strip_prefix('-')?)?;
        let (time, zone) = match rest.strip_prefix([' ', 'T']) {
            Some(clock_text) if clock_text.starts_with(|c: char| c.is_ascii_digit()) => {
                let (time, zone) = clock(clock_text, 23)?;
                (Some(time), zone)
            }
            _ => (None, rest),
        };
        let is_day = (1..=12).contains(&month) && day >= 1 && day <= length_of(year, month);
        is_day.then(|| Parts { year, days: days(year, month, day), time, zone })
    }

    fn typed(text: &'a str) -> Option<Parts<'a>> {
        Parts::read(text).filter(|parts| TYPED_YEARS.contains(&parts.year))
    }

    fn moment(&self) -> i128 {
        i128::from(self.days) * DAY + self.time.unwrap_or_default()
    }
}

/// `hh:mm`, with seconds or without, as microseconds; and what follows.
fn clock(text: &str, most_hours: i64) -> Option<(i128, &str)> {
    let (hours, rest) = two_digits(text)?;
    let (minutes, rest) = two_digits(rest.strip_prefix(':')?)?;
    let (seconds, rest) = match rest.strip_prefix(':') {
        Some(rest) => two_digits(rest)?,
        None => (0, rest),
    };
    let (micros, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let (digits, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
            if !(1..=6).contains(&digits.len()) {
                return None;
            }
            (format!("{digits:0<6}").parse::<i64>().ok()?, rest)
        }
        None => (0, rest),
    };
    let time = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
    let fits = hours <= most_hours && minutes < 60 && seconds < 60 && i128::from(time) <= DAY;
    fits.then_some((time.into(), rest))
}

/// `+hh` or `+hh:mm`, in microseconds.
fn offset(zone: &str) -> Option<i128> {
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+')?),
    };
    let (hours, rest) = two_digits(rest)?;
    let (minutes, rest) = match rest.strip_prefix(':') {
        Some(rest) => two_digits(rest)?,
        None => (0, rest),
    };
    let fits = rest.is_empty() && hours <= 14 && minutes < 60;
    fits.then(|| i128::from(sign * (hours * 60 + minutes) * 60) * 1_000_000)
}

fn two_digits(text: &str) -> Option<(i64, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    let are_digits = digits.bytes().all(|b| b.is_ascii_digit());
    are_digits.then(|| digits.parse().ok().map(|number| (number, rest)))?
}

fn length_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the beginning of 2000, in the Gregorian calendar at all times.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    // The first of March of year 0 is 730,425 days before the beginning of 2000.
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 730_425
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_the_year_2000() {
        for (text, days) in [
            ("2000-01-01", 0),
            ("2000-03-01", 60),
            ("1999-12-31", -1),
            ("1970-01-01", -10_957),
            ("0001-01-01", -730_119),
            ("0001-12-31 BC", -730_120),
            ("4713-01-01 BC", -2_451_507),
            ("5874897-12-31", 2_145_031_948),
        ] {
            assert_eq!(archived(text), Some(days * DAY), "{text}");
        }
        assert_eq!(archived("2000-01-01 00:00:01.5+00"), Some(1_500_000));
        assert_eq!(archived("0001-12-31 23:59:59.999999+00 BC"), Some(-730_119 * DAY - 1));
        assert_eq!((archived("infinity"), archived("-infinity")), (Some(LAST), Some(FIRST)));
    }

    #[test]
    fn a_literal_is_read_as_the_server_reads_it_or_not_at_all() {
        let zoned = |text| typed_moment(text, true);
        assert_eq!(zoned("2000-01-01T10:00:00+02"), Some(8 * 3600 * 1_000_000));
        assert_eq!(zoned("2000-01-01 00:00-05:30"), Some((5 * 60 + 30) * 60 * 1_000_000));
        assert_eq!(zoned("2000-01-01"), Some(0));
        assert_eq!(zoned("2000-01-01 00:00:00 UTC"), zoned("2000-01-01 00:00Z"));
        assert_eq!(typed_moment("2000-01-01T10:00:00+02", false), Some(36_000 * 1_000_000));
        for text in [
            "",
            "now",
            "today",
            "epoch",
            "2025",
            "2025-1-1",
            "25-01-01",
            "2025-13-01",
            "2025-02-29",
            "0000-01-01",
            "2025-01-01 24:00",
            "2025-01-01 10",
            "2025-01-01 10:60",
            "2025-01-01 10:00:60",
            "2025-01-01 10:00:00.1234567",
            "2025-01-01+02",
            "2025-01-01Z",
            "2025-01-01 10:00:00+15",
            "2025-01-01 10:00:00+0200",
            "2025-01-01 10:00 CET",
            "100000-01-01",
            "4713-01-01 BC",
            "01/02/2025",
            "2025-01-01 BC AD",
            "2025-01-01é",
        ] {
            assert_eq!(zoned(text), None, "{text}");
        }
        assert_eq!(typed_date("2000-01-02"), Some(DAY));
        assert_eq!(typed_date("2000-01-02 10:00"), None);
        assert_eq!((typed_time_of_day("10:00"), typed_time_of_day("24:00")), (Some(36_000_000_000), None));
    }
}
