//! What the lists look like, to the letter; times and sizes, which differ from run to run, are blotted out.

use indicatif::HumanBytes;

use crate::support::Pgkeep;
use crate::{backed_up, library, stem};

/// `text` with each of `pieces` replaced by as many `#`.
fn blotted(text: &str, pieces: &[String]) -> String {
    pieces.iter().fold(text.to_owned(), |text, piece| text.replace(piece, &"#".repeat(piece.len())))
}

/// What differs from run to run in the archives that `list --json` tells of: stamps, times and sizes.
fn varying(pgkeep: &Pgkeep, command: &str) -> Vec<String> {
    let list = pgkeep.ok(&[command, "--json"]).json();
    let archives = list["archives"].as_array().unwrap().iter();
    archives
        .flat_map(|archive| {
            let file = archive["file"].as_str().unwrap();
            let stamp = file.split_once("backup_").unwrap().1.split_once('.').unwrap().0.to_owned();
            let time = archive["created_at"].as_str().unwrap()[..19].replace('T', " ");
            let log = archive["guards"].as_str().map(|g| g["restore_log_".len()..].replace(".json", ""));
            let size = HumanBytes(archive["bytes"].as_u64().unwrap()).to_string();
            [stamp, time, size].into_iter().chain(log)
        })
        .collect()
}

#[test]
fn the_list_of_backups_says_what_each_holds_and_whether_it_is_proven() {
    let database = library("cli_list");
    let (pgkeep, archive) = backed_up(&database);
    let shown = || blotted(&pgkeep.ok(&["list"]).stdout, &varying(&pgkeep, "list"));
    assert_eq!(
        shown(),
        "\
FILE                                     CREATED (UTC)        DATABASE  TABLES   ROWS       SIZE  VERIFIED
cli_list_backup_###############.json.gz  ###################  cli_list       3  1,207  #########  not yet
"
    );
    pgkeep.ok(&["validate", &archive]);
    assert!(shown().contains("#########  yes\n"), "{}", shown());
    let path = pgkeep.dir().join(format!("backups/{archive}.json.gz"));
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(&path, flipped).unwrap();
    assert!(shown().contains("#########  not yet\n"), "{}", shown());
    pgkeep.run(&["validate", &archive]).expect_code(4);
    assert!(shown().contains("#########  DAMAGED\n"), "{}", shown());
    let listed = pgkeep.ok(&["list", "--json"]).json();
    assert_eq!(listed["archives"][0]["verified"], false);
    std::fs::write(&path, whole).unwrap();
    assert!(shown().contains("#########  not yet\n"), "{}", shown());
    std::fs::write(pgkeep.dir().join("backups/junk.json.gz"), "junk").unwrap();
    let list = pgkeep.ok(&["list"]).stdout;
    let junk = list.lines().find(|line| line.starts_with("junk.json.gz")).unwrap();
    assert!(junk.contains("  4 B  BROKEN: "), "{junk}");
    assert_eq!(Pgkeep::new().ok(&["list"]).stdout, "no archives in backups\n");
}

#[test]
fn the_list_of_safety_backups_says_which_restore_each_can_undo() {
    let database = library("cli_list_safety");
    let (pgkeep, archive) = backed_up(&database);
    assert_eq!(pgkeep.ok(&["list-safety"]).stdout, "no archives in safety_backups\n");
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    let shown = blotted(&pgkeep.ok(&["list-safety"]).stdout, &varying(&pgkeep, "list-safety"));
    assert_eq!(
        shown,
        "\
FILE                                   CREATED (UTC)        DATABASE         TABLES   ROWS       SIZE  VERIFIED  GUARDS
safety_backup_###############.json.gz  ###################  cli_list_safety       3  1,207  #########  yes       restore_log_###############.json
"
    );
}

#[test]
fn show_tells_where_an_archive_comes_from_and_what_is_in_it() {
    let database = library("cli_show");
    let (pgkeep, archive) = backed_up(&database);
    let object = pgkeep.ok(&["show", &archive, "--json"]).json();
    let source = &object["source"];
    let pieces = [
        archive.rsplit_once("backup_").unwrap().1.to_owned(),
        source["port"].to_string(),
        source["server_version"].as_str().unwrap().to_owned(),
        object["created_at"].as_str().unwrap()[..19].replace('T', " "),
        HumanBytes(object["bytes"].as_u64().unwrap()).to_string(),
        HumanBytes(object["json_bytes"].as_u64().unwrap()).to_string(),
    ];
    let text = pgkeep.ok(&["show", &archive]).stdout;
    let version = "#".repeat(pieces[2].len());
    assert_eq!(
        blotted(&text, &pieces),
        format!(
            "\
backups/cli_show_backup_###############.json.gz
  backup of database cli_show on 127.0.0.1:##### (Postgres {version}), taken ################### UTC by pgkeep 0.1.0
  1,207 rows in 3 tables, ######### (######### of JSON), 1 sequence, definitions of 9 objects

TABLE          ROWS  COLUMNS  KEY
books         1,200        3  id
loans             7        2  (whole row)
staff.people      0        2  name
"
        )
    );
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    let safety = stem(&pgkeep.only_file("safety_backups"));
    let text = pgkeep.ok(&["show", &safety]).stdout;
    assert!(text.contains("\n  safety backup of database cli_show on "), "{text}");
    assert!(text.contains(&format!("\n  guards the restore of {archive}.json.gz (restore_log_")), "{text}");
    // A name is as in the lists, and a table may be given by pattern as long as it is one.
    assert_eq!(pgkeep.ok(&["show", &archive, "boo*"]).stdout.lines().count(), 1200);
    assert_eq!(pgkeep.ok(&["show", &archive, "staff.people"]).stdout, "");
    pgkeep.run(&["show", &archive, "people"]).expect_code(2).says("0 tables");
    pgkeep.run(&["show", &archive, "*"]).expect_code(2).says("2 tables");
}
