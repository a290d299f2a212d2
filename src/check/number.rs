//! Whether two texts are one number, to the last digit: what the server prints may have more digits than a float holds.

/// Whether both are the same number, `3` and `3.00` or `1e3` and `1000`; what is no number is compared as text.
pub fn are_equal(one: &str, other: &str) -> bool {
    match (Decimal::parse(one), Decimal::parse(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// A decimal number without zeros at either end of its digits: equal numbers are equal.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Decimal> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_end_matches('0');
        let exponent = exponent.checked_sub(fraction.len() as i64)?;
        let exponent = exponent.checked_add((all.len() - digits.len()) as i64)?;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Decimal { negative: false, digits, exponent: 0 });
        }
        Some(Decimal { negative, digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::are_equal;

    #[test]
    fn numbers_are_equal_however_they_are_written() {
        for (one, other) in [("3", "3.00"), ("0", "-0.0"), ("1e3", "1000"), ("-0.5", "-5e-1"), ("+7", "007")]
        {
            assert!(are_equal(one, other), "{one} {other}");
        }
        for (one, other) in [("3", "-3"), ("0.1", "0.10000000000000000001"), ("1", "10"), ("1", "one")] {
            assert!(!are_equal(one, other), "{one} {other}");
        }
        assert!(are_equal("NaN", "NaN") && !are_equal("", "0") && !are_equal(".", "0"));
    }
}
