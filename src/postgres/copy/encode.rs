//! A COPY text row to a JSON row line.

use super::{CopyError, CopyProblem, ends};
use crate::row::scan::{copy_plain, copy_short, escape_byte, escape_into, number_end, value_end};
use crate::row::wrapped::{MARK, wrap_hex, wrap_text};
use crate::row::{CellForm, utf8};

/// Translates the rows of one table from COPY text to JSON.
#[derive(Clone, Debug)]
pub struct RowEncoder {
    forms: Vec<CellForm>,
}

/// What is wrong, and at which byte; the caller knows the column.
type Fault = (usize, CopyProblem);

impl RowEncoder {
    /// An encoder of rows with a cell of each of these forms.
    pub fn new(forms: Vec<CellForm>) -> Self {
        RowEncoder { forms }
    }

    /// Appends the JSON array for `copy_row`, which has no line break at its end; nor has the array. After an
    /// error `out` is as it was.
    pub fn encode(&self, copy_row: &[u8], out: &mut Vec<u8>) -> Result<(), CopyError> {
        let start = out.len();
        // Quotes, commas, brackets, and the word that is stored beyond the end before it is cut back.
        out.reserve(copy_row.len() + 3 * self.forms.len() + 16);
        out.push(b'[');
        let utf8 = utf8(copy_row).is_ok();
        let mut at = 0;
        for (i, form) in self.forms.iter().enumerate() {
            match next_cell(*form, copy_row, at, i == 0, utf8, out) {
                Ok(end) => at = end,
                Err((position, problem)) => {
                    out.truncate(start);
                    return Err(CopyError::Cell { column: i + 1, position, problem });
                }
            }
        }
        if at < copy_row.len() {
            out.truncate(start);
            let problem = CopyProblem::Extra;
            return Err(CopyError::Cell { column: self.forms.len() + 1, position: at, problem });
        }
        out.push(b']');
        Ok(())
    }
}

/// Writes the cell that begins at `at`, or after the tab there; returns where it ends.
#[inline]
fn next_cell(
    form: CellForm,
    row: &[u8],
    mut at: usize,
    first: bool,
    utf8: bool,
    out: &mut Vec<u8>,
) -> Result<usize, Fault> {
    if !first {
        // A cell ends at a tab or at the end of the row.
        if at >= row.len() {
            return Err((at, CopyProblem::Missing));
        }
        at += 1;
        out.push(b',');
    }
    if row.get(at) == Some(&b'\\') && row.get(at + 1) == Some(&b'N') && ends(row, at + 2) {
        out.extend_from_slice(b"null");
        return Ok(at + 2);
    }
    match form {
        CellForm::Text => {}
        CellForm::Number => {
            if let Some(end) = kept_number_end(row, at) {
                copy_short(row, at, end, out);
                return Ok(end);
            }
        }
        CellForm::Boolean => {
            if let Some(byte @ (b't' | b'f')) = row.get(at)
                && ends(row, at + 1)
            {
                out.extend_from_slice(if *byte == b't' { b"true" } else { b"false" });
                return Ok(at + 1);
            }
        }
        CellForm::Json => return json(row, at, utf8, out),
    }
    if utf8 { text(row, at, out) } else { odd_text(row, at, out) }
}

/// Writes a string. The row is UTF-8.
#[inline]
fn text(row: &[u8], start: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let cell = out.len();
    let mut at = start;
    out.push(b'"');
    loop {
        at = copy_plain::<true>(row, at, out);
        match row.get(at) {
            None | Some(b'\t') => break,
            Some(b'\\') => match row.get(at + 1) {
                // COPY and JSON write these alike.
                Some(letter @ (b'n' | b't' | b'r' | b'\\' | b'b' | b'f')) => {
                    out.extend_from_slice(&[b'\\', *letter]);
                    at += 2;
                }
                Some(b'0'..=b'7' | b'x') => {
                    // May stand for part of a character, so that the cell must be looked at as a whole.
                    out.truncate(cell);
                    return odd_text(row, start, out);
                }
                _ => {
                    let (byte, next) = unescape(row, at)?;
                    escape_byte(byte, out);
                    at = next;
                }
            },
            Some(0) => return Err((at, CopyProblem::Nul)),
            Some(byte) => {
                escape_byte(*byte, out);
                at += 1;
            }
        }
    }
    out.push(b'"');
    Ok(at)
}

/// Writes a string, or the bytes if they are not UTF-8.
#[cold]
fn odd_text(row: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let mut value = Vec::new();
    let (end, _) = unescape_cell(row, at, &mut value)?;
    if std::str::from_utf8(&value).is_ok() {
        out.push(b'"');
        escape_into(&value, out);
        out.push(b'"');
    } else {
        wrap_hex(&value, out);
    }
    Ok(end)
}

/// Writes a `jsonb` value as it is, if it can stand in the line and cannot be taken for something else there.
#[inline]
fn json(row: &[u8], at: usize, utf8: bool, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let start = out.len();
    let (end, seen) = unescape_cell(row, at, out)?;
    let value = out.get(start..).unwrap_or_default();
    if (!utf8 || seen.codes) && std::str::from_utf8(value).is_err() {
        let value = out.split_off(start);
        wrap_hex(&value, out);
        return Ok(end);
    }
    wrap_json(start, seen.controls, out);
    Ok(end)
}

/// Wraps the `jsonb` value that `out` ends in, from `start` on, unless it can stand in the line and cannot be taken for
/// something else there. `controls`: whether it holds control characters. It is UTF-8.
#[inline]
pub(super) fn wrap_json(start: usize, controls: bool, out: &mut Vec<u8>) {
    let value = out.get(start..).unwrap_or_default();
    let stands =
        !controls && value_end(value, 0) == Ok(value.len()) && value != b"null" && !value.starts_with(MARK);
    if !stands {
        let value = out.split_off(start);
        wrap_text(&value, out);
    }
}

/// Whether `text` is a number that JSON readers keep exactly, so that it may stand bare.
pub(super) fn kept_number(text: &[u8]) -> bool {
    kept_number_end(text, 0) == Some(text.len())
}

/// What a cell was found to hold while it was unescaped.
#[derive(Default)]
struct Seen {
    /// Control characters.
    controls: bool,
    /// Bytes given by number.
    codes: bool,
}

/// Appends the value of the cell that begins at `at`; returns where it ends.
#[inline]
fn unescape_cell(row: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<(usize, Seen), Fault> {
    let mut seen = Seen::default();
    loop {
        at = copy_plain::<false>(row, at, out);
        let byte = match row.get(at) {
            None | Some(b'\t') => return Ok((at, seen)),
            Some(b'\\') => {
                seen.codes |= matches!(row.get(at + 1), Some(b'0'..=b'7' | b'x'));
                let (byte, next) = unescape(row, at)?;
                at = next;
                byte
            }
            Some(byte) => {
                at += 1;
                *byte
            }
        };
        if byte == 0 {
            return Err((at, CopyProblem::Nul));
        }
        seen.controls |= byte < b' ';
        out.push(byte);
    }
}

/// The byte that the backslash sequence at `at` stands for, and where the sequence ends.
#[inline]
fn unescape(row: &[u8], at: usize) -> Result<(u8, usize), Fault> {
    let byte = match row.get(at + 1) {
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'v') => 0x0b,
        Some(b'0'..=b'7') => return code(row, at, at + 1, 8, 3),
        // Without a digit after it, an x is itself.
        Some(b'x') if row.get(at + 2).is_some_and(u8::is_ascii_hexdigit) => {
            return code(row, at, at + 2, 16, 2);
        }
        Some(0) => return Err((at + 1, CopyProblem::Nul)),
        Some(other) => *other,
        None => return Err((at, CopyProblem::Backslash)),
    };
    Ok((byte, at + 2))
}

/// The byte given by at most `most` digits from `first` on. As in Postgres, only the low eight bits count.
fn code(row: &[u8], at: usize, first: usize, base: u32, most: usize) -> Result<(u8, usize), Fault> {
    let mut value = 0;
    let mut next = first;
    while let Some(digit) = row.get(next).and_then(|byte| char::from(*byte).to_digit(base))
        && next < first + most
    {
        value = value * base + digit;
        next += 1;
    }
    match (value & 0xff) as u8 {
        0 => Err((at, CopyProblem::Nul)),
        byte => Ok((byte, next)),
    }
}

/// Where the cell ends, if it is a number that JSON readers keep exactly: most of them read every number as a
/// double, which holds 15 decimal digits of an integer for certain, and 17 digits give any double back. Many
/// drop the sign of negative zero.
#[inline]
fn kept_number_end(row: &[u8], at: usize) -> Option<usize> {
    let negative = row.get(at) == Some(&b'-');
    let first = at + usize::from(negative);
    let whole_end = digits_end(row, first);
    let whole = whole_end - first;
    let zero = row.get(first) == Some(&b'0');
    if whole == 0 || (zero && whole > 1) {
        return None;
    }
    if ends(row, whole_end) {
        return (whole <= 15 && !(zero && negative)).then_some(whole_end);
    }
    let mut end = whole_end;
    let mut significant = if zero { 0 } else { whole };
    if row.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits_end(row, fraction);
        let counts_from = if zero { zeros_end(row, fraction) } else { fraction };
        significant += end - counts_from;
        if end == fraction {
            return None;
        }
    }
    let kept = significant <= 17 && !(significant == 0 && negative);
    if ends(row, end) && end - at < 300 {
        return kept.then_some(end);
    }
    // With an exponent, or so long, a double may not hold it at all.
    end = number_end(row, at).ok().filter(|end| ends(row, *end))?;
    (kept && (significant == 0 || in_range(row.get(at..end)?))).then_some(end)
}

#[inline]
fn digits_end(row: &[u8], mut at: usize) -> usize {
    while matches!(row.get(at), Some(b'0'..=b'9')) {
        at += 1;
    }
    at
}

#[inline]
fn zeros_end(row: &[u8], mut at: usize) -> usize {
    while row.get(at) == Some(&b'0') {
        at += 1;
    }
    at
}

/// Whether a double holds the number `token`, which is not zero, as one that is finite and not zero.
#[cold]
fn in_range(token: &[u8]) -> bool {
    let number = std::str::from_utf8(token).ok().and_then(|text| text.parse::<f64>().ok());
    number.is_some_and(|number| number.is_finite() && number != 0.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn only_numbers_that_every_reader_keeps_stay_bare() {
        let bare = [
            "0",
            "-1",
            "123456789012345",
            "-123456789012345",
            "0.5",
            "-0.5",
            "1e+20",
            "1.5e-07",
            "5e-324",
            "1.7976931348623157e+308",
            "0.30000000000000004",
            "123456.5",
            "0.0",
            "-0.1",
            "0e5",
        ];
        for token in bare {
            assert_eq!(kept_number_end(token.as_bytes(), 0), Some(token.len()), "{token}");
            let row = [token, "\tx"].concat();
            assert_eq!(kept_number_end(row.as_bytes(), 0), Some(token.len()), "{token}");
        }
        let quoted = [
            "",
            "-",
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "-0.0",
            "-0e0",
            "-0.00e+5",
            "1234567890123456",
            "1e400",
            "1E400",
            "1e-400",
            "9223372036854775807",
            "-9223372036854775808",
            "0.123456789012345678",
            "01",
            "+1",
            "1.",
            ".5",
            "1e",
            "1 ",
            " 1",
            "1\\",
            "0x1",
            "1_000",
        ];
        for token in quoted {
            assert_eq!(kept_number_end(token.as_bytes(), 0), None, "{token}");
        }
    }
}
