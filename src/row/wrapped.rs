//! Cells that could not stand as they are: `{"$text":"…"}` holds the text of a `jsonb` value that would be read
//! as something else, `{"$hex":"…"}` the bytes of a value that is not UTF-8.
//!
//! A cell is one of these exactly if its bytes begin with `{"$`; the writer wraps every `jsonb` text that begins
//! so. White space is allowed after the key, as everywhere in JSON, but not before it.

use super::RowProblem;
use super::scan::{Fault, copy_plain, escape, escape_into, push_hex, skip_space};

/// What a wrapped cell holds.
pub(crate) enum Wrapped {
    /// UTF-8 text.
    Text(Vec<u8>),
    /// Bytes that are not UTF-8 (or were written by someone who did not look).
    Bytes(Vec<u8>),
}

/// How every wrapped cell begins.
pub(crate) const MARK: &[u8] = b"{\"$";
const TEXT: &[u8] = b"{\"$text\"";
const HEX: &[u8] = b"{\"$hex\"";

/// Appends `{"$text":"…"}`.
pub(crate) fn wrap_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(TEXT);
    out.extend_from_slice(b":\"");
    escape_into(text, out);
    out.extend_from_slice(b"\"}");
}

/// Appends `{"$hex":"…"}`.
pub(crate) fn wrap_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(HEX);
    out.extend_from_slice(b":\"");
    for byte in bytes {
        push_hex(*byte, out);
    }
    out.extend_from_slice(b"\"}");
}

/// What the wrapped cell that begins at `at` holds, and where it ends. `line` is UTF-8.
pub(crate) fn unwrap(line: &[u8], at: usize) -> Result<(Wrapped, usize), Fault> {
    let cell = line.get(at..).unwrap_or_default();
    let key = if cell.starts_with(TEXT) {
        TEXT
    } else if cell.starts_with(HEX) {
        HEX
    } else {
        return Err(Fault { position: at, problem: RowProblem::Wrapper });
    };
    let colon = expect(line, at + key.len(), b':')?;
    let quote = expect(line, colon, b'"')?;
    let mut text = Vec::new();
    let closed = unescape(line, quote, &mut text)?;
    let end = expect(line, closed, b'}')?;
    if key == TEXT {
        return Ok((Wrapped::Text(text), end));
    }
    match from_hex(&text) {
        Some(bytes) => Ok((Wrapped::Bytes(bytes), end)),
        None => Err(Fault { position: quote, problem: RowProblem::Hex }),
    }
}

/// The position after `wanted`, which may have white space before it.
fn expect(line: &[u8], at: usize, wanted: u8) -> Result<usize, Fault> {
    let at = skip_space(line, at);
    match line.get(at) {
        Some(byte) if *byte == wanted => Ok(at + 1),
        _ => Err(Fault { position: at, problem: RowProblem::Wrapper }),
    }
}

/// What a cell means that is a string; none where it is not one.
pub(crate) fn unescaped(cell: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let end = cell.strip_prefix(b"\"").and_then(|_| unescape(cell, 1, &mut text).ok())?;
    (end == cell.len()).then_some(text)
}

/// Appends what the string means whose first byte after the quote is at `at`; returns where it ends.
pub(crate) fn unescape(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    loop {
        at = copy_plain::<true>(line, at, out);
        match line.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => {
                let (meant, next) = escape(line, at)?;
                out.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
                at = next;
            }
            _ => return Err(Fault::unexpected(line, at)),
        }
    }
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(hex_digit(*high)? << 4 | hex_digit(*low)?)).collect()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
