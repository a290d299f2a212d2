//! The row form: one JSON array a line, a cell a column. Shared by the archive (which proves it) and by
//! `postgres::copy` (which translates it).
//!
//! This module owns what holds for every row line whatever the types of its columns: that it is one JSON array
//! of so many cells, in UTF-8, on one line. No line makes it panic, recurse or allocate more than a bit for each
//! level of nesting. Errors name the column and the byte, never a value.

pub mod order;
pub(crate) mod scan;
pub(crate) mod wrapped;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::scan::{Fault, skip_space, value_end};
use self::wrapped::{Wrapped, unescaped, unwrap};

/// How a column's values stand in a row line. `docs/format.md`, section "Cells", gives the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellForm {
    /// A JSON string that holds Postgres's own text output.
    #[default]
    Text,
    /// A bare JSON number where JSON readers keep its value exactly, else a string.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A `jsonb` value, embedded as JSON.
    Json,
}

impl CellForm {
    /// Whether this is the form that the header leaves out.
    pub fn is_text(&self) -> bool {
        *self == CellForm::Text
    }
}

/// Why a line is not a row, and where. Holds no value of the row.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct RowError {
    /// The column, counted from 1; 0 where the fault is in the line as a whole.
    pub column: usize,
    /// The byte in the line, counted from 0.
    pub position: usize,
    /// What is wrong there.
    pub problem: RowProblem,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.column > 0 {
            write!(f, "column {}, ", self.column)?;
        }
        write!(f, "byte {}: {}", self.position, self.problem)
    }
}

/// What can be wrong with a row line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RowProblem {
    /// The line is not UTF-8.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// The line does not begin with `[`.
    #[error("a row must be a JSON array")]
    NotAnArray,
    /// A byte that JSON does not allow in this place.
    #[error("not valid JSON")]
    Syntax,
    /// The line ends inside the array.
    #[error("the line ends before the row does")]
    Unfinished,
    /// A line break, or a control character inside a string.
    #[error("a raw control character")]
    Control,
    /// A backslash sequence that JSON does not have.
    #[error("not a valid escape sequence")]
    Escape,
    /// `\uD800`–`\uDFFF` without its other half.
    #[error("half of a surrogate pair")]
    Surrogate,
    /// Another number of cells than there are columns.
    #[error("the row has {found} cells, the table {expected} columns")]
    Columns {
        /// Columns of the table.
        expected: usize,
        /// Cells of the row.
        found: usize,
    },
    /// Text after the array.
    #[error("something follows the row")]
    Trailing,
    /// An object that is neither `{"$text":"…"}` nor `{"$hex":"…"}`, where one of them must stand.
    #[error("not a known kind of cell")]
    Wrapper,
    /// `$hex` with something other than pairs of hexadecimal digits.
    #[error("not hexadecimal")]
    Hex,
}

/// Proves that `line` (without its line break) is one JSON array of exactly `columns` cells, in UTF-8, with
/// nothing but white space around it. Any depth of nesting is accepted.
pub fn check(line: &[u8], columns: usize) -> Result<(), RowError> {
    utf8(line)?;
    let mut cells = Cells::new(line);
    let found = cells.by_ref().try_fold(0, |found, cell| cell.map(|_| found + 1))?;
    width(found, columns, line.len())
}

/// As [`check`] of the first of some lines that each have an end; gives each cell, with its position counted from 0, to
/// `each` on the way. Returns the length of that line with its end. `is_ascii`: the lines are known to be that.
///
/// A row says itself where it ends: to look for the line's end first would take longer.
#[inline]
pub(crate) fn check_first<'a>(
    lines: &'a [u8],
    columns: usize,
    is_ascii: bool,
    mut each: impl FnMut(usize, &'a [u8]),
) -> Result<usize, RowError> {
    let mut cells = Cells::<true> { line: lines, at: 0, column: 0, done: false };
    let mut found = 0;
    while let Some(Ok(cell)) = cells.next() {
        each(found, cell);
        found += 1;
    }
    let end = cells.at;
    if cells.done
        && lines[..end].ends_with(b"\n")
        && found == columns
        && (is_ascii || utf8(&lines[..end]).is_ok())
    {
        return Ok(end);
    }
    // What is wrong with it is told in the same way as of a single line.
    let line = lines.split(|byte| *byte == b'\n').next().unwrap_or_default();
    check(line, columns).map(|()| line.len() + 1)
}

fn width(found: usize, columns: usize, position: usize) -> Result<(), RowError> {
    if found == columns {
        Ok(())
    } else {
        Err(RowError { column: 0, position, problem: RowProblem::Columns { expected: columns, found } })
    }
}

/// Proves that `line` is UTF-8.
#[inline]
pub(crate) fn utf8(line: &[u8]) -> Result<(), RowError> {
    // Short lines are mostly ASCII, which is told faster.
    if line.is_ascii() {
        return Ok(());
    }
    match std::str::from_utf8(line) {
        Ok(_) => Ok(()),
        Err(e) => Err(RowError { column: 0, position: e.valid_up_to(), problem: RowProblem::NotUtf8 }),
    }
}

/// The raw cells of a row line, each as the JSON text that stands there, without white space around it.
///
/// The JSON is proven as the iterator goes, except that the line is UTF-8. After an error it ends.
///
/// With `LINES`, other lines may follow, and after the last cell `at` is where the next one begins.
#[derive(Clone, Debug)]
pub struct Cells<'a, const LINES: bool = false> {
    line: &'a [u8],
    at: usize,
    column: usize,
    done: bool,
}

impl<'a> Cells<'a> {
    /// The cells of `line`, which has no line break at its end.
    pub fn new(line: &'a [u8]) -> Self {
        Cells { line, at: 0, column: 0, done: false }
    }
}

impl<'a, const LINES: bool> Cells<'a, LINES> {
    /// Where the next cell begins, or none after the last.
    #[inline]
    fn open(&mut self) -> Result<Option<usize>, Fault> {
        let line = self.line;
        if self.column == 0 {
            let open = skip_space(line, 0);
            if line.get(open) != Some(&b'[') {
                return Err(Fault { position: open, problem: RowProblem::NotAnArray });
            }
            let first = skip_space(line, open + 1);
            if line.get(first) == Some(&b']') {
                return self.close(first + 1).map(|()| None);
            }
            return Ok(Some(first));
        }
        let next = skip_space(line, self.at);
        match line.get(next) {
            Some(b',') => Ok(Some(skip_space(line, next + 1))),
            Some(b']') => self.close(next + 1).map(|()| None),
            _ => Err(Fault::unexpected(line, next)),
        }
    }

    /// Proves that the row ends at `at`.
    #[inline]
    fn close(&mut self, at: usize) -> Result<(), Fault> {
        if !LINES {
            return end(self.line, at);
        }
        let end = skip_space(self.line, at);
        if self.line.get(end) != Some(&b'\n') {
            return Err(Fault { position: end, problem: RowProblem::Trailing });
        }
        self.at = end + 1;
        Ok(())
    }

    #[inline]
    fn step(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let Some(start) = self.open()? else { return Ok(None) };
        self.column += 1;
        self.at = value_end(self.line, start)?;
        Ok(self.line.get(start..self.at))
    }
}

impl<'a, const LINES: bool> Iterator for Cells<'a, LINES> {
    type Item = Result<&'a [u8], RowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        match self.step() {
            Ok(Some(cell)) => Some(Ok(cell)),
            Ok(None) => {
                self.done = true;
                None
            }
            Err(fault) => {
                self.done = true;
                Some(Err(fault.in_column(self.column)))
            }
        }
    }
}

/// The text of a cell, as Postgres printed the value; none for NULL and for what no cell may be.
pub fn text_of(form: CellForm, cell: &[u8]) -> Option<Cow<'_, [u8]>> {
    match cell {
        b"null" => None,
        [b'{', b'"', b'$', ..] => match unwrap(cell, 0).ok()?.0 {
            Wrapped::Text(bytes) | Wrapped::Bytes(bytes) => Some(Cow::Owned(bytes)),
        },
        [b'"', text @ .., b'"'] if form != CellForm::Json => match memchr::memchr(b'\\', text) {
            None => Some(Cow::Borrowed(text)),
            Some(_) => unescaped(cell).map(Cow::Owned),
        },
        cell => Some(Cow::Borrowed(cell)),
    }
}

/// Proves that nothing but white space stands from `at` on.
pub(crate) fn end(line: &[u8], at: usize) -> Result<(), Fault> {
    let rest = skip_space(line, at);
    if rest == line.len() { Ok(()) } else { Err(Fault { position: rest, problem: RowProblem::Trailing }) }
}

/// Appends the row as a JSON object with `columns` as its keys, for people and for `jq`. No line break is added.
///
/// A `jsonb` value that had to be wrapped stands unwrapped here, as there is no NULL or marker to mistake it for
/// once the row is only looked at. After an error `out` is as it was.
pub fn object(columns: &[&str], line: &[u8], out: &mut Vec<u8>) -> Result<(), RowError> {
    let start = out.len();
    let done = write_object(columns, line, out);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn write_object(columns: &[&str], line: &[u8], out: &mut Vec<u8>) -> Result<(), RowError> {
    check(line, columns.len())?;
    out.push(b'{');
    for (i, (name, cell)) in columns.iter().zip(Cells::new(line)).enumerate() {
        let cell = cell?;
        if i > 0 {
            out.push(b',');
        }
        out.push(b'"');
        scan::escape_into(name.as_bytes(), out);
        out.extend_from_slice(b"\":");
        match unwrap(cell, 0) {
            Ok((Wrapped::Text(json), _)) if stands_on_a_line(&json) => out.extend_from_slice(&json),
            _ => out.extend_from_slice(cell),
        }
    }
    out.push(b'}');
    Ok(())
}

/// Whether `text` is one JSON value that may stand in a row line as it is.
fn stands_on_a_line(text: &[u8]) -> bool {
    !text.iter().any(|byte| *byte < b' ') && value_end(text, 0) == Ok(text.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_row_line_must_be_one_array_of_the_right_width() {
        assert_eq!(check(b"[]", 0), Ok(()));
        assert_eq!(check(br#" [ 1 , "a" , null , {"x": [ ] , "y":{ }} ] "#, 4), Ok(()));
        for bad in [
            &b""[..],
            b" ",
            b"{}",
            b"1",
            b"[",
            b"[1",
            b"[1,",
            b"[1,]",
            b"[,1]",
            b"[1 2]",
            b"[1]]",
            b"[1] [2]",
            b"[1,2]x",
            b"[01]",
            b"[+1]",
            b"[1.]",
            b"[.5]",
            b"[1e]",
            b"[-]",
            b"[nul]",
            b"[nulll]",
            b"[True]",
            b"[\"a]",
            b"[\"\t\"]",
            b"[1,\n2]",
            b"[\"\\x\"]",
            b"[\"\\u12\"]",
            b"[\"\\ud800\"]",
            b"[\"\\ud800\\u0041\"]",
            b"[\"\\udc00\"]",
            b"[{\"a\"}]",
            b"[{\"a\":}]",
            b"[{\"a\":1,}]",
            b"[{a:1}]",
            b"[{1:1}]",
            b"[[1}]",
            b"[{\"a\":1]]",
            b"[\"\xff\"]",
        ] {
            for columns in 0..3 {
                assert!(check(bad, columns).is_err(), "{}", String::from_utf8_lossy(bad));
            }
        }
    }

    #[test]
    fn the_first_of_several_lines_is_proven_as_if_it_stood_alone() {
        let rows = ["[1,\"é\"]", " [ 1 , [ 2 ] ] ", "[]", "[1,2]", "[null,{\"a\":\"b\"}]"];
        let bad = [
            "",
            "[1,2",
            "[1,\"2",
            "[1,2]x",
            "[1,2],",
            "[1]]",
            "[\n,1]",
            "[1,\n2]",
            "\n[1,2]",
            "[1,tru",
            "[1,{\"a\"",
            "[1,-",
        ];
        for row in rows.iter().chain(&bad) {
            for columns in 0..3 {
                for next in ["", "[3,4]\n", "nonsense\n", "]\n", "\"]\n"] {
                    let lines = format!("{row}\n{next}");
                    let alone = check(row.split('\n').next().unwrap().as_bytes(), columns);
                    let mut seen = Vec::new();
                    let each = |position, cell: &[u8]| seen.push((position, cell.to_vec()));
                    let first = check_first(lines.as_bytes(), columns, lines.is_ascii(), each);
                    let end = lines.find('\n').unwrap() + 1;
                    assert_eq!(first, alone.map(|()| end), "{lines:?}");
                    if first.is_ok() {
                        let cells = Cells::new(row.as_bytes()).map(|cell| cell.unwrap().to_vec());
                        assert_eq!(seen, cells.enumerate().collect::<Vec<_>>());
                    }
                }
            }
        }
        let error = check_first(b"[\"\xff\"]\n[1]\n", 1, false, |_, _| ()).unwrap_err();
        assert_eq!(error.problem, RowProblem::NotUtf8);
        assert!(check_first(b"[1]", 1, true, |_, _| ()).is_ok_and(|end| end == 4));
        assert!(check_first(b"", 1, true, |_, _| ()).is_err());
    }

    #[test]
    fn an_error_names_column_and_byte_and_no_value() {
        let error = check(b"[\"secret\",nope]", 2).unwrap_err();
        assert_eq!(error.to_string(), "column 2, byte 10: not valid JSON");
        let error = check(b"[\"secret\"]", 2).unwrap_err();
        assert_eq!(error.to_string(), "byte 10: the row has 1 cells, the table 2 columns");
    }

    #[test]
    fn nesting_of_any_depth_is_checked_without_recursion() {
        let depth = 100_000;
        let line = [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert_eq!(check(&line, 1), Ok(()));
        let line = [b"[".to_vec(), b"{\"a\":[".repeat(depth), b"]}".repeat(depth), b"]".to_vec()].concat();
        assert_eq!(check(&line, 1), Ok(()));
        assert!(check(&b"[".repeat(depth), 1).is_err());
        let crossed = [b"[".to_vec(), b"{\"a\":[".repeat(70), b"}]".repeat(70), b"]".to_vec()].concat();
        assert!(check(&crossed, 1).is_err());
    }

    #[test]
    fn cells_are_given_raw_and_end_after_an_error() {
        let cells: Result<Vec<_>, _> = Cells::new(br#"[ "a\n", -1.50 ,{"x" : 1},null]"#).collect();
        assert_eq!(cells.unwrap(), [&br#""a\n""#[..], b"-1.50", br#"{"x" : 1}"#, b"null"]);
        assert_eq!(Cells::new(b"[]").count(), 0);
        let mut cells = Cells::new(b"[1,x,2]");
        assert_eq!(cells.next(), Some(Ok(&b"1"[..])));
        assert!(cells.next().unwrap().is_err());
        assert_eq!(cells.next(), None);
    }

    #[test]
    fn an_object_shows_cells_raw_and_wrapped_json_unwrapped() {
        let mut out = Vec::new();
        let line = br#"[1,"x\n",null,{"$text":"null"},{"$text":"{\"$a\": \"\u00e9\\n\"}"},{"$text":"{"},{"$hex":"ff"}]"#;
        object(&["id", "a \"b\"\n", "c", "d", "e", "f", "g"], line, &mut out).unwrap();
        let expected = r#"{"id":1,"a \"b\"\n":"x\n","c":null,"d":null,"e":{"$a": "é\n"},"f":{"$text":"{"},"g":{"$hex":"ff"}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = b"kept".to_vec();
        assert!(object(&["id"], b"[1,2]", &mut out).is_err());
        assert_eq!(out, b"kept");
    }
}
