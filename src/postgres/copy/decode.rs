//! A JSON row line to a COPY text row.

use super::{CopyError, CopyProblem};
use crate::row::scan::{
    Fault, copy_plain, copy_short, escape, literal_end, number_end, skip_space, value_end,
};
use crate::row::wrapped::{MARK, Wrapped, unwrap};
use crate::row::{CellForm, RowError, RowProblem, end, utf8};

/// Translates the rows of one table from JSON to COPY text.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    forms: Vec<CellForm>,
    /// Which cells are read and not written; empty: none.
    left_out: Vec<bool>,
}

/// Why a cell cannot be translated; the caller knows the column.
enum Trouble {
    Row(Fault),
    Cell(usize, CopyProblem),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Trouble::Row(fault)
    }
}

impl RowDecoder {
    /// A decoder of rows with a cell of each of these forms.
    pub fn new(forms: Vec<CellForm>) -> Self {
        RowDecoder { forms, left_out: Vec::new() }
    }

    /// The same without the cells whose place in `left_out` is true.
    pub fn without(self, left_out: Vec<bool>) -> Self {
        RowDecoder { left_out, ..self }
    }

    /// Appends the COPY text row for `line`, with its line break; `line` itself has none. After an error `out`
    /// is as it was.
    ///
    /// The row is what `COPY … FROM` reads and what `COPY … TO` prints: only backslash and `\b \f \n \r \t \v`
    /// are escaped. A cell of the wrong kind for its form is taken if its meaning is plain, such as a bare number
    /// for a text: people edit rows.
    pub fn decode(&self, line: &[u8], out: &mut Vec<u8>) -> Result<(), CopyError> {
        utf8(line)?;
        let start = out.len();
        out.reserve(line.len() + self.forms.len() + 16);
        let done = self.write(line, out);
        if done.is_err() {
            out.truncate(start);
        }
        done
    }

    fn write(&self, line: &[u8], out: &mut Vec<u8>) -> Result<(), CopyError> {
        let whole = |position, problem| RowError { column: 0, position, problem };
        let open = skip_space(line, 0);
        if line.get(open) != Some(&b'[') {
            return Err(whole(open, RowProblem::NotAnArray).into());
        }
        let mut at = skip_space(line, open + 1);
        // An empty text leaves nothing behind, so that they are counted.
        let mut written = 0;
        for (i, form) in self.forms.iter().enumerate() {
            let before = out.len();
            if i > 0 {
                if written > 0 {
                    out.push(b'\t');
                }
                if line.get(at) != Some(&b',') {
                    return Err(self.short(line, at, i).into());
                }
                at = skip_space(line, at + 1);
            } else if line.get(at) == Some(&b']') {
                return Err(self.short(line, at, i).into());
            }
            at = match cell(*form, line, at, out) {
                Ok(end) => skip_space(line, end),
                Err(Trouble::Row(fault)) => return Err(fault.in_column(i + 1).into()),
                Err(Trouble::Cell(position, problem)) => {
                    return Err(CopyError::Cell { column: i + 1, position, problem });
                }
            };
            match self.left_out.get(i) {
                Some(true) => out.truncate(before),
                _ => written += 1,
            }
        }
        if line.get(at) != Some(&b']') {
            return Err(self.long(line, at).into());
        }
        end(line, at + 1).map_err(|fault| fault.in_column(0))?;
        out.push(b'\n');
        Ok(())
    }

    /// Why there is no further cell at `at`, after `found` of them.
    #[cold]
    fn short(&self, line: &[u8], at: usize, found: usize) -> RowError {
        let problem = match line.get(at) {
            Some(b']') => RowProblem::Columns { expected: self.forms.len(), found },
            _ => Fault::unexpected(line, at).problem,
        };
        RowError { column: found, position: at, problem }
    }

    /// Why the array does not end at `at`, after the last cell that there may be.
    #[cold]
    fn long(&self, line: &[u8], at: usize) -> RowError {
        let expected = self.forms.len();
        match crate::row::check(line, expected) {
            Err(error) => error,
            Ok(()) => Fault::unexpected(line, at).in_column(expected),
        }
    }
}

/// Writes the cell that begins at `at`; returns where it ends.
#[inline]
fn cell(form: CellForm, line: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Trouble> {
    if form == CellForm::Json {
        return json(line, at, out);
    }
    match line.get(at) {
        Some(b'"') => string(line, at + 1, out),
        Some(b'-' | b'0'..=b'9') => {
            let end = number_end(line, at)?;
            copy_short(line, at, end, out);
            Ok(end)
        }
        Some(b'n') => word(line, at, b"null", b"\\N", out),
        Some(b't') => word(line, at, b"true", b"t", out),
        Some(b'f') => word(line, at, b"false", b"f", out),
        Some(b'{') if line.get(at..).is_some_and(|rest| rest.starts_with(MARK)) => wrapped(line, at, out),
        Some(b'{' | b'[') => {
            value_end(line, at)?;
            Err(Trouble::Cell(at, CopyProblem::Nested))
        }
        _ => Err(Fault::unexpected(line, at).into()),
    }
}

#[inline]
fn word(line: &[u8], at: usize, json: &[u8], copy: &[u8], out: &mut Vec<u8>) -> Result<usize, Trouble> {
    let end = literal_end(line, at, json)?;
    out.extend_from_slice(copy);
    Ok(end)
}

/// Writes a `jsonb` value.
#[inline]
fn json(line: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Trouble> {
    match line.get(at) {
        Some(b'n') => word(line, at, b"null", b"\\N", out),
        Some(b'{') if line.get(at..).is_some_and(|rest| rest.starts_with(MARK)) => wrapped(line, at, out),
        _ => {
            let end = value_end(line, at)?;
            // JSON holds no NUL, and where one is escaped the server judges.
            escape_copy(line.get(..end).unwrap_or_default(), at, out);
            Ok(end)
        }
    }
}

/// Writes what a wrapped cell holds.
#[cold]
fn wrapped(line: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Trouble> {
    let (held, end) = unwrap(line, at)?;
    let (Wrapped::Text(bytes) | Wrapped::Bytes(bytes)) = held;
    if bytes.contains(&0) {
        return Err(Trouble::Cell(at, CopyProblem::Nul));
    }
    escape_copy(&bytes, 0, out);
    Ok(end)
}

/// Writes the string whose first byte after the quote is at `at`.
#[inline]
fn string(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, Trouble> {
    loop {
        // What COPY escapes beside the backslash are control characters, and JSON strings hold none raw.
        at = copy_plain::<true>(line, at, out);
        match line.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => {
                let (meant, next) = escape(line, at)?;
                match meant {
                    '\0' => return Err(Trouble::Cell(at, CopyProblem::Nul)),
                    '\x01'..='\x7f' => escape_copy_byte(meant as u8, out),
                    _ => out.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes()),
                }
                at = next;
            }
            _ => return Err(Fault::unexpected(line, at).into()),
        }
    }
}

/// Appends the text from `at` on as it stands in a COPY row.
#[inline]
fn escape_copy(text: &[u8], mut at: usize, out: &mut Vec<u8>) {
    loop {
        at = copy_plain::<false>(text, at, out);
        let Some(byte) = text.get(at) else { return };
        escape_copy_byte(*byte, out);
        at += 1;
    }
}

#[inline]
fn escape_copy_byte(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'\\' => b'\\',
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x0b => b'v',
        _ => return out.push(byte),
    };
    out.extend_from_slice(&[b'\\', letter]);
}
