//! Random schemas: composite keys, keys of a table to itself, circles, keys that may be NULL or half so, several between two
//! tables, partitions, types that differ.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::found::{
    Asked, ask, ask_archive, ask_archive_for_references, backup, of_archive, of_database, scope,
};
use crate::support::{Database, shared};
use crate::world::{World, worlds};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Holds `check` against random worlds, each in a schema of its own.
fn hold(database: &Database<'_>, check: impl Fn(&str, &World) -> Result<(), TestCaseError>) {
    let cases = std::env::var("PGKEEP_TEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let config = Config { cases, max_shrink_iters: 300, failure_persistence: None, ..Config::default() };
    let done = TestRunner::new(config).run(&worlds(), |world| {
        let schema = format!("s{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        database.execute(&world.sql(&schema));
        let checked = check(&schema, &world);
        database.execute(&format!("SET client_min_messages = error; DROP SCHEMA {schema} CASCADE"));
        checked
    });
    if let Err(failure) = done {
        panic!("{failure}");
    }
}

fn tables(schema: &str, world: &World) -> Vec<String> {
    (0..world.tables.len()).map(|number| format!("{schema}.t{number}")).collect()
}

/// The archive's tables, and which table each belongs to where partitions are tables of their own.
fn archived(schema: &str, world: &World) -> (String, BTreeMap<String, String>) {
    if world.apart {
        let leaves = world.leaves();
        let names: Vec<String> = leaves.keys().map(|leaf| format!("{schema}.{leaf}")).collect();
        return (names.join(","), leaves);
    }
    (tables(schema, world).join(","), BTreeMap::new())
}

#[test]
fn an_entity_is_what_following_every_key_of_every_row_finds() {
    let database = shared(None).database("random_entities");
    hold(&database, |schema, world| {
        let expected = world.entity();
        let leaves = world.leaves();
        let within: Vec<String> =
            (0..world.tables.len()).filter(|t| world.within[*t]).map(|t| format!("{schema}.t{t}")).collect();
        // A filter without patterns would take all.
        let within = if within.is_empty() { vec!["none.none".to_owned()] } else { within };
        let live_roots: Vec<String> = world
            .roots
            .iter()
            .map(|(t, row)| format!("{schema}.t{t}={}", world.tables[*t].id(*row)))
            .collect();
        let asked = scope(&live_roots, world.narrow.then_some(within.as_slice()));
        let (rows, tree) = ask(&database.url, &Asked::Entity(&asked)).unwrap();
        prop_assert_eq!(&of_database(&database.url, &rows, &tables(schema, world)), &expected);
        prop_assert_eq!(tree.rows, expected.len() as u64);

        let (patterns, top) = archived(schema, world);
        // Without definitions there is as much to know, but for which tables are partitions of one.
        let data_only = if world.tables.len() % 2 == 0 && !world.apart { &["--data-only"][..] } else { &[] };
        let archive = backup(&database.url, &[&["--table", patterns.as_str()], data_only].concat());
        let root = |(table, row): &(usize, usize)| {
            let name = if world.apart { world.leaf(*table, *row) } else { World::name(*table) };
            format!("{schema}.{name}={}", world.tables[*table].id(*row))
        };
        let roots: Vec<String> = world.roots.iter().map(root).collect();
        let within_archive: Vec<String> = match world.apart {
            false => within,
            true => leaves
                .iter()
                .filter(|(_, top)| within.contains(&format!("{schema}.{top}")))
                .map(|(leaf, _)| format!("{schema}.{leaf}"))
                .chain(["none.none".to_owned()])
                .collect(),
        };
        let asked = scope(&roots, world.narrow.then_some(within_archive.as_slice()));
        let (rows, of_archived) = ask_archive(&archive, &asked).unwrap();
        prop_assert_eq!(&of_archive(&archive, &rows, &top), &expected);
        prop_assert_eq!(of_archived.rows, expected.len() as u64);
        if !world.apart {
            prop_assert_eq!(of_archived.needed, tree.needed);
        }
        Ok(())
    });
}

#[test]
fn the_rows_that_tables_need_are_what_following_every_key_upwards_finds() {
    let database = shared(None).database("random_references");
    hold(&database, |schema, world| {
        let given: Vec<usize> = (0..world.tables.len()).filter(|table| world.within[*table]).collect();
        let expected = world.with_references(&given);
        let added: Vec<_> = {
            let is_given = |name: &String| given.iter().any(|table| World::name(*table) == *name);
            expected.iter().filter(|(name, _)| !is_given(name)).cloned().collect()
        };
        let whole: Vec<_> = given.iter().map(|table| (format!("{schema}.t{table}"), None)).collect();
        let (rows, tree) = ask(&database.url, &Asked::References(&whole)).unwrap();
        let found = of_database(&database.url, &rows, &tables(schema, world));
        prop_assert_eq!(found.into_iter().collect::<Vec<_>>(), added.clone());
        prop_assert_eq!(tree.needed.iter().map(|needed| needed.rows).sum::<u64>(), added.len() as u64);
        // Rows that meet a condition are found themselves, too.
        let all: Vec<_> =
            whole.iter().map(|(table, _)| (table.clone(), Some("n >= 0 -- all".to_owned()))).collect();
        let (rows, _) = ask(&database.url, &Asked::References(&all)).unwrap();
        prop_assert_eq!(&of_database(&database.url, &rows, &tables(schema, world)), &expected);

        let (patterns, top) = archived(schema, world);
        let archive = backup(&database.url, &["--table", &patterns]);
        let is_given = |name: &String| {
            let name = top.get(name).unwrap_or(name);
            given.iter().any(|table| World::name(*table) == *name)
        };
        let numbers: Vec<u32> =
            (0..).zip(&archive.header().tables).filter(|(_, t)| is_given(&t.name)).map(|(n, _)| n).collect();
        let (rows, _) = ask_archive_for_references(&archive, &numbers);
        prop_assert_eq!(&of_archive(&archive, &rows, &top), &expected);
        Ok(())
    });
}
