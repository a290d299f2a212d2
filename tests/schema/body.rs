//! What an archive says about a database, without what says when, where and by whom it was written.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

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
