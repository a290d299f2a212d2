//! Flag, then environment, then file.

use crate::support::{Pgkeep, shared};
use crate::{backed_up, library};

#[test]
fn the_database_is_that_of_the_flag_then_the_environment_then_the_file_then_the_others() {
    let cluster = shared(None);
    let urls = ["flag", "variable", "file", "generic", "libpq"].map(|name| {
        let name = format!("by_{name}");
        cluster.database(&name);
        (cluster.url(&name), name)
    });
    let [flag, variable, file, generic, libpq] = &urls;
    let backup = |pgkeep: &Pgkeep, more: &[&str]| {
        let arguments = [&["backup", "--json", "--out", "x.json"], more].concat();
        let result = pgkeep.ok(&arguments).json();
        std::fs::remove_file(pgkeep.dir().join("x.json")).unwrap();
        result["database"].as_str().unwrap().to_owned()
    };
    let port = libpq.0.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap().1;
    let mut pgkeep = Pgkeep::new()
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", port)
        .env("PGUSER", "postgres")
        .env("PGPASSWORD", crate::support::PASSWORD)
        .env("PGDATABASE", &libpq.1);
    assert_eq!(backup(&pgkeep, &[]), libpq.1);
    pgkeep = pgkeep.env("DATABASE_URL", &generic.0);
    assert_eq!(backup(&pgkeep, &[]), generic.1);
    let settings = pgkeep.dir().join("pgkeep.toml");
    std::fs::write(&settings, format!("database_url = '{}'", file.0)).unwrap();
    assert_eq!(backup(&pgkeep, &[]), file.1);
    pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &variable.0);
    assert_eq!(backup(&pgkeep, &[]), variable.1);
    assert_eq!(backup(&pgkeep, &["-d", &flag.0]), flag.1);
    // An empty variable is none.
    pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", "");
    assert_eq!(backup(&pgkeep, &[]), file.1);
}

#[test]
fn folder_and_jobs_follow_the_same_order() {
    let database = library("cli_order");
    let pgkeep = Pgkeep::on(&database.url);
    let folder = |pgkeep: &Pgkeep, more: &[&str]| {
        let result = pgkeep.ok(&[&["backup", "--json"], more].concat()).json();
        let jobs = result["jobs"].as_u64().unwrap();
        (result["file"].as_str().unwrap().split_once('/').unwrap().0.to_owned(), jobs)
    };
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), "dir = 'f'\njobs = 3\n[backup]\njobs = 2").unwrap();
    // A section is nearer to its command than the top of the file, wherever it stands.
    assert_eq!(folder(&pgkeep, &[]), ("f".to_owned(), 2));
    let pgkeep = pgkeep.env("PGKEEP_DIR", "e").env("PGKEEP_JOBS", "1");
    assert_eq!(folder(&pgkeep, &[]), ("e".to_owned(), 1));
    assert_eq!(folder(&pgkeep, &["--dir", "d", "--jobs", "2"]), ("d".to_owned(), 2));
    // The file itself is chosen in this order, too.
    std::fs::write(pgkeep.dir().join("other.toml"), "dir = 'o'").unwrap();
    let pgkeep = pgkeep.env("PGKEEP_DIR", "").env("PGKEEP_CONFIG", "other.toml");
    assert_eq!(folder(&pgkeep, &[]).0, "o");
    assert_eq!(folder(&pgkeep, &["--config", "pgkeep.toml"]).0, "f");
}

#[test]
fn a_switch_of_the_file_is_turned_off_by_its_variable() {
    let database = library("cli_switches");
    let (pgkeep, archive) = backed_up(&database);
    let settings = format!("[restore]\nsafe = true\nfile = '{archive}'\n");
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), settings).unwrap();
    pgkeep.ok(&["restore"]);
    assert_eq!(pgkeep.files("safety_backups").len(), 1);
    let pgkeep = pgkeep.env("PGKEEP_SAFE", "0");
    pgkeep.run(&["restore"]).expect_code(2).says("cannot be undone");
    let pgkeep = pgkeep.env("PGKEEP_YES", "on");
    pgkeep.ok(&["restore"]);
    assert_eq!(pgkeep.files("safety_backups").len(), 1);
}

#[test]
fn of_two_that_exclude_each_other_the_nearer_goes() {
    let database = library("cli_nearer");
    let bare = database.url.replacen(
        &format!(":{}@", crate::support::percent_encoded(crate::support::PASSWORD)),
        "@",
        1,
    );
    let pgkeep = Pgkeep::on(&bare);
    std::fs::write(pgkeep.dir().join("right"), crate::support::PASSWORD).unwrap();
    std::fs::write(pgkeep.dir().join("wrong"), "no").unwrap();
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), "password_file = 'wrong'\nverbose = true").unwrap();
    pgkeep.run(&["backup"]).expect_code(5);
    pgkeep.ok(&["backup", "--password-command", "cat right", "--quiet"]);
    let pgkeep = pgkeep.env("PGKEEP_PASSWORD_COMMAND", "cat wrong");
    pgkeep.run(&["backup"]).expect_code(5);
    pgkeep.ok(&["backup", "--password-file", "right"]);
    pgkeep
        .run(&["backup", "--password-file", "right", "--password-command", "cat right"])
        .expect_code(2)
        .says("exclude each other");
}

#[test]
fn critical_tables_must_be_there_and_not_empty() {
    let database = library("cli_critical");
    let (pgkeep, archive) = backed_up(&database);
    pgkeep.ok(&["validate", &archive, "--critical", "books,loans"]);
    for quick in [&[][..], &["--quick"]] {
        let check = |table: &str| pgkeep.run(&[&["validate", &archive, "--critical", table], quick].concat());
        check("nothing").expect_code(4).says("critical table nothing is not in the archive");
        // A bare name means schema public.
        check("people").expect_code(4).says("critical table people is not in the archive");
        check("staff.people").expect_code(4).says("critical table staff.people is empty");
    }
    let settings = "critical_tables = ['books', 'staff.people', 'nothing']";
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), settings).unwrap();
    let before = database.digest();
    let run = pgkeep.run(&["validate", &archive]).expect_code(4);
    run.says("staff.people is empty").says("nothing is not in the archive").says("next:");
    database.execute("DELETE FROM loans");
    let run = pgkeep.run(&["restore", "--safe", "--file", &archive]).expect_code(4);
    run.says("staff.people is empty").says("nothing is not in the archive").says("untouched");
    assert_ne!(database.digest(), before);
    assert!(pgkeep.files("safety_backups").is_empty());
    // A flag replaces the list of the file.
    pgkeep.ok(&["restore", "--safe", "--file", &archive, "--critical", "books"]);
    assert_eq!(database.digest(), before);
}

#[test]
fn a_configuration_file_that_is_a_link_to_nothing_is_not_passed_over() {
    let pgkeep = Pgkeep::new();
    std::os::unix::fs::symlink("/nowhere/pgkeep.toml", pgkeep.dir().join("pgkeep.toml")).unwrap();
    pgkeep.run(&["list"]).expect_code(2).says("configuration file pgkeep.toml").says("No such file");
}
