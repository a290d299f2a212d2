//! How two values of a type are ordered, and which are the same although they are spelled in two ways: by the texts that
//! Postgres prints under pgkeep's settings (ISO dates, UTC).
//!
//! Only what is certain without a server is said here: collations and types of extensions are the server's alone.

use std::borrow::Cow;
use std::cmp::Ordering;

/// What kind of values a type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Numbers of any size and precision.
    Numbers,
    /// Dates, and times with a date.
    Times,
    /// `false`, then `true`.
    Booleans,
    /// Texts whose order is that of their bytes.
    Bytes,
    /// Texts that are filled up with blanks, which do not count.
    Padded,
    /// Of a type about whose order nothing is known, or only to a collation: they are equal if their texts are.
    Unknown,
}

impl Values {
    /// Those of a type, by the name that `format_type` gives it.
    pub fn of_type(name: &str) -> Values {
        let bare = name.split('(').next().unwrap_or_default();
        match bare {
            "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" | "oid" | "xid8" => {
                Values::Numbers
            }
            "date" | "timestamp without time zone" | "timestamp with time zone" => Values::Times,
            "timestamp" if name.starts_with("timestamp(") => Values::Times,
            "boolean" => Values::Booleans,
            // Of a time of day, too.
            "uuid" | "time without time zone" | "time" => Values::Bytes,
            "character" => Values::Padded,
            _ => Values::Unknown,
        }
    }

    /// The spelling that all equal values share.
    pub fn canonical(self, text: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Values::Numbers => match Number::parse(text) {
                Some(number) => Cow::Owned(number.spelled()),
                None => Cow::Borrowed(text),
            },
            Values::Padded => Cow::Borrowed(unpadded(text)),
            _ => Cow::Borrowed(text),
        }
    }

    /// How two values are ordered; none where nothing is known of that.
    pub fn compare(self, one: &[u8], other: &[u8]) -> Option<Ordering> {
        match self {
            Values::Numbers => Some(Number::parse(one)?.cmp(&Number::parse(other)?)),
            Values::Times => Some(Time::parse(one)?.cmp(&Time::parse(other)?)),
            Values::Booleans | Values::Bytes => Some(one.cmp(other)),
            Values::Padded => (unpadded(one) == unpadded(other)).then_some(Ordering::Equal),
            Values::Unknown => (one == other).then_some(Ordering::Equal),
        }
    }
}

/// Without the blanks that fill it up; other white space counts.
fn unpadded(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

/// A decimal number: `±0.digits × 10^exponent`, the first digit not 0; no digits mean 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// -2: -Infinity; 2: Infinity; 3: NaN, which Postgres has above all others.
    sign: i8,
    exponent: i64,
    digits: Vec<u8>,
}

impl Number {
    /// A number as Postgres prints it; none where the text is none.
    pub fn parse(text: &[u8]) -> Option<Number> {
        let special = |sign| Some(Number { sign, exponent: 0, digits: Vec::new() });
        match text {
            b"NaN" => return special(3),
            b"Infinity" => return special(2),
            b"-Infinity" => return special(-2),
            _ => {}
        }
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mantissa, power) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).ok()?.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
        let mut digits: Vec<u8> = mantissa.iter().copied().filter(|b| *b != b'.').collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || mantissa.len() > digits.len() + 1 {
            return None;
        }
        let leading = digits.iter().take_while(|b| **b == b'0').count();
        digits.drain(..leading);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return special(0);
        }
        let exponent = (point as i64).checked_sub(leading as i64)?.checked_add(power)?;
        Some(Number { sign: if negative { -1 } else { 1 }, exponent, digits })
    }

    fn spelled(&self) -> Vec<u8> {
        let mut text = format!("{}:{}:", self.sign, self.exponent).into_bytes();
        text.extend_from_slice(&self.digits);
        text
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let magnitude = || (self.exponent, &self.digits).cmp(&(other.exponent, &other.digits));
        self.sign.cmp(&other.sign).then_with(|| match self.sign {
            1 => magnitude(),
            -1 => magnitude().reverse(),
            _ => Ordering::Equal,
        })
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A date or a time with one, in the order of time: the year, then what stands behind it as text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Time<'a> {
    year: i64,
    rest: &'a [u8],
}

impl<'a> Time<'a> {
    fn parse(text: &'a [u8]) -> Option<Time<'a>> {
        match text {
            b"infinity" => return Some(Time { year: i64::MAX, rest: b"" }),
            b"-infinity" => return Some(Time { year: i64::MIN, rest: b"" }),
            _ => {}
        }
        let (text, before) = match text.strip_suffix(b" BC") {
            Some(text) => (text, true),
            None => (text, false),
        };
        // Under pgkeep's settings every time zone is UTC.
        let text = text.strip_suffix(b"+00").unwrap_or(text);
        let end = text.iter().position(|b| *b == b'-')?;
        let year: i64 = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
        let rest = &text[end..];
        let fits = rest.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b' ' | b':' | b'.'));
        (fits && rest.len() >= 6).then_some(Time { year: if before { 1 - year } else { year }, rest })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// In ascending order.
    fn ascends(type_name: &str, texts: &[&str]) {
        let values = Values::of_type(type_name);
        for (n, one) in texts.iter().enumerate() {
            for (m, other) in texts.iter().enumerate() {
                let found = values.compare(one.as_bytes(), other.as_bytes());
                assert_eq!(found, Some(n.cmp(&m)), "{type_name} {one} {other}");
            }
        }
    }

    #[test]
    fn values_are_ordered_as_the_server_orders_them() {
        ascends(
            "numeric(10,2)",
            &[
                "-Infinity",
                "-1e30",
                "-10",
                "-9.5",
                "-0.01",
                "0",
                "0.001",
                "0.5",
                "2",
                "10",
                "10.01",
                "1e5",
                "Infinity",
                "NaN",
            ],
        );
        ascends("bigint", &["-9223372036854775808", "-1", "0", "9", "10", "9223372036854775807"]);
        ascends(
            "timestamp with time zone",
            &[
                "-infinity",
                "4713-01-01 00:00:00+00 BC",
                "0001-12-31 23:59:59+00 BC",
                "0001-01-01 00:00:00+00",
                "2025-11-28 07:48:20+00",
                "2025-11-28 07:48:20.5+00",
                "2025-11-28 07:48:21+00",
                "10000-01-01 00:00:00+00",
                "infinity",
            ],
        );
        ascends("date", &["0044-03-15 BC", "2024-02-29", "2024-03-01"]);
        ascends("boolean", &["false", "true"]);
        ascends("uuid", &["0c174ce5-af62-706e-8b91-ceb95b824b89", "fc174ce5-af62-706e-8b91-ceb95b824b89"]);
    }

    #[test]
    fn equal_values_have_one_spelling() {
        let same = |type_name: &str, texts: &[&str]| {
            let values = Values::of_type(type_name);
            let first = values.canonical(texts[0].as_bytes()).into_owned();
            for text in texts {
                assert_eq!(*values.canonical(text.as_bytes()), *first, "{text}");
            }
        };
        same("numeric", &["1", "1.0", "01.00", "+1", "1e0", "0.1e1", "10e-1"]);
        same("double precision", &["0", "-0", "0.0", "0e5"]);
        same("character(5)", &["a", "a    "]);
        let padded = Values::of_type("character(5)");
        assert_ne!(padded.canonical(b"a\t"), padded.canonical(b"a"));
        let other = Values::of_type("text");
        assert_ne!(other.canonical(b"1"), other.canonical(b"1.0"));
    }

    #[test]
    fn of_other_types_and_nonsense_nothing_is_said() {
        for (type_name, one, other) in [
            ("inet", "1.1.1.1", "2.2.2.2"),
            ("integer", "", "1"),
            ("integer", "1", "."),
            ("numeric", "1e99999999999999999999", "1"),
            ("date", "x", "2024-01-01"),
            ("date", "2024-", "2024-01-01"),
        ] {
            assert_eq!(Values::of_type(type_name).compare(one.as_bytes(), other.as_bytes()), None, "{one}");
        }
        assert_eq!(Values::of_type("inet").compare(b"::1", b"::1"), Some(Ordering::Equal));
    }
}
