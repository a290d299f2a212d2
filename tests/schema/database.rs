//! Databases that the restore makes by itself (`--create`), with their properties.

use crate::support::{Client, Cluster, Pgkeep, difference, try_query};
use crate::{MAJORS, backup, judged, pgkeep};

/// A major from which on it can be made, options of CREATE DATABASE, and what follows.
const DATABASES: [(u32, &str, &str); 9] = [
    (
        13,
        "",
        "ALTER DATABASE %d SET work_mem = '7MB';
         ALTER DATABASE %d SET search_path = public, \"Odd \"\"s\"\".é\", pg_temp;
         ALTER DATABASE %d SET \"DateStyle\" = 'ISO, DMY';
         ALTER DATABASE %d SET application_name = 'it''s \\ \"x\"';
         ALTER DATABASE %d SET default_transaction_read_only = off;
         ALTER DATABASE %d SET temp_tablespaces = '';
         ALTER ROLE object_owner IN DATABASE %d SET search_path = a, \"B c\";
         ALTER ROLE \"Odd \"\"Role\"\", é\" IN DATABASE %d SET statement_timeout = '5min';
         COMMENT ON DATABASE %d IS 'it''s a \"database\"'",
    ),
    (
        13,
        "OWNER object_owner CONNECTION LIMIT 17",
        "GRANT CREATE ON DATABASE %d TO object_writer WITH GRANT OPTION;
         REVOKE TEMPORARY, CONNECT ON DATABASE %d FROM PUBLIC;
         GRANT TEMPORARY ON DATABASE %d TO object_reader",
    ),
    (
        13,
        "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
        "CREATE TABLE t (v text); INSERT INTO t VALUES ('é')",
    ),
    (13, "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'POSIX' IS_TEMPLATE true", "CREATE TABLE t (v text)"),
    (13, "TABLESPACE object_space", "CREATE TABLE t (v int PRIMARY KEY) TABLESPACE pg_default"),
    (15, "", "ALTER SCHEMA public RENAME TO old; CREATE TABLE old.t (v int)"),
    (13, "", "ALTER SCHEMA public RENAME TO old; CREATE SCHEMA public; COMMENT ON SCHEMA old IS NULL"),
    (15, "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk'", "CREATE TABLE t (v text)"),
    (17, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'", "CREATE TABLE t (v text)"),
];

#[test]
fn a_database_is_made_anew_with_all_its_properties() {
    let mut failures = Vec::new();
    for major in MAJORS {
        let Some((client, cluster)) = judged(major) else { continue };
        for (number, (since, options, more)) in DATABASES.into_iter().enumerate() {
            let name = format!("properties {number}");
            if let Err(what) =
                if since <= major { made_anew(cluster, &client, &name, options, more) } else { Ok(()) }
            {
                failures.push(format!("== {options:?} on {major}: {what}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The database keeps its name, because pg_dump tells it.
fn made_anew(
    cluster: &Cluster,
    client: &Client,
    name: &str,
    options: &str,
    more: &str,
) -> Result<(), String> {
    let server = cluster.url("postgres");
    try_query(&server, &format!("CREATE DATABASE \"{name}\" TEMPLATE template0 {options}"))?;
    let url = cluster.url(name);
    try_query(&url, &more.replace("%d", &format!("\"{name}\"")))?;
    let should = client.dump(&url, &["--create"])?;
    let keeper = Pgkeep::new();
    let archive = backup(&keeper, &url, "original")?;
    try_query(&server, &format!("ALTER DATABASE \"{name}\" IS_TEMPLATE false"))?;
    try_query(&server, &format!("DROP DATABASE \"{name}\""))?;
    pgkeep(&keeper, &url, &["restore", "--create", "--file", archive.to_str().unwrap()])?;
    let is = client.dump(&url, &["--create"])?;
    difference(&should, &is).map_or(Ok(()), |shown| Err(format!("pg_dump --create differs:\n{shown}")))
}

/// JSON is UTF-8; a database of this encoding may hold any bytes, in definitions as well.
#[test]
fn definitions_that_are_not_utf_8_are_refused_and_the_rows_of_such_a_database_are_not() {
    let Some((_, cluster)) = judged(15) else { return };
    let server = cluster.url("postgres");
    let options = "TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'";
    try_query(&server, &format!("CREATE DATABASE \"any bytes\" {options}")).unwrap();
    let url = cluster.url("any bytes");
    let sql = "CREATE TABLE t (v text); INSERT INTO t VALUES (E'\\xe9'); COMMENT ON TABLE t IS E'caf\\xe9'";
    try_query(&url, sql).unwrap();
    for more in [&[][..], &["--schema-only"]] {
        let run = Pgkeep::on(&url).run(&[&["backup"], more].concat()).expect_code(1);
        run.says("definitions").says("--data-only").says("nothing was written");
    }
    Pgkeep::on(&url).ok(&["backup", "--data-only"]);
}
