//! Rollbacks that would undo the wrong thing.

use std::path::{Path, PathBuf};

use chrono::{TimeDelta, Utc};
use pgkeep::archive::compression::Compression;
use pgkeep::archive::file::AtomicFile;
use pgkeep::archive::model::Header;
use pgkeep::archive::reader::Archive;
use pgkeep::archive::spans::KeyColumns;
use pgkeep::archive::writer::{ArchiveWriter, ChunkEncoder, table_line};

use crate::support::Database;
use crate::{backed_up, explained, no_archive, path, shop};

/// The same archive with another header, whole in itself.
fn forged(from: &Path, to: &Path, change: impl FnOnce(&mut Header)) {
    let archive = Archive::open(from).unwrap();
    let mut header = archive.header().clone();
    change(&mut header);
    let mut writer =
        ArchiveWriter::create(AtomicFile::create(to).unwrap(), Compression::default(), &header).unwrap();
    let mut encoder = ChunkEncoder::new(Compression::default()).unwrap();
    for chunk in archive.chunks().iter().skip(1) {
        let rows = archive.read_rows(chunk).unwrap();
        let table = chunk.table.unwrap();
        let raw = [table_line(&header.tables[table as usize]).as_slice(), rows.lines()].concat();
        let key = KeyColumns::of(&header.tables[table as usize]);
        let sealed = encoder.seal_rows(table, chunk.range, chunk.piece, &raw, rows.row_count(), &key);
        writer.append(sealed.unwrap()).unwrap();
    }
    writer.finish().unwrap().0.commit().unwrap();
}

fn note(database: &Database) -> String {
    database.value("SELECT note FROM orders WHERE id = 1")
}

#[test]
fn when_the_clock_steps_back_latest_is_still_the_last_one_taken() {
    let database = shop("clock");
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("UPDATE orders SET note = 'first' WHERE id = 1");
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    // That one was taken by a clock that was a year ahead, which has been put right since.
    let early = pgkeep.only_file("safety_backups");
    let ahead = Utc::now() + TimeDelta::days(365);
    let late_name = early.with_file_name(format!("safety_backup_{}.json.gz", ahead.format("%Y%m%d_%H%M%S")));
    forged(&early, &late_name, |header| header.created_at = ahead);
    std::fs::remove_file(&early).unwrap();

    database.execute("UPDATE orders SET note = 'second' WHERE id = 1");
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    let names = pgkeep.files("safety_backups");
    assert_eq!(names.last(), Some(&late_name), "by name and time the older one comes last");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(note(&database), "second");
    let list = pgkeep.ok(&["list-safety", "--json"]).json();
    assert_eq!(list["archives"][0]["file"], late_name.file_name().unwrap().to_str().unwrap());
}

#[test]
fn a_safety_backup_of_another_database_or_server_is_not_rolled_back_here() {
    let (source, target) = (shop("rolled_source"), shop("rolled_target"));
    let (pgkeep, archive) = backed_up(&source.url);
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    let safety = pgkeep.only_file("safety_backups");
    target.execute("UPDATE orders SET note = 'keep me'");
    let before = target.digest();
    let elsewhere = pgkeep.dir().join("elsewhere.json.gz");
    forged(&safety, &elsewhere, |header| {
        header.source.database = "rolled_target".to_owned();
        header.source.system_identifier = Some("42".to_owned());
    });
    let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &target.url);
    for file in [&safety, &elsewhere] {
        let run = explained(pgkeep.run(&["rollback", &path(file)]), 2);
        run.says("safety backup is of").says("untouched").says("pgkeep restore --safe --mode exact");
    }
    // Nor is it the latest of this database.
    let run = explained(pgkeep.run(&["rollback", "latest"]), 2);
    run.says("none of the safety backups").says("rolled_target").says("untouched");
    assert_eq!(target.digest(), before);
    assert_eq!(pgkeep.files("safety_backups").len(), 1);
}

#[test]
fn a_plain_backup_is_no_safety_backup() {
    let database = shop("plain_rollback");
    let (pgkeep, archive) = backed_up(&database.url);
    let run = explained(pgkeep.run(&["rollback", &archive]), 2);
    run.says("not a safety backup").says("pgkeep restore --safe --file");
    let run = explained(pgkeep.run(&["rollback", "latest"]), 2);
    run.says("there is no safety backup").says("pgkeep list-safety");
    no_archive(&pgkeep, "safety_backups");
}

#[test]
fn latest_says_when_there_is_no_restore_left_to_undo() {
    let database = shop("undone_already");
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("UPDATE orders SET note = 'mine' WHERE id = 1");
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    database.execute("UPDATE orders SET note = 'not now' WHERE id = 1; ALTER TABLE orders ADD CHECK (note <> 'note 1') NOT VALID");
    pgkeep.run(&["restore", "--safe", "--file", &archive]).expect_code(1).says("rolled back");
    database.execute("UPDATE orders SET note = 'later' WHERE id = 1");
    let run = pgkeep.ok(&["rollback", "latest"]);
    run.says("was undone by itself").says("pgkeep list-safety");
    assert_eq!(note(&database), "not now");
    let run = pgkeep.ok(&["rollback", "latest"]);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    assert_eq!(note(&database), "later");
}

#[test]
fn latest_is_not_guessed_when_the_newest_safety_backup_is_broken() {
    let database = shop("broken_latest");
    let (pgkeep, archive) = backed_up(&database.url);
    for note in ["first", "second"] {
        database.execute(&format!("UPDATE orders SET note = '{note}' WHERE id = 1"));
        pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    }
    let files: Vec<PathBuf> = pgkeep.files("safety_backups");
    let newest = &files[1];
    let whole = std::fs::read(newest).unwrap();
    let before = database.digest();

    std::fs::write(newest, &whole[..whole.len() / 2]).unwrap();
    let run = explained(pgkeep.run(&["rollback", "latest"]), 4);
    run.says(newest.file_name().unwrap().to_str().unwrap())
        .says("truncated")
        .says("untouched")
        .says("pgkeep list-safety");
    // It opens, but its rows are damaged.
    let mut flipped = whole.clone();
    let archive = Archive::open(&files[0]).unwrap();
    let rows = archive.chunks().last().unwrap();
    flipped[rows.offset as usize + rows.length as usize / 2] ^= 4;
    std::fs::write(newest, &flipped).unwrap();
    explained(pgkeep.run(&["rollback", "latest"]), 4).says("checksum").says("untouched");
    assert_eq!(database.digest(), before);
    assert_eq!(pgkeep.files("safety_backups").len(), 2);
    // The older one can still be named.
    pgkeep.ok(&["rollback", &path(&files[0])]);
    assert_eq!(note(&database), "first");
}
