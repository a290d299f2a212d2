//! Files that cannot be written.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::{Cluster, Options, Pgkeep, Running, shared};
use crate::{BULK, backed_up, explained, log_says_undone, no_archive, no_debris, no_temporary_file, shop};

/// pgkeep on a tiny file system of its own in `folder`, or where namespaces are not to be had under a limit on the
/// size of a file, which the kernel reports in the same places.
fn on_tiny_disk(pgkeep: &Pgkeep, folder: &str, arguments: &[&str]) -> Running {
    let plain = pgkeep.command();
    let script = r#"
        folder=$1; shift
        mount -t tmpfs -o size=1m tiny "$folder" 2>/dev/null || { trap '' XFSZ; ulimit -f 1024; }
        "$@"; code=$?
        ls -A "$folder" | sed 's/^/left behind: /' >&2
        exit "$code"
    "#;
    let mut namespace = Command::new("unshare");
    namespace.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    let usable = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    let mut command = if usable { namespace } else { Command::new("sh") };
    if !usable {
        command.args(["-c", script, "sh"]);
    }
    std::fs::create_dir_all(pgkeep.dir().join(folder)).unwrap();
    command
        .arg(pgkeep.dir().join(folder))
        .arg(plain.get_program())
        .args(arguments)
        .current_dir(pgkeep.dir())
        .env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    Running::spawn(command)
}

#[test]
fn a_disk_that_fills_up_during_a_backup_leaves_no_file() {
    let database = shared(None).database("disk_backup");
    database.execute(BULK);
    let pgkeep = Pgkeep::on(&database.url);
    let run = explained(on_tiny_disk(&pgkeep, "backups", &["backup"]).wait(), 1);
    run.says("cannot write the archive").says("no archive was left behind").says("free disk space");
    assert!(!run.stderr.contains("left behind: "), "{}", run.stderr);
    no_archive(&pgkeep, "backups");
    no_debris(&database);
}

#[test]
fn a_disk_that_fills_up_during_the_safety_backup_leaves_the_target_as_it_was() {
    let database = shared(None).database("disk_restore");
    database.execute(BULK);
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("UPDATE bulk SET payload = payload || 'damaged' WHERE id % 2 = 0");
    let before = database.digest();
    let run = explained(
        on_tiny_disk(&pgkeep, "safety_backups", &["restore", "--safe", "--file", &archive]).wait(),
        1,
    );
    run.says("safety backup").says("cannot write the archive").says("the target is").says("free disk space");
    assert!(!run.stderr.contains("left behind: "), "{}", run.stderr);
    log_says_undone(&pgkeep);
    no_archive(&pgkeep, "safety_backups");
    no_debris(&database);
    assert_eq!(database.digest(), before);
}

#[test]
fn a_full_pipe_end_is_an_error_and_not_a_short_archive() {
    let database = shop("dev_full");
    let pgkeep = Pgkeep::on(&database.url);
    let mut command = Command::new("sh");
    let plain = pgkeep.command();
    command
        .args(["-c", "exec \"$0\" backup --out - > /dev/full"])
        .arg(plain.get_program())
        .current_dir(pgkeep.dir());
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let run = explained(Running::spawn(command).wait(), 1);
    run.says("No space left").says("free disk space");
    no_archive(&pgkeep, "backups");
}

/// Runs pgkeep by a shell that does `first` beforehand, and with these redirections.
fn in_shell(pgkeep: &Pgkeep, first: &str, arguments: &[&str], redirections: &str) -> Running {
    let plain = pgkeep.command();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{first}; exec \"$0\" \"$@\" {redirections}")])
        .arg(plain.get_program())
        .args(arguments)
        .current_dir(pgkeep.dir())
        .env_clear()
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    Running::spawn(command)
}

#[test]
fn a_limit_on_the_size_of_files_ends_like_a_full_disk() {
    let database = shared(None).database("file_size_limit");
    database.execute(BULK);
    let (pgkeep, archive) = backed_up(&database.url);
    let before = database.digest();
    let mine = Pgkeep::on(&database.url);
    for arguments in [&["backup"][..], &["restore", "--safe", "--file", &archive]] {
        let run = explained(in_shell(&mine, "ulimit -f 100", arguments, "").wait(), 1);
        run.says("cannot write the archive").says("File too large").says("free disk space");
    }
    log_says_undone(&mine);
    no_archive(&mine, "backups");
    no_archive(&mine, "safety_backups");
    no_debris(&database);
    assert_eq!(database.digest(), before);
    drop(pgkeep);
}

#[test]
fn a_result_that_cannot_be_printed_does_not_belie_what_was_done() {
    let database = shop("unprinted");
    let (pgkeep, archive) = backed_up(&database.url);
    let whole = database.digest();
    for json in [&[][..], &["--json"]] {
        let onto_full_disk =
            |arguments: &[&str]| in_shell(&pgkeep, ":", &[arguments, json].concat(), "> /dev/full").wait();
        let run = explained(onto_full_disk(&["backup", "--compress", "zstd"]), 1);
        run.says("standard output")
            .says("state: the backup is whole: backups/")
            .says("nothing has to be done again");
        database.execute("UPDATE orders SET note = 'damaged'");
        let run = explained(onto_full_disk(&["restore", "--safe", "--file", &archive]), 6);
        run.says("verified and committed; only its result could not be printed").says("restore_log_");
        assert_eq!(database.digest(), whole);
        assert_eq!(pgkeep.restore_log()["status"], "completed");
        // What was not done is said as ever.
        explained(onto_full_disk(&["restore", "--dry-run", "--file", &archive]), 1)
            .says("nothing was changed");
        database.execute("ALTER TABLE orders ADD CHECK (note <> 'note 1') NOT VALID");
        database.execute("DELETE FROM orders WHERE id = 1");
        let run = explained(onto_full_disk(&["restore", "--safe", "--file", &archive]), 1);
        run.says("violates").says("as it was");
        database.execute("ALTER TABLE orders DROP CONSTRAINT orders_note_check");
        database.execute("INSERT INTO orders VALUES (1, 2, 'note 1')");
        pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--file", &archive]);
    }
    assert_eq!(pgkeep.files("backups").len(), 3);
}

#[test]
fn a_server_whose_disk_is_full_undoes_the_restore() {
    let cluster = Cluster::start(Options::default());
    let database = cluster.database("full");
    database.execute(BULK);
    database.execute("INSERT INTO bulk SELECT id + 6000, payload FROM bulk; INSERT INTO bulk SELECT id + 12000, payload FROM bulk");
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("DELETE FROM bulk WHERE id % 2 = 0");
    let before = database.digest();
    // WAL files of 16 MB can still be written, the staging table of 24 MB cannot.
    // Only the server's own user may limit it.
    let mut limit = cluster.postgres.command("/bin/sh");
    limit.args(["-c", &format!("prlimit --pid {} --fsize=20000000", cluster.pid())]);
    assert!(limit.status().unwrap().success());
    let run = explained(pgkeep.run(&["restore", "--safe", "--file", &archive]), 1);
    run.says("loading table bulk").says("as it was");
    log_says_undone(&pgkeep);
    no_debris(&database);
    assert_eq!(database.digest(), before);
}

#[test]
fn a_folder_that_cannot_be_made_or_written_is_named() {
    let database = shop("unwritable_folder");
    let (pgkeep, archive) = backed_up(&database.url);
    let before = database.digest();
    std::fs::write(pgkeep.dir().join("a file"), "").unwrap();
    let dir = pgkeep.dir().join("a file/inside");
    let dir = dir.to_str().unwrap();
    let run = explained(pgkeep.run(&["backup", "--dir", dir]), 1);
    run.says("a file/inside").says("Not a directory").says("--dir");
    let run = explained(pgkeep.run(&["backup", "--out", &format!("{dir}/x.json.gz")]), 1);
    run.says("a file/inside").says("Not a directory");
    let run = explained(pgkeep.run(&["restore", "--safe", "--dir", dir, "--file", &archive]), 1);
    run.says("a file/inside").says("the target is");
    assert_eq!(database.digest(), before);
    assert_eq!(pgkeep.files("backups").len(), 1);
    no_debris(&database);
}

#[test]
fn a_folder_that_is_read_only_for_this_user_is_named() {
    let database = shop("read_only_folder");
    let pgkeep = Pgkeep::on(&database.url);
    let plain = pgkeep.command();
    // Root may write anywhere: then somebody else runs a copy of the program.
    let root = rustix::process::geteuid().is_root();
    let program = pgkeep.dir().join("pgkeep");
    std::fs::copy(plain.get_program(), &program).unwrap();
    let locked = pgkeep.dir().join("locked");
    std::fs::create_dir(&locked).unwrap();
    for (path, mode) in [(pgkeep.dir(), 0o755), (locked.as_path(), 0o555), (program.as_path(), 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let as_somebody = |arguments: &[&str]| {
        let mut command = Command::new(if root { "setpriv" } else { "env" });
        if root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.arg(&program).args(arguments).current_dir(pgkeep.dir()).env_clear().stdin(Stdio::null());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Running::spawn(command).wait()
    };
    for arguments in [["backup", "--dir", "locked"], ["backup", "--out", "locked/shop.json.gz"]] {
        let run = explained(as_somebody(&arguments), 1);
        run.says("locked").says("Permission denied").says("--out");
    }
    // What one may not look at is not called missing.
    let closed = pgkeep.dir().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    for arguments in [&["show", "closed/a"][..], &["restore", "--safe", "--dir", "closed", "--file", "a"]] {
        explained(as_somebody(arguments), 1).says("looking for").says("closed/").says("Permission denied");
    }
    assert!(std::fs::read_dir(&locked).unwrap().next().is_none());
    no_temporary_file(&locked);
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let database = shop("existing_out");
    let pgkeep = Pgkeep::on(&database.url);
    let precious = pgkeep.dir().join("precious.json.gz");
    std::fs::write(&precious, "precious").unwrap();
    for out in ["precious.json.gz", "/dev/full", "."] {
        explained(pgkeep.run(&["backup", "--out", out]), 2)
            .says("exists already")
            .says("choose another name");
    }
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    no_temporary_file(pgkeep.dir());
}
