//! From a value as people type it to the value as Postgres prints it, for those types of which that is known.

use super::model::Column;
use crate::row::CellForm;

/// What Postgres prints for a value; none where it is none of the column's type. Types of which nothing is known here
/// are taken as they are.
pub fn printed(column: &Column, given: &str) -> Option<String> {
    match (column.type_name.as_str(), column.form) {
        ("smallint" | "integer" | "bigint" | "oid", _) => {
            given.trim().parse().ok().map(|n: i64| n.to_string())
        }
        ("uuid", _) => uuid(given),
        (_, CellForm::Boolean) => match given.trim().to_ascii_lowercase().as_str() {
            "t" | "true" => Some("true".to_owned()),
            "f" | "false" => Some("false".to_owned()),
            _ => None,
        },
        (kind, _) => {
            let blanks = width(kind).map_or(0, |width| width.saturating_sub(given.chars().count()));
            Some(given.to_owned() + &" ".repeat(blanks))
        }
    }
}

/// A uuid in lower case, with hyphens: Postgres takes it in braces, too, and with any hyphens between groups of four
/// digits (manual, 8.12).
fn uuid(given: &str) -> Option<String> {
    let given = given.trim();
    let bare = given.strip_prefix('{').map_or(Some(given), |inner| inner.strip_suffix('}'))?;
    let digits: String = bare.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

/// How many characters a value of a type has that is filled up with blanks, `character(5)`.
fn width(kind: &str) -> Option<usize> {
    /// `MaxAttrSize`, which no server goes beyond; an archive may say anything.
    const MOST: usize = 10 << 20;
    kind.strip_prefix("character(")?.strip_suffix(')')?.parse().ok().filter(|width| *width <= MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_that_no_server_has_is_none() {
        assert_eq!(
            (width("character(70000)"), width("character(18446744073709551615)")),
            (Some(70_000), None)
        );
    }
}
