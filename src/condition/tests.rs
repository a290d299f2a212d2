//! Conditions on rows of one table with a column of each type, and what no text may do.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::Condition;
use crate::archive::model::{Column, Header, Source, Table};
use crate::row::CellForm;
use crate::schema::{Kind, Object, Schema, Section};

/// Columns, and the row that conditions are asked of.
const ROW: &[(&str, &str, CellForm, &str)] = &[
    ("id", "integer", CellForm::Number, "7"),
    ("big", "bigint", CellForm::Number, r#""9007199254740993""#),
    ("n", "numeric(10,2)", CellForm::Number, r#""5.50""#),
    ("nan", "numeric", CellForm::Number, r#""NaN""#),
    ("r", "real", CellForm::Number, "0.1"),
    ("f", "double precision", CellForm::Number, "0.1"),
    ("zero", "double precision", CellForm::Number, r#""-0""#),
    ("b", "boolean", CellForm::Boolean, "true"),
    ("t", "text", CellForm::Text, r#""a é\n""#),
    ("empty", "character varying(5)", CellForm::Text, r#""""#),
    ("c", "character(5)", CellForm::Text, r#""ab   ""#),
    ("c2", "character(3)", CellForm::Text, r#""ab ""#),
    ("d", "date", CellForm::Text, r#""2025-02-28""#),
    ("ts", "timestamp(3) without time zone", CellForm::Text, r#""2025-02-28 00:00:00""#),
    ("tz", "timestamp with time zone", CellForm::Text, r#""2025-02-28 08:30:00.5+00""#),
    ("bc", "date", CellForm::Text, r#""0044-03-15 BC""#),
    ("ever", "timestamp with time zone", CellForm::Text, r#""infinity""#),
    ("time", "time without time zone", CellForm::Text, r#""08:30:00""#),
    ("u", "uuid", CellForm::Text, r#""0c174ce5-af62-706e-8b91-ceb95b824b89""#),
    ("mood", "public.mood", CellForm::Text, r#""it's ok""#),
    ("price", "public.price", CellForm::Number, r#""1.0""#),
    ("point", "public.pair", CellForm::Text, r#""(,)""#),
    ("other", "public.unknown", CellForm::Text, r#""x""#),
    ("j", "jsonb", CellForm::Json, r#"{"$text":"null"}"#),
    ("list", "integer[]", CellForm::Text, r#""{1}""#),
    ("Odd \"name\"", "integer", CellForm::Number, "1"),
    ("user", "text", CellForm::Text, r#""u""#),
    ("no", "integer", CellForm::Number, "null"),
    ("nob", "boolean", CellForm::Boolean, "null"),
    ("not_taken", "integer", CellForm::Number, "1"),
];

fn object(kind: Kind, identity: &str, create: &str) -> Object {
    Object {
        kind,
        identity: identity.into(),
        schema: Some("public".into()),
        name: identity.into(),
        table: None,
        section: Section::PreData,
        owner: None,
        roles: Vec::new(),
        create: vec![create.into()],
        drop: Vec::new(),
        comments: Vec::new(),
        privileges: Vec::new(),
        tablespace: None,
        access_method: None,
        needs: Vec::new(),
    }
}

fn header(objects: Vec<Object>) -> Header {
    let types = vec![
        object(
            Kind::Type,
            "TYPE public.mood",
            "CREATE TYPE public.mood AS ENUM (\n    'sad',\n    'it''s ok'\n)",
        ),
        object(Kind::Domain, "DOMAIN public.price", "CREATE DOMAIN public.price AS numeric(10,2) DEFAULT 0"),
        object(Kind::Type, "TYPE public.pair", "CREATE TYPE public.pair AS (\n    a integer\n)"),
    ];
    let schema = Schema { objects: [types, objects].concat(), ..Schema::default() };
    Header { schema: Some(schema), ..in_encoding("UTF8") }
}

fn in_encoding(encoding: &str) -> Header {
    let header = serde_json::json!({
        "format": "pgkeep", "version": 1, "kind": "backup", "tool": "", "created_at": "2025-11-28T07:48:20Z", "tables": [],
        "source": Source { encoding: encoding.into(), ..Source::default() },
    });
    serde_json::from_value(header).unwrap()
}

fn table() -> Table {
    let column = |(name, kind, form, _): &(&str, &str, CellForm, &str)| Column {
        name: (*name).into(),
        type_name: (*kind).into(),
        form: *form,
        ..Column::default()
    };
    Table {
        schema: "public".into(),
        name: "things".into(),
        columns: ROW.iter().map(column).collect(),
        generated: vec!["g".into()],
        ..Table::default()
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let made = Condition::new(text, &header(Vec::new()), &table(), |name| name != "not_taken");
    made.map_err(|failure| failure.what)
}

fn holds(text: &str) -> bool {
    let cells: Vec<&str> = ROW.iter().map(|column| column.3).collect();
    condition(text).unwrap().holds(format!("[{}]", cells.join(",")).as_bytes()).unwrap()
}

/// Whether it is true, false or unknown, by what the server would say of it.
fn is(text: &str) -> Option<bool> {
    match (holds(text), holds(&format!("NOT ({text}\n)"))) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
        both => unreachable!("{text} {both:?}"),
    }
}

#[test]
fn what_is_true_is_true() {
    for text in [
        "id = 7",
        "id = ' 7 '",
        "id = '+07'",
        "7 = id",
        "id >= 7 AND id <= 7.0",
        "id <> 8",
        "id != 7.5",
        "id < 1e3",
        "id > -5",
        "things.id = 7",
        "ID = 7",
        "\"id\" = 7",
        "\"Odd \"\"name\"\"\" = 1",
        "(id) = (7)",
        "((id = 7))",
        "id = 7::bigint",
        "big > 9007199254740992",
        "big = '9007199254740993'",
        "big = f OR big > f",
        "big = 9007199254740992::float8",
        "n = 5.5",
        "n = '5.50000'",
        "n < 5.51",
        "nan > 1e99",
        "nan = 'nan'",
        "price = 1",
        "price = '1.00'",
        "r <> 0.1",
        "r = '0.1'",
        "r > f",
        "f = 0.1",
        "f < 1",
        "zero = 0",
        "zero = '-0'",
        "r IN ('0.1', '0.2')",
        "b",
        "b = 'yes'",
        "b = TRUE",
        "b IS TRUE",
        "b IS NOT FALSE",
        "NOT b IS FALSE",
        "(id = 7) = b",
        "b > FALSE",
        "t = $$a é\n$$",
        "t = $x$a é\n$x$",
        "t <> ''",
        "empty = ''",
        "empty IS NOT NULL",
        "empty = '' COLLATE \"C\"",
        "t COLLATE \"C\" > 'a'",
        "'b' COLLATE \"C\" > t",
        "t COLLATE \"C\" BETWEEN 'a' AND 'b'",
        "t LIKE 'a _%'",
        "t NOT LIKE 'a'",
        "t LIKE '%é%'",
        "t LIKE 'a!_%' ESCAPE '!' OR t LIKE 'a %'",
        "c LIKE 'ab   '",
        "t COLLATE \"C\" ILIKE 'A %'",
        "c NOT LIKE 'ab'",
        "t NOT ILIKE 'x%' COLLATE \"C\"",
        "c = 'ab'",
        "c = 'ab      '",
        "c = c2",
        "c IN ('x', 'ab')",
        "c COLLATE \"C\" < 'abc'",
        "d = '2025-02-28'",
        "d = DATE '2025-02-28'",
        "d = '2025-02-28'::date",
        "d = CAST('2025-02-28' AS date)",
        "d = ts",
        "d < tz",
        "ts < tz",
        "ts = '2025-02-28'",
        "ts = TIMESTAMP '2025-02-28 00:00'",
        "ts = '2025-02-28T00:00:00Z'",
        "ts = '2025-02-28 00:00:00+05'",
        "tz = '2025-02-28 10:30:00.5+02'",
        "tz > '2025-02-28'",
        "tz > DATE '2025-02-28'",
        "tz < TIMESTAMPTZ '2025-02-28T08:30:00.6Z'",
        "tz < TIMESTAMP WITH TIME ZONE '2025-02-28 08:31:00 UTC'",
        "bc < '0001-01-01'",
        "bc = '0044-03-15 BC'",
        "bc > '0045-01-01 BC'",
        "ever = 'infinity'",
        "ever > tz",
        "ever > '-Infinity'",
        "time = '08:30'",
        "time < TIME '08:30:00.000001'",
        "u = '{0C174CE5-AF62-706E-8B91-CEB95B824B89}'",
        "u = '0c174ce5af62706e8b91ceb95b824b89'",
        "u < 'fc174ce5-af62-706e-8b91-ceb95b824b89'",
        "mood = 'it''s ok'",
        "mood <> 'sad'",
        "mood IN ('sad', $$it's ok$$)",
        "j IS NOT NULL",
        "list IS NOT NULL",
        "mood IS NOT NULL",
        "\"user\" = 'u'",
        "no IS NULL",
        "nob IS NULL",
        "nob IS UNKNOWN",
        "nob IS NOT TRUE",
        "(no = 1) IS UNKNOWN",
        "(no = 1) IS NULL",
        "no IS DISTINCT FROM 1",
        "no IS NOT DISTINCT FROM NULL",
        "id IS DISTINCT FROM NULL",
        "id IS NOT DISTINCT FROM 7",
        "no IS NOT DISTINCT FROM no",
        "id IN (1, 7, NULL)",
        "id IN (no, 7)",
        "7 IN (id, 1)",
        "id NOT IN (1, 2)",
        "id IN (1.5, 7)",
        "id IN ('7', '8')",
        "id BETWEEN 1 AND 7",
        "id NOT BETWEEN 8 AND 9",
        "id BETWEEN SYMMETRIC 9 AND 1",
        "id BETWEEN ASYMMETRIC 1 AND 9 AND b",
        "d BETWEEN '2025-01-01' AND DATE '2025-12-31'",
        "id BETWEEN SYMMETRIC -1 AND 8",
        "id = 1 OR id = 7 AND b",
        "NOT id = 8 AND NOT (id = 9 OR id = 10)",
        "TRUE",
        "1 = 1",
        "'a' = 'a'",
        "NULL IS NULL",
        "id = 7 OR no = 1",
        "(no = 1 OR id = 7)",
        "no = 1 IS NOT TRUE OR TRUE",
        "id\n=\n7",
    ] {
        if text.starts_with("no = 1 IS") {
            assert!(condition(text).unwrap_err().contains("side by side"), "{text}");
            continue;
        }
        assert_eq!(is(text), Some(true), "{text}");
    }
}

#[test]
fn what_is_not_known_is_neither_true_nor_false() {
    for text in [
        "no = 1",
        "no <> 1",
        "no = no",
        "no < id",
        "id = NULL",
        "NULL",
        "nob",
        "NOT nob",
        "no IN (1, 2)",
        "id IN (1, NULL)",
        "id NOT IN (1, NULL)",
        "no BETWEEN 1 AND 2",
        "no = 1 AND b",
        "no = 1 OR id = 8",
        "t LIKE NULL",
        "nob = TRUE",
        "id BETWEEN 1 AND no",
    ] {
        assert_eq!(is(text), None, "{text}");
    }
    for text in [
        "no = 1 AND id = 8",
        "no IS NOT NULL",
        "id IS NULL",
        "nob IS TRUE",
        "id BETWEEN 8 AND no",
        "j IS NULL",
    ] {
        assert_eq!(is(text), Some(false), "{text}");
    }
}

#[test]
fn what_only_a_server_can_tell_is_refused_by_name() {
    let mut others = Vec::new();
    for (text, named) in [
        ("lower(t) = 'a'", "the function \"lower\""),
        ("tz > now()", "the function \"now\""),
        ("tz > current_timestamp", "current_timestamp"),
        ("user = 'u'", "user"),
        ("id + 1 = 8", "the operator \"+\""),
        ("id = 4 * 2", "the operator \"*\""),
        ("- id = 7", "a minus"),
        ("t || 'x' = 'y'", "the operator \"||\""),
        ("t ~ 'a'", "the operator \"~\""),
        ("j -> 'a' = '1'", "the operator \"->\""),
        ("id IN (SELECT 1)", "a subquery"),
        ("EXISTS (SELECT 1)", "a subquery"),
        ("id = ANY (ARRAY[1])", "the operator"),
        ("CASE WHEN b THEN TRUE END", "CASE"),
        ("tz > INTERVAL '1 day'", "interval"),
        ("t < 'b'", "the order of texts"),
        ("t BETWEEN 'a' AND 'b'", "the order of texts"),
        ("t COLLATE \"de_DE\" = 'b'", "the collation"),
        ("t COLLATE C < 'b'", "the collation"),
        ("t ILIKE 'a%'", "which letters ILIKE takes for the same"),
        ("t SIMILAR TO 'a'", "SIMILAR TO"),
        ("t = E'a'", "escapes"),
        ("t = U&'a'", "escapes"),
        ("t = c", "a text is compared with a text filled up with blanks"),
        ("c = 'ab'::text", "compared with"),
        ("t = 1", "a text is compared with an integer"),
        ("b = 1", "a boolean is compared with an integer"),
        ("mood < 'sad'", "an enum is compared by order"),
        ("mood = 'glad'", "\"glad\" where an enum"),
        ("j = 'null'", "a type whose values only a server compares"),
        ("list = '{1}'", "a type whose values only a server compares"),
        ("point IS NULL", "composite"),
        ("other = 'x'", "a type whose values"),
        ("other IS NOT NULL", "composite"),
        ("id = 'x'", "\"x\" where an integer"),
        ("id = '1_0'", "where an integer"),
        ("id = '99999999999'", "where an integer"),
        ("id = 1_0", ""),
        ("id = 0x1F", ""),
        ("f = '1e999'", "where a double precision"),
        ("f = 1e-999", "where a numeric"),
        ("n = f", "a numeric column is compared as a floating-point number"),
        ("n = 0.5::float8", "a numeric column"),
        ("r IN (0.1, 0.2)", "IN"),
        ("id IN (1, 0.5::float8)", "IN"),
        ("n < 'infinity'", "where a numeric"),
        ("ts IN ('2025-01-01 10:00+02', TIMESTAMPTZ '2025-01-01 08:00Z')", "IN"),
        ("b = 'maybe'", "where a boolean"),
        ("d = 'today'", "where a date"),
        ("d = '28.02.2025'", "where a date"),
        ("d = '2025-02-28 10:00'", "where a date"),
        ("tz = '2025-02-28 10:00 Europe/Berlin'", "where a timestamp with time zone"),
        ("u = 'x'", "where a uuid"),
        ("id::text = '7'", "a cast of"),
        ("id = '7'::numeric(3,1)", "the type"),
        ("t = 'a'::varchar(1)", "the type"),
        ("d = 'x'::public.thing", "the type"),
        ("id = 7.5::int", "where an integer"),
        ("g = 1", "column \"g\" is generated"),
        ("id = 7 -- seven", "a comment"),
        ("id /* x */ = 7", "a comment"),
        ("id = 7 IS TRUE", "side by side"),
        ("id = 1 = b", "side by side"),
        ("(id, no) = (1, 2)", "a row of several values"),
        ("t LIKE t", "a pattern that is no string"),
        ("tz AT TIME ZONE 'UTC' > ts", "AT TIME ZONE"),
    ] {
        let what = condition(text).err().unwrap_or_default();
        if !(what.contains(named) && what.contains("things cannot be used without a server")) {
            others.push(format!("{text}: {what}"));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn what_no_server_takes_is_wrong_and_not_only_beyond_this_program() {
    for (text, named) in [
        ("", ""),
        ("id =", ""),
        ("id", "neither true nor false"),
        ("'t'", "neither true nor false"),
        ("nothing = 1", "column \"nothing\" does not exist"),
        ("not_taken = 1", "column \"not_taken\" does not exist"),
        ("others.id = 1", "not of this table"),
        ("public.things.id = 1", "not of this table"),
        ("\"ID\" = 1", "column \"ID\""),
        ("id = 1; DROP TABLE things", "semicolon"),
        ("id = 1) OR (id = 2", ""),
        ("id = 1 id = 2", "not expected"),
        ("id = $1", "$1"),
        ("t LIKE 'a\\'", "escape character"),
        ("t LIKE 'a' ESCAPE 'xy'", "one character"),
        ("id COLLATE \"C\" = 1", "COLLATE is for texts"),
        ("id IN ()", ""),
        ("t BETWEEN 'a' COLLATE \"C\" AND 'b'", "needs parentheses"),
        ("'unclosed", ""),
    ] {
        let what = condition(text).unwrap_err();
        assert!(what.contains(named) && what.contains("things cannot be used: "), "{text}: {what}");
    }
}

#[test]
fn where_texts_may_be_equal_to_others_they_are_compared_as_bytes_alone() {
    let fuzzy = "CREATE COLLATION public.ci (provider = icu, deterministic = false, locale = 'und')";
    let header = header(vec![object(Kind::Collation, "COLLATION public.ci", fuzzy)]);
    let made = |text: &str| Condition::new(text, &header, &table(), |_| true);
    assert!(made("t = 'a'").is_err() && made("t LIKE 'a'").is_err() && made("t IN ('a', 'b')").is_err());
    assert!(made("t = 'a' COLLATE \"C\"").is_ok() && made("id = 1 AND t IS NULL").is_ok());
}

#[test]
fn encodings_count_where_characters_or_their_order_do() {
    let made = |text: &str, encoding: &str| {
        let header = in_encoding(encoding);
        Condition::new(text, &header, &table(), |_| true).is_ok()
    };
    assert!(
        made("t LIKE 'a%'", "SQL_ASCII")
            && !made("t LIKE 'a_'", "SQL_ASCII")
            && made("t LIKE 'a_'", "EUC_JP")
    );
    assert!(made("t COLLATE \"C\" < 'a'", "LATIN1") && !made("t COLLATE \"C\" < 'a'", "EUC_JP"));
}

#[test]
fn long_and_deep_texts_are_refused_and_break_nothing() {
    let deep = |n: usize| format!("{}id = 7{}", "(".repeat(n), ")".repeat(n));
    assert!(condition(&deep(10)).is_ok());
    for text in [
        deep(100_000),
        "(".repeat(100_000),
        format!("{}b", "NOT ".repeat(100_000)),
        format!("id{}", " IS NULL".repeat(50_000)),
        format!("id = {}1", "- ".repeat(50_000)),
        format!("b{}", " AND b".repeat(50_000)),
        format!("b{}", " = b".repeat(1500)),
        format!("id = 7{}", "::int".repeat(1200)),
        format!("{}1{}", "((id = ".repeat(40), "))".repeat(40)),
        "id IN (".repeat(1000),
        "CASE WHEN ".repeat(1000),
        "a(".repeat(1000),
        "[".repeat(1000),
    ] {
        assert!(condition(&text).is_err(), "{}", &text[..40.min(text.len())]);
    }
    let many: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    assert_eq!(is(&format!("id IN ({})", many.join(", "))), Some(true));
    assert_eq!(is(&format!("b{}", " AND b".repeat(1900))), Some(true));
}

proptest! {
    #[test]
    fn any_text_is_a_condition_or_an_error(text in "\\PC{0,60}") {
        let _ = condition(&text);
    }

    #[test]
    fn any_words_are_a_condition_or_an_error(words in prop::collection::vec(prop::sample::select(&[
        "id", "t", "b", "tz", "(", ")", "NOT", "AND", "OR", "=", "<", "::", "date", "'7'", "7", "1.5", "IS", "NULL", "IN", "BETWEEN",
        "SYMMETRIC", "LIKE", "ESCAPE", "'x'", "COLLATE", "\"C\"", ",", "-", ".", "CAST", "AS", "DISTINCT", "FROM", "TRUE", "DATE",
        "$$a$$", "CASE", "WHEN", "SELECT", "[", "]", "ANY", "INTERVAL", "TIMESTAMP", "things", "*", "+",
    ][..]), 0..25)) {
        let cells: Vec<&str> = ROW.iter().map(|column| column.3).collect();
        if let Ok(condition) = condition(&words.join(" ")) {
            let line = format!("[{}]", cells.join(","));
            prop_assert!(condition.holds(line.as_bytes()).is_ok());
            let _ = condition.holds(b"[]");
            prop_assert!(condition.holds(b"[").is_err());
        }
    }
}
