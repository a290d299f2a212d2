//! Rows that have certain values in certain columns: which chunks can hold them, and which of the rows they are.
//!
//! Values are compared by their text, as Postgres printed it. A bare number, `true` and `false` are their own text.

use super::model::{Chunk, Table};
use super::spans::MOST_SPANS;
use crate::row::{CellForm, Cells, RowError, text_of};

/// What is looked for in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// By position in a row.
    wanted: Vec<Wanted>,
    unique: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    position: usize,
    form: CellForm,
    /// Which of a chunk's spans is of this column.
    span: Option<usize>,
    text: String,
}

impl Lookup {
    /// Rows of `table` that have all of `values`: names of columns, each once, and texts. None where one of the columns
    /// is not in the rows.
    pub fn new(table: &Table, values: &[(&str, String)]) -> Option<Lookup> {
        let mut wanted = Vec::with_capacity(values.len());
        for (name, text) in values {
            let position = table.columns.iter().position(|column| column.name == *name)?;
            let span = table.key.iter().take(MOST_SPANS).position(|column| column == name);
            wanted.push(Wanted { position, form: table.columns[position].form, span, text: text.clone() });
        }
        wanted.sort_by_key(|wanted| wanted.position);
        let named = |column: &String| values.iter().any(|(name, _)| name == column);
        let unique = !table.key.is_empty() && table.key.iter().all(named);
        Some(Lookup { wanted, unique })
    }

    /// Whether there is at most one such row, as all columns of the key are named.
    pub fn is_unique(&self) -> bool {
        self.unique
    }

    /// Whether such a row can be in a chunk of the table, by what the index says of it.
    pub fn can_be_in(&self, chunk: &Chunk) -> bool {
        self.wanted.iter().all(|wanted| {
            let span = wanted.span.and_then(|place| chunk.spans.get(place)).and_then(Option::as_ref);
            // The text of a `jsonb` string has its quotes, and a span has not.
            span.is_none_or(|span| wanted.form == CellForm::Json || span.can_hold(&wanted.text))
        })
    }

    /// Whether a row line is such a row. What stands behind the last column that is looked at is not proven to be JSON.
    pub fn is_row(&self, line: &[u8]) -> Result<bool, RowError> {
        let mut cells = Cells::new(line);
        let mut passed = 0;
        for wanted in &self.wanted {
            let Some(cell) = cells.by_ref().take(wanted.position + 1 - passed).last() else {
                return Ok(false);
            };
            passed = wanted.position + 1;
            if !wanted.is_in(cell?) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Wanted {
    fn is_in(&self, cell: &[u8]) -> bool {
        text_of(self.form, cell).is_some_and(|text| *text == *self.text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::archive::model::{ChunkKind, Column};
    use crate::archive::spans::Span;

    fn table() -> Table {
        let column = |name: &str, form| Column { name: name.into(), form, ..Column::default() };
        Table {
            columns: vec![
                column("j", CellForm::Json),
                column("id", CellForm::Number),
                column("yes", CellForm::Boolean),
                column("t", CellForm::Text),
            ],
            generated: vec!["g".into()],
            key: vec!["t".into(), "id".into()],
            ..Table::default()
        }
    }

    fn lookup(values: &[(&str, &str)]) -> Lookup {
        let values: Vec<_> = values.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        Lookup::new(&table(), &values).unwrap()
    }

    #[test]
    fn a_cell_is_what_its_text_is_in_every_spelling() {
        for (column, text, row) in [
            ("id", "7", r#"[0,7,true,""]"#),
            ("id", "7", r#" [ 0 , "7" , true , "" ] "#),
            ("id", "-0", r#"[0,"-0",true,""]"#),
            ("id", "9223372036854775807", r#"[0,"9223372036854775807",true,""]"#),
            ("yes", "true", r#"[0,7,true,""]"#),
            ("t", "", r#"[0,7,true,""]"#),
            ("t", "null", r#"[0,7,true,"null"]"#),
            ("t", "a\n\"é\\", r#"[0,7,true,"a\n\"\u00e9\\"]"#),
            ("j", "null", r#"[{"$text":"null"},7,true,""]"#),
            ("j", "\"x\"", r#"["x",7,true,""]"#),
            ("j", "{\"a\": 1}", r#"[{"a": 1},7,true,""]"#),
        ] {
            assert_eq!(lookup(&[(column, text)]).is_row(row.as_bytes()), Ok(true), "{column} {text} {row}");
        }
        for (column, text, row) in [
            ("id", "7", r#"[7,8,true,"7"]"#),
            ("id", "7", r#"[0,null,true,""]"#),
            ("t", "null", r#"[0,7,true,null]"#),
            ("t", "x", r#"[0,7,true,{"$hex":"78ff"}]"#),
            ("j", "x", r#"["x",7,true,""]"#),
            ("t", "x", "[0]"),
        ] {
            assert_eq!(lookup(&[(column, text)]).is_row(row.as_bytes()), Ok(false), "{column} {text} {row}");
        }
        assert!(lookup(&[("t", "x")]).is_row(b"[0,nonsense").is_err());
    }

    #[test]
    fn all_columns_must_be_right_whatever_their_order() {
        let both = lookup(&[("t", "x"), ("id", "7")]);
        assert_eq!(both.is_row(br#"[0,7,true,"x"]"#), Ok(true));
        assert_eq!(both.is_row(br#"[0,8,true,"x"]"#), Ok(false));
        assert_eq!(both.is_row(br#"[0,7,true,"y"]"#), Ok(false));
        assert!(
            both.is_unique() && !lookup(&[("t", "x")]).is_unique() && !lookup(&[("yes", "true")]).is_unique()
        );
        assert_eq!(Lookup::new(&table(), &[("g", "x".into())]), None);
        assert_eq!(Lookup::new(&table(), &[("other", "x".into())]), None);
    }

    #[test]
    fn a_chunk_is_left_out_only_where_its_spans_say_so() {
        let chunk = |spans| Chunk {
            kind: ChunkKind::Rows,
            table: Some(0),
            range: 0,
            piece: 0,
            offset: 0,
            length: 1,
            bytes: 1,
            rows: 1,
            sha256: String::new(),
            spans,
        };
        let (texts, numbers) = (Span::Texts("m".into(), "p".into()), Span::Integers(10, 20));
        let known = chunk(vec![Some(texts.clone()), Some(numbers.clone())]);
        assert!(lookup(&[("t", "n")]).can_be_in(&known) && lookup(&[("id", "10")]).can_be_in(&known));
        assert!(!lookup(&[("t", "q")]).can_be_in(&known) && !lookup(&[("id", "9")]).can_be_in(&known));
        assert!(!lookup(&[("t", "n"), ("id", "21")]).can_be_in(&known));
        // Of columns that are not of the key, and in archives without spans, nothing is known.
        assert!(lookup(&[("yes", "true"), ("j", "1")]).can_be_in(&known));
        for unknown in [vec![], vec![None, Some(numbers)], vec![Some(texts)]] {
            let (text, number) = (unknown.first().is_some_and(Option::is_some), unknown.len() > 1);
            let chunk = chunk(unknown);
            assert_eq!(lookup(&[("t", "q")]).can_be_in(&chunk), !text);
            assert_eq!(lookup(&[("id", "9")]).can_be_in(&chunk), !number);
        }
    }
}
