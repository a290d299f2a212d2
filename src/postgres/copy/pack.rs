//! JSON row lines to rows of binary COPY (manual, COPY, "Binary Format"), as far as that is certain.
//!
//! The server spends a large part of a load on reading numbers, times and uuids from text, and on finding the ends of
//! cells. Here they are sent as its receive functions take them. The value must be the very one that the text gives:
//! so only built-in types are packed whose receive function ends in the same code as the input function, and of each
//! only the spelling that the server itself prints. Whatever else stands in a cell is [`Unsure`]: the caller sends
//! that row as text, and the server judges.
//!
//! What makes it the same (`src/backend/utils/adt`): `textrecv`, `varcharrecv`, `bpcharrecv`, `json_recv`, `jsonb_recv`
//! and `enum_recv` take the text itself and end in what the input function calls; `numeric_recv`, `timestamp_recv`,
//! `timestamptz_recv`, `time_recv` and all array elements apply the column's modifier as input does; `domain_recv`
//! checks the domain's constraints. All encode what their send functions give, which [`super`]'s tests hold against
//! servers of each major version.

mod array;
mod numeric;
mod scalar;
mod time;

use crate::row::scan::{copy_plain, number_end, plain_end, skip_space, value_end};
use crate::row::utf8;
use crate::row::wrapped::{MARK, Wrapped, unescape, unwrap};

/// What a binary COPY begins with: signature, no flags, no header extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What a binary COPY ends with.
pub const TRAILER: &[u8] = &[0xff, 0xff];

/// The row is not spelt as the server spells it, or is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure;

/// How the values of a type are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// `text` and what is sent like it: also `varchar`, `bpchar`, `json` and enums.
    Text,
    /// `bool`.
    Bool,
    /// `int2`.
    Int2,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `oid`.
    Oid,
    /// `float4`.
    Float4,
    /// `float8`.
    Float8,
    /// `numeric`.
    Numeric,
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytea,
    /// `jsonb`.
    Jsonb,
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `timestamp`.
    Timestamp,
    /// `timestamptz`.
    Timestamptz,
    /// `inet`.
    Inet,
    /// `cidr`.
    Cidr,
    /// An array of one dimension.
    Array(array::Element),
}

impl Packing {
    /// How the built-in type with this OID is packed, if it can be. OIDs of built-in types are the same on every server
    /// (`pg_type.dat`).
    pub fn of_type(oid: u32) -> Option<Packing> {
        Some(match oid {
            16 => Packing::Bool,
            17 => Packing::Bytea,
            20 => Packing::Int8,
            21 => Packing::Int2,
            23 => Packing::Int4,
            // text, json, bpchar, varchar
            25 | 114 | 1042 | 1043 => Packing::Text,
            26 => Packing::Oid,
            650 => Packing::Cidr,
            700 => Packing::Float4,
            701 => Packing::Float8,
            869 => Packing::Inet,
            1082 => Packing::Date,
            1083 => Packing::Time,
            1114 => Packing::Timestamp,
            1184 => Packing::Timestamptz,
            1700 => Packing::Numeric,
            2950 => Packing::Uuid,
            3802 => Packing::Jsonb,
            _ => return array::Element::of_array(oid).map(Packing::Array),
        })
    }
}

/// Packs the rows of one table.
#[derive(Clone, Debug)]
pub struct RowPacker {
    columns: Vec<Packing>,
    /// Number of columns, as it stands before each row.
    count: [u8; 2],
}

impl RowPacker {
    /// A packer of rows with these columns. None where there are too many for a row, or none at all.
    pub fn new(columns: Vec<Packing>) -> Option<RowPacker> {
        let count = i16::try_from(columns.len()).ok().filter(|n| *n > 0)?.to_be_bytes();
        Some(RowPacker { columns, count })
    }

    /// Appends the binary row for `line`, which has no line break. Where that is not certain `out` is as it was.
    pub fn pack(&self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
        let start = out.len();
        out.reserve(line.len() + 8 * self.columns.len() + 32);
        let done = self.write(line, out);
        if done.is_err() {
            out.truncate(start);
        }
        done
    }

    fn write(&self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
        utf8(line).map_err(|_| Unsure)?;
        out.extend_from_slice(&self.count);
        let mut at = expect(line, skip_space(line, 0), b'[')?;
        for (i, packing) in self.columns.iter().enumerate() {
            if i > 0 {
                at = expect(line, at, b',')?;
            }
            at = skip_space(line, cell(*packing, line, at, out)?);
        }
        if expect(line, at, b']')? == line.len() { Ok(()) } else { Err(Unsure) }
    }
}

#[inline]
fn expect(line: &[u8], at: usize, wanted: u8) -> Result<usize, Unsure> {
    if line.get(at) == Some(&wanted) { Ok(skip_space(line, at + 1)) } else { Err(Unsure) }
}

/// Writes the cell that begins at `at`, with its length before it; returns where it ends.
#[inline]
fn cell(packing: Packing, line: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Unsure> {
    let first = *line.get(at).ok_or(Unsure)?;
    if first == b'n' {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        return literal(line, at, b"null");
    }
    match (packing, first) {
        (Packing::Jsonb, _) => sized(out, |out| jsonb(line, at, out)),
        (Packing::Text, b'"') => sized(out, |out| text(line, at + 1, out)),
        (Packing::Bytea, b'"') => sized(out, |out| scalar::bytea(line, at + 1, out)),
        (Packing::Array(element), b'"') => {
            let mut text = Vec::new();
            let end = string(line, at + 1, &mut text)?;
            sized(out, |out| element.array(&text, out))?;
            Ok(end)
        }
        (Packing::Bool, b't') => sized(out, |out| {
            out.push(1);
            literal(line, at, b"true")
        }),
        (Packing::Bool, b'f') => sized(out, |out| {
            out.push(0);
            literal(line, at, b"false")
        }),
        (Packing::Bool, _) => Err(Unsure),
        (_, b'"') => {
            // What is packed here is never spelt with an escape.
            let end = plain_end::<true>(line, at + 1);
            let token = line.get(at + 1..end).ok_or(Unsure)?;
            sized(out, |out| value(packing, token, out))?;
            if line.get(end) == Some(&b'"') { Ok(end + 1) } else { Err(Unsure) }
        }
        (_, b'-' | b'0'..=b'9') => {
            let end = number_end(line, at).map_err(|_| Unsure)?;
            let token = line.get(at..end).ok_or(Unsure)?;
            sized(out, |out| value(packing, token, out))?;
            Ok(end)
        }
        _ => Err(Unsure),
    }
}

/// Writes the value that Postgres prints as `text`, without its length.
#[inline]
fn value(packing: Packing, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unsure> {
    match packing {
        Packing::Text => {
            if text.contains(&0) {
                return Err(Unsure);
            }
            out.extend_from_slice(text);
            Ok(())
        }
        Packing::Jsonb => {
            out.push(JSONB_VERSION);
            value(Packing::Text, text, out)
        }
        Packing::Bool => {
            match text {
                b"t" => out.push(1),
                b"f" => out.push(0),
                _ => return Err(Unsure),
            }
            Ok(())
        }
        Packing::Int2 => scalar::int2(text, out),
        Packing::Int4 => scalar::int4(text, out),
        Packing::Int8 => scalar::int8(text, out),
        Packing::Oid => scalar::oid(text, out),
        Packing::Float4 => scalar::float4(text, out),
        Packing::Float8 => scalar::float8(text, out),
        Packing::Numeric => numeric::numeric(text, out),
        Packing::Uuid => scalar::uuid(text, out),
        Packing::Date => time::date(text, out),
        Packing::Time => time::time(text, out),
        Packing::Timestamp => time::timestamp(text, out),
        Packing::Timestamptz => time::timestamptz(text, out),
        Packing::Inet => scalar::inet(text, false, out),
        Packing::Cidr => scalar::inet(text, true, out),
        Packing::Bytea | Packing::Array(_) => Err(Unsure),
    }
}

/// What stands before the text of a `jsonb` (`jsonb_recv`).
const JSONB_VERSION: u8 = 1;

/// Writes a `jsonb` cell.
#[inline]
fn jsonb(line: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Unsure> {
    out.push(JSONB_VERSION);
    if line.get(at..).is_some_and(|rest| rest.starts_with(MARK)) {
        return match unwrap(line, at) {
            Ok((Wrapped::Text(json), end)) if !json.contains(&0) => {
                out.extend_from_slice(&json);
                Ok(end)
            }
            _ => Err(Unsure),
        };
    }
    let end = value_end(line, at).map_err(|_| Unsure)?;
    out.extend_from_slice(line.get(at..end).ok_or(Unsure)?);
    Ok(end)
}

/// Writes the text of the string whose first byte after the quote is at `at`.
#[inline]
fn text(line: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Unsure> {
    // Most strings hold no escape.
    let start = out.len();
    let end = copy_plain::<true>(line, at, out);
    if line.get(end) == Some(&b'"') {
        return Ok(end + 1);
    }
    out.truncate(start);
    string(line, at, out)
}

/// Writes what the string means whose first byte after the quote is at `at`.
fn string(line: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Unsure> {
    let start = out.len();
    let end = unescape(line, at, out).map_err(|_| Unsure)?;
    // No text of the server's has a NUL.
    let written = out.get(start..).unwrap_or_default();
    if memchr::memchr(0, written).is_some() { Err(Unsure) } else { Ok(end) }
}

#[inline]
fn literal(line: &[u8], at: usize, word: &[u8]) -> Result<usize, Unsure> {
    if line.get(at..).is_some_and(|rest| rest.starts_with(word)) { Ok(at + word.len()) } else { Err(Unsure) }
}

/// Writes what `write` writes, with its length before it.
#[inline]
fn sized<T>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<T, Unsure>) -> Result<T, Unsure> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let result = write(out)?;
    let length = i32::try_from(out.len() - start - 4).map_err(|_| Unsure)?;
    out.get_mut(start..start + 4).ok_or(Unsure)?.copy_from_slice(&length.to_be_bytes());
    Ok(result)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn packed(oid: u32, cell: &str) -> Result<Vec<u8>, Unsure> {
        let packer = RowPacker::new(vec![Packing::of_type(oid).unwrap()]).unwrap();
        let mut out = b"kept".to_vec();
        let done = packer.pack(format!("[{cell}]").as_bytes(), &mut out);
        if done.is_err() {
            assert_eq!(out, b"kept", "nothing is left of a row that is not certain");
        }
        // Behind the number of columns.
        done.map(|()| out.split_off(6))
    }

    fn value(oid: u32, cell: &str) -> Vec<u8> {
        let cell = packed(oid, cell).unwrap_or_else(|_| panic!("{oid}: {cell}"));
        let (length, value) = cell.split_at(4);
        assert_eq!(length, (value.len() as i32).to_be_bytes());
        value.to_vec()
    }

    #[test]
    fn values_are_as_the_server_sends_them() {
        // What typesend(…) of a server says.
        for (oid, cell, expected) in [
            (16, "true", &b"\x01"[..]),
            (21, "-32768", b"\x80\x00"),
            (23, "\"7\"", b"\0\0\0\x07"),
            (20, "\"-9223372036854775808\"", b"\x80\0\0\0\0\0\0\0"),
            (20, "\"9223372036854775807\"", b"\x7f\xff\xff\xff\xff\xff\xff\xff"),
            (26, "4294967295", b"\xff\xff\xff\xff"),
            (700, "\"NaN\"", b"\x7f\xc0\0\0"),
            (700, "1e-45", b"\0\0\0\x01"),
            (701, "-0", b"\x80\0\0\0\0\0\0\0"),
            (701, "\"-Infinity\"", b"\xff\xf0\0\0\0\0\0\0"),
            (25, r#""a\n\u00e9\"""#, "a\né\"".as_bytes()),
            (17, r#""\\x00ff""#, b"\x00\xff"),
            (17, r#""\\x""#, b""),
            (3802, r#"{"a": [1.50, null]}"#, b"\x01{\"a\": [1.50, null]}"),
            (3802, r#"{"$text":"null"}"#, b"\x01null"),
            (1082, "\"4713-11-24 BC\"", b"\xff\xda\x99\x15"),
            (1083, "\"24:00:00\"", b"\0\0\0\x14\x1d\xd7\x60\0"),
            (869, "\"10.0.0.1\"", b"\x02\x20\0\x04\x0a\0\0\x01"),
            (869, "\"::1/64\"", b"\x03\x40\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
            (650, "\"10.0.0.0/8\"", b"\x02\x08\x01\x04\x0a\0\0\0"),
            (1007, "\"{}\"", b"\0\0\0\0\0\0\0\0\0\0\0\x17"),
            (
                1007,
                "\"{1,NULL}\"",
                b"\0\0\0\x01\0\0\0\x01\0\0\0\x17\0\0\0\x02\0\0\0\x01\0\0\0\x04\0\0\0\x01\xff\xff\xff\xff",
            ),
            (
                1009,
                r#""{\"nu\\\\ll\"}""#,
                b"\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x01\0\0\0\x01\0\0\0\x05nu\\ll",
            ),
        ] {
            assert_eq!(value(oid, cell), expected, "{oid}: {cell}");
        }
        let uuid = value(2950, "\"00112233-4455-6677-8899-aabbccddeeff\"");
        assert_eq!(uuid, [0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255]);
        assert_eq!(packed(25, "null"), Ok(vec![0xff; 4]));
    }

    #[test]
    fn what_the_server_does_not_print_is_unsure() {
        for (oid, cell) in [
            (16, "\"t\""),
            (16, "1"),
            (16, "truth"),
            (21, "32768"),
            (23, "1.0"),
            (23, "\"\""),
            (23, "\" 1\""),
            (20, "9223372036854775808"),
            (20, "99999999999999999999"),
            (26, "-1"),
            (700, "1e39"),
            (700, "1e-46"),
            (701, "1e999"),
            (701, "\"inf\""),
            (701, "\"0x10\""),
            (25, "{\"$hex\":\"ff\"}"),
            (25, "\"\\u0000\""),
            (25, "\"a"),
            (17, "\"abc\""),
            (17, r#""\\x0""#),
            (17, r#""\\x0g""#),
            (3802, "{\"$hex\":\"ff\"}"),
            (3802, "{"),
            (2950, "\"00112233445566778899aabbccddeeff\""),
            (869, "\"10.0.0.1/33\""),
            (869, "\"10.1\""),
            (650, "\"10.0.0.0\""),
            (1007, "\"{{1}}\""),
            (1007, "\"[2:2]={1}\""),
            (1007, "\"{1\""),
            (1007, "\"{1,}\""),
            (1007, "\"{1}x\""),
            (1009, "\"{ a}\""),
            (25, "\"a\",\"b\""),
            (25, ""),
            (25, "nul"),
        ] {
            assert_eq!(packed(oid, cell), Err(Unsure), "{oid}: {cell}");
        }
        // Intervals, for one, and types of users.
        assert!(Packing::of_type(1186).is_none() && Packing::of_type(16_384).is_none());
        assert!(RowPacker::new(Vec::new()).is_none());
    }

    const OIDS: [u32; 37] = [
        16, 17, 20, 21, 23, 25, 26, 114, 650, 700, 701, 869, 1000, 1005, 1007, 1009, 1014, 1015, 1016, 1021,
        1022, 1042, 1043, 1082, 1083, 1114, 1115, 1182, 1184, 1185, 1231, 1700, 2950, 2951, 3802, 3807, 25,
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_give_a_row_or_leave_nothing(oid in prop::sample::select(&OIDS[..]), cell in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(prop::sample::select(b"0123456789-+:. {}[],\"\\xBC/eNn".to_vec()), 0..30),
        ]) {
            let packer = RowPacker::new(vec![Packing::of_type(oid).unwrap()]).unwrap();
            for line in [cell.clone(), [b"[\"", &cell[..], b"\"]"].concat(), [b"[", &cell[..], b"]"].concat()] {
                let mut out = Vec::new();
                if packer.pack(&line, &mut out).is_err() {
                    prop_assert!(out.is_empty());
                }
            }
        }
    }
}
