//! `--exclude` leaves out tables, and nothing that has to do with none.

use crate::world::{World, same, state};

const SQL: &str = "
    CREATE EXTENSION IF NOT EXISTS plpgsql; CREATE SCHEMA audit; CREATE SCHEMA api; GRANT USAGE ON SCHEMA api TO object_reader;
    CREATE TYPE mood AS ENUM ('a'); CREATE DOMAIN email AS text CONSTRAINT ok CHECK (length(VALUE) > 0);
    ALTER DOMAIN email ADD CONSTRAINT late CHECK (VALUE <> 'x') NOT VALID;
    CREATE FUNCTION api.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    ALTER DEFAULT PRIVILEGES IN SCHEMA api GRANT EXECUTE ON FUNCTIONS TO object_reader;
    CREATE TABLE t (id int PRIMARY KEY, e email); INSERT INTO t VALUES (1);
    CREATE TABLE cache_pages (id serial PRIMARY KEY, of int REFERENCES t); INSERT INTO cache_pages (of) VALUES (1);
    CREATE TABLE links (id int PRIMARY KEY, page int REFERENCES cache_pages);
    CREATE TABLE cache_days (d date) PARTITION BY RANGE (d);
    CREATE TABLE day_1 PARTITION OF cache_days FOR VALUES FROM ('2025-01-01') TO ('2025-01-02');";

/// What of that has nothing to do with the excluded tables.
const REST: &str = "
    DROP TABLE cache_days; ALTER TABLE links DROP CONSTRAINT links_page_fkey; DROP TABLE cache_pages;";

#[test]
fn all_else_is_in_the_archive_and_comes_back() {
    let Some(world) = World::new("excluded", SQL) else { return };
    let archive = world.backup(&["--exclude", "cache_*"]);
    let should = world.made_by("excluded, should", &format!("{SQL} {REST}"));
    let cluster = world.database.cluster;
    for (name, archive, more) in
        [("at backup", &archive, &[][..]), ("at restore", &world.archive, &["--exclude", "cache_*"])]
    {
        let url = cluster.url(&format!("excluded, {name}"));
        let arguments = ["restore", "--create", "-d", &url, "--file", archive];
        world.keeper.ok(&[&arguments, more].concat());
        same(name, &should, &state(&world.client, &url));
    }
    // What the archive was never asked to hold is no difference.
    world.keeper.ok(&["diff", &archive, &world.archive, "--schema", "--exit-code"]);
    let script = world.keeper.ok(&["export", &archive, "--exclude", "links"]).stdout;
    assert!(script.contains("CREATE FUNCTION api.f()") || script.contains("FUNCTION api.f()"));
    assert!(!script.contains("TABLE public.links"));
}

#[test]
fn a_table_that_something_needs_stays_without_its_rows_and_is_named() {
    let sql = format!(
        "{SQL} CREATE TABLE audit.log (id int PRIMARY KEY, who text); CREATE INDEX ON audit.log (who);
         INSERT INTO audit.log VALUES (1); CREATE VIEW seen AS SELECT t.id, l.who FROM t JOIN audit.log l USING (id)"
    );
    let Some(world) = World::new("excluded, needed", &sql) else { return };
    let should = world.made_by("excluded, needed, should", &format!("{sql}; TRUNCATE audit.log"));
    let path = world.keeper.dir().join("needed.json.gz");
    let path = path.to_str().unwrap();
    let run = world.keeper.ok(&["backup", "--exclude", "audit.*", "--out", path]);
    run.says("TABLE audit.log is backed up without its rows: VIEW public.seen needs it");
    let copy = world.database.cluster.database("excluded, needed, rebuilt");
    world.keeper.ok(&["restore", "-d", &copy.url, "--file", path]);
    same("rebuilt", &should, &state(&world.client, &copy.url));
}

#[test]
fn a_chosen_table_brings_all_of_its_columns_domain() {
    let Some(world) = World::new("excluded, domain", SQL) else { return };
    let archive = world.backup(&["--table", "t"]);
    let url = world.database.cluster.url("excluded, domain 2");
    world.keeper.ok(&["restore", "--create", "-d", &url, "--file", &archive]);
    let text = world.client.dump(&url, &["--schema-only"]).unwrap();
    assert!(text.contains("ADD CONSTRAINT late CHECK") && !text.contains("api"), "{text}");
    let shown = world.keeper.ok(&["show", &archive, "--schema", "email"]).stdout;
    assert!(shown.contains("CREATE DOMAIN public.email") && shown.contains("CONSTRAINT late"), "{shown}");
}
