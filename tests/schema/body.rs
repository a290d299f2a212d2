//! What an archive says about a database, without what says when, where and by whom it was written.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::support::{Pgkeep, shared};
use crate::{backup, difference};

#[test]
fn archives_have_the_same_body_where_their_databases_are_the_same_and_no_other() {
    let keeper = Pgkeep::new();
    let bodies = ["one", "other"].map(|name| {
        let database = shared(None).database(name);
        database.execute(
            "CREATE TABLE a AS SELECT 1 AS v; CREATE TABLE b AS SELECT 'x' AS v FROM generate_series(1, 2)",
        );
        let same = body(&backup(&keeper, &database.url, name).unwrap(), name);
        database.execute("UPDATE a SET v = 2");
        [same, body(&backup(&keeper, &database.url, &format!("{name} changed")).unwrap(), name)]
    });
    assert!(bodies[0][0].contains("\n[\"x\"]\n[\"x\"]\n"), "{}", bodies[0][0]);
    assert_eq!(difference(&bodies[0][0], &bodies[1][0]), None);
    assert!(difference(&bodies[0][0], &bodies[0][1]).unwrap().contains("-[1]\n+[2]\n"));
}

/// The header and the chunks as text, for two archives to be compared. The order of chunks is that in which workers
/// finished, the index and the end record follow from the chunks.
pub fn body(archive: &Path, database: &str) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(archive).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let mut header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    header["created_at"].take();
    for volatile in ["database", "lsn"] {
        header["source"][volatile].take();
    }
    let mut chunks: Vec<String> = Vec::new();
    for line in lines {
        match serde_json::from_str::<Value>(line).unwrap() {
            Value::Array(_) => {
                let chunk = chunks.last_mut().expect("rows come after the line that names their table");
                *chunk += line;
                chunk.push('\n');
            }
            other if ["chunk", "totals", "end"].iter().any(|key| other.get(key).is_some()) => {}
            _ => chunks.push(format!("{line}\n")),
        }
    }
    chunks.sort();
    let header = serde_json::to_string_pretty(&header).unwrap();
    format!("{}\n{}", header.replace(database, "DATABASE"), chunks.concat())
}
