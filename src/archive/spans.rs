//! The key spans of a chunk: the lowest and the highest value that each key column has in it, so that whoever looks for
//! a row need not read chunks that cannot hold it.
//!
//! The order of values is total and knows nothing of types: bare whole numbers compare as numbers, strings byte by byte.
//! It need not be the server's order, for a span answers one question alone: can a value that is *equal* to this one be
//! in the chunk? A column that holds anything else in a chunk (a NULL, numbers beside strings, long text) has no span
//! there, and the chunk is then read by whoever looks for a value of that column. Spans are a pure function of the
//! rows, so that the proof of an archive can tell a false one, which would hide rows.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::model::Table;
use crate::row::{CellForm, Cells};

/// As many columns of a key have spans: a key of more tells rows apart by its first ones, too.
pub const MOST_SPANS: usize = 3;
/// Text beyond this has no span. With two of them for each column a line of the index stays below 32 × 32 bytes, which
/// the bound of the index (`index::bound`) takes for granted.
pub const MOST_TEXT_BYTES: usize = 64;
/// Whole numbers of more digits have none: these fit 64 bits whatever they are.
const MOST_DIGITS: usize = 18;

/// The lowest and the highest value of a key column in a chunk. In the index, a list of these two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Span {
    /// Every cell is a bare whole number of at most 18 digits, and not `-0`.
    Integers(i64, i64),
    /// Every cell is a string of at most [`MOST_TEXT_BYTES`] bytes in which nothing is escaped.
    Texts(String, String),
}

impl Span {
    /// Whether a cell that holds `text`, bare or in a string, can be among those that the span is of.
    pub fn can_hold(&self, text: &str) -> bool {
        match self {
            Span::Integers(lowest, highest) => {
                text.parse().is_ok_and(|number: i64| (*lowest..=*highest).contains(&number))
            }
            Span::Texts(lowest, highest) => {
                lowest.as_bytes() <= text.as_bytes() && text.as_bytes() <= highest.as_bytes()
            }
        }
    }

    /// Whether the lowest is not above the highest.
    pub(super) fn is_ordered(&self) -> bool {
        match self {
            Span::Integers(lowest, highest) => lowest <= highest,
            Span::Texts(lowest, highest) => lowest.as_bytes() <= highest.as_bytes(),
        }
    }
}

/// Spans as they are read: what a later version may have put in their place is no span.
pub(super) fn read<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<Option<Span>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum AnySpan {
        Integers(i64, i64),
        Texts(String, String),
        Other(IgnoredAny),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum AnySpans {
        List(Vec<AnySpan>),
        Other(IgnoredAny),
    }
    Ok(match AnySpans::deserialize(reader)? {
        AnySpans::Other(_) => Vec::new(),
        AnySpans::List(spans) => {
            let known = |span| match span {
                AnySpan::Integers(lowest, highest) => Some(Span::Integers(lowest, highest)),
                AnySpan::Texts(lowest, highest) => Some(Span::Texts(lowest, highest)),
                AnySpan::Other(_) => None,
            };
            spans.into_iter().map(known).collect()
        }
    })
}

/// Where the key columns that may have spans stand in the rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyColumns {
    /// How many columns of the key are looked at.
    places: usize,
    /// Position in a row, by which these are in order, and place in the key.
    columns: Vec<(usize, usize)>,
}

impl KeyColumns {
    /// Those of a table of the header. A generated column is not in the rows, and booleans and `jsonb` have no spans.
    pub fn of(table: &Table) -> KeyColumns {
        let key = table.key.iter().take(MOST_SPANS).enumerate();
        let mut columns: Vec<(usize, usize)> = key
            .filter_map(|(place, name)| {
                let position = table.columns.iter().position(|column| column.name == *name)?;
                let form = table.columns.get(position)?.form;
                matches!(form, CellForm::Text | CellForm::Number).then_some((position, place))
            })
            .collect();
        columns.sort_unstable();
        KeyColumns { places: table.key.len().min(MOST_SPANS), columns }
    }

    /// The spans of rows, each of which has an end of line: an entry for each column of the key that is looked at,
    /// nothing where there is no span at all.
    pub(super) fn spans(&self, lines: &[u8]) -> Vec<Option<Span>> {
        let mut spans = GrowingSpans::new(self);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', lines) {
            if spans.are_none() {
                break;
            }
            spans.add_row(&lines[start..end]);
            start = end + 1;
        }
        spans.finish()
    }
}

/// Spans that grow row by row.
pub(super) struct GrowingSpans<'a, 'k> {
    key: &'k KeyColumns,
    /// One for each of the key's `columns`.
    spans: [Growing<'a>; MOST_SPANS],
}

#[derive(Clone, Copy)]
enum Growing<'a> {
    Empty,
    Integers(i64, i64),
    Texts(&'a [u8], &'a [u8]),
    None,
}

impl<'a, 'k> GrowingSpans<'a, 'k> {
    pub(super) fn new(key: &'k KeyColumns) -> Self {
        GrowingSpans { key, spans: [Growing::Empty; MOST_SPANS] }
    }

    /// Whether no column has a span any more, or ever had.
    fn are_none(&self) -> bool {
        self.key.columns.iter().zip(&self.spans).all(|(_, span)| matches!(span, Growing::None))
    }

    fn add_row(&mut self, line: &'a [u8]) {
        let mut cells = Cells::new(line);
        let mut passed = 0;
        for ((position, _), span) in self.key.columns.iter().zip(&mut self.spans) {
            match cells.nth(position - passed) {
                Some(Ok(cell)) => span.add(cell),
                _ => *span = Growing::None,
            }
            passed = position + 1;
        }
    }

    /// Adds the cell of the next row in the column at `position`, whatever column that is.
    #[inline]
    pub(super) fn add_cell(&mut self, position: usize, cell: &'a [u8]) {
        // Most cells stand behind the key.
        if self.key.columns.last().is_none_or(|(last, _)| position > *last) {
            return;
        }
        for ((of_key, _), span) in self.key.columns.iter().zip(&mut self.spans) {
            if *of_key == position {
                span.add(cell);
            }
        }
    }

    pub(super) fn finish(self) -> Vec<Option<Span>> {
        let mut spans = vec![None; self.key.places];
        for ((_, place), span) in self.key.columns.iter().zip(self.spans) {
            if let Some(entry) = spans.get_mut(*place) {
                *entry = span.finish();
            }
        }
        if spans.iter().all(Option::is_none) { Vec::new() } else { spans }
    }
}

impl<'a> Growing<'a> {
    #[inline]
    fn add(&mut self, cell: &'a [u8]) {
        *self = match (*self, cell) {
            (Growing::None, _) => Growing::None,
            (span, [b'"', text @ .., b'"']) if is_plain(text) => match span {
                Growing::Empty => Growing::Texts(text, text),
                Growing::Texts(lowest, highest) => Growing::Texts(lowest.min(text), highest.max(text)),
                _ => Growing::None,
            },
            (span, cell) => match (span, integer(cell)) {
                (Growing::Empty, Some(number)) => Growing::Integers(number, number),
                (Growing::Integers(lowest, highest), Some(number)) => {
                    Growing::Integers(lowest.min(number), highest.max(number))
                }
                _ => Growing::None,
            },
        };
    }

    fn finish(self) -> Option<Span> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        match self {
            Growing::Integers(lowest, highest) => Some(Span::Integers(lowest, highest)),
            Growing::Texts(lowest, highest) => Some(Span::Texts(text(lowest)?, text(highest)?)),
            Growing::Empty | Growing::None => None,
        }
    }
}

/// Whether what stands in a string is its text, and short.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    text.len() <= MOST_TEXT_BYTES && !text.contains(&b'\\')
}

/// The value of a cell that is a bare whole number. `-0` is none, for its text is not that of 0.
#[inline]
fn integer(cell: &[u8]) -> Option<i64> {
    let (negative, digits) = match cell {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > MOST_DIGITS || (negative && digits == b"0") {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(if negative { -value } else { value })
}

/// Whether a chunk whose rows have the spans `found` may say of itself what it `says`. It need not say anything: older
/// archives do not, and entries beyond those that are looked at here are a later version's.
pub(super) fn are_true(says: &[Option<Span>], found: &[Option<Span>]) -> bool {
    let looked_at = says.iter().take(MOST_SPANS).enumerate();
    looked_at.filter(|(_, says)| says.is_some()).all(|(place, says)| found.get(place) == Some(says))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::archive::model::Column;

    /// A table of columns `a` (number), `b` (text), `c` (boolean), `d` (text) with that key.
    fn table(key: &[&str]) -> Table {
        let column = |name: &str, form| Column { name: name.into(), form, ..Column::default() };
        Table {
            columns: vec![
                column("a", CellForm::Number),
                column("b", CellForm::Text),
                column("c", CellForm::Boolean),
                column("d", CellForm::Text),
            ],
            generated: vec!["g".into()],
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            ..Table::default()
        }
    }

    fn spans(key: &[&str], rows: &[&str]) -> Vec<Option<Span>> {
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        KeyColumns::of(&table(key)).spans(lines.as_bytes())
    }

    fn texts(lowest: &str, highest: &str) -> Option<Span> {
        Some(Span::Texts(lowest.into(), highest.into()))
    }

    #[test]
    fn numbers_compare_as_numbers_and_strings_by_their_bytes() {
        let rows = [r#"[9,"b",true,"é"]"#, r#"[-10,"B",true,""]"#, r#"[ 100 , "a" ,true,"z"]"#];
        assert_eq!(spans(&["a", "b"], &rows), [Some(Span::Integers(-10, 100)), texts("B", "b")]);
        assert_eq!(spans(&["d", "a"], &rows), [texts("", "é"), Some(Span::Integers(-10, 100))]);
    }

    #[test]
    fn only_columns_of_the_key_that_stand_in_the_rows_have_spans_and_only_the_first() {
        let rows = [r#"[1,"x",true,"y"]"#];
        assert!(spans(&[], &rows).is_empty());
        assert!(spans(&["g"], &rows).is_empty() && spans(&["c"], &rows).is_empty());
        assert_eq!(spans(&["g", "b"], &rows), [None, texts("x", "x")]);
        assert_eq!(spans(&["d", "c", "b", "a"], &rows), [texts("y", "y"), None, texts("x", "x")]);
        assert!(spans(&["a"], &[]).is_empty());
    }

    #[test]
    fn anything_that_is_neither_a_whole_number_nor_short_plain_text_leaves_no_span() {
        let long = format!("\"{}\"", "x".repeat(MOST_TEXT_BYTES + 1));
        for cell in [
            "null",
            "-0",
            "1.5",
            "1e3",
            "1234567890123456789",
            "true",
            "[1]",
            r#"{"$hex":"ff"}"#,
            r#""\u0041""#,
            r#""a\\b""#,
            &long,
        ] {
            for column in ["a", "b"] {
                assert!(spans(&[column], &[&format!("[{cell},{cell},true,\"\"]")]).is_empty(), "{cell}");
            }
            let among = [r#"[1,"x",true,""]"#, &format!("[{cell},{cell},true,\"\"]"), r#"[2,"y",true,""]"#];
            assert!(spans(&["a", "b"], &among).is_empty(), "{cell}");
        }
        assert!(spans(&["a"], &[r#"[1,"x",true,""]"#, r#"["2","x",true,""]"#]).is_empty());
        assert!(spans(&["a"], &["[1"]).len() <= 1 && spans(&["a"], &["nonsense"]).is_empty());
        assert!(spans(&["d"], &["[1]"]).is_empty());
        let longest = "x".repeat(MOST_TEXT_BYTES);
        assert_eq!(spans(&["b"], &[&format!("[1,\"{longest}\",true,\"\"]")]), [texts(&longest, &longest)]);
        let digits = [r#"[999999999999999999,"",true,""]"#, r#"[-999999999999999999,"",true,""]"#];
        let most = 999_999_999_999_999_999;
        assert_eq!(spans(&["a"], &digits), [Some(Span::Integers(-most, most))]);
    }

    #[test]
    fn a_span_holds_every_value_that_it_was_made_of_and_none_beyond() {
        let span = Span::Integers(-5, 7);
        assert!(["-5", "0", "7", "007"].iter().all(|text| span.can_hold(text)));
        let beyond = ["-6", "8", "1.5", "", "NaN", "x", "99999999999999999999"];
        assert!(!beyond.iter().any(|text| span.can_hold(text)));
        let span = Span::Texts("b".into(), "ca".into());
        assert!(["b", "bzz", "c", "ca"].iter().all(|text| span.can_hold(text)));
        assert!(!["", "a", "B", "caa", "é"].iter().any(|text| span.can_hold(text)));
    }

    #[test]
    fn spans_read_back_and_those_of_a_later_version_are_none() {
        #[derive(Deserialize)]
        struct Line {
            #[serde(deserialize_with = "read")]
            spans: Vec<Option<Span>>,
        }
        let read =
            |json: &str| serde_json::from_str::<Line>(&format!("{{\"spans\":{json}}}")).map(|l| l.spans);
        let spans = vec![Some(Span::Integers(i64::MIN, 7)), None, texts("a", "é")];
        assert_eq!(read(&serde_json::to_string(&spans).unwrap()).unwrap(), spans);
        assert_eq!(serde_json::to_string(&spans[1..]).unwrap(), r#"[null,["a","é"]]"#);
        for later in ["null", "{}", "7", "\"x\""] {
            assert!(read(later).unwrap().is_empty(), "{later}");
        }
        let later = r#"[[1],[1,2,3],[1,"a"],[1.5,2],[false,true],{"bloom":"AA"},[18446744073709551615,1]]"#;
        assert!(read(later).unwrap().iter().all(Option::is_none));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let _ = read(&deep);
    }

    #[test]
    fn what_a_chunk_says_must_be_what_its_rows_are() {
        let span = |highest| Some(Span::Integers(1, highest));
        assert!(
            are_true(&[], &[span(2)]) && are_true(&[None], &[span(2)]) && are_true(&[span(2)], &[span(2)])
        );
        assert!(
            !are_true(&[span(3)], &[span(2)]) && !are_true(&[span(2)], &[]) && !are_true(&[span(2)], &[None])
        );
        let later = [None, None, None, span(9)];
        assert!(are_true(&later, &[]));
    }
}
