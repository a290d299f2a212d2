//! The index: JSON Lines, one for each chunk in the order of the file, and one with the totals at the end.

use serde::{Deserialize, Serialize};

use super::model::{Chunk, Totals};

/// The index is kept in memory by writer and reader: a terabyte in chunks of 1 MiB takes a quarter of this.
pub(super) const MOST_INDEX_BYTES: u64 = 1 << 30;

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    Chunk(&'a Chunk),
    Totals(&'a Totals),
}

/// A line as it is read: keys of later versions are ignored.
#[derive(Deserialize)]
struct AnyLine {
    chunk: Option<Chunk>,
    totals: Option<Totals>,
}

/// The most bytes that an honest index takes for chunks that take `index_offset` bytes in the file: a chunk of rows
/// is never stored in fewer than 32 bytes, for its first line alone takes more, and a line about it takes some 300, at
/// most 32 × 32 with the longest spans. So a small file cannot make a reader take much memory.
pub(super) fn bound(index_offset: u64) -> u64 {
    const AT_LEAST: u64 = 64 << 10;
    index_offset.saturating_mul(32).saturating_add(AT_LEAST).min(MOST_INDEX_BYTES)
}

/// The decompressed bytes of the index.
pub(super) fn encode(chunks: &[Chunk], totals: &Totals) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for chunk in chunks {
        serde_json::to_writer(&mut lines, &Line::Chunk(chunk))?;
        lines.push(b'\n');
    }
    serde_json::to_writer(&mut lines, &Line::Totals(totals))?;
    lines.push(b'\n');
    Ok(lines)
}

/// Reads the decompressed bytes of an index, or says what is wrong with them.
pub(super) fn decode(lines: &[u8]) -> Result<(Vec<Chunk>, Totals), String> {
    let lines = lines.strip_suffix(b"\n").ok_or("its last line has no end")?;
    let mut chunks = Vec::new();
    let mut totals = None;
    for (number, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        let number = number + 1;
        let line: AnyLine = serde_json::from_slice(line)
            .map_err(|error| format!("line {number} is not understood: {error}"))?;
        if totals.is_some() {
            return Err(format!("line {number} stands behind the totals"));
        }
        match line {
            AnyLine { chunk: Some(_), totals: Some(_) } => {
                return Err(format!("line {number} says two things"));
            }
            AnyLine { chunk: Some(chunk), .. } => chunks.push(chunk),
            AnyLine { totals: read, .. } => totals = read,
        }
    }
    Ok((chunks, totals.ok_or("the totals are missing")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::archive::model::ChunkKind;
    use crate::archive::spans::{MOST_SPANS, MOST_TEXT_BYTES, Span};

    fn chunk(offset: u64) -> Chunk {
        Chunk {
            kind: ChunkKind::Rows,
            table: Some(0),
            range: 1,
            piece: 2,
            offset,
            length: 100,
            bytes: 200,
            rows: 3,
            sha256: "0".repeat(64),
            spans: vec![Some(Span::Integers(1, 7)), None, Some(Span::Texts("a".into(), "é".into()))],
        }
    }

    #[test]
    fn an_index_reads_back() {
        let chunks = vec![chunk(0), chunk(100)];
        let totals = Totals { tables: 1, rows: 6, bytes: 400, table_rows: vec![6] };
        let lines = encode(&chunks, &totals).unwrap();
        assert_eq!(decode(&lines).unwrap(), (chunks, totals));
    }

    #[test]
    fn unknown_keys_are_ignored_and_nonsense_is_not() {
        let totals = r#"{"totals":{"tables":0,"rows":0,"bytes":0,"table_rows":[],"colour":"red"}}"#;
        assert!(decode(format!("{totals}\n").as_bytes()).is_ok());
        assert!(decode(format!("{{\"later\":1}}\n{totals}\n").as_bytes()).is_ok());
        assert!(decode(totals.as_bytes()).is_err());
        assert!(decode(format!("{totals}\n{totals}\n").as_bytes()).is_err());
        assert!(decode(format!("{totals}\n{{}}\n").as_bytes()).is_err());
        assert!(decode(b"\n").is_err());
        assert!(decode(b"").is_err());
        assert!(decode(b"[1]\n").is_err());
        assert!(decode(format!("{{\"chunk\":{{\"offset\":-1}}}}\n{totals}\n").as_bytes()).is_err());
        let deep = format!("{{\"later\":{}{}}}\n{totals}\n", "[".repeat(100_000), "]".repeat(100_000));
        assert!(decode(deep.as_bytes()).is_ok());
    }

    #[test]
    fn the_longest_line_about_a_chunk_is_within_the_bound_for_the_smallest_chunk() {
        let text = "x".repeat(MOST_TEXT_BYTES);
        let chunk = Chunk {
            table: Some(u32::MAX),
            range: u32::MAX,
            piece: u32::MAX,
            length: u64::MAX,
            bytes: u64::MAX,
            rows: u64::MAX,
            spans: vec![Some(Span::Texts(text.clone(), text)); MOST_SPANS],
            ..chunk(u64::MAX)
        };
        let longest = serde_json::to_vec(&Line::Chunk(&chunk)).unwrap().len();
        assert!(longest as u64 <= bound(32) - bound(0), "{longest}");
    }

    #[test]
    fn the_bound_grows_with_the_chunks_and_ends() {
        assert_eq!(bound(0), 64 << 10);
        assert_eq!(bound(u64::MAX), MOST_INDEX_BYTES);
    }
}
