//! `--where-key`: from what was typed to values as Postgres prints them.

use crate::archive::lookup::Lookup;
use crate::archive::model::{Column, Table};
use crate::archive::spelling::printed;
use crate::failure::Failure;

/// What is looked for in `table`: `given` are lists of `COLUMN=VALUE`, joined by commas. A comma that no column of the
/// key and `=` follow belongs to the value.
pub fn lookup(table: &Table, given: &[String]) -> Result<Lookup, Failure> {
    let mut values: Vec<(&str, String)> = Vec::new();
    for pairs in given {
        let mut rest = Some(pairs.as_str());
        while let Some(pair) = rest {
            let Some((column, value)) = first_column(table, pair) else {
                let name = pair.split('=').next().unwrap_or_default();
                return Err(unfit(
                    table,
                    format!("--where-key names {name:?}, which is no column to find rows by"),
                ));
            };
            if values.iter().any(|(name, _)| *name == column.name) {
                return Err(unfit(table, format!("--where-key names column {:?} twice", column.name)));
            }
            let end = next_column(table, value, &column.name, &values);
            let (value, next) = match end {
                Some(end) => (&value[..end], Some(&value[end + 1..])),
                None => (value, None),
            };
            let value = printed(column, value).ok_or_else(|| {
                let (name, kind) = (&column.name, &column.type_name);
                unfit(table, format!("column {name:?} is of type {kind}, and no value of that was given"))
            })?;
            rest = next;
            values.push((&column.name, value));
        }
    }
    Lookup::new(table, &values).ok_or_else(|| unfit(table, "a column is not in the rows".to_owned()))
}

/// The columns that can be named: those of the key, or all where there is none.
fn columns(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| table.key.is_empty() || table.key.contains(&column.name))
}

/// The column with whose name and `=` a text begins, and what follows. Names may hold `=`: the longest counts.
fn first_column<'a, 'b>(table: &'a Table, pair: &'b str) -> Option<(&'a Column, &'b str)> {
    let begins = |column: &'a Column| Some((column, pair.strip_prefix(&column.name)?.strip_prefix('=')?));
    columns(table).filter_map(begins).max_by_key(|(column, _)| column.name.len())
}

/// Where the comma is that ends a value, as another column and `=` follow.
fn next_column(table: &Table, value: &str, this: &str, named: &[(&str, String)]) -> Option<usize> {
    let is_new = |name: &str| name != this && named.iter().all(|(known, _)| *known != name);
    value
        .match_indices(',')
        .map(|(at, _)| at)
        .find(|at| first_column(table, &value[at + 1..]).is_some_and(|(column, _)| is_new(&column.name)))
}

fn unfit(table: &Table, what: String) -> Failure {
    let (shown, names) = (table.described(), columns(table).map(|column| column.name.as_str()));
    let names = names.collect::<Vec<_>>().join(", ");
    let which = if table.key.is_empty() { "has no key; its columns are" } else { "has the key" };
    Failure::usage(what)
        .state(format!("nothing was printed; {shown} {which} {names}"))
        .next("write --where-key COLUMN=VALUE, with the value as pgkeep show FILE TABLE prints it; a NULL cannot be looked for")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::row::CellForm;

    fn table(key: &[&str]) -> Table {
        let column = |name: &str, type_name: &str, form| Column {
            name: name.into(),
            type_name: type_name.into(),
            form,
            ..Column::default()
        };
        Table {
            schema: "public".into(),
            name: "t".into(),
            columns: vec![
                column("id", "bigint", CellForm::Number),
                column("line", "integer", CellForm::Number),
                column("u", "uuid", CellForm::Text),
                column("t", "text", CellForm::Text),
                column("c", "character(3)", CellForm::Text),
                column("b", "boolean", CellForm::Boolean),
                column("a=b", "text", CellForm::Text),
                column("a", "text", CellForm::Text),
            ],
            generated: vec!["g".into()],
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            ..Table::default()
        }
    }

    /// The lookup that `given` must mean.
    fn means(key: &[&str], given: &[&str], values: &[(&str, &str)]) {
        let table = table(key);
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        let values: Vec<_> = values.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        assert_eq!(lookup(&table, &given).unwrap(), Lookup::new(&table, &values).unwrap(), "{given:?}");
    }

    #[test]
    fn several_columns_come_in_one_word_or_in_several() {
        for given in [&["id=5,line=2"][..], &["id=5", "line=2"], &["line=2,id=5"]] {
            means(&["id", "line"], given, &[("id", "5"), ("line", "2")]);
        }
        means(&["t"], &["t=a,id=5"], &[("t", "a,id=5")]);
        means(&["t", "id"], &["t=a,b,,id=5"], &[("t", "a,b,"), ("id", "5")]);
        means(&["t", "id"], &["t=a,t=b,id=5"], &[("t", "a,t=b"), ("id", "5")]);
        means(&["a", "a=b"], &["a=b=c,a=d"], &[("a=b", "c"), ("a", "d")]);
        means(&[], &["b=T,t="], &[("b", "true"), ("t", "")]);
    }

    #[test]
    fn spellings_that_mean_the_same_value_are_the_same() {
        for text in ["7", "007", "+7", " 7 "] {
            means(&["id"], &[&format!("id={text}")], &[("id", "7")]);
        }
        means(&["id"], &["id=-0"], &[("id", "0")]);
        let uuid = "0c174ce5-af62-706e-8b91-ceb95b824b89";
        let bare = uuid.replace('-', "");
        for text in [uuid, &uuid.to_uppercase(), &bare, &format!("{{{uuid}}}")] {
            means(&["u"], &[&format!("u={text}")], &[("u", uuid)]);
        }
        means(&["c"], &["c=é"], &[("c", "é  ")]);
        means(&["c"], &["c=four"], &[("c", "four")]);
        means(&["t"], &["t= NULL "], &[("t", " NULL ")]);
    }

    #[test]
    fn what_is_no_column_or_no_value_is_said_with_the_columns_there_are() {
        let key = table(&["id", "u"]);
        for given in
            ["", "=", "id", "other=1", "line=1", "g=1", "id=1,id=2", "id=null", "id=", "u=1", "u={", "id=1.0"]
        {
            let failure = lookup(&key, &[given.to_owned()]).unwrap_err();
            assert!(failure.state.ends_with("t has the key id, u"), "{given}: {}", failure.state);
        }
        let twice = lookup(&key, &["id=1".to_owned(), "id=1".to_owned()]).unwrap_err();
        assert!(twice.what.contains("twice"));
        let failure = lookup(&table(&[]), &["b=maybe".to_owned()]).unwrap_err();
        assert!(failure.state.ends_with("t has no key; its columns are id, line, u, t, c, b, a=b, a"));
    }
}
