//! Small archives that tests make, and archives that no writer would make.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pgkeep::archive::checksum::sha256_hex;
use pgkeep::archive::compression::{Compression, Compressor};
use pgkeep::archive::model::{
    Chunk, Column, Constraint, FORMAT, Guards, Header, Kind, Selection, Sequence, Source, Table, Totals,
    VERSION,
};
use pgkeep::archive::spans::KeyColumns;
use pgkeep::archive::validate::{Report, ValidateOptions, validate};
use pgkeep::archive::writer::{ArchiveWriter, ChunkEncoder, table_line};
use pgkeep::archive::{Archive, ArchiveError};
use pgkeep::row::CellForm;

/// Every compression, at levels that are quick.
pub const ALL: [Compression; 3] = [Compression::Gzip(2), Compression::Zstd(1), Compression::None];

/// A table whose name does its best to confuse whoever prints it or takes it for a path.
pub const ODD_SCHEMA: &str = "Odd \"schema\".";
pub const ODD_NAME: &str = "../../etc/passwd\n\u{1b}[2J; drop table users; -- 🦀";

/// The header of [`sample`].
pub fn header() -> Header {
    let column = |name: &str, type_name: &str, form| Column {
        name: name.into(),
        type_name: type_name.into(),
        form,
        not_null: name == "id",
    };
    Header {
        format: FORMAT.into(),
        version: VERSION,
        kind: Kind::Safety,
        tool: "pgkeep 0.1.0".into(),
        created_at: "2025-11-28T07:47:23Z".parse().unwrap(),
        source: Source {
            host: "db.example".into(),
            port: 5432,
            database: "shop".into(),
            server_version: "15.14".into(),
            server_version_num: 150_014,
            system_identifier: Some("7300000000000000001".into()),
            encoding: "UTF8".into(),
            lsn: Some("0/16B3748".into()),
            supabase: false,
        },
        selection: Selection { tables: vec![], exclude: vec!["audit_*".into()], ..Selection::default() },
        guards: Some(Guards {
            restore_log: "restore_log_20251128_074723.json".into(),
            backup_file: "shop_backup_20251127_000000.json.gz".into(),
            ordinal: 7,
            objects: vec![],
        }),
        refused: None,
        tables: vec![
            Table {
                schema: "public".into(),
                name: "users".into(),
                columns: vec![
                    column("id", "bigint", CellForm::Number),
                    column("name", "text", CellForm::Text),
                    column("balance", "numeric(10,2)", CellForm::Text),
                    column("active", "boolean", CellForm::Boolean),
                    column("profile", "jsonb", CellForm::Json),
                    column("score", "double precision", CellForm::Number),
                ],
                generated: vec!["name_lower".into()],
                key: vec!["id".into()],
                constraints: vec![Constraint {
                    name: "users_pkey".into(),
                    definition: "PRIMARY KEY (id)".into(),
                    references: None,
                }],
                ..Table::default()
            },
            Table {
                schema: ODD_SCHEMA.into(),
                name: ODD_NAME.into(),
                partitioned: true,
                columns: vec![
                    column("with space", "text", CellForm::Text),
                    column("ünï\"cödé\t", "bytea", CellForm::Text),
                ],
                ..Table::default()
            },
            Table {
                schema: "public".into(),
                name: "empty".into(),
                columns: vec![column("id", "integer", CellForm::Number)],
                ..Table::default()
            },
            Table { schema: "public".into(), name: "nothing".into(), ..Table::default() },
        ],
        sequences: vec![Sequence {
            schema: "public".into(),
            name: "users_id_seq".into(),
            last_value: "9223372036854775807".into(),
            is_called: true,
            increment: "1".into(),
            used_by: vec![0],
            ..Sequence::default()
        }],
        schema: None,
    }
}

/// The rows of [`sample`]: table, range, piece, lines.
pub const ROWS: [(u32, u32, u32, &[&str]); 6] = [
    (0, 1, 0, &[r#"[3,"Zoë 🦀\u0001\n\\",null,false,{"$text":"null"},"-0"]"#]),
    (
        0,
        0,
        0,
        &[
            r#"[1,"Ann","10.00",true,{"a": [1, 2.50, null]},0.1]"#,
            r#"["9223372036854775807","","NaN",null,{"$text":"{\"$hex\": 1}"},"NaN"]"#,
        ],
    ),
    (1, 0, 0, &[r#"["a\tb","\\x00ff"]"#, r#"[{"$hex":"ff00fe"},null]"#]),
    (0, 0, 1, &[r#"[2,null,"-0.00",true,"text",1e+300]"#]),
    (3, 5, 0, &["[]", "[]", "[]"]),
    (0, 7, 0, &[r#"[4,"last","0",false,[],-1]"#]),
];

/// A small archive with every kind of thing in it.
pub fn sample(compression: Compression) -> Vec<u8> {
    let header = header();
    let mut writer = ArchiveWriter::create(Vec::new(), compression, &header).unwrap();
    let mut encoder = ChunkEncoder::new(compression).unwrap();
    for (table, range, piece, rows) in ROWS {
        let mut raw = table_line(&header.tables[table as usize]);
        raw.extend(rows.iter().flat_map(|row| [row.as_bytes(), b"\n"].concat()));
        let key = KeyColumns::of(&header.tables[table as usize]);
        let sealed = encoder.seal_rows(table, range, piece, &raw, rows.len() as u64, &key);
        writer.append(sealed.unwrap()).unwrap();
    }
    let (bytes, summary) = writer.finish().unwrap();
    assert_eq!(summary.file_bytes, bytes.len() as u64);
    bytes
}

/// Opens and fully validates.
pub fn check(bytes: &[u8]) -> Result<Report, ArchiveError> {
    let archive = Archive::from_bytes(bytes.to_vec())?;
    validate(&archive, &ValidateOptions { threads: 1, ..Default::default() }, &|_| {}, &|| false)
}

/// What [`check`] complains of; fails when it does not.
pub fn complaint(bytes: &[u8]) -> String {
    match check(bytes) {
        Ok(report) => {
            assert!(!report.is_valid(), "nothing was found");
            report.damage[0].to_string()
        }
        Err(error) => {
            assert!(error.is_invalid(), "{error:?}");
            error.to_string()
        }
    }
}

/// An archive taken to pieces, to be put together in ways that no writer would, with checksums that are right.
#[derive(Clone)]
pub struct Parts {
    pub compression: Compression,
    /// Each chunk as the index describes it, and its stored bytes.
    pub chunks: Vec<(Chunk, Vec<u8>)>,
    pub totals: Totals,
}

impl Parts {
    pub fn of(bytes: &[u8]) -> Self {
        let archive = Archive::from_bytes(bytes.to_vec()).unwrap();
        let stored = |chunk: &Chunk| bytes[chunk.offset as usize..][..chunk.length as usize].to_vec();
        Parts {
            compression: archive.compression(),
            chunks: archive.chunks().iter().map(|chunk| (chunk.clone(), stored(chunk))).collect(),
            totals: archive.totals().clone(),
        }
    }

    /// Gives a chunk other contents; the index says what is true of them, and nothing of their keys.
    pub fn set_raw(&mut self, chunk: usize, raw: &[u8]) {
        let (described, stored) = &mut self.chunks[chunk];
        self.totals.bytes = self.totals.bytes - described.bytes + raw.len() as u64;
        described.bytes = raw.len() as u64;
        described.spans.clear();
        *stored = self.compression.compress(raw);
    }

    /// Makes offsets, lengths and checksums true.
    pub fn describe(&mut self) {
        let mut offset = 0;
        for (chunk, stored) in &mut self.chunks {
            chunk.offset = offset;
            chunk.length = stored.len() as u64;
            chunk.sha256 = sha256_hex(stored);
            offset += chunk.length;
        }
    }

    /// The lines of the index.
    pub fn index(&self) -> Vec<u8> {
        let mut lines = String::new();
        for (chunk, _) in &self.chunks {
            lines += &format!("{{\"chunk\":{}}}\n", serde_json::to_string(chunk).unwrap());
        }
        lines += &format!("{{\"totals\":{}}}\n", serde_json::to_string(&self.totals).unwrap());
        lines.into_bytes()
    }

    /// The archive whose index is as described.
    pub fn assemble(&self) -> Vec<u8> {
        let index = self.index();
        self.assemble_with(&self.compression.compress(&index), index.len() as u64)
    }

    /// The archive with these stored bytes for an index, which the end record describes.
    pub fn assemble_with(&self, index: &[u8], index_bytes: u64) -> Vec<u8> {
        let mut file: Vec<u8> = self.chunks.iter().flat_map(|(_, stored)| stored.clone()).collect();
        let end = end_record(self.compression, file.len() as u64, index, index_bytes);
        file.extend_from_slice(index);
        file.extend_from_slice(&end);
        file
    }
}

/// The end record as `docs/format.md` describes it.
pub fn end_record(compression: Compression, offset: u64, index: &[u8], bytes: u64) -> Vec<u8> {
    let line = format!(
        "{{\"end\":\"pgkeep\",\"version\":1,\"index_offset\":{offset:20},\"index_length\":{:20},\
         \"index_bytes\":{bytes:20},\"index_sha256\":\"{}\"}}\n",
        index.len(),
        sha256_hex(index)
    );
    let length = (line.len() as u16).to_le_bytes();
    match compression {
        Compression::None => line.into_bytes(),
        Compression::Gzip(_) => {
            let mut crc = flate2::Crc::new();
            crc.update(line.as_bytes());
            let mut member = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01".to_vec();
            member.extend([length[0], length[1], !length[0], !length[1]]);
            member.extend(line.as_bytes());
            member.extend(crc.sum().to_le_bytes());
            member.extend((line.len() as u32).to_le_bytes());
            member
        }
        Compression::Zstd(_) => {
            let mut frame = b"\x28\xb5\x2f\xfd\x20".to_vec();
            frame.push(length[0]);
            frame.extend(&((line.len() as u32) << 3 | 1).to_le_bytes()[..3]);
            frame.extend(line.as_bytes());
            frame
        }
    }
}

/// Compresses one chunk.
pub trait Compress {
    fn compress(self, raw: &[u8]) -> Vec<u8>;
}

impl Compress for Compression {
    fn compress(self, raw: &[u8]) -> Vec<u8> {
        Compressor::new(self).unwrap().compress(raw).unwrap()
    }
}
