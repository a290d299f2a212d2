//! Rows that come in binary make the very lines that the server's own text makes, on every major: the text is the judge.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fmt::Write as _;

use pgkeep::archive::model::{self, Chunk};
use pgkeep::archive::reader::Archive;
use pgkeep::backup::copy::{BinaryColumns, CopyFormat, statement};
use pgkeep::backup::plan::Part;
use pgkeep::postgres::catalog::{Catalog, Relation, RelationKind};
use pgkeep::postgres::connect::{RetryPolicy, Session, connect};
use pgkeep::postgres::conninfo::ConnInfo;
use pgkeep::postgres::copy::RowEncoder;
use pgkeep::postgres::copy::binary::{LastDay, Tuple, header_length};
use pgkeep::postgres::settings;
use pgkeep::postgres::tap::{CopyEvent, CopyMessages};
use support::{Pgkeep, fixture, majors, shared};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

async fn session(url: &str) -> Session {
    let info = ConnInfo::resolve(Some(url), &|_| None, None).unwrap();
    connect(&info, &RetryPolicy::once(), &|_| {}).await.unwrap()
}

/// What the COPYs of `sql` send, each as one run of bytes.
async fn copied(session: &Session, sql: &str) -> Vec<Vec<u8>> {
    let mut copies = session.copy_out(sql.to_owned());
    let mut messages = CopyMessages::default();
    let mut all = Vec::new();
    let mut ended = true;
    while let Some(event) = copies.next().await.unwrap() {
        match event {
            CopyEvent::Begin => {
                assert!(ended);
                ended = false;
                all.push(Vec::new());
            }
            CopyEvent::Data(block) => {
                let mut rest: &[u8] = &block;
                while let Some(payload) = messages.next(&mut rest) {
                    all.last_mut().unwrap().extend_from_slice(&payload);
                }
            }
            CopyEvent::End => ended = true,
        }
    }
    assert!(ended);
    all
}

/// Reads the relation both ways and compares row by row. Returns how many rows there are.
async fn compare(session: &Session, catalog: &Catalog, relation: &Relation, whole: bool) -> usize {
    let part = Part::new(catalog, relation);
    let binary = BinaryColumns::new(catalog, relation).expect("readable in binary");
    let encoding = &catalog.server.encoding;
    let condition = if whole { "" } else { " WHERE true" };
    let (text, _) = statement(&part.table.columns, None, relation, (condition, false), encoding);
    let (sql, format) = statement(&part.table.columns, Some(&binary), relation, (condition, false), encoding);
    let mut sent = copied(session, &format!("{text}; {sql}")).await.into_iter();
    let (text, other) = (sent.next().unwrap(), sent.next().unwrap());
    let expected: Vec<Vec<u8>> = text
        .split_inclusive(|byte| *byte == b'\n')
        .map(|row| {
            let mut line = Vec::new();
            RowEncoder::new(part.forms.clone()).encode(&row[..row.len() - 1], &mut line).unwrap();
            line
        })
        .collect();
    if format == CopyFormat::Text {
        assert!(whole, "{}", relation.name);
        return expected.len();
    }
    let encoder = binary.encoder(&part.forms);
    let mut rest = &other[header_length(&other).unwrap().unwrap()..];
    let mut last_day = LastDay::default();
    for expected in &expected {
        let mut line = Vec::new();
        let Tuple::Row(length) = encoder.encode(rest, &mut last_day, &mut line).unwrap() else {
            panic!("no row")
        };
        rest = &rest[length..];
        let show = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        assert_eq!(show(&line), show(expected), "{}, Postgres {}", relation.name, catalog.server.version);
    }
    assert_eq!(encoder.encode(rest, &mut last_day, &mut Vec::new()).unwrap(), Tuple::End(rest.len()));
    expected.len()
}

/// Compares all tables of a database, as page ranges and as whole tables. Returns how many rows there are.
fn compare_all(url: &str) -> usize {
    block_on(async {
        let session = session(url).await;
        let settings = settings::statements(session.server_version_num);
        session.client.batch_execute(&format!("BEGIN; {settings}")).await.unwrap();
        let catalog = Catalog::read(&session.client).await.unwrap();
        let mut rows = 0;
        for relation in catalog.relations.iter().filter(|r| r.kind == RelationKind::Table) {
            rows += compare(&session, &catalog, relation, false).await;
            compare(&session, &catalog, relation, true).await;
        }
        rows
    })
}

#[test]
fn every_awkward_value_is_spelled_as_the_server_spells_it() {
    for major in majors() {
        let database = shared(Some(major)).database("binary_awkward");
        database.execute(&fixture("awkward_types.sql"));
        assert!(compare_all(&database.url) > 50, "Postgres {major}");
    }
}

#[test]
fn every_fixture_gives_the_same_rows_both_ways() {
    for major in majors() {
        for name in ["types", "tables", "data", "partitions", "inheritance", "names", "constraints"] {
            let sql = fixture(&format!("objects/{name}.sql"));
            let database = shared(Some(major)).database(&format!("binary_{name}"));
            if let Err(error) = support::try_query(&database.url, &sql) {
                // Some fixtures need what only the suite that is about them prepares.
                let known = ["role", "does not exist", "syntax error"];
                assert!(known.iter().any(|word| error.contains(word)), "{name}: {error}");
                continue;
            }
            compare_all(&database.url);
        }
    }
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn floats() -> String {
    let mut random = Random(42);
    let mut sql = String::from("CREATE TABLE f8 (v float8); CREATE TABLE f4 (v float4);");
    let mut eights: Vec<f64> = (0..6000).map(|_| f64::from_bits(random.next())).collect();
    // Powers of two and of ten with their neighbours, and integers of every length.
    for exponent in -1074..1024 {
        let power = 2f64.powi(exponent);
        eights.extend([power, power.next_up(), power.next_down()]);
    }
    for exponent in -330..309 {
        let power: f64 = format!("1e{exponent}").parse().unwrap();
        eights.extend([power, power.next_up(), power.next_down(), 3.0 * power, -power]);
    }
    eights.extend((0..3000).map(|_| (random.next() >> (random.next() % 64)) as f64));
    eights.extend((0..3000).map(|_| (random.next() % 100_000_000) as f64 / 1000.0));
    let mut fours: Vec<f32> = (0..6000).map(|_| f32::from_bits(random.next() as u32)).collect();
    for exponent in -149..128 {
        let power = 2f32.powi(exponent);
        fours.extend([power, power.next_up(), power.next_down()]);
    }
    for exponent in -46..39 {
        let power: f32 = format!("1e{exponent}").parse().unwrap();
        fours.extend([power, power.next_up(), power.next_down(), 7.0 * power]);
    }
    fours.extend((0..6000).map(|_| (random.next() >> (random.next() % 64)) as f32));
    let list = |values: &mut dyn Iterator<Item = String>| values.collect::<Vec<_>>().join(",");
    // An own spelling with enough digits to mean just that value.
    let spelled = list(&mut eights.iter().filter(|v| v.is_finite()).map(|v| format!("('{v:.17e}')")));
    write!(sql, "INSERT INTO f8 VALUES {spelled}, ('NaN'), ('-0'), ('Infinity'), ('-Infinity');").unwrap();
    let spelled = list(&mut fours.iter().filter(|v| v.is_finite()).map(|v| format!("('{v:.9e}')")));
    write!(sql, "INSERT INTO f4 VALUES {spelled}, ('NaN'), ('-0'), ('Infinity'), ('-Infinity');").unwrap();
    sql
}

#[test]
fn values_of_every_known_type_are_spelled_as_the_server_spells_them() {
    for major in majors() {
        let database = shared(Some(major)).database("binary_made");
        database.execute(&format!("SET TimeZone = 'UTC'; {}", fixture("many_values.sql")));
        if major >= 14 {
            database.execute("INSERT INTO decimals VALUES ('Infinity'), ('-Infinity')");
        }
        if major >= 17 {
            database.execute("INSERT INTO spans VALUES ('infinity'), ('-infinity')");
        }
        assert!(compare_all(&database.url) > 25_000, "Postgres {major}");
    }
}

#[test]
fn floats_are_spelled_as_the_server_spells_them() {
    for major in majors() {
        let database = shared(Some(major)).database("binary_floats");
        database.execute(&floats());
        assert!(compare_all(&database.url) > 30_000, "Postgres {major}");
    }
}

#[test]
fn a_database_of_another_encoding_gives_the_same_rows() {
    let cluster = shared(None);
    for encoding in ["LATIN1", "EUC_JP"] {
        let name = format!("binary_{}", encoding.to_lowercase());
        cluster.execute("postgres", &format!("DROP DATABASE IF EXISTS {name}"));
        cluster.execute(
            "postgres",
            &format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
            ),
        );
        let word = if encoding == "LATIN1" { "é" } else { "日本" };
        cluster.execute(
            &name,
            &format!(
                "CREATE TYPE mood AS ENUM ('{word}'); CREATE TABLE t (a text, b jsonb, c mood, d text[], e mood[], f varchar(9));
                 INSERT INTO t VALUES ('{word}', '{{\"{word}\": 1}}', '{word}', '{{{word},x}}', '{{{word}}}', '{word}')"
            ),
        );
        assert_eq!(compare_all(&cluster.url(&name)), 1);
    }
}

/// A table with its chunks and what they hold.
type Contents = (model::Table, Vec<(Chunk, Vec<u8>)>);

fn contents(archive: &Archive) -> Vec<Contents> {
    let tables = archive.header().tables.iter().enumerate();
    tables
        .map(|(n, table)| {
            let chunks = archive.table_chunks(n as u32).into_iter();
            let read = chunks.map(|c| {
                let chunk = Chunk { offset: 0, ..c.clone() };
                (chunk, archive.read_rows(c).unwrap().lines().to_vec())
            });
            (table.clone(), read.collect())
        })
        .collect()
}

#[test]
fn archives_are_the_same_byte_for_byte_whichever_way_rows_came() {
    for major in majors() {
        let database = shared(Some(major)).database("binary_archives");
        database.execute(&fixture("reservations.sql"));
        database.execute(&fixture("reservations_scale.sql"));
        database.execute("SELECT generate_reservations(2)");
        // Of several page ranges, with a type that the server has to print.
        database.execute(
            "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE big (id int, at timestamptz, m mood, r int4range, t text, w tsvector);
             INSERT INTO big SELECT i, '2000-01-01'::timestamptz + i * interval '1 s', (ARRAY['sad', 'ok'])[1 + i % 2]::mood,
                    int4range(i, i + 3), repeat(md5(i::text), 16), 'a b' FROM generate_series(1, 40000) i;
             SELECT lo_from_bytea(0, decode(repeat(md5(i::text), 9999), 'hex')) FROM generate_series(1, 3) i;",
        );
        let mut archives = Vec::new();
        for (format, jobs) in [("text", "1"), ("binary", "1"), ("text", "3"), ("binary", "3")] {
            let pgkeep = Pgkeep::on(&database.url);
            pgkeep.ok(&["backup", "--copy-format", format, "--jobs", jobs]);
            archives.push(contents(&Archive::open(&pgkeep.only_file("backups")).unwrap()));
        }
        assert!(archives[0].iter().map(|(_, chunks)| chunks.len()).sum::<usize>() > 15);
        assert!(archives[0] == archives[1] && archives[2] == archives[3], "Postgres {major}");
        // In other pieces, the same rows in the same order.
        let lines = |archive: &[Contents]| -> Vec<Vec<u8>> {
            archive
                .iter()
                .map(|(_, chunks)| chunks.iter().flat_map(|(_, lines)| lines.clone()).collect())
                .collect()
        };
        assert!(lines(&archives[0]) == lines(&archives[3]), "Postgres {major}");
        let big = archives[3].iter().find(|(table, _)| table.name == "big").unwrap();
        assert_eq!(big.1.iter().any(|(chunk, _)| chunk.range > 0), major >= 14);
    }
}

#[test]
fn what_is_no_tuple_is_an_error_and_never_a_panic() {
    use pgkeep::postgres::copy::binary::{TupleEncoder, Wire};
    use pgkeep::row::CellForm;
    let wires = [
        Wire::Bool,
        Wire::Int2,
        Wire::Int4,
        Wire::Int8,
        Wire::Oid,
        Wire::Float4,
        Wire::Float8,
        Wire::Numeric,
        Wire::Text,
        Wire::Jsonb,
        Wire::Bytea,
        Wire::Uuid,
        Wire::Date,
        Wire::Time,
        Wire::TimeTz,
        Wire::Timestamp,
        Wire::TimestampTz,
        Wire::Interval,
        Wire::Inet,
        Wire::Array,
    ];
    let mut random = Random(7);
    let mut last_day = LastDay::default();
    for wire in wires {
        for form in [CellForm::Text, CellForm::Number, CellForm::Boolean, CellForm::Json] {
            let encoder = TupleEncoder::new(vec![(wire, form)], 180_000);
            for length in 0..60_usize {
                for _ in 0..40 {
                    let value: Vec<u8> =
                        (0..length).map(|_| (random.next() >> (random.next() % 60)) as u8).collect();
                    let tuple = [&[0, 1][..], &(length as u32).to_be_bytes(), &value].concat();
                    let mut line = b"kept".to_vec();
                    match encoder.encode(&tuple, &mut last_day, &mut line) {
                        Ok(Tuple::Row(used)) => {
                            assert_eq!(used, tuple.len());
                            pgkeep::row::check(&line[4..], 1).unwrap();
                        }
                        Ok(other) => panic!("{other:?}"),
                        Err(_) => assert_eq!(line, b"kept"),
                    }
                    // Cut anywhere, it is no row yet.
                    if length > 0 {
                        let cut = random.next() as usize % tuple.len();
                        assert!(matches!(
                            encoder.encode(&tuple[..cut], &mut last_day, &mut line),
                            Ok(Tuple::Incomplete)
                        ));
                    }
                }
            }
        }
    }
    for bytes in
        [&b"PGCOPY\n\xff\r\n\0\0\x01\0\0\0\0\0\0"[..], b"PGCOPY\n\xff\r\n\0\0\0\0\0\xff\0\0\0", b"nonsense"]
    {
        assert!(header_length(bytes).is_err());
    }
    assert_eq!(header_length(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02x"), Ok(None));
    assert_eq!(header_length(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02xyz"), Ok(Some(21)));
}

#[test]
fn an_output_function_that_takes_null_is_not_called_for_it() {
    let database = shared(None).database("binary_not_strict");
    // Called for NULL it would crash the server.
    database.execute(
        "CREATE TYPE tag;
         CREATE FUNCTION tag_in(cstring) RETURNS tag LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION tag_out(tag) RETURNS cstring LANGUAGE internal IMMUTABLE AS 'textout';
         CREATE TYPE tag (INPUT = tag_in, OUTPUT = tag_out, LIKE = text);
         CREATE TABLE t (id int PRIMARY KEY, x tag, pad text);
         INSERT INTO t SELECT i, CASE WHEN i % 10 <> 0 THEN tag_in(textout('tag' || i)) END, repeat('x', 500)
           FROM generate_series(1, 60000) i",
    );
    let pgkeep = Pgkeep::on(&database.url);
    let result = pgkeep.ok(&["backup", "--json"]).json();
    assert_eq!(result["rows"], 60_000);
    let archive = Archive::open(&pgkeep.only_file("backups")).unwrap();
    assert!(archive.table_chunks(0).last().unwrap().range > 0, "of several page ranges");
}
