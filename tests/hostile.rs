//! Archives made to deceive, with every checksum right: a clear error, bounded memory, never a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archives;

use std::io::{Read, Write};

use archives::{ALL, Compress, ODD_NAME, Parts, check, complaint, header, sample};
use pgkeep::archive::checksum::sha256_hex;
use pgkeep::archive::compression::Compression;
use pgkeep::archive::model::{Header, Totals};
use pgkeep::archive::spans::{KeyColumns, Span};
use pgkeep::archive::writer::{ArchiveWriter, ChunkEncoder, table_line};
use pgkeep::archive::{Archive, ArchiveError};
use pgkeep::schema::{Kind, Object, Schema};

/// What is said of the sample archive after `change`, in every compression.
fn complaint_after(change: impl Fn(&mut Parts)) -> String {
    let complaints: Vec<String> = ALL
        .iter()
        .map(|compression| {
            let mut parts = Parts::of(&sample(*compression));
            change(&mut parts);
            parts.describe();
            complaint(&parts.assemble())
        })
        .collect();
    complaints[0].clone()
}

/// What is said of an archive whose header is `change`d after the fact.
fn complaint_about_header(change: impl Fn(&mut Header)) -> String {
    complaint_after(|parts| {
        let mut header = header();
        change(&mut header);
        let mut line = serde_json::to_vec(&header).unwrap();
        line.push(b'\n');
        parts.set_raw(0, &line);
    })
}

#[test]
fn forged_counts_are_found() {
    let said = complaint_after(|parts| parts.totals.rows += 1);
    assert!(said.contains("the totals are not the sums"), "{said}");
    let said = complaint_after(|parts| parts.totals.table_rows.swap(0, 1));
    assert!(said.contains("the totals are not the sums"), "{said}");
    complaint_after(|parts| parts.totals = Totals::default());
    complaint_after(|parts| parts.totals.table_rows.push(0));
    let said = complaint_after(|parts| {
        parts.chunks[1].0.rows += 1;
        parts.totals.rows += 1;
        parts.totals.table_rows[0] += 1;
    });
    assert!(said.starts_with("table users, chunk 1.0 at byte "), "{said}");
    assert!(said.ends_with("it holds 1 rows and not the 2 that the index names"), "{said}");
    let said = complaint_after(|parts| {
        parts.chunks[1].0.rows = u64::MAX;
        parts.chunks[2].0.rows = u64::MAX;
    });
    assert!(said.contains("more rows than bytes") || said.contains("larger than a chunk"), "{said}");
    complaint_after(|parts| parts.chunks[1].0.rows = 0);
    complaint_after(|parts| parts.chunks[0].0.rows = 1);
}

#[test]
fn a_chunk_that_is_missing_repeated_or_misplaced_is_found_though_the_index_agrees() {
    let forget = |parts: &mut Parts, number: usize| {
        let (chunk, _) = parts.chunks.remove(number);
        parts.totals.bytes -= chunk.bytes;
        parts.totals.rows -= chunk.rows;
        if let Some(table) = chunk.table {
            parts.totals.table_rows[table as usize] -= chunk.rows;
        }
    };
    let said = complaint_after(|parts| forget(parts, 2));
    assert!(said.contains("should go on with piece 0"), "{said}");
    complaint_after(|parts| forget(parts, 0));
    let said = complaint_after(|parts| {
        let again = parts.chunks[6].clone();
        parts.totals.bytes += again.0.bytes;
        parts.totals.rows += again.0.rows;
        parts.totals.table_rows[0] += again.0.rows;
        parts.chunks.push(again);
    });
    assert!(said.contains("missing or repeated"), "{said}");
    complaint_after(|parts| parts.chunks[3].0.table = Some(99));
    complaint_after(|parts| parts.chunks[3].0.table = None);
    complaint_after(|parts| parts.chunks[0].0.table = Some(0));
    complaint_after(|parts| parts.chunks.swap(0, 1));
    complaint_after(|parts| parts.chunks[1].0.kind = parts.chunks[0].0.kind);
    complaint_after(|parts| parts.chunks.clear());
    // Said to be of a table that it is not of.
    let said = complaint_after(|parts| {
        parts.chunks[3].0.table = Some(2);
        parts.totals.table_rows = vec![5, 0, 2, 3];
    });
    assert!(said.contains("its first line does not name the table"), "{said}");
}

#[test]
fn offsets_and_lengths_that_lie_are_found() {
    for compression in ALL {
        let whole = Parts::of(&sample(compression));
        let lies: [fn(&mut Parts); 9] = [
            |parts| parts.chunks[2].0.offset += 1,
            |parts| parts.chunks[2].0.offset = u64::MAX,
            |parts| parts.chunks[2].0.length = u64::MAX,
            |parts| parts.chunks[2].0.length = 0,
            |parts| parts.chunks[6].0.length += 1,
            |parts| parts.chunks[2].0.bytes += 1,
            |parts| parts.chunks[2].0.bytes = u64::MAX,
            |parts| parts.chunks[2].0.sha256 = "0".repeat(64),
            |parts| parts.chunks[2].0.sha256 = parts.chunks[2].0.sha256.to_uppercase(),
        ];
        for lie in lies {
            let mut parts = whole.clone();
            lie(&mut parts);
            complaint(&parts.assemble());
        }
        for index in [&b""[..], b"\n", b"null\n", b"{\"totals\":null}\n", &b"{\"chunk\":{}}\n".repeat(9)] {
            complaint(&whole.assemble_with(&compression.compress(index), index.len() as u64));
        }
    }
}

/// Objects of these identities, of which the last needs those at `needs`.
fn schema(identities: &[&str], needs: &[u32]) -> Schema {
    let object = |identity: &&str| Object::new(Kind::Table, *identity, Some("public"), "a");
    let mut objects: Vec<Object> = identities.iter().map(object).collect();
    objects.last_mut().unwrap().needs = needs.to_vec();
    Schema { objects, ..Schema::default() }
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let said = complaint_about_header(|header| header.tables[1] = header.tables[0].clone());
    assert!(said.contains("names table users twice"), "{said}");
    let said = complaint_about_header(|header| header.tables[0].columns[1].name = "id".into());
    assert!(said.contains("table users has column id twice"), "{said}");
    complaint_about_header(|header| header.tables[0].generated = vec!["id".into()]);
    complaint_about_header(|header| header.tables[0].key = vec!["nowhere".into()]);
    complaint_about_header(|header| header.tables[0].name = String::new());
    complaint_about_header(|header| header.tables[0].schema = "nul\0".into());
    complaint_about_header(|header| header.sequences[0].used_by = vec![4]);
    complaint_about_header(|header| header.sequences.push(header.sequences[0].clone()));
    complaint_about_header(|header| header.schema = Some(schema(&["a", "a"], &[])));
    complaint_about_header(|header| header.schema = Some(schema(&["a", "b"], &[0, 1])));
    complaint_about_header(|header| header.schema = Some(schema(&["a", "b"], &[7])));
    complaint_about_header(|header| header.schema = Some(schema(&["a", ""], &[])));
    complaint_about_header(|header| header.schema = Some(schema(&["a", "nul\0"], &[])));
    complaint_about_header(|header| header.tables.clear());
    complaint_about_header(|header| header.format = "other".into());
    complaint_about_header(|header| header.version = 0);
    for line in
        ["", "\n", "{}\n", "[]\n", "{\"format\":\"pgkeep\",\"version\":1}\n", "{\"format\":\"pgkeep\""]
    {
        complaint_after(|parts| parts.set_raw(0, line.as_bytes()));
    }
    let said = complaint_after(|parts| {
        let line = serde_json::to_string(&header()).unwrap();
        parts.set_raw(0, format!("{line}\n{line}\n").as_bytes());
    });
    assert!(said.contains("it is not one line"), "{said}");
}

#[test]
fn a_later_version_is_refused_with_what_to_do() {
    for compression in ALL {
        let line = b"{\"format\":\"pgkeep\",\"version\":99,\"everything\":\"else\",\"may\":[\"differ\"]}\n";
        // With an end that this version understands, with none, and cut off.
        let mut parts = Parts::of(&sample(compression));
        parts.set_raw(0, line);
        parts.describe();
        let stored = compression.compress(line);
        for bytes in [parts.assemble(), [&stored[..], b"whatever"].concat(), stored] {
            let error = check(&bytes).unwrap_err();
            assert!(matches!(error, ArchiveError::NewerVersion { version: 99 }), "{error:?}");
            assert!(error.to_string().contains("upgrade pgkeep"));
        }
    }
}

#[test]
fn names_that_look_like_paths_or_commands_are_only_names() {
    for compression in ALL {
        let archive = Archive::from_bytes(sample(compression)).unwrap();
        assert_eq!(archive.header().tables[1].name, ODD_NAME);
        let mut parts = Parts::of(&sample(compression));
        parts.chunks[3].0.sha256 = "0".repeat(64);
        let said = complaint(&parts.assemble());
        assert!(said.contains("../../etc/passwd\\n\\u{1b}[2J"), "{said}");
        assert!(!said.contains(char::is_control));
    }
}

/// An archive whose only chunk of rows has these contents.
fn with_rows(compression: Compression, rows: u64, lines: &[u8]) -> Vec<u8> {
    let mut header = header();
    header.tables.truncate(1);
    header.tables[0].columns.truncate(1);
    header.sequences.clear();
    let raw = [table_line(&header.tables[0]), lines.to_vec()].concat();
    let key = KeyColumns::of(&header.tables[0]);
    let mut writer = ArchiveWriter::create(Vec::new(), compression, &header).unwrap();
    writer
        .append(ChunkEncoder::new(compression).unwrap().seal_rows(0, 0, 0, &raw, rows, &key).unwrap())
        .unwrap();
    writer.finish().unwrap().0
}

#[test]
fn rows_that_are_not_rows_are_found() {
    for compression in ALL {
        assert!(check(&with_rows(compression, 1, b"[1]\n")).unwrap().is_valid());
        for (rows, lines) in [
            (1, &b"[1,2]\n"[..]),
            (1, b"[]\n"),
            (1, b"[1]"),
            (2, b"[1]\n"),
            (1, b"[1]\n[2]\n"),
            (2, b"[1]\n\n"),
            (1, b"{}\n"),
            (1, b"[\"\xff\"]\n"),
            (1, b"[1\n"),
            (3, b"[1]\n[\"secret value\n[2]\n"),
        ] {
            let said = complaint(&with_rows(compression, rows, lines));
            assert!(said.starts_with("table users, chunk 0.0 at byte "), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}

#[test]
fn a_cell_of_a_hundred_thousand_levels_does_not_overflow_the_stack() {
    for compression in ALL {
        let line = format!("[{}{}]\n", "[".repeat(100_000), "]".repeat(100_000));
        assert!(check(&with_rows(compression, 1, line.as_bytes())).unwrap().is_valid());
        let line = format!("[{}]\n", "{\"a\":".repeat(100_000));
        complaint(&with_rows(compression, 1, line.as_bytes()));
        let deep = format!("{{\"format\":\"pgkeep\",\"version\":1,\"later\":{}\n", "[".repeat(1_000_000));
        complaint_after(|parts| parts.set_raw(0, deep.as_bytes()));
    }
}

#[test]
fn a_huge_row_is_read_and_several_rows_of_that_size_are_not() {
    for compression in ALL {
        let row = format!("[\"{}\"]\n", "x".repeat(17 << 20));
        assert!(check(&with_rows(compression, 1, row.as_bytes())).unwrap().is_valid());
        let mut parts = Parts::of(&with_rows(compression, 1, row.as_bytes()));
        let table = table_line(&Archive::from_bytes(parts.assemble()).unwrap().header().tables[0]);
        parts.set_raw(1, &[&table, row.as_bytes(), b"[1]\n"].concat());
        parts.chunks[1].0.rows = 2;
        parts.totals.rows = 2;
        parts.totals.table_rows[0] = 2;
        parts.describe();
        assert!(complaint(&parts.assemble()).contains("larger than a chunk may be"));
    }
}

/// Compressed zeros, made without having them.
fn bomb(compression: Compression, bytes: u64) -> Vec<u8> {
    let mut zeros = std::io::repeat(b' ').take(bytes);
    match compression {
        Compression::Gzip(_) => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::copy(&mut zeros, &mut encoder).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            std::io::copy(&mut zeros, &mut encoder).unwrap();
            encoder.flush().unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// The most memory that this process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[test]
fn decompression_bombs_take_no_memory() {
    const BOMB: u64 = 1 << 30;
    for compression in [Compression::Gzip(2), Compression::Zstd(1)] {
        let bomb = bomb(compression, BOMB);
        // For a chunk, with sizes that lie and with the true one.
        for (rows, bytes) in [(1, 100), (1, 16 << 20), (5, 16 << 20), (5, BOMB), (1, u64::MAX)] {
            let mut parts = Parts::of(&with_rows(compression, 1, b"[1]\n"));
            parts.chunks[1].0.rows = rows;
            parts.chunks[1].0.bytes = bytes;
            parts.chunks[1].1 = bomb.clone();
            parts.totals.rows = rows;
            parts.totals.table_rows[0] = rows;
            parts.totals.bytes = parts.chunks[0].0.bytes.wrapping_add(bytes);
            parts.describe();
            complaint(&parts.assemble());
        }
        // For the header.
        for bytes in [100, 1 << 20, BOMB] {
            let mut parts = Parts::of(&sample(compression));
            parts.totals.bytes = parts.totals.bytes - parts.chunks[0].0.bytes + bytes;
            parts.chunks[0].0.bytes = bytes;
            parts.chunks[0].1 = bomb.clone();
            parts.describe();
            complaint(&parts.assemble());
        }
        // For the index.
        for bytes in [100, 1 << 20, BOMB] {
            complaint(&Parts::of(&sample(compression)).assemble_with(&bomb, bytes));
        }
        // For a file that is cut off, and one that is only that.
        complaint(&[&sample(compression)[..600], &bomb].concat());
        complaint(&bomb);
    }
    // The tests of this file share one process; the largest rows that they make themselves take some of it.
    assert!(peak_bytes() < 600 << 20, "{} MiB", peak_bytes() >> 20);
}

#[test]
fn a_file_full_of_holes_and_claims_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holes.json");
    let file = std::fs::File::create(&path).unwrap();
    let end = |offset: u64, length: u64, bytes: u64| {
        format!(
            "{{\"end\":\"pgkeep\",\"version\":1,\"index_offset\":{offset:20},\"index_length\":{length:20},\
             \"index_bytes\":{bytes:20},\"index_sha256\":\"{}\"}}\n",
            sha256_hex(b"")
        )
    };
    let size: u64 = 1 << 40;
    let length = end(0, 0, 0).len() as u64;
    let at = |offset, bytes: &[u8]| std::os::unix::fs::FileExt::write_all_at(&file, bytes, offset).unwrap();
    at(0, b"{\"format\":\"pgkeep\",\"version\":1,");
    for claim in [(100, size - length - 100, u64::MAX), (100, size - length - 100, 1000), (0, 0, 0)] {
        at(size - length, end(claim.0, claim.1, claim.2).as_bytes());
        assert!(Archive::open(&path).unwrap_err().is_invalid());
    }
    // Without an end record a file of that size is not read from the front when it is opened.
    at(size, b"x");
    assert!(matches!(Archive::open(&path).unwrap_err(), ArchiveError::Truncated(_)));
}

#[test]
fn keys_that_the_index_forges_are_found() {
    let numbers = |lowest, highest| Some(Span::Integers(lowest, highest));
    let texts = |lowest: &str, highest: &str| Some(Span::Texts(lowest.into(), highest.into()));
    // Chunk 1 of the sample has the row of id 3, chunk 2 those of 1 and of a number that stands in a string.
    let lies = [
        (1, vec![numbers(3, 4)], "not between the keys"),
        (1, vec![numbers(2, 3)], "not between the keys"),
        (1, vec![numbers(4, 9)], "not between the keys"),
        (1, vec![texts("3", "3")], "not between the keys"),
        (1, vec![None, numbers(3, 3)], "not between the keys"),
        (1, vec![None, texts("Zoë", "Zoë")], "not between the keys"),
        (2, vec![numbers(1, 1)], "not between the keys"),
        (3, vec![texts("a", "z")], "not between the keys"),
        (1, vec![numbers(3, 2)], "its lowest key is above its highest"),
        (1, vec![numbers(i64::MAX, i64::MIN)], "its lowest key is above its highest"),
        (4, vec![None, None, None, None, texts("b", "a")], "its lowest key is above its highest"),
    ];
    for (chunk, spans, expected) in lies {
        let said = complaint_after(|parts| parts.chunks[chunk].0.spans = spans.clone());
        assert!(said.contains(expected), "{said}");
    }
    for compression in ALL {
        let mut parts = Parts::of(&sample(compression));
        assert_eq!(parts.chunks[1].0.spans, [numbers(3, 3)]);
        // To say nothing is no lie, nor is what a later version may say.
        for spans in [vec![], vec![None], vec![numbers(3, 3), None, None, texts("a", "b")]] {
            parts.chunks[1].0.spans = spans;
            assert!(check(&parts.assemble()).unwrap().is_valid());
        }
    }
}

#[test]
fn absurd_keys_in_an_index_are_errors_or_no_keys() {
    for compression in ALL {
        let parts = Parts::of(&sample(compression));
        let index = String::from_utf8(parts.index()).unwrap();
        assert!(index.contains(r#""spans":[[3,3]]"#), "{index}");
        let long = format!("[[\"{0}\",\"{0}\"]]", "x".repeat(1000));
        let many = format!("[{}null]", "null,".repeat(10_000));
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        for absurd in [
            "null",
            "{}",
            "[]",
            "7",
            "[7]",
            "[[3]]",
            "[[3,4,5]]",
            "[[3.5,4]]",
            "[[\"3\",3]]",
            "[{\"3\":3}]",
            "[[1e400,2]]",
            "[[99999999999999999999,3]]",
            &long,
            &many,
            &deep,
        ] {
            let index = index.replace(r#""spans":[[3,3]]"#, &format!("\"spans\":{absurd}"));
            let file = parts.assemble_with(&compression.compress(index.as_bytes()), index.len() as u64);
            match check(&file) {
                Ok(report) => assert_eq!(report.is_valid(), absurd != long, "{absurd}"),
                Err(error) => assert!(error.is_invalid(), "{error:?}"),
            }
        }
    }
}
