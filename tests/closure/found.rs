//! Asks both sources, and says of either which rows it has found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pgkeep::archive::reader::Archive;
use pgkeep::closure::archive::{ChosenRows, InChunk, TableRows};
use pgkeep::closure::live::{LiveRows, Start};
use pgkeep::closure::{Root, Scope, Tree, archive, live};
use pgkeep::failure::Failure;
use pgkeep::postgres::catalog::Catalog;
use pgkeep::postgres::settings;
use pgkeep::selection::TableFilter;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

use crate::support::{Pgkeep, query};

/// Rows by table and number: each table of these tests has a column `n`, which no two of its rows share.
pub type Rows = BTreeSet<(String, u64)>;

pub fn scope(roots: &[String], within: Option<&[String]>) -> Scope {
    Scope {
        roots: roots.iter().map(|text| Root::parse(text).unwrap()).collect(),
        within: within.map(|tables| TableFilter::parse(tables, &[]).unwrap()),
    }
}

/// The archive of a backup with these arguments.
pub fn backup(url: &str, arguments: &[&str]) -> Arc<Archive> {
    let pgkeep = Pgkeep::on(url);
    pgkeep.ok(&[&["backup", "--jobs", "1"], arguments].concat());
    Arc::new(Archive::open(&pgkeep.only_file("backups")).unwrap())
}

/// The rows of an archive; `top` says which table a partition belongs to.
pub fn of_archive(archive: &Archive, chosen: &ChosenRows, top: &BTreeMap<String, String>) -> Rows {
    let mut rows = Rows::new();
    for (number, table) in archive.header().tables.iter().enumerate() {
        let at = table.columns.iter().position(|column| column.name == "n").unwrap();
        let mut count = 0;
        for chunk in archive.table_chunks(number as u32) {
            let of_chunk = chosen.in_chunk(chunk);
            assert!(matches!(of_chunk, InChunk::All) || of_chunk.is_none() || !chosen.is_none(number as u32));
            for (row, line) in (0..).zip(archive.read_rows(chunk).unwrap().rows()) {
                if of_chunk.has(row) {
                    let cells: Vec<serde_json::Value> = serde_json::from_slice(line).unwrap();
                    let name = top.get(&table.name).unwrap_or(&table.name);
                    assert!(rows.insert((name.clone(), cells[at].as_u64().unwrap())));
                    count += 1;
                }
            }
        }
        assert_eq!(chosen.count(archive, number as u32), count);
    }
    rows
}

/// The rows of a database.
pub fn of_database(url: &str, chosen: &LiveRows, tables: &[String]) -> Rows {
    let mut rows = Rows::new();
    for table in tables {
        for row in query(url, &format!("SELECT tableoid::oid::text, ctid::text, n::text FROM {table}")) {
            let [leaf, tid, n] = [0, 1, 2].map(|at: usize| row[at].clone().unwrap());
            let tids = chosen.get(&leaf.parse().unwrap());
            if tids.is_some_and(|tids| tids.iter().any(|known| known.to_string() == tid)) {
                let name = table.rsplit('.').next().unwrap().to_owned();
                rows.insert((name, n.parse().unwrap()));
            }
        }
    }
    assert_eq!(rows.len(), chosen.values().map(Vec::len).sum::<usize>());
    rows
}

/// What is asked of a database.
pub enum Asked<'a> {
    Entity(&'a Scope),
    References(&'a [(String, Option<String>)]),
}

/// Asks a database, in a transaction that only reads.
pub fn ask(url: &str, asked: &Asked<'_>) -> Result<(LiveRows, Tree), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let fixed = settings::statements(150_000);
        let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        client.batch_execute(&format!("{begin}; {fixed}")).await.unwrap();
        let catalog = Catalog::read(&client).await.unwrap();
        let answer = match asked {
            Asked::Entity(scope) => live::entity(&client, &catalog, scope).await,
            Asked::References(starts) => {
                let start = |(table, condition): &(String, Option<String>)| {
                    let (schema, name) = table.split_once('.').unwrap();
                    let relation = catalog.find(schema, name).unwrap().oid;
                    Start { relation, condition: condition.clone() }
                };
                let starts: Vec<Start> = starts.iter().map(start).collect();
                live::references(&client, &catalog, &starts).await
            }
        };
        if answer.is_ok() {
            // Nothing is left of how it was found.
            let path = client.query_one("SELECT current_setting('search_path')", &[]).await.unwrap();
            assert_eq!(path.get::<_, &str>(0), "\"\"");
        }
        answer
    })
}

/// Asks an archive, with one thread and with three.
pub fn ask_archive(archive: &Arc<Archive>, scope: &Scope) -> Result<(ChosenRows, Tree), Failure> {
    let cancel = CancellationToken::new();
    let one = archive::entity(archive, scope, 1, &cancel);
    let three = archive::entity(archive, scope, 3, &cancel);
    match (&one, &three) {
        (Ok(one), Ok(three)) => assert_eq!(one, three),
        (one, three) => assert!(one.is_err() && three.is_err()),
    }
    one
}

/// The rows that those of whole tables need, and these tables themselves.
pub fn ask_archive_for_references(archive: &Arc<Archive>, tables: &[u32]) -> (ChosenRows, Tree) {
    let mut chosen = ChosenRows::none(archive.header().tables.len());
    for table in tables {
        chosen.set(*table, TableRows::All);
    }
    archive::references(archive, chosen, 2, &CancellationToken::new()).unwrap()
}
