//! Random conditions over odd values: the rows that `show` prints are those of the server's own WHERE, or it says that it
//! cannot tell.

use std::collections::BTreeSet;

use crate::support::{Pgkeep, majors, shared};

/// What stands in the columns, as SQL; NULL besides.
const COLUMNS: &[(&str, &str, &[&str])] = &[
    ("i", "int", NUMBERS_OF_INT),
    ("s", "smallint", &["0", "1", "-1", "7", "32767", "-32768"]),
    (
        "l",
        "bigint",
        &["0", "1", "16777217", "9007199254740993", "9223372036854775807", "-9223372036854775808"],
    ),
    (
        "n",
        "numeric",
        &["0", "1.0", "1.00", "0.1", "-0.5", "16777217", "'NaN'", "1e30", "1e-30", "9007199254740993"],
    ),
    ("n2", "numeric(8,3)", &["0", "1", "0.1", "-0.5", "99999.999", "'NaN'"]),
    (
        "r",
        "real",
        &["0", "'-0'", "1", "0.1", "-0.5", "16777216", "'NaN'", "'Infinity'", "'-Infinity'", "1e30"],
    ),
    (
        "f",
        "double precision",
        &[
            "0",
            "'-0'",
            "1",
            "0.1",
            "-0.5",
            "16777217",
            "9007199254740992",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1e300",
        ],
    ),
    ("b", "boolean", &["true", "false"]),
    ("b2", "boolean", &["true", "false"]),
    ("t", "text", TEXTS),
    ("v", "varchar(12)", TEXTS),
    ("c", "char(4)", &["''", "'a'", "'ab  '", "'é'", "'a_b'", "'A'", "' a'"]),
    ("c2", "char(6)", &["''", "'a'", "'ab'", "'é'"]),
    (
        "d",
        "date",
        &[
            "'2025-01-01'",
            "'2024-02-29'",
            "'0044-03-15 BC'",
            "'infinity'",
            "'-infinity'",
            "'0001-01-01'",
            "'10000-01-01'",
        ],
    ),
    ("ts", "timestamp", TIMES),
    ("ts3", "timestamp(0)", TIMES),
    ("tz", "timestamptz", TIMES),
    ("tm", "time", &["'00:00'", "'10:00:00'", "'10:00:00.5'", "'23:59:59.999999'", "'24:00'"]),
    ("u", "uuid", &["'0c174ce5-af62-706e-8b91-ceb95b824b89'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"]),
    ("m", "mood", &["'sad'", "'it''s ok'", "'Happy'"]),
    ("dom", "price", &["0", "1.0", "0.10", "-0.5"]),
    ("j", "jsonb", &["'null'", "'{}'", "'\"a\"'", "'1.0'"]),
    ("a", "int[]", &["'{}'", "'{1,NULL}'"]),
];

const NUMBERS_OF_INT: &[&str] = &["0", "1", "-1", "7", "16777217", "2147483647", "-2147483648"];

const TEXTS: &[&str] = &[
    "''", "' '", "'a'", "'A'", "'ab'", "'a '", "'é'", "'日本'", "'a_b'", "'a%b'", "'100%'", "'ß'", "E'\\t'",
    "E'x\\ny'", "'NULL'", "'a\\b'", "'it''s'", "'\"q\"'",
];

const TIMES: &[&str] = &[
    "'2025-01-01'",
    "'2025-01-01 08:00:00'",
    "'2025-01-01 12:34:56.789012'",
    "'0044-03-15 12:00 BC'",
    "'infinity'",
    "'-infinity'",
    "'0001-01-01'",
    "'2024-02-29 23:59:59.5'",
    "'10000-01-01 00:00:00.000001'",
];

/// Literals that may meet a column of a family.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "7",
    "1.0",
    "0.1",
    "-0.5",
    "'1'",
    "' 7 '",
    "'0.1'",
    "'+1'",
    "1e2",
    "16777217",
    "9007199254740993",
    "2147483648",
    "'NaN'",
    "'Infinity'",
    "'-infinity'",
    "0.1::real",
    "'0.1'::float8",
    "1::bigint",
    "CAST('0.10' AS numeric)",
    "-5",
    "NULL",
    ".5",
];
const MOMENTS: &[&str] = &[
    "'2025-01-01'",
    "'0044-03-15 BC'",
    "'infinity'",
    "'-infinity'",
    "DATE '2024-02-29'",
    "'2025-01-01T10:00:00+02'",
    "'2025-01-01 12:34:56.789012'",
    "TIMESTAMP '2025-01-01 08:00'",
    "TIMESTAMPTZ '2025-01-01 08:00:00Z'",
    "'0001-01-01'::date",
    "NULL",
    "'10000-01-01'",
    "' 2025-01-01 '",
    "'2025-01-01 08:00:00-03:30'",
    "'2025-01-01 08:00 UTC'::timestamptz",
    "'2024-02-29 23:59:59.5'::timestamp",
];
const STRINGS: &[&str] = &[
    "''",
    "' '",
    "'a'",
    "'A'",
    "'ab'",
    "'a '",
    "'é'",
    "$$a_b$$",
    "'100%'",
    "$x$it's$x$",
    "'日本'",
    "'a\\b'",
    "'NULL'",
    "NULL",
    "'b'::text",
    "'ab' COLLATE \"C\"",
];
const PATTERNS: &[&str] = &[
    "'%'",
    "''",
    "'a%'",
    "'_'",
    "'%b'",
    "'a!%%' ESCAPE '!'",
    "'%\\%'",
    "'a\\_b'",
    "'__'",
    "'%é%'",
    "'a%' ESCAPE ''",
    "'a\\\\b'",
    "'_ %'",
    "NULL",
    "'%\n%'",
];
const RELATIONS: &[&str] =
    &["=", "<>", "!=", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"];

/// Numbers that look random, the same at every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % end as u64) as usize
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

fn family(kind: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        "boolean" => (&["true", "FALSE", "'yes'", "'off'", "NULL", "'T'"], &["b", "b2", "odd.b"]),
        "text" | "varchar(12)" => (STRINGS, &["t", "v", "c"]),
        "char(4)" | "char(6)" => (STRINGS, &["c", "c2"]),
        "date" | "timestamp" | "timestamp(0)" | "timestamptz" => {
            (MOMENTS, &["d", "ts", "ts3", "tz", "\"tz\""])
        }
        "time" => (&["'10:00'", "TIME '10:00:00.5'", "'23:59:59.999999'", "NULL"], &["tm"]),
        "uuid" => (
            &["'0C174CE5AF62706E8B91CEB95B824B89'", "'{ffffffff-ffff-ffff-ffff-ffffffffffff}'", "NULL"],
            &["u"],
        ),
        "mood" => (&["'sad'", "$$it's ok$$", "NULL"], &["m"]),
        "jsonb" => (&["'{}'"], &["j"]),
        "int[]" => (&["'{}'"], &["a"]),
        _ => (NUMBERS, &["i", "s", "l", "n", "n2", "r", "f", "dom", "I", "odd.l"]),
    }
}

fn leaf(numbers: &mut Numbers) -> String {
    let (column, kind, _) = COLUMNS[numbers.below(COLUMNS.len())];
    let (literals, columns) = family(kind);
    let other = |numbers: &mut Numbers| match numbers.below(5) {
        0 => numbers.of(columns),
        _ => numbers.of(literals),
    };
    let not = ["", "", "NOT "][numbers.below(3)];
    let is_text = ["text", "varchar(12)", "char(4)", "char(6)"].contains(&kind);
    let collate = if is_text && numbers.below(2) == 0 { " COLLATE \"C\"" } else { "" };
    match numbers.below(if is_text { 10 } else { 8 }) {
        0 => format!("{column} IS {not}NULL"),
        1 => {
            let list: Vec<&str> = (0..=numbers.below(4)).map(|_| other(numbers)).collect();
            format!("{column}{collate} {not}IN ({})", list.join(", "))
        }
        2 => {
            let how = ["", "SYMMETRIC ", "ASYMMETRIC "][numbers.below(3)];
            format!("{column}{collate} {not}BETWEEN {how}{} AND {}", other(numbers), other(numbers))
        }
        3 if kind == "boolean" => {
            format!("{column} IS {not}{}", ["TRUE", "FALSE", "UNKNOWN"][numbers.below(3)])
        }
        4 if kind == "boolean" => column.to_owned(),
        8 => format!("{column} {not}LIKE {}", numbers.of(PATTERNS)),
        9 => format!("{column}{collate} {not}ILIKE {}", numbers.of(PATTERNS)),
        _ => {
            let (one, other) = (format!("{column}{collate}"), other(numbers).to_owned());
            let relation = numbers.of(RELATIONS);
            if numbers.below(6) == 0 {
                format!("{other} {relation} {one}")
            } else {
                format!("{one} {relation} {other}")
            }
        }
    }
}

fn condition(numbers: &mut Numbers, depth: usize) -> String {
    match numbers.below(if depth == 0 { 1 } else { 7 }) {
        0..=2 => leaf(numbers),
        3 => format!("NOT {}", leaf(numbers)),
        4 => format!("({})", condition(numbers, depth - 1)),
        5 => format!("{} AND {}", condition(numbers, depth - 1), condition(numbers, depth - 1)),
        _ => format!("{} OR {}", condition(numbers, depth - 1), condition(numbers, depth - 1)),
    }
}

#[test]
fn the_rows_that_meet_a_condition_are_those_that_the_server_chooses() {
    for (seed, major) in majors().into_iter().enumerate() {
        let database = shared(Some(major)).database("odd conditions");
        let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ (seed as u64 + 1));
        let columns: Vec<String> = COLUMNS.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
        let mut sql = format!(
            "SET TimeZone = 'UTC'; CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'Happy'); CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE < 1000);
             CREATE TABLE odd (id int PRIMARY KEY, {});",
            columns.join(", ")
        );
        for id in 0..120 {
            let value = |(_, kind, values): &(&str, &str, &[&str])| match numbers.below(8) {
                0 => "NULL".to_owned(),
                _ => format!("({})::{kind}", numbers.of(values)),
            };
            let row: Vec<String> = COLUMNS.iter().map(value).collect();
            sql += &format!("INSERT INTO odd VALUES ({id}, {});", row.join(", "));
        }
        database.execute(&sql);
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&["backup", "--out", "b.json.gz"]);
        const TRIED: usize = 250;
        let mut refused = 0;
        let mut matched = 0;
        for _ in 0..TRIED {
            let condition = condition(&mut numbers, 3);
            let run = pgkeep.run(&[
                "show",
                "b.json.gz",
                "odd",
                "--columns",
                "odd: id",
                "--where",
                &format!("odd: {condition}"),
            ]);
            // That none does is an error, too, which the server has to agree with below.
            let is_met_by_none = run.stderr.contains("no row of odd meets its condition");
            if run.code == Some(2) && !is_met_by_none {
                assert!(run.stderr.contains("the condition on rows of odd cannot be used"), "{}", run.stderr);
                refused += 1;
                continue;
            }
            let sql = format!("SET TimeZone = 'UTC'; SELECT id FROM odd WHERE {condition}");
            let should = crate::support::try_query(&database.url, &sql);
            let should = should.unwrap_or_else(|error| {
                panic!("{major}: taken, but not by the server: {condition}\n{error}")
            });
            let should: BTreeSet<u64> =
                should.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
            let line =
                |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_u64().unwrap();
            let found: BTreeSet<u64> =
                run.expect_code(if is_met_by_none { 2 } else { 0 }).stdout.lines().map(line).collect();
            assert_eq!(found, should, "{major}: {condition}");
            assert_eq!(found.is_empty(), is_met_by_none, "{major}: {condition}");
            matched += usize::from(!found.is_empty() && found.len() < 120);
        }
        println!("{major}: {refused} of {TRIED} refused, {matched} chose some");
        assert!(
            refused < TRIED / 2 && matched > TRIED / 5,
            "{major}: {refused} of {TRIED} refused, {matched} chose some"
        );
    }
}
