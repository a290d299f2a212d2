//! A restore stages only those chunks that the target does not hold already, and comes to the same as if it had staged
//! all of them: on real servers, with tables of several chunks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::Arc;

use pgkeep::archive::compression::Compression;
use pgkeep::archive::file::AtomicFile;
use pgkeep::archive::reader::Archive;
use pgkeep::archive::spans::KeyColumns;
use pgkeep::archive::writer::{ArchiveWriter, ChunkEncoder, table_line};
use support::{Cluster, Database, Options, Pgkeep, Run, fixture, majors, shared};

/// A page holds one row, with room for another: the table is large, and stays in the order of its keys.
const BIG: &str = "
    CREATE TABLE big (id int PRIMARY KEY, u int UNIQUE, v text DEFAULT '', pad text DEFAULT repeat('x', 900)) WITH (fillfactor = 10, autovacuum_enabled = off);
    INSERT INTO big SELECT i, i FROM generate_series(1, 8292) i;";

/// As `BIG`, without a key, and every row the same.
const ALIKE: &str = "
    CREATE TABLE alike (v text, pad text) WITH (fillfactor = 10, autovacuum_enabled = off);
    INSERT INTO alike SELECT 'v', repeat('x', 900) FROM generate_series(1, 6244);";

fn backed_up(database: &Database<'_>, compress: &str) -> (Pgkeep, String) {
    // One connection reads every table whole, however many cores there are.
    let pgkeep = Pgkeep::on(&database.url).env("PGKEEP_JOBS", "1");
    pgkeep.ok(&["backup", "--compress", compress]);
    let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
    (pgkeep, archive)
}

fn restored(pgkeep: &Pgkeep, archive: &str, more: &[&str]) -> Run {
    let mut arguments = vec!["restore", "--verbose", "--json", "--file", archive];
    arguments.extend(more);
    pgkeep.ok(&arguments)
}

/// Inserted, updated, deleted, unchanged.
fn outcome(run: &Run, table: &str) -> [i64; 4] {
    let log = run.json();
    ["inserted", "updated", "deleted", "unchanged"]
        .map(|key| log["tables_restored"][table][key].as_i64().unwrap_or_else(|| panic!("{log:#}")))
}

/// Of how many chunks of the archive how many were found, and how many rows were staged.
fn found(run: &Run, table: &str) -> (usize, usize, i64) {
    let start = format!("table {table}: ");
    let line = run.stderr.lines().find_map(|l| l.split_once(&start).map(|(_, rest)| rest));
    let line = line.unwrap_or_else(|| panic!("{}", run.stderr));
    let numbers: Vec<i64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    (numbers[1] as usize, numbers[0] as usize, numbers[2])
}

/// The rows of the chunks of `big`, in their order.
fn chunk_rows(archive: &str) -> Vec<i64> {
    let archive = Archive::open(Path::new(archive)).unwrap();
    let Some(big) = archive.header().tables.iter().position(|t| t.name == "big") else { return Vec::new() };
    archive.table_chunks(big as u32).iter().map(|c| c.rows as i64).collect()
}

/// Which of these chunks holds the row that is the n-th.
fn chunk_with(rows: &[i64], n: i64) -> usize {
    let mut before = 0;
    rows.iter()
        .position(|rows| {
            before += rows;
            n <= before
        })
        .unwrap()
}

#[test]
fn what_the_target_holds_already_is_neither_staged_nor_written() {
    for major in majors() {
        let database = shared(Some(major)).database(&format!("held_{major}"));
        database.execute(&fixture("reservations.sql"));
        database.execute(&format!("{BIG} {ALIKE}"));
        // Whoever makes a table, a temporary one too, is refused.
        database.execute(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no tables now'; END $$;
             CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') EXECUTE FUNCTION refuse();
             ALTER EVENT TRIGGER refuse ENABLE ALWAYS;",
        );
        let places = "SELECT string_agg(ctid::text || xmin::text, ',' ORDER BY id) FROM big";
        let before = (database.digest(), database.value(places));
        let ways: [&[&str]; 4] =
            [&["--safe"], &["--safe", "--mode", "exact"], &["--yes", "--mode", "exact"], &["--dry-run"]];
        for compress in ["gzip", "gzip:9", "zstd", "none"] {
            let (pgkeep, archive) = backed_up(&database, compress);
            for way in ways {
                let run = restored(&pgkeep, &archive, way);
                let count = chunk_rows(&archive).len();
                assert!(count > 3);
                assert_eq!(found(&run, "big"), (count, count, 0), "{major} {compress} {way:?}");
                assert_eq!(found(&run, "alike").2, 0);
                assert_eq!(found(&run, "bookings").2, 0);
                assert_eq!(outcome(&run, "big"), [0, 0, 0, 8292]);
                assert_eq!(outcome(&run, "alike"), [0, 0, 0, 6244]);
                let log = run.json();
                assert_eq!(log["before_counts"], log["after_counts"]);
                assert_eq!(log["before_counts"]["big"], 8292);
            }
            if major != 15 {
                break;
            }
        }
        assert_eq!((database.digest(), database.value(places)), before, "{major}");
    }
}

/// Damages, restores in mode exact, rolls back, and rolls that back. Returns the rows of the chunks of `big`, too.
fn there_and_back(database: &Database<'_>, compress: &str, damage: &[&str]) -> (Run, Vec<i64>) {
    let (pgkeep, archive) = backed_up(database, compress);
    let original = database.digest();
    damage.iter().for_each(|sql| database.execute(sql));
    let damaged = database.digest();
    assert_ne!(original, damaged, "{damage:?}");
    let run = restored(&pgkeep, &archive, &["--safe", "--mode", "exact"]);
    assert_eq!(database.digest(), original, "{damage:?}");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.digest(), damaged, "{damage:?}");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.digest(), original, "{damage:?}");
    (run, chunk_rows(&archive))
}

#[test]
fn one_changed_row_costs_its_chunk() {
    let database = shared(None).database("one_row");
    database.execute(BIG);
    for compress in ["gzip", "zstd"] {
        let (run, rows) =
            there_and_back(&database, compress, &["UPDATE big SET v = 'changed' WHERE id = 5000"]);
        let all = rows.len();
        assert_eq!(found(&run, "big"), (all, all - 1, rows[chunk_with(&rows, 5000)]));
        assert_eq!(outcome(&run, "big"), [0, 1, 0, 8291]);
        database.execute("TRUNCATE big; INSERT INTO big SELECT i, i FROM generate_series(1, 8292) i;");
    }
}

#[test]
fn rows_that_are_missing_new_or_moved_are_put_right_whatever_chunk_they_are_in() {
    let database = shared(None).database("moved");
    database.execute(BIG);
    let again = "TRUNCATE big; INSERT INTO big SELECT i, i FROM generate_series(1, 8292) i;";
    let (run, rows) = there_and_back(&database, "gzip", &["DELETE FROM big WHERE id BETWEEN 3000 AND 3009"]);
    let all = rows.len();
    assert_eq!(found(&run, "big"), (all, all - 1, rows[chunk_with(&rows, 3000)]));
    assert_eq!(outcome(&run, "big"), [10, 0, 0, 8282]);

    // New rows alone: in the last chunk, of which nothing need be staged in mode upsert but the chunk itself.
    database.execute(again);
    let (run, _) = there_and_back(
        &database,
        "gzip",
        &["INSERT INTO big SELECT i, i FROM generate_series(9001, 9005) i"],
    );
    assert_eq!(found(&run, "big"), (all, all - 1, rows[all - 1]));
    assert_eq!(outcome(&run, "big"), [0, 0, 5, 8292]);

    // A row that is updated often goes from the last chunk but one to the last one.
    database.execute(&format!("{again} DELETE FROM big WHERE id < 50;"));
    database.execute("VACUUM big");
    let updates = "UPDATE big SET v = 'moved' WHERE id = 7000;".repeat(12);
    let (run, moved) = there_and_back(&database, "gzip", &[&updates]);
    let last = moved.len() - 1;
    assert_eq!(chunk_with(&moved, 7000 - 49), last - 1);
    let two = moved[last - 1] + moved[last];
    assert_eq!(found(&run, "big"), (moved.len(), moved.len() - 2, two), "{moved:?}");
    assert_eq!(outcome(&run, "big"), [0, 1, 0, 8242]);

    // Unique values swapped between chunks that differ, beside chunks that do not.
    database.execute(again);
    let (run, _) = there_and_back(
        &database,
        "gzip",
        &[
            "UPDATE big SET u = -1 WHERE id = 10; UPDATE big SET u = 10 WHERE id = 7000; UPDATE big SET u = 7000 WHERE id = 10;",
        ],
    );
    let two = rows[0] + rows[chunk_with(&rows, 7000)];
    assert_eq!((found(&run, "big"), outcome(&run, "big")), ((all, all - 2, two), [0, 2, 0, 8290]));

    // Keys that went from one chunk to another.
    database.execute(again);
    there_and_back(
        &database,
        "gzip",
        &[
            "UPDATE big SET id = -1 WHERE id = 10; UPDATE big SET id = 10 WHERE id = 7000; UPDATE big SET id = 7000 WHERE id = -1;",
        ],
    );
}

#[test]
fn rows_on_other_pages_are_found_as_long_as_they_follow_one_another() {
    let database = shared(None).database("elsewhere");
    database.execute(BIG);
    // All rows go to other pages, in their order; only what is about the first is read as something else.
    let (run, rows) = there_and_back(
        &database,
        "gzip",
        &["DELETE FROM big WHERE id = 1", "VACUUM FULL big", "UPDATE big SET v = 'y' WHERE id = 2"],
    );
    let all = rows.len();
    assert_eq!(found(&run, "big"), (all, all - 1, rows[0]));
    assert_eq!(outcome(&run, "big"), [1, 1, 0, 8290]);
    // In another order, nothing is.
    database.execute("CLUSTER big USING big_pkey");
    let (pgkeep, archive) = backed_up(&database, "gzip");
    database.execute("CREATE INDEX down ON big (id DESC); CLUSTER big USING down; DROP INDEX down;");
    let run = restored(&pgkeep, &archive, &["--safe", "--mode", "exact"]);
    assert_eq!((found(&run, "big").1, found(&run, "big").2), (0, 8292));
    assert_eq!(outcome(&run, "big"), [0, 0, 0, 8292]);
}

#[test]
fn what_many_connections_have_read_in_pieces_one_finds_again() {
    let database = shared(None).database("pieces");
    database.execute(BIG);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--jobs", "4", "--nice", "--out", "pieces.json.gz"]);
    let archive = pgkeep.dir().join("pieces.json.gz").to_str().unwrap().to_owned();
    let all = chunk_rows(&archive).len();
    let run = restored(&pgkeep, &archive, &["--safe", "--mode", "exact", "--jobs", "1"]);
    let (of, equal, _) = found(&run, "big");
    assert!(of == all && equal > 0 && equal < all, "{equal} of {all}");
    assert_eq!(outcome(&run, "big"), [0, 0, 0, 8292]);
    let run = there_and_back(&database, "zstd", &["UPDATE big SET v = 'changed' WHERE id % 1000 = 0"]).0;
    assert_eq!(outcome(&run, "big"), [0, 8, 0, 8284]);
}

#[test]
fn whatever_way_rows_come_it_is_known_where_their_chunks_begin() {
    let change = "UPDATE big SET v = 'changed' WHERE id = 5000";
    let expected = |run: &Run, rows: &[i64]| {
        let all = rows.len();
        assert!(all > 3);
        assert_eq!(found(run, "big"), (all, all - 1, rows[chunk_with(rows, 5000)]));
        assert_eq!(outcome(run, "big"), [0, 1, 0, 8291]);
    };
    // In binary, with a column that the server has to print.
    let database = shared(None).database("printed");
    database.execute(&format!("{BIG} ALTER TABLE big ADD r int4range DEFAULT '[1,5)', ADD t tsvector"));
    let (run, rows) = there_and_back(&database, "gzip", &[change]);
    expected(&run, &rows);
    // In text, because nobody knows the encoding.
    let ascii = Cluster::start(Options { encoding: Some("SQL_ASCII".into()), ..Options::default() });
    let database = ascii.database("unknown");
    database.execute(BIG);
    let (run, rows) = there_and_back(&database, "zstd", &[change]);
    expected(&run, &rows);
    // Without a column: rows that are all the same, on several thousand pages.
    let database = shared(None).database("columnless");
    database.execute("CREATE TABLE big (); INSERT INTO big SELECT FROM generate_series(1, 700000);");
    let (run, rows) = there_and_back(&database, "gzip", &["DELETE FROM big WHERE ctid < '(1000,0)'"]);
    assert_eq!(
        (rows.iter().sum::<i64>(), outcome(&run, "big")[3]),
        (700_000, 700_000 - outcome(&run, "big")[0])
    );
    assert!(outcome(&run, "big")[0] > 100_000);
}

#[test]
fn new_rows_that_come_to_pages_whose_rows_were_equal_are_proven_like_all_others() {
    let database = shared(None).database("room");
    database.execute(BIG);
    // There is room on every page, and rows that are missing are of the last chunk but one.
    database.execute("ALTER TABLE big SET (fillfactor = 100)");
    database.execute("VACUUM big");
    let (pgkeep, archive) = backed_up(&database, "gzip");
    let original = database.digest();
    database.execute("DELETE FROM big WHERE id BETWEEN 5000 AND 5049");
    let run = restored(&pgkeep, &archive, &["--safe", "--mode", "exact"]);
    let rows = chunk_rows(&archive);
    let chunk = chunk_with(&rows, 5000);
    assert_eq!((chunk > 0, chunk_with(&rows, 5049)), (true, chunk));
    assert_eq!(found(&run, "big"), (rows.len(), rows.len() - 1, rows[chunk]));
    assert_eq!(outcome(&run, "big"), [50, 0, 0, 8242]);
    let first: i64 = rows[..chunk].iter().sum();
    let elsewhere = format!(
        "SELECT count(*) > 0 FROM big WHERE id BETWEEN 5000 AND 5049 AND (ctid::text::point)[0] < {first}"
    );
    assert_eq!(database.value(&elsewhere), "t", "they came to chunks that were equal");
    assert_eq!(database.digest(), original);
}

#[test]
fn a_row_that_was_equal_and_is_changed_by_a_function_while_others_are_written_is_noticed() {
    let database = shared(None).database("meddled");
    database.execute(BIG);
    database.execute(
        "CREATE FUNCTION meddle() RETURNS boolean LANGUAGE plpgsql AS $$
           BEGIN
             IF coalesce(current_setting('test.meddled', true), '') = '' THEN
               PERFORM set_config('test.meddled', 'yes', true);
               UPDATE public.big SET v = 'meddled' WHERE id = 1;
             END IF;
             RETURN true;
           END $$;
         ALTER TABLE big ADD CHECK (meddle()) NOT VALID;",
    );
    let (pgkeep, archive) = backed_up(&database, "gzip");
    database.execute("DELETE FROM big WHERE id = 7000");
    let damaged = database.digest();
    let run = pgkeep.run(&["restore", "--safe", "--file", &archive]).expect_code(1);
    run.says(
        "table big does not equal the archive after the merge: 0 rows are missing, 1 differ, 0 are too many",
    );
    assert_eq!(database.digest(), damaged);
}

#[test]
fn upsert_keeps_rows_of_chunks_that_the_archive_does_not_have() {
    let database = shared(None).database("kept");
    database.execute(BIG);
    let (pgkeep, archive) = backed_up(&database, "gzip");
    database.execute(
        "INSERT INTO big SELECT i, i FROM generate_series(10001, 13000) i;
         UPDATE big SET v = 'x' WHERE id = 1; DELETE FROM big WHERE id = 3000;",
    );
    let run = restored(&pgkeep, &archive, &["--safe"]);
    assert_eq!(outcome(&run, "big"), [1, 1, 0, 8290]);
    let rows = chunk_rows(&archive);
    let (all, last) = (rows.len(), rows.len() - 1);
    let staged = rows[0] + rows[chunk_with(&rows, 3000)] + rows[last];
    assert_eq!(found(&run, "big"), (all, all - 3, staged));
    assert_eq!(
        database.value("SELECT count(*) || ' ' || count(*) FILTER (WHERE v = '') FROM big"),
        "11292 11292"
    );
}

#[test]
fn chunks_of_a_table_without_a_key_that_are_all_the_same_are_counted_one_by_one() {
    let database = shared(None).database("alike");
    database.execute(ALIKE);
    for (damage, expected) in [
        ("DELETE FROM alike WHERE ctid < '(2048,0)'", [2048, 0, 0, 4196]),
        ("DELETE FROM alike WHERE ctid = '(3000,1)'", [1, 0, 0, 6243]),
        ("INSERT INTO alike SELECT * FROM alike", [0, 0, 6244, 6244]),
        ("UPDATE alike SET v = 'w' WHERE ctid = '(3000,1)'", [1, 0, 1, 6243]),
    ] {
        let (run, _) = there_and_back(&database, "gzip", &[damage]);
        assert_eq!(outcome(&run, "alike"), expected, "{damage}");
        database.execute(
            "TRUNCATE alike; INSERT INTO alike SELECT 'v', repeat('x', 900) FROM generate_series(1, 6244);",
        );
    }
}

/// Adds rows to the table `big` of an archive, as a range of their own.
fn with_rows(archive: &Path, rows: &[&str]) -> String {
    let archive = Arc::new(Archive::open(archive).unwrap());
    let path = format!("{}.json.gz", tempfile::tempdir().unwrap().keep().join("made").display());
    let file = AtomicFile::create(Path::new(&path)).unwrap();
    let mut writer = ArchiveWriter::create(file, Compression::default(), archive.header()).unwrap();
    let mut encoder = ChunkEncoder::new(Compression::default()).unwrap();
    let tables = &archive.header().tables;
    for chunk in archive.chunks().iter().filter(|c| c.table.is_some()) {
        let (table, read) = (chunk.table.unwrap(), archive.read_rows(chunk).unwrap());
        let key = KeyColumns::of(&tables[table as usize]);
        let sealed = encoder.seal_rows(table, chunk.range, chunk.piece, read.raw(), chunk.rows, &key);
        writer.append(sealed.unwrap()).unwrap();
    }
    let table = tables.iter().position(|t| t.name == "big").unwrap();
    let mut raw = table_line(&tables[table]);
    for row in rows {
        raw.extend_from_slice(row.as_bytes());
        raw.push(b'\n');
    }
    let key = KeyColumns::of(&tables[table]);
    let sealed = encoder.seal_rows(table as u32, 1000, 0, &raw, rows.len() as u64, &key);
    writer.append(sealed.unwrap()).unwrap();
    writer.finish().unwrap().0.commit().unwrap();
    path
}

#[test]
fn a_key_that_an_archive_has_twice_is_found_although_one_of_the_rows_need_not_be_staged() {
    let database = shared(None).database("twice");
    database.execute(BIG);
    let (pgkeep, archive) = backed_up(&database, "gzip");
    let before = database.digest();
    let pad = "x".repeat(900);
    let other = with_rows(Path::new(&archive), &[&format!("[7,7,\"other\",\"{pad}\"]")]);
    for mode in ["upsert", "exact"] {
        let run =
            pgkeep.run(&["restore", "--safe", "--verbose", "--mode", mode, "--file", &other]).expect_code(1);
        run.says("the archive has a key twice")
            .says("table big does not equal the archive")
            .says("rolled back");
        assert_eq!(database.digest(), before);
    }
    // The very same row twice does no harm, and never did.
    let same = with_rows(
        Path::new(&archive),
        &[&format!("[7,7,\"\",\"{pad}\"]"), &format!("[9001,1,\"\",\"{pad}\"]")],
    );
    let run = pgkeep.run(&["restore", "--safe", "--file", &same]).expect_code(1);
    run.says("big_u_key").says("id = 9001");
    let same = with_rows(
        Path::new(&archive),
        &[&format!("[7,7,\"\",\"{pad}\"]"), &format!("[9001,9001,\"\",\"{pad}\"]")],
    );
    let run = restored(&pgkeep, &same, &["--safe"]);
    assert_eq!(outcome(&run, "big"), [1, 0, 0, 8293]);
    assert_eq!(database.value("SELECT count(*) FROM big"), "8293");
}

/// xorshift64*: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

const PARTITIONS: u64 = 25;
const IDS: u64 = 500;

/// A tree of many small ranges with a key, and one without.
fn trees() -> String {
    let mut sql = String::from(
        "CREATE SCHEMA model; CREATE TABLE keyed (id int PRIMARY KEY, v text, n numeric) PARTITION BY RANGE (id);
         CREATE TABLE keyless (p int, v text) PARTITION BY LIST (p);",
    );
    for n in 0..PARTITIONS {
        let (from, to) = (n * IDS / PARTITIONS, (n + 1) * IDS / PARTITIONS);
        sql += &format!(
            "CREATE TABLE keyed_{n} PARTITION OF keyed FOR VALUES FROM ({from}) TO ({to});
             CREATE TABLE keyless_{n} PARTITION OF keyless FOR VALUES IN ({n});"
        );
    }
    sql += &format!(
        "INSERT INTO keyed SELECT i, 'v' || i, i / 2.0 FROM generate_series(0, {IDS} - 1) i WHERE i % 7 <> 0;
         INSERT INTO keyless SELECT i % {PARTITIONS}, 'v' || i % 3 FROM generate_series(0, {IDS} - 1) i;
         CREATE TABLE model.keyed AS TABLE keyed; CREATE TABLE model.keyless AS TABLE keyless;"
    );
    sql
}

fn random_edit(numbers: &mut Numbers) -> String {
    let (a, b, n) = (numbers.below(IDS), numbers.below(IDS), numbers.below(PARTITIONS));
    match numbers.below(9) {
        0 => format!("DELETE FROM keyed WHERE id = {a}"),
        1 => format!("UPDATE keyed SET v = 'edited' WHERE id = {a}"),
        2 => format!("UPDATE keyed SET n = n + 0.00 WHERE id = {a}"),
        3 => format!("INSERT INTO keyed VALUES ({a}, 'new', {b}) ON CONFLICT DO NOTHING"),
        4 => format!(
            "UPDATE keyed SET id = {b} WHERE id = {a} AND NOT EXISTS (SELECT FROM keyed WHERE id = {b})"
        ),
        5 => format!("TRUNCATE keyed_{n}"),
        6 => format!("DELETE FROM keyless WHERE p = {n} AND v = 'v1'"),
        7 => format!("INSERT INTO keyless SELECT p, v FROM keyless WHERE p = {n}"),
        _ => format!("UPDATE keyless SET p = {n} WHERE p = {} AND v = 'v2'", a % PARTITIONS),
    }
}

#[test]
fn random_edits_in_many_small_ranges_are_undone_row_by_row() {
    for (seed, major) in majors().into_iter().enumerate() {
        let database = shared(Some(major)).database(&format!("edits_{major}"));
        database.execute(&trees());
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&["backup", "--table", "keyed", "--table", "keyless"]);
        let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
        let original = database.digest();
        let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 + seed as u64);
        for round in 0..6 {
            let edits: Vec<String> = (0..=numbers.below(25)).map(|_| random_edit(&mut numbers)).collect();
            database.execute(&edits.join("; "));
            let damaged = database.digest();
            // What the archive and the target say of each key, and of each row without one.
            let keyed = "SELECT (SELECT count(*) FROM model.keyed m WHERE NOT EXISTS (SELECT FROM keyed t WHERE t.id = m.id)),
                (SELECT count(*) FROM model.keyed m JOIN keyed t USING (id) WHERE m::text <> t::text),
                (SELECT count(*) FROM keyed t WHERE NOT EXISTS (SELECT FROM model.keyed m WHERE t.id = m.id)),
                (SELECT count(*) FROM model.keyed m JOIN keyed t USING (id) WHERE m::text = t::text)";
            let keyless = "WITH counted AS (SELECT p, v, sum(a)::int AS a, sum(t)::int AS t FROM
                  (SELECT p, v, 1 AS a, 0 AS t FROM model.keyless UNION ALL SELECT p, v, 0, 1 FROM keyless) AS x GROUP BY p, v)
                SELECT sum(greatest(a - t, 0)), 0, sum(greatest(t - a, 0)), sum(least(a, t)) FROM counted";
            let expected = |sql: &str| -> [i64; 4] {
                let row = &database.query(sql)[0];
                [0, 1, 2, 3].map(|n| row[n].as_deref().unwrap().parse().unwrap())
            };
            let (mut keyed, mut keyless) = (expected(keyed), expected(keyless));
            let way: &[&str] = match round % 3 {
                0 => &["--safe", "--mode", "exact"],
                1 => &["--yes", "--mode", "exact"],
                _ => &["--safe"],
            };
            let exact = way.contains(&"exact");
            if !exact {
                (keyed[2], keyless[2]) = (0, 0);
            }
            let rows = |of: &str| {
                let distinct = if of == "keyed" { "DISTINCT ON (id)" } else { "" };
                database.value(&format!("SELECT md5(string_agg(r, ',' ORDER BY r)) FROM (SELECT x::text AS r FROM (SELECT {distinct} * FROM
                  (SELECT 1 AS w, * FROM model.{of} UNION ALL SELECT 2, * FROM {of}) AS y {}) AS x) AS z",
                  if of == "keyed" { "ORDER BY id, w" } else { "" }))
            };
            let merged = rows("keyed");
            let dry = restored(&pgkeep, &archive, &[&["--dry-run"], &way[1..]].concat());
            assert_eq!(
                (outcome(&dry, "keyed"), outcome(&dry, "keyless")),
                (keyed, keyless),
                "{major} {edits:?}"
            );
            assert_eq!(database.digest(), damaged);
            let run = restored(&pgkeep, &archive, way);
            assert_eq!(
                (outcome(&run, "keyed"), outcome(&run, "keyless")),
                (keyed, keyless),
                "{major} {edits:?}"
            );
            if exact {
                assert_eq!(database.digest(), original, "{major} {edits:?}");
            } else {
                let now = "SELECT md5(string_agg(r, ',' ORDER BY r)) FROM (SELECT x::text AS r FROM (SELECT CASE WHEN EXISTS
                    (SELECT FROM model.keyed m WHERE m.id = t.id) THEN 1 ELSE 2 END AS w, t.* FROM keyed t) AS x) AS z";
                assert_eq!(database.value(now), merged, "{major} {edits:?}");
            }
            if way[0] == "--safe" {
                pgkeep.ok(&["rollback", "latest"]);
                assert_eq!(database.digest(), damaged, "{major} {edits:?}");
            }
            if round % 2 == 1 {
                restored(&pgkeep, &archive, &["--safe", "--mode", "exact"]);
                assert_eq!(database.digest(), original, "{major} {edits:?}");
            }
        }
    }
}

#[test]
fn partitions_that_came_or_went_are_met_by_their_rows() {
    let database = shared(None).database("came_and_went");
    database.execute(&trees());
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--data-only", "--table", "keyed"]);
    let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
    let rows = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM keyed t";
    let original = database.value(rows);
    // One partition in place of two, at another place in the tree; and one more.
    database.execute(
        "CREATE TABLE joint (LIKE keyed); INSERT INTO joint SELECT * FROM keyed_3; INSERT INTO joint SELECT * FROM keyed_4;
         ALTER TABLE keyed DETACH PARTITION keyed_3; ALTER TABLE keyed DETACH PARTITION keyed_4;
         ALTER TABLE keyed ATTACH PARTITION joint FOR VALUES FROM (60) TO (100);
         CREATE TABLE more PARTITION OF keyed FOR VALUES FROM (10000) TO (20000); INSERT INTO more VALUES (10000);
         UPDATE keyed SET v = 'x' WHERE id = 61;",
    );
    let run = restored(&pgkeep, &archive, &["--safe", "--mode", "exact"]);
    let total: i64 = database.value("SELECT count(*) FROM model.keyed").parse().unwrap();
    assert_eq!(outcome(&run, "keyed"), [0, 1, 1, total - 1]);
    assert_eq!((found(&run, "keyed").0, found(&run, "keyed").1), (25, 23));
    assert_eq!(database.value(rows), original);
}
