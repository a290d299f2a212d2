//! The format is as `docs/format.md` says, and archives of every version stay readable.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archives;

use std::path::Path;
use std::process::Command;

use archives::{ALL, Compress, ROWS, header, sample};
use pgkeep::archive::checksum::sha256_hex;
use pgkeep::archive::compression::Compression;
use pgkeep::archive::lookup::Lookup;
use pgkeep::archive::model::{Column, Header, Table};
use pgkeep::archive::spans::KeyColumns;
use pgkeep::archive::validate::{ValidateOptions, validate, validate_path};
use pgkeep::archive::writer::{ArchiveWriter, ChunkEncoder, table_line};
use pgkeep::archive::{Archive, ArchiveError};
use pgkeep::row::CellForm;
use proptest::collection::vec;
use proptest::prelude::*;

/// The golden archive of version 1; how one is made is said at [`the_golden_archive_holds_the_sample`].
const GOLDEN: &str = "fixtures/archives/v1.json.gz";

/// Every table's rows, in their order, as text.
fn rows_of(archive: &Archive) -> Vec<Vec<String>> {
    let tables = 0..archive.header().tables.len() as u32;
    let rows = |table| {
        let chunks = archive.table_chunks(table).into_iter().map(|chunk| archive.read_rows(chunk).unwrap());
        let text = |row: &[u8]| String::from_utf8(row.to_vec()).unwrap();
        chunks.flat_map(|chunk| chunk.rows().map(text).collect::<Vec<_>>()).collect()
    };
    tables.map(rows).collect()
}

/// What [`rows_of`] must give for the sample.
fn sample_rows() -> Vec<Vec<String>> {
    let mut chunks = ROWS;
    chunks.sort_by_key(|(table, range, piece, _)| (*table, *range, *piece));
    let mut rows = vec![Vec::new(); header().tables.len()];
    for (table, _, _, lines) in chunks {
        rows[table as usize].extend(lines.iter().map(|line| line.to_string()));
    }
    rows
}

#[test]
fn what_is_written_is_read() {
    for compression in ALL {
        let archive = Archive::from_bytes(sample(compression)).unwrap();
        assert_eq!(archive.header(), &header());
        assert_eq!(archive.compression().name(), compression.name());
        assert_eq!(rows_of(&archive), sample_rows());
    }
}

#[test]
fn an_archive_can_be_read_by_many_threads() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Archive>();
    sent::<ChunkEncoder>();
    sent::<ArchiveWriter<std::fs::File>>();
    sent::<ArchiveError>();
}

#[test]
fn an_archive_is_an_ordinary_compressed_file_of_json_lines() {
    for (compression, tool) in [(Compression::Gzip(2), "zcat"), (Compression::None, "cat")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.gz");
        std::fs::write(&path, sample(compression)).unwrap();
        let output = Command::new(tool).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        let second = text.lines().nth(1).unwrap();
        assert!(second.starts_with(r#"{"schema":"public","table":"users","columns":["id","#), "{second}");
    }
    let text = zstd::stream::decode_all(&sample(Compression::Zstd(1))[..]).unwrap();
    assert!(text.ends_with(b"\"}\n"));
}

#[test]
fn a_stranger_reads_an_archive_by_the_written_format_alone() {
    let reader = include_str!("format_reader.py");
    assert!(reader.lines().count() <= 60);
    let folder = tempfile::tempdir().unwrap();
    for compression in [Compression::Gzip(2), Compression::None] {
        let path = folder.path().join(compression.name());
        let bytes = sample(compression);
        std::fs::write(&path, &bytes).unwrap();
        let run =
            || Command::new("python3").args(["tests/format_reader.py".as_ref(), path.as_path()]).output();
        let output = run().expect("python3 is needed for this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut expected = Vec::new();
        for (table, rows) in header().tables.iter().zip(sample_rows()) {
            expected.push(serde_json::json!([table.schema, table.name]));
            expected.extend(rows.iter().map(|row| plain(row)));
        }
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed: Vec<serde_json::Value> =
            printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(printed, expected);

        for at in [20, bytes.len() / 2, bytes.len() - 300, bytes.len() - 30] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            std::fs::write(&path, damaged).unwrap();
            assert!(!run().unwrap().status.success(), "byte {at}");
        }
    }
}

/// A row as the reader in Python prints it.
fn plain(row: &str) -> serde_json::Value {
    let mut row: Vec<serde_json::Value> = serde_json::from_str(row).unwrap();
    for cell in &mut row {
        if let Some(text) = cell.get("$text") {
            *cell = text.clone();
        } else if let Some(hex) = cell.get("$hex").and_then(|hex| hex.as_str()) {
            *cell = format!("hex {hex}").into();
        }
    }
    row.into()
}

#[test]
fn the_end_record_has_the_bytes_of_the_written_format() {
    let format = include_str!("../docs/format.md");
    for (compression, name) in ALL.into_iter().zip(["gzip", "zstd", "plain"]) {
        let end = archives::end_record(compression, 0, b"", 0);
        let row =
            format.lines().find(|line| line.starts_with(&format!("| {name} | {} |", end.len()))).unwrap();
        let front: Vec<u8> = row.split('`').skip(1).step_by(2).take(2).flat_map(unhex).collect();
        assert!(end.starts_with(&front), "{row}");
        assert!(sample(compression).len() > end.len());
    }
}

fn unhex(text: &str) -> Vec<u8> {
    text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn the_same_rows_give_the_same_chunk_in_any_archive() {
    let table = &header().tables[0];
    let raw = [table_line(table), b"[1,\"Ann\",\"0\",true,{},0]\n".to_vec()].concat();
    for compression in ALL {
        let mut encoder = ChunkEncoder::new(compression).unwrap();
        let first = encoder.seal_rows(0, 0, 0, &raw, 1, &KeyColumns::of(table)).unwrap();
        let second = encoder.seal_rows(3, 7, 1, &raw, 1, &KeyColumns::default()).unwrap();
        assert_eq!(first.sha256(), second.sha256());
        assert_eq!(first.sha256(), sha256_hex(&compression.compress(&raw)));
        assert_eq!(sample(compression), sample(compression));
    }
}

/// Released archives never change. A new version of the format gets a new file, which
/// `PGKEEP_WRITE_GOLDEN=fixtures/archives/vN.json.gz cargo test --test format golden` makes.
#[test]
fn the_golden_archive_holds_the_sample() {
    if let Some(path) = std::env::var_os("PGKEEP_WRITE_GOLDEN") {
        assert!(!Path::new(&path).exists(), "a golden archive is never replaced");
        std::fs::write(path, sample(Compression::default())).unwrap();
    }
    let golden = Archive::open(Path::new(GOLDEN)).unwrap();
    let now = Archive::from_bytes(sample(Compression::default())).unwrap();
    assert_eq!(golden.header(), now.header());
    assert_eq!(golden.totals(), now.totals());
    assert_eq!(rows_of(&golden), rows_of(&now));
}

#[test]
fn every_archive_that_was_ever_released_is_read_completely() {
    let mut seen = 0;
    for entry in std::fs::read_dir("fixtures/archives").unwrap() {
        let path = entry.unwrap().path();
        let archive = Archive::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let report = validate(&archive, &ValidateOptions::default(), &|_| {}, &|| false).unwrap();
        assert!(report.is_valid(), "{}: {:?}", path.display(), report.damage);
        assert_eq!(rows_of(&archive).iter().map(Vec::len).sum::<usize>() as u64, archive.totals().rows);
        assert!(validate_path(&path, &ValidateOptions::default(), &|_| {}, &|| false).unwrap().is_valid());
        seen += 1;
    }
    assert!(seen > 0);
}

/// A table of a number and a text that are its key, and something else before them.
fn keyed() -> Header {
    let column = |name: &str, form| Column { name: name.into(), form, ..Column::default() };
    let columns = vec![
        column("other", CellForm::Json),
        column("number", CellForm::Number),
        column("text", CellForm::Text),
    ];
    let key = vec!["text".into(), "number".into()];
    let table = Table { schema: "public".into(), name: "keyed".into(), columns, key, ..Table::default() };
    Header { tables: vec![table], sequences: vec![], ..header() }
}

/// A number as a cell, and its text.
fn number() -> impl Strategy<Value = (String, String)> {
    let bare = |n: i64| (n.to_string(), n.to_string());
    prop_oneof![
        8 => (-20..20_i64).prop_map(bare),
        4 => (-999_999_999_999_999..=999_999_999_999_999_i64).prop_map(bare),
        1 => any::<i64>().prop_map(|n| (format!("\"{n}\""), n.to_string())),
        1 => Just(("\"-0\"".to_owned(), "-0".to_owned())),
        1 => (-9..9_i64).prop_map(|n| (format!("{n}.5"), format!("{n}.5"))),
    ]
}

/// A text as a cell, and itself.
fn text() -> impl Strategy<Value = (String, String)> {
    let cell = |text: String| (serde_json::to_string(&text).unwrap(), text);
    prop_oneof![8 => "[a-c]{0,3}", 2 => "[a-cé\u{10000}\"\\\\\n]{0,3}", 1 => "x{60,70}"].prop_map(cell)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_rows_are_their_spans_are_true_and_hide_none_of_them(
        chunks in vec(vec((number(), text()), 1..6), 1..6),
        wanted in (number(), text()),
    ) {
        let header = keyed();
        let table = &header.tables[0];
        let key = KeyColumns::of(table);
        let mut writer = ArchiveWriter::create(Vec::new(), Compression::None, &header).unwrap();
        let mut encoder = ChunkEncoder::new(Compression::None).unwrap();
        for (range, rows) in chunks.iter().enumerate() {
            let lines: String = rows.iter().map(|((n, _), (t, _))| format!("[[1],{n},{t}]\n")).collect();
            let raw = [table_line(table), lines.into_bytes()].concat();
            let sealed = encoder.seal_rows(0, range as u32, 0, &raw, rows.len() as u64, &key);
            writer.append(sealed.unwrap()).unwrap();
        }
        let archive = Archive::from_bytes(writer.finish().unwrap().0).unwrap();
        let report = validate(&archive, &ValidateOptions::default(), &|_| {}, &|| false).unwrap();
        prop_assert!(report.is_valid(), "{:?}", report.damage);
        let rows = chunks.iter().flatten().map(|((_, n), (_, t))| (n, t));
        for (n, t) in rows.chain([(&wanted.0.1, &wanted.1.1)]) {
            let lookup = Lookup::new(table, &[("number", n.clone()), ("text", t.clone())]).unwrap();
            for (chunk, rows) in archive.table_chunks(0).iter().zip(&chunks) {
                let there = rows.iter().filter(|((_, other_n), (_, other_t))| (other_n, other_t) == (n, t)).count();
                let read = archive.read_rows(chunk).unwrap();
                let found = read.rows().filter(|row| lookup.is_row(row).unwrap()).count();
                prop_assert_eq!(found, there);
                prop_assert!(there == 0 || lookup.can_be_in(chunk), "{:?} {:?}", chunk.spans, (n, t));
            }
        }
    }
}
