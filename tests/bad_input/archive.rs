//! Files that are not, or no longer, archives: refused by every command, before the target is touched.

use std::io::Write;

use crate::support::{Database, Pgkeep, Run};
use crate::{BULK, backed_up, explained, no_archive, path, shop};

/// What every command says of a bad archive.
struct Bad<'a> {
    database: &'a Database<'a>,
    pgkeep: Pgkeep,
    file: String,
}

impl<'a> Bad<'a> {
    /// The bytes as a file in `safety_backups/`, where all commands find it.
    fn new(database: &'a Database<'a>, bytes: &[u8]) -> Bad<'a> {
        let pgkeep = Pgkeep::on(&database.url);
        let file = pgkeep.dir().join("safety_backups/bad.json.gz");
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(&file, bytes).unwrap();
        Bad { database, file: path(&file), pgkeep }
    }

    /// Every command that reads rows ends with 4 and says this, and touches nothing.
    fn is_refused(&self, words: &[&str]) -> &Self {
        let before = self.database.digest();
        let commands: [&[&str]; 4] = [
            &["validate", &self.file],
            &["restore", "--safe", "--file", &self.file],
            &["restore", "--yes", "--keep-going", "--file", &self.file],
            &["rollback", &self.file],
        ];
        for command in commands {
            let run = explained(self.pgkeep.run(command), 4);
            self.says_all(&run, words);
        }
        let run = self.pgkeep.run(&["validate", "--json", &self.file]).expect_code(4);
        assert_eq!(run.json()["valid"], false, "{}", run.stdout);
        assert_eq!(self.database.digest(), before);
        // Nothing but the bad file itself lies there.
        assert_eq!(self.pgkeep.files("safety_backups").len(), 1);
        let summaries = self.pgkeep.files("summaries");
        assert!(summaries.iter().all(|file| file.ends_with("verified.jsonl")), "{summaries:?}");
        self
    }

    /// It cannot even be opened: `show` ends with 4, the list calls it broken, and `latest` is not guessed.
    fn cannot_be_opened(&self, words: &[&str]) -> &Self {
        let run = explained(self.pgkeep.run(&["show", &self.file]), 4);
        self.says_all(&run, words);
        let run = self.pgkeep.ok(&["list-safety"]);
        assert!(run.stdout.contains("BROKEN"), "{}", run.stdout);
        let list = self.pgkeep.ok(&["list-safety", "--json"]).json();
        assert!(
            list["archives"][0]["error"].is_string() && list["archives"][0]["verified"] == false,
            "{list:#}"
        );
        explained(self.pgkeep.run(&["rollback", "latest"]), 4)
            .says("bad.json.gz")
            .says("name the safety backup");
        self
    }

    fn says_all(&self, run: &Run, words: &[&str]) {
        for word in words {
            run.says(word);
        }
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn archive_of(database: &Database) -> Vec<u8> {
    std::fs::read(backed_up(&database.url).1).unwrap()
}

#[test]
fn a_truncated_archive_is_refused_wherever_it_ends() {
    let database = shop("truncated");
    let whole = archive_of(&database);
    // One byte could be the beginning of anything.
    Bad::new(&database, &whole[..1]).is_refused(&["not an archive"]).cannot_be_opened(&["not an archive"]);
    for length in [20, whole.len() / 2, whole.len() - 1] {
        let words = ["truncated", &format!("ends at byte {length}")];
        Bad::new(&database, &whole[..length]).is_refused(&words).cannot_be_opened(&words);
    }
}

#[test]
fn a_flipped_bit_is_found_and_its_table_named() {
    let database = shop("flipped");
    database.execute(BULK);
    let mut bytes = archive_of(&database);
    // Two thirds of the file are rows of the large table.
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    let bad = Bad::new(&database, &bytes);
    bad.is_refused(&["table bulk", "chunk", "at byte", "checksum"]);
    // What is not damaged can be listed and read; the rows of the damaged table cannot.
    bad.pgkeep.ok(&["show", &bad.file]);
    assert_eq!(bad.pgkeep.ok(&["show", &bad.file, "customers"]).stdout.lines().count(), 3);
    explained(bad.pgkeep.run(&["show", &bad.file, "bulk"]), 4).says("table bulk");
}

#[test]
fn a_foreign_file_is_called_what_it_is() {
    let database = shop("foreign");
    if let Some(pg_dump) = database.cluster.postgres.program("pg_dump") {
        let dump = std::process::Command::new(pg_dump).args(["-Fc", &database.url]).output().unwrap().stdout;
        assert!(dump.starts_with(b"PGDMP"));
        let words = ["not an archive of pgkeep", "pg_restore"];
        Bad::new(&database, &dump).is_refused(&words).cannot_be_opened(&words);
    }
    let sql = b"--\n-- PostgreSQL database dump\n--\nCREATE TABLE users (id int);\n";
    for sql in [sql.to_vec(), gzip(sql)] {
        let words = ["not an archive of pgkeep", "psql"];
        Bad::new(&database, &sql).is_refused(&words).cannot_be_opened(&words);
    }
    for other in [gzip(b"holiday photos"), b"holiday photos".to_vec(), gzip(b"{\"a\": 1}\n"), vec![0; 4096]] {
        let words = ["not an archive of pgkeep"];
        Bad::new(&database, &other).is_refused(&words).cannot_be_opened(&words);
    }
}

#[test]
fn an_archive_with_another_ones_end_is_refused() {
    let database = shop("two_ends");
    let first = archive_of(&database);
    database
        .execute("INSERT INTO orders (customer, note) SELECT 1, 'more ' || n FROM generate_series(1, 50) n");
    let second = archive_of(&database);
    let head = &first[..first.len() / 2];
    for tail in [&second[second.len() / 2..], &second[..]] {
        Bad::new(&database, &[head, tail].concat()).is_refused(&["damaged"]).cannot_be_opened(&["damaged"]);
    }
    Bad::new(&database, &[&first[..], &second[..]].concat())
        .is_refused(&["damaged"])
        .cannot_be_opened(&["damaged"]);
}

#[test]
fn an_empty_file_is_refused() {
    let database = shop("empty_file");
    Bad::new(&database, b"").is_refused(&["empty"]).cannot_be_opened(&["empty"]);
}

#[test]
fn an_archive_of_a_later_version_says_to_upgrade() {
    let database = shop("future");
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--compress", "none"]);
    let text = String::from_utf8(std::fs::read(pgkeep.only_file("backups")).unwrap()).unwrap();
    let future = text.replace("\"version\":1,", "\"version\":2,");
    assert_ne!(text, future);
    let words = ["format version 2", "upgrade pgkeep"];
    for bytes in [future.as_bytes().to_vec(), gzip(future.as_bytes())] {
        Bad::new(&database, &bytes).is_refused(&words).cannot_be_opened(&words);
    }
}

#[test]
fn a_file_that_is_not_there_or_is_a_folder_is_looked_for_in_named_places() {
    let database = shop("no_file");
    let pgkeep = Pgkeep::on(&database.url);
    std::fs::create_dir_all(pgkeep.dir().join("backups/folder.json.gz")).unwrap();
    for name in ["shop_backup_20251128", "folder.json.gz"] {
        let commands: [&[&str]; 4] = [
            &["validate", name],
            &["show", name],
            &["restore", "--safe", "--file", name],
            &["rollback", name],
        ];
        for command in commands {
            let run = explained(pgkeep.run(command), 2);
            run.says(name).says("backups").says("safety_backups").says("pgkeep list");
        }
    }
    no_archive(&pgkeep, "safety_backups");
}

#[test]
fn a_critical_table_that_is_missing_or_empty_stops_validation_and_restore() {
    let database = shop("critical");
    database.execute("CREATE TABLE payments (id int PRIMARY KEY)");
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("UPDATE orders SET note = 'damaged'");
    let before = database.digest();
    pgkeep.ok(&["validate", "--critical", "customers,orders", &archive]);
    let run = explained(pgkeep.run(&["validate", "--critical", "customers,payments,invoices", &archive]), 4);
    run.says("payments").says("invoices");
    assert!(!run.stderr.contains("customers"), "{}", run.stderr);

    std::fs::write(
        pgkeep.dir().join("pgkeep.toml"),
        "critical_tables = ['customers', 'payments', 'invoices']\n",
    )
    .unwrap();
    explained(pgkeep.run(&["validate", &archive]), 4).says("payments").says("invoices");
    let run = explained(pgkeep.run(&["restore", "--safe", "--file", &archive]), 4);
    run.says("payments").says("invoices").says("untouched");
    assert_eq!(database.digest(), before);
    no_archive(&pgkeep, "safety_backups");

    std::fs::write(pgkeep.dir().join("pgkeep.toml"), "critical_tables = ['customers', 'orders']\n").unwrap();
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
}
