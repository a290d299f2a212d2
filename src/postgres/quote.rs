//! Names and literals as SQL text. Every identifier that comes from a catalog or an archive goes through here.

use postgres_protocol::escape::{escape_identifier, escape_literal};

/// A double-quoted identifier.
pub fn ident(name: &str) -> String {
    escape_identifier(name)
}

/// A single-quoted literal.
pub fn literal(text: &str) -> String {
    // escape_literal puts a blank before an E'' literal; none is wanted where the result is compared or shown.
    escape_literal(text).trim_start().to_owned()
}

/// `"schema"."name"`.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A comma-separated list of quoted identifiers.
pub fn ident_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

/// `OPERATOR("schema".=)`: an operator named so that no search path can change its meaning.
pub fn operator(schema: &str, symbol: &str) -> String {
    // Operator symbols cannot be quoted; the grammar admits none but these characters (manual, 4.1.3).
    let symbol: String = symbol.chars().filter(|c| "+-*/<>=~!@#%^&|`?".contains(*c)).collect();
    format!("OPERATOR({}.{symbol})", ident(schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_and_literals_cannot_break_out() {
        assert_eq!(ident("a\"; DROP TABLE x; --"), "\"a\"\"; DROP TABLE x; --\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("back\\slash"), "E'back\\\\slash'");
        assert_eq!(operator("public", "= 1; --"), "OPERATOR(\"public\".=--)");
    }
}
