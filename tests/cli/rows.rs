//! `show FILE TABLE`: all rows, the first ones, those of a key; of archives that are large, old or damaged.

use std::path::{Path, PathBuf};

use pgkeep::archive::reader::Archive;
use pgkeep::archive::spans::Span;
use serde_json::Value;

use crate::archives::Parts;
use crate::support::{Pgkeep, fixture, shared};
use crate::{backed_up, library};

/// The arguments that look for the row of which `line` was printed; none where its key cannot be written down here.
fn looking_for(archive: &str, table: &str, key: &[&str], line: &str) -> Option<Vec<String>> {
    let row: Value = serde_json::from_str(line).unwrap();
    let text = |name: &&str| match &row[*name] {
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Number(number) if !number.is_f64() => Some(format!("{name}={number}")),
        Value::Bool(yes) => Some(format!("{name}={yes}")),
        _ => None,
    };
    let pairs: Vec<String> = key.iter().map(text).collect::<Option<_>>()?;
    let given = pairs.into_iter().map(|pair| format!("--where-key={pair}"));
    let (first, last) = (["show", archive], ["--", table]);
    Some(first.map(str::to_owned).into_iter().chain(given).chain(last.map(str::to_owned)).collect())
}

/// The same archive as an earlier version wrote it, without spans.
fn without_spans(path: &Path) -> PathBuf {
    let mut parts = Parts::of(&std::fs::read(path).unwrap());
    parts.chunks.iter_mut().for_each(|(chunk, _)| chunk.spans.clear());
    let old = path.with_file_name("old.json.gz");
    std::fs::write(&old, parts.assemble()).unwrap();
    old
}

#[test]
fn a_row_of_every_key_of_the_fixtures_is_found_in_new_archives_and_in_old_ones() {
    let database = shared(None).database("cli_keys");
    database.execute(&fixture("awkward_types.sql"));
    database.execute(&fixture("reservations.sql"));
    let (pgkeep, archive) = backed_up(&database);
    without_spans(&pgkeep.only_file("backups"));
    let tables = pgkeep.ok(&["show", &archive, "--json"]).json();
    let (mut kinds, mut looked_up) = (std::collections::BTreeSet::new(), 0);
    for table in tables["tables"].as_array().unwrap().iter().filter(|t| t["rows"].as_u64() > Some(0)) {
        let key: Vec<&str> = table["key"].as_array().unwrap().iter().map(|k| k.as_str().unwrap()).collect();
        let quoted = |part: &str| format!("\"{}\"", table[part].as_str().unwrap().replace('"', "\"\""));
        let name = format!("{}.{}", quoted("schema"), quoted("name"));
        if key.is_empty() || key.iter().any(|k| table["generated"].as_array().unwrap().iter().any(|g| g == k))
        {
            continue;
        }
        let rows = pgkeep.ok(&["show", &archive, "--", &name]).stdout;
        let lines: Vec<&str> = rows.lines().collect();
        for line in [lines.first(), lines.get(1), lines.last()].into_iter().flatten() {
            let Some(arguments) = looking_for(&archive, &name, &key, line) else { continue };
            assert_eq!(pgkeep.ok(&arguments).stdout, format!("{line}\n"), "{name}: {arguments:?}");
            let old: Vec<_> = arguments.iter().map(|a| if *a == archive { "old" } else { a }).collect();
            assert_eq!(pgkeep.ok(&old).stdout, format!("{line}\n"), "{name}: {old:?}");
            looked_up += 1;
        }
        let columns = table["columns"].as_array().unwrap().iter();
        let of_key = columns.filter(|c| key.contains(&c["name"].as_str().unwrap()));
        kinds.extend(of_key.map(|c| c["type"].as_str().unwrap().to_owned()));
    }
    assert!(looked_up > 60, "{looked_up}");
    for kind in ["integer", "bigint", "uuid", "text", "date", "timestamp with time zone"] {
        assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
    }
}

/// Tables of several chunks, whose keys follow their pages or do not.
const LARGE: &str = "
    CREATE TABLE serials (id bigint PRIMARY KEY, filler text);
    INSERT INTO serials SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 90000) n;
    CREATE TABLE ticks (at timestamptz PRIMARY KEY, filler text);
    INSERT INTO ticks SELECT '2020-01-01 00:00+00'::timestamptz + n * interval '1 minute', repeat(md5(n::text), 3)
      FROM generate_series(1, 90000) n;
    CREATE TABLE items (order_id int, line smallint, filler text, PRIMARY KEY (order_id, line));
    INSERT INTO items SELECT n / 3, n % 3, repeat(md5(n::text), 3) FROM generate_series(0, 89999) n;
    CREATE TABLE tokens (id uuid PRIMARY KEY, filler text);
    INSERT INTO tokens SELECT md5(n::text)::uuid, repeat(md5(n::text), 3) FROM generate_series(1, 90000) n;
    CREATE TABLE keyless (n int, filler text);
    INSERT INTO keyless SELECT n % 45000, repeat(md5(n::text), 3) FROM generate_series(1, 90000) n;
";

/// A backup of [`LARGE`].
fn large(name: &str) -> (Pgkeep, PathBuf) {
    let database = shared(None).database(name);
    database.execute(LARGE);
    let (pgkeep, _) = backed_up(&database);
    let path = pgkeep.only_file("backups");
    (pgkeep, path)
}

/// Flips a byte in each chunk of a table but those at the positions `whole`.
fn damage(path: &Path, table: &str, whole: &[usize]) -> PathBuf {
    let archive = Archive::open(path).unwrap();
    let index = archive.header().tables.iter().position(|t| t.name == table).unwrap() as u32;
    let chunks = archive.table_chunks(index);
    assert!(chunks.len() > 4, "{table} has {} chunks", chunks.len());
    let mut bytes = std::fs::read(path).unwrap();
    for (_, chunk) in chunks.iter().enumerate().filter(|(at, _)| !whole.contains(at)) {
        bytes[(chunk.offset + chunk.length / 2) as usize] ^= 1;
    }
    let damaged = path.with_file_name("damaged.json.gz");
    std::fs::write(&damaged, bytes).unwrap();
    damaged
}

/// The position of the chunk of a table whose rows have this text in them, and the row as it is printed.
fn place_of(pgkeep: &Pgkeep, path: &Path, table: &str, text: &str) -> (usize, String) {
    let archive = Archive::open(path).unwrap();
    let index = archive.header().tables.iter().position(|t| t.name == table).unwrap() as u32;
    let has = |line: &[u8]| memchr::memmem::find(line, text.as_bytes()).is_some();
    let chunks = archive.table_chunks(index);
    let at = chunks.iter().position(|chunk| has(archive.read_rows(chunk).unwrap().lines())).unwrap();
    let chunk = archive.read_rows(chunks[at]).unwrap();
    let row = chunk.rows().position(has).unwrap();
    let before: u64 = chunks[..at].iter().map(|chunk| chunk.rows).sum();
    let rows = pgkeep.ok(&["show", path.to_str().unwrap(), table]).stdout;
    (at, format!("{}\n", rows.lines().nth(before as usize + row).unwrap()))
}

#[test]
fn a_key_that_follows_the_pages_is_found_without_reading_the_other_chunks() {
    let (pgkeep, path) = large("cli_large");
    for (table, key, text) in [
        ("serials", &["id=45678"][..], "[45678,"),
        ("serials", &["id=+045678"], "[45678,"),
        ("ticks", &["at=2020-02-01 12:34:00+00"], "\"2020-02-01 12:34:00+00\""),
        ("items", &["order_id=12345,line=1"], "[12345,1,"),
        ("items", &["line=1", "order_id=12345"], "[12345,1,"),
    ] {
        let (at, line) = place_of(&pgkeep, &path, table, text);
        let damaged = damage(&path, table, &[at]);
        let mut arguments = vec!["show", damaged.to_str().unwrap(), table];
        key.iter().for_each(|pair| arguments.extend(["--where-key", pair]));
        let found = pgkeep.ok(&arguments);
        assert_eq!((found.stdout, found.stderr.as_str()), (line, ""), "{table} {key:?}");
    }
    // A key that no chunk can hold needs none of them.
    let damaged = damage(&path, "serials", &[]);
    let none = pgkeep.ok(&["show", damaged.to_str().unwrap(), "serials", "--where-key", "id=90001"]);
    assert_eq!((none.stdout.as_str(), none.stderr.trim()), ("", "no row of serials has that key"));
    pgkeep.run(&["show", damaged.to_str().unwrap(), "serials", "--where-key", "id=1"]).expect_code(4);
}

#[test]
fn a_scattered_key_is_found_wherever_it_is_and_rows_come_in_their_order() {
    let (pgkeep, path) = large("cli_scattered");
    let file = path.to_str().unwrap();
    let (at, line) = place_of(&pgkeep, &path, "tokens", "c4ca4238-a0b9-2382-0dcc-509a6f75849b");
    for given in ["c4ca4238-a0b9-2382-0dcc-509a6f75849b", "C4CA4238A0B923820DCC509A6F75849B"] {
        assert_eq!(pgkeep.ok(&["show", file, "tokens", "--where-key", &format!("id={given}")]).stdout, line);
    }
    // What is behind the row is not read for ever: a unique key has one.
    assert_eq!(at, 0);
    let damaged = damage(&path, "tokens", &[0, 1, 2, 3, 4]);
    let key = "id=c4ca4238-a0b9-2382-0dcc-509a6f75849b";
    assert_eq!(pgkeep.ok(&["show", damaged.to_str().unwrap(), "tokens", "--where-key", key]).stdout, line);
    let missing = "id=00000000-0000-0000-0000-000000000000";
    assert_eq!(pgkeep.ok(&["show", file, "tokens", "--where-key", missing]).stdout, "");

    // All rows with a value, in the order of the table, whoever read them.
    let archive = Archive::open(&path).unwrap();
    let index = archive.header().tables.iter().position(|t| t.name == "keyless").unwrap() as u32;
    let mut fillers = Vec::new();
    for chunk in archive.table_chunks(index) {
        for row in archive.read_rows(chunk).unwrap().rows() {
            let row: (i32, String) = serde_json::from_slice(row).unwrap();
            fillers.push(row);
        }
    }
    let printed = |arguments: &[&str]| -> Vec<(i32, String)> {
        let rows = pgkeep.ok(&[&["show", file, "keyless"], arguments].concat()).stdout;
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            (row["n"].as_i64().unwrap() as i32, row["filler"].as_str().unwrap().to_owned())
        };
        rows.lines().map(row).collect()
    };
    assert_eq!(printed(&[]), fillers);
    let of: Vec<_> = fillers.iter().filter(|(n, _)| *n == 7).cloned().collect();
    assert_eq!((printed(&["--where-key", "n=7"]), of.len()), (of.clone(), 2));
    assert_eq!(printed(&["--where-key", "n=7", "--limit", "1"]), of[..1]);
    assert_eq!(printed(&["--where-key", &format!("filler={}", of[1].1)]), of[1..]);
    for limit in [0, 1, 10, 30_000, 89_999, 90_000, 1_000_000] {
        assert!(printed(&["--limit", &limit.to_string()]) == fillers[..limit.min(90_000)], "{limit}");
    }
}

#[test]
fn a_limit_reads_the_chunks_that_it_needs_and_what_stands_before_damage_is_printed() {
    let (pgkeep, path) = large("cli_limit");
    let rows = pgkeep.ok(&["show", path.to_str().unwrap(), "serials"]).stdout;
    let damaged = damage(&path, "serials", &[0, 1]);
    let damaged = damaged.to_str().unwrap();
    let first = pgkeep.ok(&["show", damaged, "serials", "--limit", "10"]).stdout;
    assert_eq!(first.lines().collect::<Vec<_>>(), rows.lines().take(10).collect::<Vec<_>>());
    let run = pgkeep.run(&["show", damaged, "serials"]).expect_code(4);
    run.says("table serials, chunk ").says("its checksum does not match");
    let whole = Archive::open(&path).unwrap();
    let index = whole.header().tables.iter().position(|t| t.name == "serials").unwrap() as u32;
    let before: u64 = whole.table_chunks(index)[..2].iter().map(|chunk| chunk.rows).sum();
    assert!(before > 10 && rows.starts_with(&run.stdout));
    assert_eq!(run.stdout.lines().count() as u64, before);
    pgkeep.run(&["show", damaged, "serials", "--limit", &(before + 1).to_string()]).expect_code(4);
}

#[test]
fn the_index_says_between_which_keys_the_rows_of_a_chunk_are() {
    let (_pgkeep, path) = large("cli_spans");
    let archive = Archive::open(&path).unwrap();
    for (index, table) in archive.header().tables.iter().enumerate() {
        let mut highest = i64::MIN;
        for chunk in archive.table_chunks(index as u32) {
            match (table.name.as_str(), chunk.spans.as_slice()) {
                ("keyless", []) => {}
                ("items", [Some(Span::Integers(first, last)), Some(Span::Integers(0, 2))])
                | ("serials", [Some(Span::Integers(first, last))]) => {
                    assert!(*first >= highest && last > first);
                    highest = *last;
                }
                ("ticks" | "tokens", [Some(Span::Texts(first, last))]) => assert!(first < last),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn rows_of_released_archives_are_found_by_their_keys() {
    let pgkeep = Pgkeep::new();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/archives/v1.json.gz");
    let show =
        |more: &[&str]| pgkeep.ok(&[&["show", archive.to_str().unwrap(), "users"], more].concat()).stdout;
    assert_eq!(show(&["--where-key", "id=2"]).lines().count(), 1);
    assert!(show(&["--where-key", "id=2"]).starts_with(r#"{"id":2,"name":null,"#));
    assert!(show(&["--where-key", "id=9223372036854775807"]).contains(r#""score":"NaN""#));
    assert_eq!(show(&["--where-key", "id=5"]), "");
    assert!(show(&["--limit", "1"]).starts_with(r#"{"id":1,"name":"Ann","#));
}

#[test]
fn a_column_that_is_not_of_the_key_and_a_value_that_is_none_are_wrong_usage() {
    let database = library("cli_where_key");
    let (pgkeep, archive) = backed_up(&database);
    let bad = |more: &[&str]| pgkeep.run(&[&["show", &archive], more].concat()).expect_code(2);
    for given in ["title=Title 1", "nothing=1", "id", "id=NULL", "id=", "id=x", "id=1,id=2"] {
        bad(&["books", "--where-key", given]).says("books has the key id");
    }
    bad(&["books", "--where-key", "id=1", "--where-key", "id=1"]).says("names column \"id\" twice");
    bad(&["books", "--where-key", "title=x"])
        .says("--where-key names \"title\", which is no column to find rows by");
    bad(&["books", "--where-key", "id=one"]).says("column \"id\" is of type integer");
    bad(&["loans", "--where-key", "other=1"]).says("loans has no key; its columns are book, reader");
    bad(&["--where-key", "id=1"]).says("--where-key finds rows of a table");
    bad(&["books", "--schema", "--where-key", "id=1"]).says("--where-key finds rows of a table");
    let row = pgkeep.ok(&["show", &archive, "books", "--where-key", "id=7"]).stdout;
    assert_eq!(row, "{\"id\":7,\"title\":\"Title 7\",\"price\":\"7.70\"}\n");
    let row = pgkeep.ok(&["show", &archive, "loans", "--where-key", "reader=Reader 3"]).stdout;
    assert_eq!(row, "{\"book\":3,\"reader\":\"Reader 3\"}\n");
    let quiet = pgkeep.ok(&["show", &archive, "books", "--where-key", "id=0", "-q"]);
    assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
}
