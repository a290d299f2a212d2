//! The file of refused rows: an archive of them, in the form and with the definitions of columns that they had, whose
//! header says of each why it was refused. It is restored as any other.
//!
//! It is written before the commit and gets its name after it, so that it is there only if the rest was restored.

use std::collections::BTreeMap;
use std::io::Write;

use chrono::{SubsecRound, Utc};

use super::Rejects;
use crate::archive::error::ArchiveError;
use crate::archive::file::AtomicFile;
use crate::archive::model::{FORMAT, Header, Kind, Reason, RefusedRows, Selection, Table, VERSION};
use crate::archive::reader::Archive;
use crate::archive::spans::KeyColumns;
use crate::archive::writer::{ArchiveWriter, ChunkEncoder, table_line};
use crate::backup::TOOL;
use crate::failure::Failure;

/// Decompressed bytes of a chunk beyond which no row is added.
const CHUNK_BYTES: usize = 2 << 20;

/// Refused rows of a table: why, by their numbers in the archived table.
pub type OfTable = BTreeMap<u64, String>;

/// Refuses a name that is taken, and a folder in which no file can be made. Nothing is left there.
pub fn check(rejects: &Rejects) -> Result<(), Failure> {
    if rejects.file.exists() {
        let what = format!("{} exists already; pgkeep overwrites nothing", rejects.file.display());
        return Err(
            Failure::usage(what).next("choose another name with --reject-file, or move the file away")
        );
    }
    AtomicFile::create(&rejects.file).map(drop).map_err(|e| {
        let failure = Failure::from_archive(&e).while_doing("the file of refused rows");
        Failure { next: "choose a folder that you may write to with --reject-file".to_owned(), ..failure }
    })
}

/// Writes the rows, by the numbers of their tables. The file has no name until it is committed. Blocks.
pub fn write(
    archive: &Archive,
    rejects: &Rejects,
    tables: &BTreeMap<u32, OfTable>,
    restore_log: String,
    backup_file: String,
) -> Result<AtomicFile, Failure> {
    let failed = |e: ArchiveError| Failure::from_archive(&e).while_doing("writing the file of refused rows");
    let archived = archive.header();
    let own: Vec<(u32, &Table, &OfTable)> = tables
        .iter()
        .filter_map(|(index, rows)| Some((*index, archived.tables.get(*index as usize)?, rows)))
        .collect();
    let reasons = (0..).zip(&own).flat_map(|(number, (_, _, rows))| reasons(number, rows)).collect();
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        kind: Kind::Backup,
        tool: TOOL.to_owned(),
        created_at: Utc::now().trunc_subsecs(0),
        source: archived.source.clone(),
        selection: Selection::default(),
        guards: None,
        refused: Some(RefusedRows { restore_log, backup_file, reasons }),
        tables: own.iter().map(|(_, table, _)| (*table).clone()).collect(),
        sequences: Vec::new(),
        schema: None,
    };
    let file = AtomicFile::create(&rejects.file).map_err(failed)?;
    let mut writer = ArchiveWriter::create(file, rejects.compression, &header).map_err(failed)?;
    let mut encoder = ChunkEncoder::new(rejects.compression).map_err(failed)?;
    for (number, (index, table, rows)) in (0..).zip(&own) {
        let mut chunks = Chunks { number, piece: 0, raw: table_line(table), rows: 0, table };
        let mut before = 0;
        for chunk in archive.table_chunks(*index) {
            let here = rows.range(before + 1..=before + chunk.rows).map(|(number, _)| number - before);
            let mut here = here.peekable();
            if here.peek().is_some() {
                let read = archive.read_rows(chunk).map_err(failed)?;
                for (at, line) in (1..).zip(read.rows()) {
                    if here.next_if_eq(&at).is_some() {
                        chunks.add(line, &mut encoder, &mut writer).map_err(failed)?;
                    }
                }
            }
            before += chunk.rows;
        }
        chunks.seal(&mut encoder, &mut writer).map_err(failed)?;
    }
    let (file, _) = writer.finish().map_err(failed)?;
    Ok(file)
}

/// Why the rows of a table were refused, by their numbers in the file.
fn reasons(table: u32, rows: &OfTable) -> Vec<Reason> {
    let mut reasons: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (number, error) in (1..).zip(rows.values()) {
        reasons.entry(error).or_default().push(number);
    }
    reasons.into_iter().map(|(error, rows)| Reason { table, error: error.to_owned(), rows }).collect()
}

/// The chunks of one table.
struct Chunks<'a> {
    number: u32,
    piece: u32,
    raw: Vec<u8>,
    rows: u64,
    table: &'a Table,
}

impl Chunks<'_> {
    fn add<W: Write>(
        &mut self,
        line: &[u8],
        encoder: &mut ChunkEncoder,
        writer: &mut ArchiveWriter<W>,
    ) -> Result<(), ArchiveError> {
        if self.raw.len() + line.len() > CHUNK_BYTES {
            self.seal(encoder, writer)?;
        }
        self.raw.extend_from_slice(line);
        self.raw.push(b'\n');
        self.rows += 1;
        Ok(())
    }

    fn seal<W: Write>(
        &mut self,
        encoder: &mut ChunkEncoder,
        writer: &mut ArchiveWriter<W>,
    ) -> Result<(), ArchiveError> {
        if self.rows == 0 {
            return Ok(());
        }
        let key = KeyColumns::of(self.table);
        let sealed = encoder.seal_rows(self.number, 0, self.piece, &self.raw, self.rows, &key)?;
        writer.append(sealed)?;
        (self.raw, self.rows) = (table_line(self.table), 0);
        self.piece += 1;
        Ok(())
    }
}
