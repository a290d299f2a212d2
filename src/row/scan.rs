//! Finds its way in JSON text (RFC 8259) without building anything: where a value ends, and whether it is valid.
//!
//! Bytes are looked at sixteen at a time. That the text is UTF-8 is the caller's to prove; line breaks count as
//! invalid everywhere, because a row is one line. Nothing here recurses.

use wide::u8x16;

use super::{RowError, RowProblem};

/// A fault at a byte; the caller knows the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) position: usize,
    pub(crate) problem: RowProblem,
}

impl Fault {
    /// The fault of whatever stands at `at`, where it has no place.
    #[cold]
    pub(crate) fn unexpected(bytes: &[u8], at: usize) -> Fault {
        let problem = match bytes.get(at) {
            None => RowProblem::Unfinished,
            Some(byte) if *byte < b' ' => RowProblem::Control,
            Some(_) => RowProblem::Syntax,
        };
        Fault { position: at.min(bytes.len()), problem }
    }

    pub(crate) fn in_column(self, column: usize) -> RowError {
        RowError { column, position: self.position, problem: self.problem }
    }
}

/// As many bytes as are looked at together: most cells are shorter, and a loop that runs once is predicted well.
const WORD: usize = 16;
type Word = [u8; WORD];

/// A bit for each byte of `word`, the lowest for the first, that is set where it is a control character, a backslash
/// or (if `QUOTE`) a double quote.
#[inline(always)]
fn marks<const QUOTE: bool>(word: Word) -> u32 {
    let bytes = u8x16::from(word);
    let mut found = bytes.min(u8x16::splat(b' ' - 1)).simd_eq(bytes) | bytes.simd_eq(u8x16::splat(b'\\'));
    if QUOTE {
        found |= bytes.simd_eq(u8x16::splat(b'"'));
    }
    found.to_bitmask()
}

#[inline]
fn is_special<const QUOTE: bool>(byte: u8) -> bool {
    byte < b' ' || byte == b'\\' || (QUOTE && byte == b'"')
}

/// The bytes from `at` on as one word, with zeros (which are control characters) for those beyond the end. None
/// if there is nothing at `at`, or if `bytes` is shorter than a word.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<Word> {
    if let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<WORD>()) {
        return Some(*chunk);
    }
    let last = u128::from_le_bytes(*bytes.last_chunk::<WORD>()?);
    let beyond = WORD - bytes.len().checked_sub(at)?;
    last.checked_shr(8 * beyond as u32).map(u128::to_le_bytes)
}

/// The first position from `at` on that holds a control character, a backslash or (if `QUOTE`) a double quote,
/// else the length.
#[inline]
pub(crate) fn plain_end<const QUOTE: bool>(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word_at(bytes, at) {
        let found = marks::<QUOTE>(word);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += WORD;
    }
    while bytes.get(at).is_some_and(|byte| !is_special::<QUOTE>(*byte)) {
        at += 1;
    }
    at
}

/// Appends the bytes from `at` to [`plain_end`] to `out`, and returns that position.
///
/// Most runs are short: storing whole words and cutting the last one back costs less than a copy of a run whose
/// length is known only afterwards.
#[inline]
pub(crate) fn copy_plain<const QUOTE: bool>(bytes: &[u8], mut at: usize, out: &mut Vec<u8>) -> usize {
    while let Some(word) = word_at(bytes, at) {
        let found = marks::<QUOTE>(word);
        out.extend_from_slice(&word);
        if found != 0 {
            let plain = found.trailing_zeros() as usize;
            out.truncate(out.len() - (WORD - plain));
            return at + plain;
        }
        at += WORD;
    }
    while let Some(byte) = bytes.get(at).filter(|byte| !is_special::<QUOTE>(**byte)) {
        out.push(*byte);
        at += 1;
    }
    at
}

/// Appends the bytes from `at` to `end`, which are few.
#[inline]
pub(crate) fn copy_short(bytes: &[u8], at: usize, end: usize, out: &mut Vec<u8>) {
    let few = end.saturating_sub(at);
    match word_at(bytes, at) {
        Some(word) if few <= WORD => {
            out.extend_from_slice(&word);
            out.truncate(out.len() - (WORD - few));
        }
        _ => out.extend_from_slice(bytes.get(at..end).unwrap_or_default()),
    }
}

/// The first position from `at` on that is not white space. A line break is not: a row is one line.
#[inline]
pub(crate) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// Where the JSON value that begins at `at` ends.
#[inline]
pub(crate) fn value_end(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    match bytes.get(at) {
        Some(b'[' | b'{') => nested_end(bytes, at),
        _ => scalar_end(bytes, at),
    }
}

#[inline]
fn scalar_end(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at + 1),
        Some(b'-' | b'0'..=b'9') => number_end(bytes, at),
        Some(b't') => literal_end(bytes, at, b"true"),
        Some(b'f') => literal_end(bytes, at, b"false"),
        Some(b'n') => literal_end(bytes, at, b"null"),
        _ => Err(Fault::unexpected(bytes, at)),
    }
}

/// Where the array or object that begins at `at` ends.
fn nested_end(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let mut nest = Nest::default();
    let mut at = at;
    loop {
        at = match bytes.get(at) {
            Some(b'{') => {
                nest.open(true);
                let first = skip_space(bytes, at + 1);
                if bytes.get(first) != Some(&b'}') {
                    at = key_end(bytes, first)?;
                    continue;
                }
                nest.close();
                first + 1
            }
            Some(b'[') => {
                nest.open(false);
                let first = skip_space(bytes, at + 1);
                if bytes.get(first) != Some(&b']') {
                    at = first;
                    continue;
                }
                nest.close();
                first + 1
            }
            _ => scalar_end(bytes, at)?,
        };
        loop {
            if nest.depth == 0 {
                return Ok(at);
            }
            at = skip_space(bytes, at);
            match bytes.get(at) {
                Some(b',') => {
                    at = skip_space(bytes, at + 1);
                    if nest.in_object() {
                        at = key_end(bytes, at)?;
                    }
                    break;
                }
                Some(b'}') if nest.in_object() => nest.close(),
                Some(b']') if !nest.in_object() => nest.close(),
                _ => return Err(Fault::unexpected(bytes, at)),
            }
            at += 1;
        }
    }
}

/// Where the value begins whose key begins at `at`.
#[inline]
fn key_end(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    if bytes.get(at) != Some(&b'"') {
        return Err(Fault::unexpected(bytes, at));
    }
    let colon = skip_space(bytes, string_end(bytes, at + 1)?);
    if bytes.get(colon) != Some(&b':') {
        return Err(Fault::unexpected(bytes, colon));
    }
    Ok(skip_space(bytes, colon + 1))
}

/// Where the string whose first byte after the quote is at `at` ends, its closing quote included.
#[inline]
pub(crate) fn string_end(bytes: &[u8], mut at: usize) -> Result<usize, Fault> {
    loop {
        at = plain_end::<true>(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(bytes, at)?.1,
            _ => return Err(Fault::unexpected(bytes, at)),
        }
    }
}

/// What the escape sequence whose backslash is at `at` means, and where it ends.
#[inline]
pub(crate) fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let meant = match bytes.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\x08',
        Some(b'f') => '\x0c',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(bytes, at),
        None => return Err(Fault::unexpected(bytes, at + 1)),
        Some(_) => return Err(Fault { position: at, problem: RowProblem::Escape }),
    };
    Ok((meant, at + 2))
}

fn unicode_escape(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let lone = Fault { position: at, problem: RowProblem::Surrogate };
    let unit = code_unit(bytes, at)?;
    if !(0xD800..0xE000).contains(&unit) {
        return char::from_u32(unit).map(|meant| (meant, at + 6)).ok_or(lone);
    }
    if unit >= 0xDC00 || bytes.get(at + 6..at + 8) != Some(b"\\u") {
        return Err(lone);
    }
    let low = code_unit(bytes, at + 6)?;
    if !(0xDC00..0xE000).contains(&low) {
        return Err(lone);
    }
    let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    char::from_u32(code).map(|meant| (meant, at + 12)).ok_or(lone)
}

/// The four digits of the `\uXXXX` whose backslash is at `at`.
fn code_unit(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    let mut unit = 0;
    for position in at + 2..at + 6 {
        let digit = bytes.get(position).and_then(|byte| char::from(*byte).to_digit(16));
        unit = unit << 4 | digit.ok_or(Fault { position: at, problem: RowProblem::Escape })?;
    }
    Ok(unit)
}

/// Where the number that begins at `at` ends.
#[inline]
pub(crate) fn number_end(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let first = if bytes.get(at) == Some(&b'-') { at + 1 } else { at };
    let mut at = match bytes.get(first) {
        Some(b'0') => first + 1,
        _ => digits_end(bytes, first)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits_end(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at = digits_end(bytes, at + 1 + sign)?;
    }
    Ok(at)
}

/// Where the digits end of which at least one stands at `at`.
#[inline]
fn digits_end(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let mut end = at;
    while matches!(bytes.get(end), Some(b'0'..=b'9')) {
        end += 1;
    }
    if end > at { Ok(end) } else { Err(Fault::unexpected(bytes, at)) }
}

#[inline]
pub(crate) fn literal_end(bytes: &[u8], at: usize, literal: &[u8]) -> Result<usize, Fault> {
    if bytes.get(at..).is_some_and(|rest| rest.starts_with(literal)) {
        Ok(at + literal.len())
    } else {
        Err(Fault { position: at, problem: RowProblem::Syntax })
    }
}

/// Appends `text` as it stands inside a JSON string.
#[inline]
pub(crate) fn escape_into(text: &[u8], out: &mut Vec<u8>) {
    // Most cells are shorter than a word, and most of them plain.
    if let Some(padded) = padded(text)
        && marks::<true>(padded) == 0
    {
        return out.extend_from_slice(text);
    }
    escape_long(text, out);
}

/// The bytes as a word, with spaces behind them; none if they are more than a word.
#[inline]
fn padded(text: &[u8]) -> Option<Word> {
    let mut word = [b' '; WORD];
    word.get_mut(..text.len())?.copy_from_slice(text);
    Some(word)
}

fn escape_long(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    loop {
        at = copy_plain::<true>(text, at, out);
        let Some(byte) = text.get(at) else { return };
        escape_byte(*byte, out);
        at += 1;
    }
}

/// Appends a double quote, a backslash or a control character as it stands inside a JSON string; other bytes
/// as they are.
#[inline]
pub(crate) fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..0x20 => {
            out.extend_from_slice(b"\\u00");
            push_hex(byte, out);
        }
        _ => out.push(byte),
    }
}

/// Appends two lowercase hexadecimal digits.
pub(crate) fn push_hex(byte: u8, out: &mut Vec<u8>) {
    for digit in [byte >> 4, byte & 15] {
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// What each open level is, a bit each: true for an object. Sixty-four levels need no allocation.
#[derive(Default)]
struct Nest {
    depth: usize,
    bits: u64,
    outer: Vec<u64>,
}

impl Nest {
    #[inline]
    fn open(&mut self, object: bool) {
        if self.depth != 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(object);
        self.depth += 1;
    }

    #[inline]
    fn close(&mut self) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth != 0 && self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or_default();
        }
    }

    #[inline]
    fn in_object(&self) -> bool {
        self.bits & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_byte_that_is_not_plain_is_found_at_every_place() {
        let naive = |bytes: &[u8], at: usize, quote: bool| {
            let special = |b: &u8| *b < b' ' || *b == b'\\' || (quote && *b == b'"');
            bytes[at..].iter().position(special).map_or(bytes.len(), |n| at + n)
        };
        for length in 0..50 {
            for byte in 0..=255_u8 {
                for place in 0..length {
                    let mut bytes = vec![b'a'; length];
                    bytes[place] = byte;
                    for at in [0, place.saturating_sub(1), place, length / 2] {
                        let (with, without) = (naive(&bytes, at, true), naive(&bytes, at, false));
                        assert_eq!(plain_end::<true>(&bytes, at), with, "{byte} at {place} of {length}");
                        assert_eq!(plain_end::<false>(&bytes, at), without, "{byte} at {place} of {length}");
                        let mut out = b"x".to_vec();
                        assert_eq!(copy_plain::<true>(&bytes, at, &mut out), with);
                        assert_eq!(out[1..], bytes[at..with]);
                    }
                    let (mut fast, mut slow) = (Vec::new(), Vec::new());
                    escape_into(&bytes, &mut fast);
                    bytes.iter().for_each(|b| escape_byte(*b, &mut slow));
                    assert_eq!(fast, slow);
                }
            }
        }
    }
}
