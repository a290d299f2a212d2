//! What must hold between header, index and file, whoever wrote them. The reader refuses an archive for which it
//! does not hold, and the writer refuses to finish one.

use std::collections::HashSet;

use super::checksum::is_sha256_hex;
use super::error::{Damage, Part};
use super::model::{Chunk, ChunkKind, Header, Table, Totals};
use crate::schema::Schema;

/// A chunk of more than one row has at most this many bytes when decompressed. Writers aim at 1 to 4 MiB.
pub const MOST_CHUNK_BYTES: u64 = 16 << 20;
/// A chunk of a single row has at most this many bytes when decompressed: a row of COPY has at most 1 GiB, and JSON
/// takes at most six bytes for one (`\u0001`). Its first line has its place in the slack.
pub const MOST_ROW_BYTES: u64 = (6 << 30) + MOST_CHUNK_BYTES;
/// The header line has at most this many bytes.
pub const MOST_HEADER_BYTES: u64 = 256 << 20;

/// Whether a stored length is one that compression can give: incompressible data grows by less than an eighth.
/// (A chunk padded with empty blocks could otherwise be as long as the file.)
pub(super) fn is_plausible_length(length: u64, bytes: u64) -> bool {
    length > 0 && length <= bytes.saturating_add(bytes / 8).saturating_add(1024)
}

/// Checks what a header says about itself; says what is wrong.
pub(super) fn check_header(header: &Header) -> Result<(), String> {
    if u32::try_from(header.tables.len()).is_err() {
        return Err("it has more tables than can be numbered".into());
    }
    let mut names = HashSet::new();
    for table in &header.tables {
        check_name(&table.schema)?;
        check_name(&table.name)?;
        if !names.insert((&table.schema, &table.name)) {
            return Err(format!("it names table {} twice", table.shown()));
        }
        check_table(table)?;
    }
    let mut names = HashSet::new();
    for sequence in &header.sequences {
        check_name(&sequence.schema)?;
        check_name(&sequence.name)?;
        if !names.insert((&sequence.schema, &sequence.name)) {
            return Err(format!("it names sequence {} twice", sequence.shown()));
        }
        if sequence.used_by.iter().any(|table| *table as usize >= header.tables.len()) {
            return Err(format!("sequence {} is used by a table that there is not", sequence.shown()));
        }
    }
    let reasons = header.refused.iter().flat_map(|refused| &refused.reasons);
    if reasons.into_iter().any(|reason| reason.table as usize >= header.tables.len()) {
        return Err("it says why rows of a table are refused that there is not".into());
    }
    header.schema.as_ref().map_or(Ok(()), check_schema)
}

/// Whoever makes objects in their order finds what they need made, and can tell them apart.
fn check_schema(schema: &Schema) -> Result<(), String> {
    if u32::try_from(schema.objects.len()).is_err() {
        return Err("it has more objects than can be numbered".into());
    }
    let mut identities = HashSet::new();
    for (position, object) in schema.objects.iter().enumerate() {
        check_name(&object.identity)?;
        if !identities.insert(&object.identity) {
            return Err(format!("it names {} twice", object.identity));
        }
        if object.needs.iter().any(|needed| *needed as usize >= position) {
            return Err(format!("{} needs an object that does not stand before it", object.identity));
        }
        let statements = object.create.iter().chain(&object.drop).chain(&object.comments);
        let mut statements = statements.chain(object.privileges.iter().map(|grant| &grant.sql));
        if statements.any(|sql| sql.contains('\0')) {
            return Err(format!("a statement of {} has a NUL in it", object.identity));
        }
    }
    Ok(())
}

fn check_table(table: &Table) -> Result<(), String> {
    let mut columns = HashSet::new();
    for name in table.columns.iter().map(|column| &column.name).chain(&table.generated) {
        check_name(name)?;
        if !columns.insert(name) {
            return Err(format!("table {} has column {name} twice", table.shown()));
        }
    }
    match table.key.iter().find(|name| !columns.contains(name)) {
        Some(name) => {
            Err(format!("the key of table {} has column {name}, which the table has not", table.shown()))
        }
        None => Ok(()),
    }
}

/// Postgres has no empty name and none with a NUL, and a protocol message would end at it.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains('\0') {
        Err("it holds an empty name or one with a NUL".into())
    } else {
        Ok(())
    }
}

/// Checks that `chunks` cover the file from 0 to `index_offset` and say nothing that contradicts the header or
/// each other. Returns for each table the positions of its chunks, by range and piece.
pub(super) fn check_chunks(
    header: &Header,
    chunks: &[Chunk],
    totals: &Totals,
    index_offset: u64,
) -> Result<Vec<Vec<u32>>, Damage> {
    let index_damage = |what: String| Damage { part: Part::Index, offset: index_offset, what };
    let mut by_table = vec![Vec::new(); header.tables.len()];
    let mut sums = Totals {
        tables: header.tables.len() as u64,
        table_rows: vec![0; header.tables.len()],
        ..Totals::default()
    };
    let mut expected_offset = 0_u64;
    for (position, chunk) in chunks.iter().enumerate() {
        let position = u32::try_from(position).map_err(|_| index_damage("it has too many chunks".into()))?;
        let damage =
            |what: &str| Damage { part: part_of(header, chunk), offset: chunk.offset, what: what.into() };
        if (chunk.kind == ChunkKind::Header) != (position == 0) {
            return Err(damage("the header is not the first chunk, or not the only one of its kind"));
        }
        if chunk.offset != expected_offset {
            return Err(damage(&format!("the chunk before it ends at byte {expected_offset}")));
        }
        check_size(chunk).map_err(damage)?;
        expected_offset =
            chunk.offset.checked_add(chunk.length).ok_or_else(|| damage("its end is beyond any file"))?;
        if !is_sha256_hex(&chunk.sha256) {
            return Err(damage("its checksum is not a SHA-256"));
        }
        if chunk.spans.iter().flatten().any(|span| !span.is_ordered()) {
            return Err(damage("its lowest key is above its highest"));
        }
        let add = |sum: u64, more: u64| {
            sum.checked_add(more).ok_or_else(|| index_damage("its sums overflow".into()))
        };
        sums.bytes = add(sums.bytes, chunk.bytes)?;
        sums.rows = add(sums.rows, chunk.rows)?;
        match (chunk.kind, chunk.table.map(|table| table as usize)) {
            (ChunkKind::Header, None) => {}
            (ChunkKind::Rows, Some(table)) if table < by_table.len() => {
                by_table[table].push(position);
                sums.table_rows[table] = add(sums.table_rows[table], chunk.rows)?;
            }
            _ => return Err(damage("it belongs to a table that there is not")),
        }
    }
    if chunks.is_empty() || expected_offset != index_offset {
        return Err(index_damage(format!(
            "the chunks end at byte {expected_offset} and not where the index begins"
        )));
    }
    if sums != *totals {
        return Err(index_damage("the totals are not the sums over the chunks".into()));
    }
    for positions in &mut by_table {
        sort_table(header, chunks, positions)?;
    }
    Ok(by_table)
}

fn check_size(chunk: &Chunk) -> Result<(), &'static str> {
    let most = match (chunk.kind, chunk.rows) {
        (ChunkKind::Header, 0) => MOST_HEADER_BYTES,
        (ChunkKind::Header, _) => return Err("the header has no rows"),
        (ChunkKind::Rows, 0) => return Err("it has no row"),
        (ChunkKind::Rows, 1) => MOST_ROW_BYTES,
        (ChunkKind::Rows, _) => MOST_CHUNK_BYTES,
    };
    if chunk.bytes > most {
        return Err("it is larger than a chunk may be");
    }
    // A row is at least `[]` and the end of its line.
    if chunk.rows > chunk.bytes / 3 {
        return Err("it has more rows than bytes for them");
    }
    if !is_plausible_length(chunk.length, chunk.bytes) {
        return Err("its stored length is not plausible");
    }
    Ok(())
}

/// Puts the chunks of one table in order; each range must have its pieces from 0 without gap or repetition.
fn sort_table(header: &Header, chunks: &[Chunk], positions: &mut [u32]) -> Result<(), Damage> {
    let key = |position: &u32| (chunks[*position as usize].range, chunks[*position as usize].piece);
    positions.sort_unstable_by_key(key);
    let mut previous = None;
    for position in positions.iter() {
        let (range, piece) = key(position);
        let expected = match previous {
            Some((same, before)) if same == range => u64::from(before) + 1,
            _ => 0,
        };
        if u64::from(piece) != expected {
            let chunk = &chunks[*position as usize];
            let what =
                format!("its range should go on with piece {expected}: a chunk is missing or repeated");
            return Err(Damage { part: part_of(header, chunk), offset: chunk.offset, what });
        }
        previous = Some((range, piece));
    }
    Ok(())
}

/// The part of the archive that a chunk is.
pub(super) fn part_of(header: &Header, chunk: &Chunk) -> Part {
    match chunk.table {
        None => Part::Header,
        Some(number) => {
            let table =
                header.tables.get(number as usize).map_or_else(|| format!("number {number}"), Table::shown);
            Part::Rows { table, range: chunk.range, piece: chunk.piece }
        }
    }
}
