//! A tuple of COPY's binary format to a JSON row line, the very one that [`RowEncoder`](super::RowEncoder) makes of the
//! same row in text.
//!
//! The server saves what its output functions cost, which is a third of its work in a backup; so the spelling of each
//! type is made here, exactly as its output function does under the settings of
//! [`settings`](crate::postgres::settings). Types that are not known here come as text, by a call of their output
//! function in the query, or the table is read in text. Format: manual, COPY, "Binary Format"; each type's form is that
//! of its send function.

mod array;
mod datetime;
mod network;
mod number;

pub use datetime::LastDay;

use super::encode::{kept_number, wrap_json};
use super::{CopyError, CopyProblem};
use crate::postgres::tid::Tid;
use crate::row::scan::{copy_short, escape_into};
use crate::row::wrapped::wrap_hex;
use crate::row::{CellForm, utf8};

/// How a column's values come in a binary COPY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `boolsend`: a byte.
    Bool,
    /// `int2send`.
    Int2,
    /// `int4send`.
    Int4,
    /// `int8send`.
    Int8,
    /// `oidsend`.
    Oid,
    /// `float4send`.
    Float4,
    /// `float8send`.
    Float8,
    /// `numeric_send`: digits of base 10,000.
    Numeric,
    /// The text itself: `textsend` and the like, `enum_send`, and `cstring_send` for what an output function made.
    Text,
    /// `jsonb_send`: a version, then the text.
    Jsonb,
    /// `byteasend`: the bytes.
    Bytea,
    /// `uuid_send`.
    Uuid,
    /// `date_send`: days.
    Date,
    /// `time_send`: microseconds.
    Time,
    /// `timetz_send`: microseconds and a zone.
    TimeTz,
    /// `timestamp_send`: microseconds.
    Timestamp,
    /// `timestamptz_send`: microseconds.
    TimestampTz,
    /// `interval_send`: microseconds, days, months.
    Interval,
    /// `inet_send` and `cidr_send`.
    Inet,
    /// `array_send`, of elements of any of the above.
    Array,
}

impl Wire {
    /// How a built-in type comes whose OID this is, if its spelling is known here. OIDs of built-in types are the same
    /// on every server (`pg_type.dat`).
    pub fn of_type(oid: u32) -> Option<Wire> {
        Some(match oid {
            16 => Wire::Bool,
            21 => Wire::Int2,
            23 => Wire::Int4,
            20 => Wire::Int8,
            26 => Wire::Oid,
            700 => Wire::Float4,
            701 => Wire::Float8,
            1700 => Wire::Numeric,
            // name, text, json, bpchar, varchar, refcursor
            19 | 25 | 114 | 1042 | 1043 | 1790 => Wire::Text,
            3802 => Wire::Jsonb,
            17 => Wire::Bytea,
            2950 => Wire::Uuid,
            1082 => Wire::Date,
            1083 => Wire::Time,
            1266 => Wire::TimeTz,
            1114 => Wire::Timestamp,
            1184 => Wire::TimestampTz,
            1186 => Wire::Interval,
            // cidr, inet
            650 | 869 => Wire::Inet,
            // Arrays of the above, in their order.
            1000 | 1005 | 1007 | 1016 | 1028 | 1021 | 1022 | 1231 | 1003 | 1009 | 199 | 1014 | 1015
            | 3807 | 1001 | 2951 | 1182 | 1183 | 1270 | 1115 | 1185 | 1187 | 651 | 1041 => Wire::Array,
            _ => return None,
        })
    }

    /// How a column comes whose type, or whose domain's base type, has this OID, and this output function; none if its
    /// spelling is not known here.
    pub fn of_column(base_type_oid: u32, output_oid: u32) -> Option<Wire> {
        const ENUM_OUT: u32 = 3507;
        Wire::of_type(base_type_oid).or((output_oid == ENUM_OUT).then_some(Wire::Text))
    }

    /// How an element of an array comes. Arrays name their elements' type themselves.
    fn element(oid: u32) -> Option<Wire> {
        Wire::of_type(oid).filter(|wire| *wire != Wire::Array)
    }
}

/// Translates the tuples of one table from binary COPY to JSON.
#[derive(Clone, Debug)]
pub struct TupleEncoder {
    columns: Vec<(Wire, CellForm)>,
    /// Whether a `ctid` stands before them, which does not go into the row.
    has_tid: bool,
    server: Server,
}

/// What the spelling of values depends on beside the settings.
#[derive(Clone, Copy, Debug)]
struct Server {
    /// From 17 on the outermost intervals mean infinity.
    infinite_intervals: bool,
}

/// What stands at the beginning of the bytes that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuple {
    /// A row of so many bytes, which was written.
    Row(usize),
    /// The end of the data, of so many bytes.
    End(usize),
    /// Less than a row.
    Incomplete,
}

/// Why a value is not what its type's send function makes.
type Malformed = CopyProblem;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// How many bytes the header takes that begins the data; none if it is not whole yet.
pub fn header_length(bytes: &[u8]) -> Result<Option<usize>, CopyError> {
    let problem = CopyError::Cell { column: 0, position: 0, problem: CopyProblem::Malformed };
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(problem);
    }
    let Some((flags, rest)) = bytes.get(SIGNATURE.len()..).and_then(|b| b.split_first_chunk::<4>()) else {
        return Ok(None);
    };
    // Bits 16 to 31 are critical: a reader that does not know one must give up.
    if u32::from_be_bytes(*flags) >> 16 != 0 {
        return Err(problem);
    }
    let Some((extension, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let extension = usize::try_from(i32::from_be_bytes(*extension)).map_err(|_| problem)?;
    let length = SIGNATURE.len() + 8 + extension;
    Ok((bytes.len() >= length).then_some(length))
}

/// A `ctid` with its length.
const TID_BYTES: usize = 4 + 6;

/// The `ctid` with which the tuple begins that stands at the beginning of the bytes; none if it does not.
pub fn leading_tid(bytes: &[u8]) -> Option<Tid> {
    let (length, rest) = bytes.get(2..)?.split_first_chunk::<4>()?;
    (i32::from_be_bytes(*length) == 6).then_some(Tid::from_binary(*rest.first_chunk()?))
}

impl TupleEncoder {
    /// An encoder of tuples with these columns, from a server of that `server_version_num`.
    pub fn new(columns: Vec<(Wire, CellForm)>, version: u32) -> Self {
        TupleEncoder { columns, has_tid: false, server: Server { infinite_intervals: version >= 170_000 } }
    }

    /// The same for tuples that begin with their `ctid`, which is left out.
    pub fn after_tid(&self) -> Self {
        TupleEncoder { has_tid: true, ..self.clone() }
    }

    /// Appends the JSON array for the tuple at the beginning of `bytes`. Where it is no whole tuple, or after an error,
    /// `out` is as it was. `last_day` spares work from one row to the next and changes nothing.
    pub fn encode(
        &self,
        bytes: &[u8],
        last_day: &mut LastDay,
        out: &mut Vec<u8>,
    ) -> Result<Tuple, CopyError> {
        let Some((count, _)) = bytes.split_first_chunk::<2>() else { return Ok(Tuple::Incomplete) };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            return Ok(Tuple::End(2));
        }
        let columns = self.columns.len() + usize::from(self.has_tid);
        if usize::try_from(count) != Ok(columns) {
            let found = usize::try_from(count).unwrap_or(0);
            let problem = if found < columns { CopyProblem::Missing } else { CopyProblem::Extra };
            return Err(CopyError::Cell { column: found + 1, position: 0, problem });
        }
        let start = out.len();
        out.push(b'[');
        let mut at = if self.has_tid { 2 + TID_BYTES } else { 2 };
        for (i, (wire, form)) in self.columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            let Some((length, rest)) = bytes.get(at..).and_then(|rest| rest.split_first_chunk::<4>()) else {
                out.truncate(start);
                return Ok(Tuple::Incomplete);
            };
            let length = i32::from_be_bytes(*length);
            at += 4;
            if length == -1 {
                out.extend_from_slice(b"null");
                continue;
            }
            let failed = |problem| CopyError::Cell { column: i + 1, position: at, problem };
            let Ok(length) = usize::try_from(length) else {
                out.truncate(start);
                return Err(failed(CopyProblem::Malformed));
            };
            let Some(value) = rest.get(..length) else {
                out.truncate(start);
                return Ok(Tuple::Incomplete);
            };
            if let Err(problem) = self.server.cell(*wire, *form, value, last_day, out) {
                out.truncate(start);
                return Err(failed(problem));
            }
            at += length;
        }
        out.push(b']');
        Ok(Tuple::Row(at))
    }
}

impl Server {
    /// Writes a value as its cell.
    #[inline]
    fn cell(
        self,
        wire: Wire,
        form: CellForm,
        value: &[u8],
        last_day: &mut LastDay,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match wire {
            Wire::Text => {
                string(value, out);
                Ok(())
            }
            Wire::Int2 => whole(i16::from_be_bytes(fixed(value)?).into(), form, out),
            Wire::Int4 => whole(i32::from_be_bytes(fixed(value)?).into(), form, out),
            Wire::Int8 => whole(i64::from_be_bytes(fixed(value)?), form, out),
            Wire::Oid => whole(u32::from_be_bytes(fixed(value)?).into(), form, out),
            Wire::Bool if form == CellForm::Boolean => {
                let [byte] = fixed(value)?;
                out.extend_from_slice(if byte == 0 { b"false" } else { b"true" });
                Ok(())
            }
            Wire::Float4 | Wire::Float8 if form == CellForm::Number => {
                let start = out.len();
                self.text(wire, value, last_day, out)?;
                if kept_number(out.get(start..).unwrap_or_default()) {
                    return Ok(());
                }
                let text = out.split_off(start);
                string(&text, out);
                Ok(())
            }
            Wire::Jsonb => {
                let [1, text @ ..] = value else { return Err(CopyProblem::Malformed) };
                json(text, out);
                Ok(())
            }
            Wire::Bytea => {
                out.reserve(2 * value.len() + 5);
                out.extend_from_slice(b"\"\\\\x");
                hex(value, out);
                out.push(b'"');
                Ok(())
            }
            Wire::Array => {
                let mut text = Vec::with_capacity(2 * value.len());
                self.text(wire, value, last_day, &mut text)?;
                string(&text, out);
                Ok(())
            }
            // What the others print needs no escape.
            _ => {
                out.push(b'"');
                self.text(wire, value, last_day, out)?;
                out.push(b'"');
                Ok(())
            }
        }
    }

    /// Writes a value as its type's output function prints it.
    #[inline]
    fn text(
        self,
        wire: Wire,
        value: &[u8],
        last_day: &mut LastDay,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match wire {
            Wire::Bool => {
                let [byte] = fixed(value)?;
                out.push(if byte == 0 { b'f' } else { b't' });
            }
            Wire::Int2 => integer(i16::from_be_bytes(fixed(value)?), out),
            Wire::Int4 => integer(i32::from_be_bytes(fixed(value)?), out),
            Wire::Int8 => integer(i64::from_be_bytes(fixed(value)?), out),
            Wire::Oid => integer(u32::from_be_bytes(fixed(value)?), out),
            Wire::Float4 => number::float4(f32::from_be_bytes(fixed(value)?), out),
            Wire::Float8 => number::float8(f64::from_be_bytes(fixed(value)?), out),
            Wire::Numeric => number::numeric(value, out)?,
            Wire::Text => out.extend_from_slice(value),
            Wire::Jsonb => {
                let [1, text @ ..] = value else { return Err(CopyProblem::Malformed) };
                out.extend_from_slice(text);
            }
            Wire::Bytea => {
                out.extend_from_slice(b"\\x");
                hex(value, out);
            }
            Wire::Uuid => uuid(fixed(value)?, out),
            Wire::Date => datetime::date(i32::from_be_bytes(fixed(value)?), out)?,
            Wire::Time => datetime::time(i64::from_be_bytes(fixed(value)?), out)?,
            Wire::TimeTz => datetime::time_tz(fixed(value)?, out)?,
            Wire::Timestamp => datetime::timestamp(i64::from_be_bytes(fixed(value)?), b"", last_day, out)?,
            Wire::TimestampTz => {
                datetime::timestamp(i64::from_be_bytes(fixed(value)?), b"+00", last_day, out)?
            }
            Wire::Interval => datetime::interval(fixed(value)?, self.infinite_intervals, out),
            Wire::Inet => network::inet(value, out)?,
            Wire::Array => self.array(value, last_day, out)?,
        }
        Ok(())
    }
}

#[inline]
fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| CopyProblem::Malformed)
}

#[inline]
fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes a whole number, bare where common readers keep it exactly: of at most fifteen digits.
#[inline]
fn whole(value: i64, form: CellForm, out: &mut Vec<u8>) -> Result<(), Malformed> {
    const KEPT: i64 = 1_000_000_000_000_000;
    let bare = form == CellForm::Number && -KEPT < value && value < KEPT;
    if !bare {
        out.push(b'"');
    }
    integer(value, out);
    if !bare {
        out.push(b'"');
    }
    Ok(())
}

/// Writes a string, or the bytes if they are not UTF-8.
#[inline]
fn string(text: &[u8], out: &mut Vec<u8>) {
    if utf8(text).is_err() {
        return wrap_hex(text, out);
    }
    out.push(b'"');
    escape_into(text, out);
    out.push(b'"');
}

/// Writes a `jsonb` value as it is, if it can stand in the line and cannot be taken for something else there.
#[inline]
fn json(text: &[u8], out: &mut Vec<u8>) {
    if utf8(text).is_err() {
        return wrap_hex(text, out);
    }
    let start = out.len();
    copy_short(text, 0, text.len(), out);
    // Looked at to the end: many bytes at once are faster than the first that is one.
    let controls = text.iter().fold(false, |found, byte| found | (*byte < b' '));
    wrap_json(start, controls, out);
}

/// Two lower-case digits for each byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

fn hex(value: &[u8], out: &mut Vec<u8>) {
    out.extend(value.iter().flat_map(|byte| HEX[usize::from(*byte)]));
}

#[inline]
fn uuid(value: [u8; 16], out: &mut Vec<u8>) {
    let mut text = [b'-'; 36];
    // Where the digits of each byte stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (place, byte) in PLACES.into_iter().zip(value) {
        let [high, low] = HEX[usize::from(byte)];
        text[place] = high;
        text[place + 1] = low;
    }
    out.extend_from_slice(&text);
}
