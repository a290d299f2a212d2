//! Names that shells, URLs, file systems, SQL and JSON stumble over.

use crate::support::{Pgkeep, shared};
use crate::{explained, path};

/// Quotes, spaces, capitals, newlines, emoji, wildcards, and 63 bytes, the longest there is.
fn awkward() -> Vec<String> {
    let mut names: Vec<String> = [
        "say \"hi\"",
        "it's",
        "two words",
        "CamelCase",
        "line\nbreak",
        "tab\there",
        "snow ☃ and 🎉",
        "dot.ted",
        "star*",
        "what?",
        "back\\slash",
        "$1",
        "a,b",
        "per%cent",
        "select",
        "semi;colon",
        "\"",
        " ",
        "-- x",
        "/etc/passwd",
        "..",
        "é",
        "\u{1b}[31m",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(63));
    names.push(format!("{}é", "🎉".repeat(15)));
    names
}

fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[test]
fn tables_columns_schemas_and_sequences_of_any_name_go_the_whole_way() {
    let database = shared(None).database("any name");
    let mut sql = String::new();
    for name in awkward() {
        let (quoted, unique) =
            (ident(&name), ident(&name.chars().take(20).chain("_u".chars()).collect::<String>()));
        sql += &format!(
            "CREATE SCHEMA {quoted}; CREATE SEQUENCE {quoted}.{unique}; SELECT nextval('{}.{}');
             CREATE TABLE {quoted}.{quoted} ({quoted} int PRIMARY KEY, \"v\" text, CONSTRAINT {unique} UNIQUE (\"v\"));
             INSERT INTO {quoted}.{quoted} VALUES (1, 'one'), (2, 'two');",
            quoted.replace('\'', "''"),
            unique.replace('\'', "''"),
        );
    }
    // The unique constraint's index and the sequence share a name space.
    let sql = sql.replace("CONSTRAINT \"", "CONSTRAINT \"c_");
    database.execute(&sql);
    let original = database.digest();
    let pgkeep = Pgkeep::on(&database.url);
    let result = pgkeep.ok(&["backup", "--json"]).json();
    assert_eq!(result["tables"], awkward().len());
    let archive = path(&pgkeep.only_file("backups"));
    pgkeep.ok(&["validate", &archive]);
    let shown = pgkeep.ok(&["show", &archive]).stdout;
    assert!(!shown.contains('\u{1b}') && !shown.contains('\t'), "control characters reach the terminal");

    let mut damage = String::new();
    for name in awkward() {
        let quoted = ident(&name);
        damage += &format!(
            "UPDATE {quoted}.{quoted} SET v = 'damaged' WHERE {quoted} = 1; DELETE FROM {quoted}.{quoted} WHERE {quoted} = 2;"
        );
    }
    database.execute(&damage);
    let damaged = database.digest();
    for name in awkward() {
        let pattern = format!("{0}.{0}", ident(&name));
        let rows = pgkeep.ok(&["show", &archive, &pattern]).stdout;
        let row: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
        assert_eq!(row, serde_json::json!({ name.clone(): 1, "v": "one" }));
        let log = pgkeep.ok(&["restore", "--safe", "--json", "--table", &pattern, "--file", &archive]).json();
        assert_eq!(
            (log["total_inserted"].as_u64(), log["total_updated"].as_u64()),
            (Some(1), Some(1)),
            "{name:?}: {log:#}"
        );
        let one = pgkeep.ok(&["backup", "--json", "--table", &pattern]).json();
        assert_eq!((one["tables"].as_u64(), one["rows"].as_u64()), (Some(1), Some(2)), "{name:?}");
    }
    assert_eq!(database.digest(), original);
    let list = pgkeep.ok(&["list-safety", "--json"]).json();
    let files: Vec<&str> =
        list["archives"].as_array().unwrap().iter().map(|a| a["file"].as_str().unwrap()).collect();
    assert_eq!(files.len(), awkward().len());
    for file in files.iter().rev() {
        pgkeep.ok(&["rollback", file]);
    }
    assert_eq!(database.digest(), damaged);
}

#[test]
fn databases_of_any_name_can_be_backed_up_and_restored() {
    for name in awkward() {
        let database = shared(None).database(&format!("{}!", name.chars().take(15).collect::<String>()));
        database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
        let before = database.digest();
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&["backup"]);
        let archive = path(&pgkeep.only_file("backups"));
        let file = archive.rsplit('/').next().unwrap();
        assert!(file.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)), "{file}");
        database.execute("DELETE FROM t");
        let log = pgkeep.ok(&["restore", "--safe", "--json", "--file", file]).json();
        assert_eq!(log["total_inserted"], 1);
        assert_eq!(database.digest(), before, "{name:?}");
        let list = pgkeep.ok(&["list", "--json"]).json();
        assert_eq!(list["archives"][0]["database"], database.name.as_str());
        assert!(!pgkeep.ok(&["list"]).stdout.contains('\u{1b}'));
        let run = explained(pgkeep.run(&["backup", "--table", "nothing"]), 2);
        assert!(!run.stderr.contains('\u{1b}'), "control characters reach the terminal");
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.value("SELECT count(*) FROM t"), "0");
    }
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error_and_not_an_empty_backup() {
    let database = crate::shop("no_match");
    let pgkeep = Pgkeep::on(&database.url);
    for arguments in [["--table", "Customers"], ["--table", "shop.customers"], ["--exclude", "invoices*"]] {
        let run = explained(pgkeep.run(&["backup", arguments[0], arguments[1]]), 2);
        run.says(arguments[1]).says("no table of database no_match matches");
    }
    for arguments in [["--table", "a.b.c"], ["--table", "\"open"], ["--exclude", ""]] {
        explained(pgkeep.run(&["backup", arguments[0], arguments[1]]), 2).says("bad table pattern");
    }
    crate::no_archive(&pgkeep, "backups");
    let before = database.digest();
    let (pgkeep, archive) = crate::backed_up(&database.url);
    let run = explained(pgkeep.run(&["restore", "--safe", "--table", "invoices", "--file", &archive]), 2);
    run.says("no table of the archive matches \"invoices\"").says("untouched");
    explained(pgkeep.run(&["show", &archive, "invoices"]), 2).says("invoices");
    explained(pgkeep.run(&["show", &archive, "*"]), 2).says("2 tables");
    assert_eq!(database.digest(), before);
}
