//! Archives that lie, archives that are damaged, and readers that go away.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use pgkeep::archive::compression::Compression;
use pgkeep::archive::model::{Column, FORMAT, Header, Kind, Selection, Sequence, Source, Table, VERSION};
use pgkeep::archive::reader::Archive;
use pgkeep::archive::spans::KeyColumns;
use pgkeep::archive::writer::{ArchiveWriter, ChunkEncoder, table_line};
use pgkeep::schema::{self, Object, Schema};

use crate::support::{Pgkeep, shared};
use crate::{backed_up, exported, judge};

fn header() -> Header {
    Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        kind: Kind::Backup,
        tool: "pgkeep 0\n\\! touch tool".to_owned(),
        created_at: "2025-11-28T07:47:23Z".parse().unwrap(),
        source: Source {
            database: "shop\n\\! touch database\n".to_owned(),
            server_version: "15\n\\! touch version".to_owned(),
            encoding: "UTF8".to_owned(),
            ..Source::default()
        },
        selection: Selection::default(),
        guards: None,
        refused: None,
        tables: Vec::new(),
        sequences: Vec::new(),
        schema: None,
    }
}

/// Writes an archive with these rows of its first table, a chunk each.
fn write(path: &Path, header: &Header, chunks: &[&str]) {
    let mut writer =
        ArchiveWriter::create(std::fs::File::create(path).unwrap(), Compression::None, header).unwrap();
    let mut encoder = ChunkEncoder::new(Compression::None).unwrap();
    for (range, rows) in chunks.iter().enumerate() {
        let mut raw = table_line(&header.tables[0]);
        raw.extend(rows.lines().flat_map(|row| [row.as_bytes(), b"\n"].concat()));
        let sealed =
            encoder.seal_rows(0, range as u32, 0, &raw, rows.lines().count() as u64, &KeyColumns::default());
        writer.append(sealed.unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn no_name_definition_or_row_of_an_archive_is_a_command_for_psql() {
    let cluster = shared(None);
    let database = cluster.database("export_hostile");
    let name = "t\n\\! touch name\n--";
    let mut header = header();
    header.tables.push(Table {
        schema: "public".to_owned(),
        name: name.to_owned(),
        columns: vec![Column { name: "v\n\\! touch column".to_owned(), ..Column::default() }],
        ..Table::default()
    });
    header.sequences.push(Sequence {
        schema: "public".to_owned(),
        name: "s\n\\! touch sequence\n'\\".to_owned(),
        last_value: "1".to_owned(),
        is_called: true,
        increment: "1".to_owned(),
        used_by: vec![0],
        ..Sequence::default()
    });
    let mut table =
        Object::new(schema::Kind::Table, format!("TABLE public.\"{name}\""), Some("public"), name);
    table.create = vec![format!("CREATE TABLE public.\"{name}\" (\"v\n\\! touch column\" text)")];
    let mut sequence =
        Object::new(schema::Kind::Sequence, "SEQUENCE x\n\\! touch identity", Some("public"), "x");
    sequence.create = vec!["CREATE SEQUENCE public.\"s\n\\! touch sequence\n'\\\"".to_owned()];
    let mut evil = Object::new(schema::Kind::Function, "FUNCTION public.f()", Some("public"), "f");
    evil.create = vec![
        "SELECT 1;\n\\! touch definition\n".to_owned(),
        "\\unrestrict\n\\! touch unrestricted\n".to_owned(),
        "SELECT 2 \\g | touch pipe".to_owned(),
        "SELECT 3 -- ".to_owned(),
    ];
    header.schema = Some(Schema { objects: vec![table, sequence, evil], ..Schema::default() });
    let pgkeep = Pgkeep::new();
    let path = pgkeep.dir().join("hostile.json");
    let rows = "[\"\\\\.\"]\n[\"\\\\! touch row\"]\n[\"\\n\\\\! touch line\\n\"]\n[\"\\\\\"]";
    write(&path, &header, &[rows]);
    let script = exported(&pgkeep, &path, &[]);
    let folder = tempfile::tempdir().unwrap();
    // In psql's own way, where a statement that fails does not end the script.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "cat > script.sql; exec \"$0\" -X -q -d \"$1\" -f script.sql"]);
    command.arg(judge(cluster.postgres.major).psql()).arg(&database.url).current_dir(folder.path());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
    let said = String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(files, ["script.sql"], "{said}");
    assert!(said.contains("restrict"), "psql says that commands are refused: {said}");
    let quoted = name.replace('"', "\"\"");
    let rows = database.query(&format!("SELECT * FROM public.\"{quoted}\""));
    let rows: Vec<&str> = rows.iter().map(|row| row[0].as_deref().unwrap()).collect();
    assert_eq!(rows, ["\\.", "\\! touch row", "\n\\! touch line\n", "\\"]);
}

#[test]
fn a_damaged_archive_leaves_no_file_and_no_script_that_passes_for_whole() {
    let cluster = shared(None);
    let database = cluster.database("export_damaged");
    let client = judge(cluster.postgres.major);
    let mut header = header();
    header.tables.push(Table {
        schema: "public".to_owned(),
        name: "t".to_owned(),
        columns: vec![Column { name: "v".to_owned(), ..Column::default() }],
        ..Table::default()
    });
    let mut table = Object::new(schema::Kind::Table, "TABLE public.t", Some("public"), "t");
    table.create = vec!["CREATE TABLE public.t (v text)".to_owned()];
    header.schema = Some(Schema { objects: vec![table], ..Schema::default() });
    let pgkeep = Pgkeep::new();
    let path = pgkeep.dir().join("damaged.json");
    write(&path, &header, &["[\"first\"]", "[\"second\"]", "[\"third\"]"]);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = Archive::open(&path).unwrap().table_chunks(0)[1].offset as usize;
    bytes[at + 3] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let run = pgkeep.run(&["export", "damaged.json", "--out", "t.sql"]).expect_code(4);
    run.says("chunk 1.0").says("no t.sql was left behind");
    let left: Vec<_> = std::fs::read_dir(pgkeep.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["damaged.json"]);
    let csv = ["export", "damaged.json", "--format", "csv", "--table", "t"];
    assert_eq!(pgkeep.run(&csv).expect_code(4).stdout, "v\nfirst\n");
    let run = pgkeep.run(&["export", "damaged.json"]).expect_code(4);
    run.says("is not whole");
    assert!(run.stdout.contains("first\n") && !run.stdout.contains("second"), "{}", run.stdout);
    client.run_script(&database.url, &run.stdout).unwrap_err();
    assert_eq!(database.value("SELECT count(*) FROM t"), "0", "psql keeps nothing of the half table");
    assert!(run.stdout.contains("this script is not whole"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let database = shared(None).database("export_pipe");
    database.execute("CREATE TABLE t AS SELECT n, repeat('x', 100) FROM generate_series(1, 50000) n");
    let (pgkeep, archive) = backed_up(&database);
    for arguments in [&["--format", "sql"][..], &["--format", "csv", "--table", "t"]] {
        let mut command = pgkeep.command();
        command.arg("export").arg(&archive).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("error"));
    }
}
