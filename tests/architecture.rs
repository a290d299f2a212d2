//! ARCHITECTURE.md is true: it names what there is, and the rooms know only those below them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

fn sources() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_path_buf());
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    assert!(found.len() > 20, "{found:?}");
    found.sort();
    found
}

/// What stands in backticks and looks like a path of the project.
fn named() -> BTreeSet<String> {
    const ROOTS: [&str; 9] = [
        "src/",
        "tests/",
        "fixtures/",
        "fuzz/",
        "bench/",
        "scripts/",
        "safety_backups/",
        "summaries/",
        "docs/",
    ];
    let page = page();
    let (there, _) = page.split_once("## Where the design pages were left").unwrap();
    let names = there.split('`').skip(1).step_by(2);
    names.filter(|n| ROOTS.iter().any(|r| n.starts_with(r))).map(str::to_owned).collect()
}

#[test]
fn every_path_that_the_page_names_is_there() {
    let named = named();
    assert!(named.len() > 50, "{named:?}");
    let gone: Vec<&String> = named.iter().filter(|n| !root().join(n).exists()).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn every_source_file_is_named_on_the_page() {
    let named = named();
    let unnamed: Vec<PathBuf> =
        sources().into_iter().filter(|s| !named.contains(s.to_str().unwrap())).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    // Of the engines and the command line: each may know all before it.
    const STOREYS: [&[&str]; 5] = [
        &[
            "archive",
            "check",
            "condition",
            "connection",
            "difference",
            "failure",
            "folders",
            "host",
            "listing",
            "postgres",
            "progress",
            "row",
            "schema",
            "selection",
            "closure",
            "backup",
            "export",
        ],
        &["restore"],
        &["compare"],
        &["doctor", "rehearse"],
        &["cli"],
    ];
    const BELOW: [(&str, &[&str]); 15] = [
        ("row", &[]),
        ("difference", &[]),
        ("selection", &[]),
        ("schema", &["selection"]),
        ("progress", &[]),
        ("folders", &[]),
        ("archive", &["row", "schema", "selection"]),
        ("postgres", &["row", "schema", "selection"]),
        ("failure", &["archive", "postgres"]),
        ("closure", &["archive", "failure", "postgres", "row", "schema", "selection"]),
        ("condition", &["archive", "failure", "row", "schema"]),
        ("listing", &["archive", "folders"]),
        ("host", &["postgres", "schema"]),
        ("check", &["failure", "folders", "host", "postgres", "selection"]),
        ("connection", &["failure", "host", "postgres", "progress"]),
    ];
    let mut upwards = Vec::new();
    for source in sources() {
        let inner = source.strip_prefix("src").unwrap();
        let room = inner.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&room) {
            continue;
        }
        let below: Vec<&str> = match BELOW.iter().find(|(name, _)| *name == room) {
            Some((_, below)) => below.to_vec(),
            None => {
                let storey = STOREYS.iter().position(|s| s.contains(&room)).unwrap_or_else(|| {
                    unreachable!(
                        "{room} is a new room: say in this test and on the page which rooms it may know"
                    )
                });
                STOREYS[..=storey].concat()
            }
        };
        let text = fs::read_to_string(root().join(&source)).unwrap();
        for used in text.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if used != room && !below.contains(&used.as_str()) {
                upwards.push(format!("{} uses {used}", source.display()));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn no_source_file_grows_past_what_one_reads_at_once() {
    let long: Vec<(PathBuf, usize)> = sources()
        .into_iter()
        .map(|s| (s.clone(), fs::read_to_string(root().join(s)).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > 500)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}
