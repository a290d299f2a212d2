//! Values as they are compared: from what an archive holds, and from literals as the server's input functions read them. A literal
//! that is not certain to be read in that way is none.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::kind::{Kind, Sense};
use super::moment;
use crate::row::order::Number;

/// A value of some [`Sense`]. Only values of the same are compared.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Number(Number),
    Float(f64),
    Boolean(bool),
    Bytes(Cow<'a, [u8]>),
    /// A moment or a time of day, in microseconds.
    Time(i128),
}

impl Ord for Value<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Number(one), Value::Number(other)) => one.cmp(other),
            (Value::Float(one), Value::Float(other)) => compare_floats(*one, *other),
            (Value::Boolean(one), Value::Boolean(other)) => one.cmp(other),
            (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
            (Value::Time(one), Value::Time(other)) => one.cmp(other),
            // Of two senses, which never meet.
            _ => self.place().cmp(&other.place()),
        }
    }
}

impl PartialOrd for Value<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Value<'_> {}

impl Value<'_> {
    fn place(&self) -> u8 {
        match self {
            Value::Number(_) => 0,
            Value::Float(_) => 1,
            Value::Boolean(_) => 2,
            Value::Bytes(_) => 3,
            Value::Time(_) => 4,
        }
    }
}

/// NaN is equal to itself and above all else, and -0 is 0 (manual, 8.1.3).
fn compare_floats(one: f64, other: f64) -> Ordering {
    match (one.is_nan(), other.is_nan()) {
        (false, false) => one.partial_cmp(&other).unwrap_or(Ordering::Equal),
        (one, other) => one.cmp(&other),
    }
}

/// What an archive holds of a column, as it is compared; none for what is no value of the column's type.
pub fn archived<'a>(kind: &Kind, sense: Sense, text: Cow<'a, [u8]>) -> Option<Value<'a>> {
    let utf8 = |text: &[u8]| std::str::from_utf8(text).map(str::to_owned).ok();
    Some(match sense {
        Sense::Number => Value::Number(Number::parse(&text)?),
        Sense::Float if *kind == Kind::Real => Value::Float(utf8(&text)?.parse::<f32>().ok()?.into()),
        Sense::Float => Value::Float(utf8(&text)?.parse().ok()?),
        Sense::Boolean => Value::Boolean(boolean(&text)?),
        Sense::Bytes => Value::Bytes(text),
        Sense::Unpadded => Value::Bytes(unpadded(text)),
        Sense::Moment => Value::Time(moment::archived(&utf8(&text)?)?),
        Sense::TimeOfDay => Value::Time(moment::time_of_day(&utf8(&text)?)?),
    })
}

/// `true` or `false`.
pub fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn unpadded(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(text) => Cow::Owned(text[..end].to_vec()),
    }
}

/// A literal of a type, as it is compared; none where it is not certain to be one, or which.
pub fn literal(kind: &Kind, sense: Sense, text: &str) -> Option<Value<'static>> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let bytes = |text: &str| Value::Bytes(Cow::Owned(text.as_bytes().to_vec()));
    Some(match kind {
        Kind::SmallInt => whole(trimmed, sense, -0x8000, 0x7FFF)?,
        Kind::Integer => whole(trimmed, sense, -0x8000_0000, 0x7FFF_FFFF)?,
        Kind::BigInt => whole(trimmed, sense, i64::MIN.into(), i64::MAX.into())?,
        // Some servers have no such number.
        Kind::Numeric if trimmed.to_ascii_lowercase().ends_with("infinity") => return None,
        Kind::Numeric if sense == Sense::Number => {
            Value::Number(Number::parse(decimal(trimmed)?.as_bytes())?)
        }
        Kind::Numeric | Kind::Double => Value::Float(float(&decimal(trimmed)?, |text| text.parse().ok())?),
        Kind::Real => {
            Value::Float(float(&decimal(trimmed)?, |text| text.parse::<f32>().ok().map(f64::from))?)
        }
        Kind::Boolean => Value::Boolean(typed_boolean(trimmed)?),
        Kind::Text => bytes(text),
        Kind::Char => bytes(text.trim_end_matches(' ')),
        Kind::Uuid => bytes(&uuid(text)?),
        Kind::Enum(labels) => bytes(labels.iter().find(|label| *label == text)?),
        Kind::Date => Value::Time(moment::typed_date(trimmed)?),
        Kind::Timestamp => Value::Time(moment::typed_moment(trimmed, false)?),
        Kind::Zoned => Value::Time(moment::typed_moment(trimmed, true)?),
        Kind::TimeOfDay => Value::Time(moment::typed_time_of_day(trimmed)?),
        Kind::Opaque | Kind::Unknown => return None,
    })
}

fn whole(text: &str, sense: Sense, least: i128, most: i128) -> Option<Value<'static>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i128 = text.parse().ok().filter(|number| (least..=most).contains(number))?;
    match sense {
        Sense::Float => Some(Value::Float(number as f64)),
        _ => Some(Value::Number(Number::parse(number.to_string().as_bytes())?)),
    }
}

/// Digits with a point and an exponent, or one of the names that stand for no number, as the archive spells those. Numbers near the
/// limits of the types are left to the server.
fn decimal(text: &str) -> Option<String> {
    const LONGEST: usize = 1000;
    const GREATEST_EXPONENT: i32 = 1000;
    for name in ["NaN", "Infinity", "-Infinity"] {
        if text.eq_ignore_ascii_case(name) {
            return Some(name.to_owned());
        }
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent_digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fits = are_digits(whole)
        && are_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && text.len() <= LONGEST
        && !exponent_digits.is_empty()
        && are_digits(exponent_digits)
        && exponent.parse::<i32>().is_ok_and(|exponent| exponent.abs() <= GREATEST_EXPONENT);
    fits.then(|| text.to_owned())
}

/// Not where the server would say that it is out of range.
fn float(text: &str, parse: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    let number = parse(text)?;
    let is_named = text.ends_with(['N', 'y']);
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    (is_named || (number.is_finite() && (number == 0.0) == is_zero)).then_some(number)
}

/// As `boolin` has it: any beginning of these words that is no other's, in capitals or not.
fn typed_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Some(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// As it is printed; with its hyphens or without any, in braces or not.
fn uuid(text: &str) -> Option<String> {
    let bare = text.strip_prefix('{').map_or(Some(text), |inner| inner.strip_suffix('}'))?;
    let digits = match bare.len() {
        32 => bare.to_owned(),
        36 => {
            let groups: Vec<&str> = bare.split('-').collect();
            let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
            if lengths != [8, 4, 4, 4, 12] {
                return None;
            }
            groups.concat()
        }
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits = digits.to_ascii_lowercase();
    Some([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}
