//! Roles belong to the whole cluster: an archive has them where asked, and a restore makes them where asked.

use crate::support::{Client, Cluster, Options, Pgkeep, majors, query};
use crate::world::{explained, same, state};

const ROLES: &str = "
    CREATE ROLE app_group NOLOGIN; CREATE ROLE app LOGIN PASSWORD 'Tr0ub4dor' CONNECTION LIMIT 7 VALID UNTIL '2040-01-01 00:00:00Z';
    CREATE ROLE \"Odd 'r'\" CREATEDB NOINHERIT; GRANT app_group TO app; GRANT app_group TO \"Odd 'r'\" WITH ADMIN OPTION;
    ALTER ROLE app SET search_path = a, \"B c\"; COMMENT ON ROLE app IS 'the application';";

const SQL: &str = "CREATE TABLE t (a int); INSERT INTO t VALUES (1); ALTER TABLE t OWNER TO app_group;
    GRANT SELECT ON t TO app, \"Odd 'r'\"; CREATE VIEW v AS SELECT a FROM t; ALTER VIEW v OWNER TO app";

/// What a cluster says of its roles.
fn described(url: &str) -> String {
    let rows = query(
        url,
        "SELECT concat_ws(' ', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolconnlimit,
                rolvaliduntil, s.setconfig, shobj_description(r.oid, 'pg_authid'),
                ARRAY(SELECT concat(g.rolname, m.admin_option) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                       WHERE m.member = r.oid ORDER BY 1))
           FROM pg_roles r LEFT JOIN pg_db_role_setting s ON s.setrole = r.oid AND s.setdatabase = 0
          WHERE rolname !~ '^pg_' ORDER BY rolname",
    );
    rows.into_iter().map(|row| format!("{}\n", row[0].clone().unwrap())).collect()
}

#[test]
fn roles_travel_with_the_archive_and_are_made_where_they_are_missing() {
    let [here, there] = [(); 2].map(|()| Cluster::start(Options::default()));
    let Some(client) = Client::for_server(here.postgres.major) else { return };
    here.execute("postgres", ROLES);
    here.create_database("app");
    here.execute("app", SQL);
    there.create_database("app");
    let keeper = Pgkeep::on(&there.url("app"));
    let source = here.url("app");
    let text = |file: &str| {
        use std::io::Read;
        let mut text = String::new();
        let file = std::fs::File::open(keeper.dir().join(file)).unwrap();
        flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
        text
    };
    keeper.ok(&["backup", "-d", &source, "--out", "none.json.gz"]);
    keeper.ok(&["backup", "-d", &source, "--with-roles", "--out", "roles.json.gz"]);
    keeper.ok(&["backup", "-d", &source, "--with-role-passwords", "--out", "secrets.json.gz"]);
    assert!(!text("none.json.gz").contains("CREATE ROLE"));
    assert!(
        text("roles.json.gz").contains("CREATE ROLE app") && !text("roles.json.gz").contains("SCRAM-SHA-256")
    );
    assert!(text("secrets.json.gz").contains("SCRAM-SHA-256$"));
    assert!(!text("secrets.json.gz").contains("Tr0ub4dor"));

    // Missing ones are named at once, with what to do, and nothing is touched.
    let before = (state(&client, &there.url("app")), described(&there.url("postgres")));
    for (file, advice) in [("roles.json.gz", "--with-roles"), ("none.json.gz", "CREATE ROLE \"Odd 'r'\";")] {
        let run = explained(keeper.run(&["restore", "--file", file]), 1);
        for role in ["role Odd 'r' (", "role app (", "role app_group ("] {
            run.says(role);
        }
        run.says(advice).says("--no-owner --no-privileges");
        let now = (state(&client, &there.url("app")), described(&there.url("postgres")));
        assert_eq!(before, now);
    }

    // A restore that fails takes them away again.
    there.execute("app", "DROP EXTENSION plpgsql");
    here.execute("app", "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'");
    keeper.ok(&["backup", "-d", &source, "--with-roles", "--out", "failing.json.gz"]);
    for fill in ["", "CREATE TABLE mine (a int)"] {
        there.execute("app", fill);
        let before = (state(&client, &there.url("app")), described(&there.url("postgres")));
        explained(keeper.run(&["restore", "--with-roles", "--file", "failing.json.gz"]), 1)
            .says("FUNCTION public.f()");
        let now = (state(&client, &there.url("app")), described(&there.url("postgres")));
        assert_eq!(before, now);
    }
    there.execute("postgres", "DROP DATABASE app");
    there.create_database("app");

    // And with them, all is as it was.
    keeper.ok(&["restore", "--with-roles", "--file", "failing.json.gz"]);
    let log = keeper.restore_log();
    assert_eq!(log["roles_created"].as_array().map(Vec::len), Some(3), "{log:#}");
    assert_eq!(described(&source), described(&there.url("postgres")));
    same("the database", &state(&client, &source), &state(&client, &there.url("app")));
    // A second database of that cluster finds them there; into one that holds something, the missing are made, too.
    there.execute("postgres", "CREATE DATABASE filled TEMPLATE template0");
    there.execute("app", "DROP OWNED BY app, app_group, \"Odd 'r'\"; DROP FUNCTION f()");
    there.execute("postgres", "DROP ROLE app, \"Odd 'r'\"");
    there.execute("filled", "CREATE TABLE mine AS SELECT 1 AS x");
    let filled = there.url("filled");
    keeper.ok(&["restore", "--with-roles", "--safe", "-d", &filled, "--file", "secrets.json.gz"]);
    assert_eq!(described(&source), described(&there.url("postgres")));
    let password = "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'";
    assert_eq!(here.query("postgres", password), there.query("postgres", password));
    assert!(state(&client, &filled).contains("OWNER TO app_group"));
}

#[test]
fn roles_are_made_all_or_none_and_with_them_what_they_are_to_roles_that_are_there() {
    // Since 16 it counts who granted.
    let major = majors().contains(&18).then_some(18);
    let [here, there] = [(); 2].map(|()| Cluster::start(Options { major, ..Options::default() }));
    let Some(client) = Client::for_server(here.postgres.major) else { return };
    there.execute("postgres", "CREATE ROLE dba; CREATE ROLE other_dba");
    here.execute(
        "postgres",
        "CREATE ROLE dba; CREATE ROLE other_dba; GRANT dba TO other_dba; CREATE ROLE \"a \"\" TO b\"; CREATE ROLE owner SUPERUSER; CREATE ROLE z;
         GRANT \"a \"\" TO b\" TO dba; GRANT \"a \"\" TO b\" TO pg_monitor; GRANT \"a \"\" TO b\" TO z WITH ADMIN OPTION; GRANT dba TO z;
         SET ROLE z; GRANT \"a \"\" TO b\" TO owner",
    );
    here.create_database("app");
    here.execute("app", "CREATE TABLE t (a int); ALTER TABLE t OWNER TO z");
    there.create_database("app");
    let keeper = Pgkeep::on(&there.url("app"));
    let target = there.url("app");
    let backup = |file: &str| keeper.ok(&["backup", "-d", &here.url("app"), "--with-roles", "--out", file]);
    let before = (state(&client, &target), described(&target));
    let is_as_before = || assert_eq!(before, (state(&client, &target), described(&target)));

    // One of them cannot be made.
    here.execute("postgres", "ALTER ROLE owner SET work_mem = '7MB'");
    here.execute("postgres", "UPDATE pg_db_role_setting SET setconfig = '{\"nonsense=1\"}'");
    backup("bad.json.gz");
    let run = explained(keeper.run(&["restore", "--with-roles", "--file", "bad.json.gz"]), 1);
    run.says("making role owner").says("no role was made");
    is_as_before();
    here.execute("postgres", "DELETE FROM pg_db_role_setting");

    // All are made, and then the restore fails.
    let only_here = format!("SELECT 1 / (current_setting('port') = '{}')::int AS x", here.port);
    here.execute("app", &format!("CREATE MATERIALIZED VIEW late AS {only_here}"));
    backup("late.json.gz");
    for more in [&[][..], &["--safe"]] {
        let args = [&["restore", "--with-roles", "--file", "late.json.gz"], more].concat();
        explained(keeper.run(&args), 1).says("REFRESH public.late").says("the target is as it was");
        is_as_before();
    }

    here.execute("app", "DROP MATERIALIZED VIEW late");
    backup("good.json.gz");
    keeper.ok(&["restore", "--with-roles", "--file", "good.json.gz"]);
    let members = "SELECT pg_get_userbyid(roleid), pg_get_userbyid(member), pg_get_userbyid(grantor), admin_option
        FROM pg_auth_members WHERE roleid >= 16384 AND NOT (pg_get_userbyid(roleid) = 'dba' AND pg_get_userbyid(member) = 'other_dba')
        ORDER BY 1, 2, 3";
    let granted = here.query("postgres", members);
    assert!(granted.len() >= 5, "{granted:?}");
    assert_eq!(granted, there.query("postgres", members));
    // What existing roles are to each other is their own business.
    let others = "SELECT 1 FROM pg_auth_members WHERE pg_get_userbyid(member) = 'other_dba'";
    assert!(there.query("postgres", others).is_empty());
}
