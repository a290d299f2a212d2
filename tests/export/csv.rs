//! A table's rows as CSV, byte for byte as the server itself prints them.

use futures_util::TryStreamExt;
use tokio_postgres::NoTls;

use crate::backed_up;
use crate::support::{fixture, query, shared};

/// What the server's own COPY prints of a table, under the settings of a backup.
fn servers_own(url: &str, table: &str) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let settings = pgkeep::postgres::settings::statements(150_000);
        client.batch_execute(&format!("BEGIN; {settings}")).await.unwrap();
        let sql = format!("COPY {table} TO STDOUT WITH (FORMAT csv, HEADER)");
        let pieces: Vec<bytes::Bytes> = client.copy_out(&sql).await.unwrap().try_collect().await.unwrap();
        pieces.concat()
    })
}

#[test]
fn csv_of_every_type_is_what_the_server_prints() {
    let database = shared(None).database("export_csv");
    database.execute(&fixture("awkward_types.sql"));
    database.execute(
        "CREATE TABLE csv_odd (\"a,b\" text, \"say \"\"hi\"\"\" text, \"\\.\" text);
         INSERT INTO csv_odd VALUES ('', NULL, '\\.'), ('\"', 'a,b', E'a\\nb'), (E'a\\rb', ' x ', E'\\t');
         CREATE TABLE csv_alone (\"\\.\" text); INSERT INTO csv_alone VALUES ('\\.'), (NULL), (''), ('\\N');",
    );
    let (pgkeep, archive) = backed_up(&database);
    let archive = archive.to_str().unwrap();
    let tables = query(
        &database.url,
        "SELECT format('%I.%I', nspname, relname), format('\"%s\".\"%s\"', replace(nspname, '\"', '\"\"'), replace(relname, '\"', '\"\"'))
           FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
          WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND relpersistence <> 't'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
            AND NOT relispartition
          ORDER BY 1",
    );
    assert!(tables.len() > 20, "{tables:?}");
    for (number, row) in tables.iter().enumerate() {
        let [sql, pattern] = [&row[0], &row[1]].map(|cell| cell.clone().unwrap());
        let out = format!("{number}.csv");
        pgkeep.ok(&["export", archive, "--format", "csv", "--table", &pattern, "--out", &out]);
        let csv = std::fs::read(pgkeep.dir().join(out)).unwrap();
        let should = servers_own(&database.url, &sql);
        let [is, should] = [csv, should].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(is == should, "{sql}:\n{}", crate::support::difference(&should, &is).unwrap());
    }
}

#[test]
fn csv_is_one_table() {
    let database = shared(None).database("export_csv_one");
    database.execute("CREATE TABLE a (i int); CREATE TABLE b (i int); INSERT INTO a VALUES (1), (NULL)");
    let (pgkeep, archive) = backed_up(&database);
    let archive = archive.to_str().unwrap();
    let csv = |more: &[&str]| pgkeep.run(&[&["export", archive, "--format", "csv"], more].concat());
    assert_eq!(csv(&["--table", "a"]).expect_code(0).stdout, "i\n1\n\n");
    csv(&[]).expect_code(2).says("2 tables of the archive are chosen").says("--table");
    csv(&["--table", "c"]).expect_code(2).says("0 tables");
    csv(&["--table", "a", "--clean"]).expect_code(2).says("--clean means nothing for CSV");
}
