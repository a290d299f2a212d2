//! When two archived values are equal to a foreign key: values of each type in one spelling.
//!
//! An archive holds values as the server printed them, and most types print equal values alike. Of those that do not, numbers,
//! times and texts filled up with blanks are brought into one form here; of others nothing can be told without a server. What
//! a domain is over is known where the archive has definitions; without them a domain is taken for what it is compared with.

use std::borrow::Cow;

/// How the values of one column are spelled for a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    AsPrinted,
    /// Decimal numbers without needless zeros.
    Decimal,
    /// Numbers as `double precision` has them; first as `real` does where they are `narrow`.
    Float { narrow: bool },
    /// Without the blanks at the end.
    Unpadded,
    /// Days as the moment at which they begin.
    Moment,
    /// Addresses without the width that all of them have.
    Address,
}

/// What is known of a type by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Whole,
    Decimal,
    Real,
    Double,
    Padded,
    Text,
    Date,
    Timestamp,
    Zoned,
    Address,
    /// Equal values may be printed in several ways.
    Elusive,
    /// Equal values are printed alike, as far as is known.
    Other,
}

/// The forms of the column that refers and of the one that it refers to, by their types. The error is the type whose values
/// cannot be compared.
pub(super) fn forms(child: &str, parent: &str) -> Result<(Form, Form), String> {
    let (of_child, of_parent) = (class(child), class(parent));
    for (class, name) in [(of_child, child), (of_parent, parent)] {
        if class == Class::Elusive {
            return Err(name.to_owned());
        }
    }
    // Types of which nothing is known are domains, or compared with themselves.
    let (one, other) = match (of_child, of_parent) {
        (Class::Other, known) => (known, known),
        (known, Class::Other) => (known, known),
        both => both,
    };
    Ok(match (one, other) {
        (Class::Real | Class::Double, _) | (_, Class::Real | Class::Double) => {
            // What is compared with real, and is neither real nor double precision, is cast to real first.
            let narrow = |own| own == Class::Real || (other == Class::Real && own != Class::Double);
            (Form::Float { narrow: narrow(one) }, Form::Float { narrow: other == Class::Real })
        }
        (Class::Decimal, _) | (_, Class::Decimal) => (Form::Decimal, Form::Decimal),
        (_, Class::Padded) => (Form::Unpadded, Form::Unpadded),
        (Class::Padded, _) => (Form::Unpadded, Form::AsPrinted),
        (Class::Zoned, Class::Date | Class::Timestamp) | (Class::Date | Class::Timestamp, Class::Zoned) => {
            // It depends on the time zone of whoever compares them.
            return Err(format!("{child} with {parent}"));
        }
        (Class::Timestamp, Class::Date) | (Class::Date, Class::Timestamp) => (Form::Moment, Form::Moment),
        (Class::Address, _) | (_, Class::Address) => (Form::Address, Form::Address),
        _ => (Form::AsPrinted, Form::AsPrinted),
    })
}

/// Whether values of a type are compared by a collation, as far as its name tells.
pub(super) fn is_text(type_name: &str) -> bool {
    matches!(class(type_name), Class::Text | Class::Padded | Class::Other)
}

fn class(name: &str) -> Class {
    if let Some(element) = name.strip_suffix("[]") {
        return match class(element.trim_end_matches("[]")) {
            Class::Whole | Class::Text | Class::Date | Class::Timestamp | Class::Zoned | Class::Other => {
                Class::Other
            }
            _ => Class::Elusive,
        };
    }
    let bare = name.split('(').next().unwrap_or_default().trim_end();
    match bare {
        "smallint" | "integer" | "bigint" | "oid" => Class::Whole,
        "numeric" => Class::Decimal,
        "real" => Class::Real,
        "double precision" => Class::Double,
        "character" | "bpchar" => Class::Padded,
        "text" | "character varying" | "name" => Class::Text,
        "date" => Class::Date,
        "timestamp without time zone" => Class::Timestamp,
        "timestamp with time zone" => Class::Zoned,
        "timestamp" if name.ends_with("without time zone") => Class::Timestamp,
        "timestamp" => Class::Zoned,
        "inet" | "cidr" => Class::Address,
        "jsonb" | "numrange" | "nummultirange" | "citext" => Class::Elusive,
        _ if bare.starts_with("interval") || bare.ends_with(".citext") => Class::Elusive,
        _ => Class::Other,
    }
}

impl Form {
    /// Whether values stand in the archive as they are compared.
    pub fn is_as_printed(self) -> bool {
        self == Form::AsPrinted
    }

    /// The text of a value in this form. What is no value of such a type stays as it is.
    pub fn of(self, text: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Form::AsPrinted => Cow::Borrowed(text),
            Form::Decimal => decimal(text),
            Form::Float { narrow } => float(text, narrow),
            Form::Unpadded => {
                let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
                Cow::Borrowed(&text[..end])
            }
            Form::Moment => moment(text),
            Form::Address => {
                let width: &[u8] = if text.contains(&b':') { b"/128" } else { b"/32" };
                Cow::Borrowed(text.strip_suffix(width).unwrap_or(text))
            }
        }
    }
}

/// `10`, `10.0` and `0010.00` are `10`.
fn decimal(text: &[u8]) -> Cow<'_, [u8]> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (&text[..1], digits),
        [b'+', digits @ ..] => (&text[..0], digits),
        digits => (&text[..0], digits),
    };
    let is_number = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let (Some(whole), fraction) = (parts.next(), parts.next().unwrap_or_default()) else {
        return Cow::Borrowed(text);
    };
    if !is_number || fraction.contains(&b'.') || digits.iter().all(|byte| *byte == b'.') {
        return Cow::Borrowed(text);
    }
    let whole = &whole[whole.iter().take_while(|byte| **byte == b'0').count()..];
    let zeros = fraction.iter().rev().take_while(|byte| **byte == b'0').count();
    let fraction = &fraction[..fraction.len() - zeros];
    let mut plain = Vec::with_capacity(text.len());
    if !(whole.is_empty() && fraction.is_empty()) {
        plain.extend_from_slice(sign);
    }
    plain.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    if !fraction.is_empty() {
        plain.push(b'.');
        plain.extend_from_slice(fraction);
    }
    Cow::Owned(plain)
}

/// The bits of the number. 0 and -0 are equal to the server, and NaN is equal to itself.
fn float(text: &[u8], narrow: bool) -> Cow<'_, [u8]> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| {
        let text = text.trim();
        if narrow { text.parse::<f32>().ok().map(f64::from) } else { text.parse::<f64>().ok() }
    });
    match parsed {
        Some(number) if number.is_nan() => Cow::Borrowed(b"NaN"),
        Some(number) => Cow::Owned((number + 0.0).to_bits().to_be_bytes().to_vec()),
        None => Cow::Borrowed(text),
    }
}

/// `2025-11-28` is `2025-11-28 00:00:00`, also with ` BC` behind it.
fn moment(text: &[u8]) -> Cow<'_, [u8]> {
    let (day, era) = match text.strip_suffix(b" BC") {
        Some(day) => (day, &b" BC"[..]),
        None => (text, &b""[..]),
    };
    if day.contains(&b' ') || !day.first().is_some_and(u8::is_ascii_digit) {
        return Cow::Borrowed(text);
    }
    Cow::Owned([day, b" 00:00:00", era].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Whether a value of one type refers to one of another.
    fn equal(child: (&str, &str), parent: (&str, &str)) -> bool {
        let (of_child, of_parent) = forms(child.0, parent.0).unwrap();
        of_child.of(child.1.as_bytes()) == of_parent.of(parent.1.as_bytes())
    }

    #[test]
    fn equal_values_are_equal_in_every_spelling_and_across_types() {
        for (child, parent) in [
            (("integer", "7"), ("bigint", "7")),
            (("integer", "10"), ("numeric(10,2)", "10.00")),
            (("numeric", "1.0"), ("numeric", "1.00")),
            (("numeric", "-0.50"), ("numeric", "-0.5")),
            (("numeric", "0.00"), ("numeric", "0")),
            (("numeric", "NaN"), ("numeric", "NaN")),
            (("public.price", "1.0"), ("numeric", "1.00")),
            (("numeric", "1.0"), ("public.price", "1.00")),
            (("double precision", "-0"), ("double precision", "0")),
            (("double precision", "NaN"), ("real", "NaN")),
            (("integer", "16777217"), ("real", "1.6777216e+07")),
            (("numeric", "0.1"), ("double precision", "0.1")),
            (("real", "0.5"), ("double precision", "0.5")),
            (("double precision", "Infinity"), ("double precision", "Infinity")),
            (("character(5)", "a    "), ("character(3)", "a  ")),
            (("text", "a "), ("character(3)", "a  ")),
            (("character(3)", "a  "), ("text", "a")),
            (("date", "2025-01-02"), ("timestamp(3) without time zone", "2025-01-02 00:00:00")),
            (("timestamp without time zone", "0044-03-15 00:00:00 BC"), ("date", "0044-03-15 BC")),
            (("date", "infinity"), ("timestamp without time zone", "infinity")),
            (("inet", "10.0.0.1"), ("cidr", "10.0.0.1/32")),
            (("cidr", "::1/128"), ("inet", "::1")),
            (("uuid", "x"), ("uuid", "x")),
            (("integer[]", "{1,2}"), ("integer[]", "{1,2}")),
        ] {
            assert!(equal(child, parent), "{child:?} {parent:?}");
        }
        for (child, parent) in [
            (("text", "1.0"), ("text", "1.00")),
            (("character varying(3)", "a "), ("text", "a")),
            (("character(3)", "a  "), ("text", "a ")),
            (("numeric", "1"), ("numeric", "-1")),
            (("numeric", "1"), ("numeric", "10")),
            (("real", "0.1"), ("double precision", "0.1")),
            (("date", "2025-01-02"), ("timestamp without time zone", "2025-01-02 00:00:01")),
            (("inet", "10.0.0.0/8"), ("inet", "10.0.0.0")),
        ] {
            assert!(!equal(child, parent), "{child:?} {parent:?}");
        }
    }

    #[test]
    fn what_only_a_server_can_tell_is_refused() {
        for (child, parent) in [
            ("citext", "citext"),
            ("text", "extensions.citext"),
            ("interval", "interval"),
            ("interval day to second(3)", "interval"),
            ("jsonb", "jsonb"),
            ("numeric[]", "numeric[]"),
            ("date", "timestamp with time zone"),
            ("timestamp(0) with time zone", "timestamp without time zone"),
        ] {
            assert!(forms(child, parent).is_err(), "{child} {parent}");
        }
        assert!(forms("timestamp with time zone", "timestamp(3) with time zone").is_ok());
    }

    #[test]
    fn any_text_has_a_form() {
        for text in ["", "-", ".", "-.", "1.2.3", "x", "é", " BC", "--1", "+", "/32"] {
            for form in
                [Form::Decimal, Form::Float { narrow: true }, Form::Unpadded, Form::Moment, Form::Address]
            {
                let _ = form.of(text.as_bytes());
            }
        }
        assert_eq!(&*Form::Decimal.of(b"1.2.3"), b"1.2.3");
    }
}
