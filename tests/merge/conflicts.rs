//! Which version of a row is preferred, by which rule, and where that is written.

use serde_json::Value;

use crate::keeper;
use crate::support::{Pgkeep, shared};

/// Lines of the file of conflicts that the log names.
fn lines(pgkeep: &Pgkeep, log: &Value) -> Vec<Value> {
    let name = log["conflicts_file"].as_str().unwrap();
    let text = std::fs::read_to_string(pgkeep.dir().join("summaries").join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_conflict_is_written_with_what_decided_it() {
    let database = shared(None).database("conflicts");
    database.execute(
        "CREATE TABLE bookings (id int PRIMARY KEY, status text, updated_at timestamptz, secret text);
         INSERT INTO bookings SELECT i, 'confirmed', '2025-11-02+00', 'private' FROM generate_series(1, 7) i;",
    );
    let pgkeep = keeper(&database);
    std::fs::write(
        pgkeep.dir().join("pgkeep.toml"),
        "[merge.bookings]\nnewer_by = 'updated_at'\nstatus_rank = ['pending', ['confirmed', 'moved'], 'cancelled', 'completed']",
    )
    .unwrap();
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute(
        "UPDATE bookings SET secret = 'other', updated_at = '2025-11-01+00' WHERE id = 1;
         UPDATE bookings SET secret = 'other', updated_at = '2025-11-03+00' WHERE id = 2;
         UPDATE bookings SET status = 'pending' WHERE id = 3; UPDATE bookings SET status = 'completed' WHERE id = 4;
         UPDATE bookings SET secret = 'other' WHERE id = 5; UPDATE bookings SET status = 'moved' WHERE id = 7;",
    );
    let run = pgkeep.ok(&["restore", "--safe", "--json", "--mode", "newer", "--file", "b.json.gz"]);
    let log = run.json();
    let mut found: Vec<String> = lines(&pgkeep, &log)
        .iter()
        .map(|l| {
            format!("{} {} {}", l["key"]["id"], l["preferred"].as_str().unwrap(), l["rule"].as_str().unwrap())
        })
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "1 archive newer by updated_at",
            "2 target newer by updated_at",
            "3 archive rank of status",
            "4 target rank of status",
            "5 target undecided",
            "7 target undecided"
        ]
    );
    let text = serde_json::to_string(&lines(&pgkeep, &log)).unwrap();
    assert!(text.contains("2025-11-03") && !text.contains("private") && !text.contains("other"), "{text}");
    let now = "SELECT string_agg(id || status || secret, ' ' ORDER BY id) FROM bookings";
    let should = "1confirmedprivate 2confirmedother 3confirmedprivate 4completedprivate 5confirmedother 6confirmedprivate 7movedprivate";
    assert_eq!(database.value(now), should);
    // Once more: what was decided for the archive is equal now.
    let log = pgkeep.ok(&["restore", "--safe", "--json", "--mode", "newer", "--file", "b.json.gz"]).json();
    assert_eq!((&log["total_updated"], &log["tables_restored"]["bookings"]["kept"]), (&0.into(), &4.into()));
}

#[test]
fn a_table_has_a_mode_of_its_own_and_one_without_a_deciding_column_keeps_its_rows_and_is_named() {
    let database = shared(None).database("own modes");
    database.execute(
        "CREATE TABLE a (id int PRIMARY KEY, v int, updated_at date); CREATE TABLE b (LIKE a INCLUDING ALL);
         CREATE TABLE c (id int PRIMARY KEY, v int); CREATE TABLE big (LIKE a INCLUDING ALL);
         INSERT INTO a VALUES (1, 1, '2025-01-02'); INSERT INTO b TABLE a; INSERT INTO c VALUES (1, 1);
         INSERT INTO big SELECT i, 1, '2025-01-02' FROM generate_series(1, 50000) i",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute(
        "UPDATE a SET v = 2, updated_at = '2025-01-01'; UPDATE b SET v = 2; INSERT INTO b VALUES (2); UPDATE c SET v = 2;
         UPDATE big SET v = 2, updated_at = updated_at + 1 - id % 3;",
    );
    let toml = |text: &str| std::fs::write(pgkeep.dir().join("pgkeep.toml"), text).unwrap();
    let restore =
        ["restore", "--safe", "--json", "--mode", "newer", "--newer-by", "updated_at", "--file", "b.json.gz"];
    toml("[merge.b]\nmode = 'exact'");
    let run = pgkeep.ok(&restore);
    run.says("nothing says which row is newer in c");
    let values = "SELECT concat((SELECT a FROM a), (SELECT b FROM b), (SELECT c FROM c), ' ', (SELECT string_agg(DISTINCT v::text || id % 3, ' ') FROM big))";
    assert_eq!(database.value(values), "(1,1,2025-01-02)(1,1,2025-01-02)(1,2) 12 20 21");
    let big = &run.json()["tables_restored"]["big"];
    assert_eq!((&big["updated"], &big["kept"]), (&16_667.into(), &33_333.into()), "{big}");
    for (text, said) in [
        ("[merge.b]\nmode = 'exakt'", "exakt"),
        ("[merge.b]\nnewer = 'x'", "newer"),
        ("[merge.b]\nstatus_column = 'x'", "status_rank"),
        ("[merge.b]\nstatus_rank = ['x', ['x']]", "twice"),
        ("[merge.nobody]\nmode = 'exact'", "nobody"),
        ("merge = 1", "merge"),
    ] {
        toml(text);
        pgkeep.run(&restore).expect_code(2).says(said);
    }
    toml("");
    pgkeep
        .run(&["restore", "--safe", "--mode", "newer", "--file", "b.json.gz"])
        .expect_code(2)
        .says("--newer-by");
}
