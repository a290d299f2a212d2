//! Any bytes into the archive reader: an error or rows, never a panic, never memory beyond what the format allows.
//!
//! The first byte says where the others go: they are a whole file, or one part of a plain archive whose other parts
//! and checksums are right, so that the fuzzer is not held up by checksums that it cannot guess.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgkeep::archive::Archive;
use pgkeep::archive::checksum::sha256_hex;
use pgkeep::archive::validate::{ValidateOptions, validate};

const HEADER: &[u8] = br#"{"format":"pgkeep","version":1,"kind":"backup","tool":"t","created_at":"2025-11-28T07:47:23Z","source":{"host":"h","port":1,"database":"d","server_version":"15","server_version_num":150000,"encoding":"UTF8"},"tables":[{"schema":"public","name":"t","columns":[{"name":"a","type":"text"},{"name":"b","type":"text"}]}]}
"#;
const TABLE: &[u8] = br#"{"schema":"public","table":"t","columns":["a","b"]}
"#;

fuzz_target!(|data: &[u8]| {
    let Some((place, data)) = data.split_first() else { return };
    let file = match place % 4 {
        0 => data.to_vec(),
        1 => archive(data, &[], None),
        2 => archive(HEADER, &[TABLE, data].concat(), None),
        _ => archive(HEADER, &[TABLE, b"[1,2]\n"].concat(), Some(data)),
    };
    let Ok(archive) = Archive::from_bytes(file) else { return };
    let options = ValidateOptions { threads: 1, critical: vec!["t".into()], ..ValidateOptions::default() };
    let report = validate(&archive, &options, &|_| {}, &|| false).expect("nobody cancels");
    if report.damaged_chunks == 0 {
        for chunk in archive.chunks().iter().skip(1) {
            let rows = archive.read_rows(chunk).expect("it was found whole");
            assert_eq!(rows.rows().count() as u64, chunk.rows);
        }
    }
});

/// A plain archive of a header, one chunk of rows unless it is empty, and the index that is true of them, or another.
fn archive(header: &[u8], rows: &[u8], index: Option<&[u8]>) -> Vec<u8> {
    let mut file = [header, rows].concat();
    let chunk = |kind: &str, offset: usize, raw: &[u8], rows: usize| {
        let (length, sha256) = (raw.len(), sha256_hex(raw));
        format!(
            "{{\"chunk\":{{{kind},\"offset\":{offset},\"length\":{length},\"bytes\":{length},\"rows\":{rows},\
             \"sha256\":\"{sha256}\"}}}}\n"
        )
    };
    let count = rows.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
    let mut lines = chunk("\"kind\":\"header\"", 0, header, 0);
    let mut tables = String::new();
    if !rows.is_empty() {
        lines += &chunk("\"kind\":\"rows\",\"table\":0", header.len(), rows, count);
        tables = count.to_string();
    }
    let table_count = usize::from(!tables.is_empty());
    lines += &format!(
        "{{\"totals\":{{\"tables\":{table_count},\"rows\":{count},\"bytes\":{},\"table_rows\":[{tables}]}}}}\n",
        file.len()
    );
    let index = index.unwrap_or(lines.as_bytes());
    let end = format!(
        "{{\"end\":\"pgkeep\",\"version\":1,\"index_offset\":{:20},\"index_length\":{:20},\"index_bytes\":{:20},\
         \"index_sha256\":\"{}\"}}\n",
        file.len(),
        index.len(),
        index.len(),
        sha256_hex(index)
    );
    file.extend_from_slice(index);
    file.extend_from_slice(end.as_bytes());
    file
}
