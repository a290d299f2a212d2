//! A password with `@:/%` in it is never shown: not in output, logs, archives, summaries or the process list.

use crate::support::{Database, PASSWORD, Pgkeep, Proxy, Run, percent_encoded, shared, wait_until};
use crate::{BULK, explained, path};

fn bulk(name: &str) -> (Database<'static>, Proxy) {
    let database = shared(None).database(name);
    database.execute(BULK);
    let proxy = Proxy::to(database.cluster.port);
    (database, proxy)
}

/// What the process list shows of a process and all others of this machine.
fn process_list(pid: u32) -> String {
    let mut list =
        String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap()).into_owned();
    list += &std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    list
}

#[test]
fn the_password_is_nowhere_in_what_a_whole_cycle_prints_and_writes() {
    let (database, _) = bulk("secret_cycle");
    let pgkeep = Pgkeep::on(&database.url);
    let mut runs: Vec<Run> = vec![pgkeep.ok(&["backup", "-v"])];
    let archive = path(&pgkeep.only_file("backups"));
    database.execute("DELETE FROM bulk WHERE id < 10");
    let commands: [&[&str]; 9] = [
        &["restore", "-v", "--safe", "--file", &archive],
        &["restore", "-v", "--yes", "--json", "--file", &archive],
        &["restore", "--dry-run", "--json", "--file", &archive],
        &["rollback", "-v", "latest"],
        &["rollback", "--json", "latest"],
        &["list", "--json"],
        &["list-safety"],
        &["show", "--json", &archive],
        &["validate", "-v", &archive],
    ];
    for command in commands {
        runs.push(pgkeep.ok(command));
    }
    // Help shows the settings, and failures show the target.
    runs.push(pgkeep.ok(&["--help"]));
    runs.push(pgkeep.ok(&["backup", "--help"]));
    runs.push(pgkeep.ok(&["completions", "bash"]));
    runs.push(pgkeep.run(&["backup", "--table", "no_such"]).expect_code(2));
    runs.push(pgkeep.run(&["backup", "--no-such-flag"]).expect_code(2));
    database.execute("DROP TABLE bulk");
    runs.push(explained(pgkeep.run(&["restore", "-v", "--safe", "--data-only", "--file", &archive]), 1));
    pgkeep.assert_secret_nowhere(PASSWORD, &runs.iter().collect::<Vec<_>>());
    let log = pgkeep.restore_log();
    assert!(log["target"].as_str().unwrap().starts_with("postgres://postgres@127.0.0.1:"), "{log:#}");
}

#[test]
fn a_password_given_on_the_command_line_leaves_the_process_list() {
    let (database, proxy) = bulk("secret_arguments");
    let url = proxy.url(&database.url, database.cluster.port);
    let pairs = format!(
        "host=127.0.0.1 port={} user=postgres dbname=secret_arguments password='{PASSWORD}'",
        proxy.port
    );
    let as_parameter = format!(
        "postgres://postgres@127.0.0.1:{}/secret_arguments?password={}",
        proxy.port,
        percent_encoded(PASSWORD)
    );
    for given in [["-d", &url], ["--database-url", &pairs], ["-d", &as_parameter]] {
        let pgkeep = Pgkeep::new();
        let end = proxy.forwarded() + 1_000_000;
        proxy.stall_after(1_000_000);
        let mut running = pgkeep.spawn(&["backup", "-v", given[0], given[1]]);
        wait_until("the backup is in the middle", 60, || proxy.forwarded() >= end);
        let shown = process_list(running.pid());
        assert!(running.is_running() && shown.contains("backup"), "{shown}");
        for spelling in [PASSWORD.to_owned(), percent_encoded(PASSWORD)] {
            assert!(!shown.contains(&spelling), "the password is in the process list");
        }
        proxy.resume();
        let run = running.wait().expect_code(0);
        pgkeep.assert_secret_nowhere(PASSWORD, &[&run]);
    }
}

#[test]
fn a_wrong_url_a_wrong_password_and_a_bad_configuration_do_not_show_it() {
    let database = crate::shop("secret_errors");
    let port = database.cluster.port;
    let secret = "s3cret@:/%x";
    let encoded = percent_encoded(secret);
    for (url, code) in [
        (format!("postgres://postgres:{encoded}@127.0.0.1:{port}/secret_errors"), 5),
        (format!("postgres://postgres:{encoded}@127.0.0.1:{port}/secret_errors?sslmode=nonsense"), 2),
        (format!("postgres://postgres:{encoded}@127.0.0.1:notaport/secret_errors"), 2),
        (format!("postgres://postgres:{encoded}%ZZ@127.0.0.1:{port}/secret_errors"), 2),
        (format!("host=127.0.0.1 port={port} password='{secret}"), 2),
        (format!("mysql://root:{encoded}@127.0.0.1/x"), 2),
        // Not encoded, as it is often pasted.
        (format!("postgres://postgres:{secret}@127.0.0.1:{port}/secret_errors"), 2),
    ] {
        for on_command_line in [false, true] {
            let pgkeep = Pgkeep::new().env("PGKEEP_CONNECT_ATTEMPTS", "1");
            let run = if on_command_line {
                pgkeep.run(&["backup", "-v", "-d", &url])
            } else {
                pgkeep.env("PGKEEP_DATABASE_URL", &url).run(&["backup", "-v"])
            };
            let run = explained(run, code);
            for spelling in ["s3cret", secret, &encoded] {
                assert!(
                    !run.stderr.contains(spelling) && !run.stdout.contains(spelling),
                    "{url}:\n{}",
                    run.stderr
                );
            }
        }
    }
    let pgkeep = Pgkeep::new();
    for toml in [
        format!("database_url = 'postgres://u:{encoded}@h/d\n"),
        format!("database_urls = 'postgres://u:{encoded}@h/d'\n"),
    ] {
        std::fs::write(pgkeep.dir().join("pgkeep.toml"), toml).unwrap();
        let run = explained(pgkeep.run(&["backup"]), 2);
        assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
    }
    let command = Pgkeep::on(&format!("postgres://postgres@127.0.0.1:{port}/secret_errors"));
    let run =
        explained(command.run(&["backup", "--password-command", &format!("echo '{secret}'; exit 3")]), 2);
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
}
