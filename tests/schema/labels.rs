//! Security labels. No provider is at hand, so that the labels are put into the catalogs by hand; no server without the
//! provider takes them back.

use crate::judged;
use crate::support::{Pgkeep, try_query};

const SQL: &str = "
    CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, \"A b\" text); CREATE VIEW s.v AS SELECT id FROM s.t;
    CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; CREATE TYPE s.kind AS ENUM ('a');
    CREATE SEQUENCE s.q; SELECT lo_create(4711);
    SET allow_system_table_mods = on;
    INSERT INTO pg_seclabel (objoid, classoid, objsubid, provider, label) VALUES
      ('s'::regnamespace, 'pg_namespace'::regclass, 0, 'dummy', 'a schema'),
      ('s.t'::regclass, 'pg_class'::regclass, 0, 'dummy', 'it''s a table'),
      ('s.t'::regclass, 'pg_class'::regclass, 2, 'Other \"one\"', 'a column'),
      ('s.v'::regclass, 'pg_class'::regclass, 0, 'dummy', 'a view'),
      ('s.q'::regclass, 'pg_class'::regclass, 0, 'dummy', 'a sequence'),
      ('s.f(int)'::regprocedure, 'pg_proc'::regclass, 0, 'dummy', 'a function'),
      ('s.kind'::regtype, 'pg_type'::regclass, 0, 'dummy', 'a type'),
      (4711, 'pg_largeobject'::regclass, 0, 'dummy', 'a large object');
    INSERT INTO pg_shseclabel (objoid, classoid, provider, label)
      SELECT oid, 'pg_database'::regclass, 'dummy', 'a database' FROM pg_database WHERE datname = current_database();";

fn labels(script: &str) -> Vec<&str> {
    let mut all: Vec<&str> = script.lines().filter(|line| line.starts_with("SECURITY LABEL")).collect();
    all.sort_unstable();
    all
}

#[test]
fn labels_are_what_pg_dump_says_and_a_server_without_their_provider_is_said_to_refuse_them() {
    for major in [13, 15, 18] {
        let Some((client, cluster)) = judged(major) else { continue };
        let database = cluster.database("labels");
        try_query(&database.url, SQL).unwrap();
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&["backup"]);
        let archive = pgkeep.only_file("backups");
        let archive = archive.to_str().unwrap();
        let script = pgkeep.ok(&["export", archive]).stdout;
        let should = client.dump(&database.url, &[]).unwrap();
        assert_eq!(labels(&script), labels(&should), "{major}");
        assert_eq!(labels(&script).len(), 8, "{major}");

        let empty = cluster.database("labels, restored");
        let run = pgkeep.run(&["restore", "-d", &empty.url, "--file", archive]).expect_code(1);
        run.says("making SCHEMA s: security label provider")
            .says("is not loaded")
            .says("the target is as it was");
        assert_eq!(empty.value("SELECT count(*) FROM pg_namespace WHERE nspname = 's'"), "0");
        let created = cluster.url("labels, created");
        pgkeep.run(&["restore", "--create", "-d", &created, "--file", archive]).expect_code(1);
    }
}
