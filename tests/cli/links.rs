//! Links between the documents lead somewhere.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::documents::documents;

/// The targets of inline links, those on the web left out.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://"))
        .collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut open = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with("```") {
            open = !open;
        }
        let heading = line.trim_start_matches('#');
        if open || heading == line || !heading.starts_with(' ') {
            continue;
        }
        let anchor: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        assert!(found.insert(anchor), "two headings have one anchor: {line}");
    }
    found
}

/// `a/../b` is `b`.
fn plain(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(parts.pop(), "{} leads out of the repository", path.display()),
            part => parts.push(part),
        }
    }
    parts
}

#[test]
fn every_link_between_documents_leads_to_a_file_and_a_heading() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in documents() {
        for link in links(&text) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => PathBuf::from(&path),
                file => plain(&Path::new(&path).parent().unwrap().join(file)),
            };
            match std::fs::read_to_string(top.join(&target)) {
                Ok(text) if anchor.is_empty() || anchors(&text).contains(anchor) => {}
                Ok(_) => wrong.push(format!("{path}: {link}: there is no such heading")),
                Err(error) => wrong.push(format!("{path}: {link}: {error}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 10, "the documents have links, and they were found: {seen}");
}
