//! The foreign keys of an archive: from its header, as far as its definitions tell also those of single partitions.

use std::collections::{HashMap, HashSet};

use super::form::{self, Form};
use crate::archive::model::{Header, Table};
use crate::archive::spans::MOST_SPANS;
use crate::closure::definition::{Definition, name_behind};
use crate::closure::graph::{Graph, Node, Way};
use crate::postgres::quote;
use crate::row::{CellForm, text_of};
use crate::schema::Kind;

/// A value of a key: its columns' texts, each in the form in which it is compared, with its length before it.
pub(super) type Key = std::sync::Arc<[u8]>;

/// Where a column of a key stands in a row line, and how it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyCell {
    pub position: usize,
    pub form: Form,
    cell: CellForm,
    /// Which of a chunk's spans is of this column, where values stand in the archive as they are compared.
    pub span: Option<usize>,
}

/// The cells of a foreign key's two sides.
pub(super) type Sides = (Vec<KeyCell>, Vec<KeyCell>);

/// The foreign keys of an archive.
pub(super) struct ArchiveKeys {
    pub graph: Graph,
    /// For each way, where its columns are; or why it cannot be followed.
    pub sides: Vec<Result<Sides, String>>,
}

impl ArchiveKeys {
    pub fn of(header: &Header) -> ArchiveKeys {
        let node = |table: &Table| Node {
            schema: table.schema.clone(),
            name: table.name.clone(),
            shown: table.shown(),
        };
        let mut keys =
            ArchiveKeys { graph: Graph::new(header.tables.iter().map(node).collect()), sides: vec![] };
        let known = Known::of(header);
        for (number, table) in header.tables.iter().enumerate() {
            let mut absent: Vec<(&str, Vec<String>, String)> = Vec::new();
            for constraint in &table.constraints {
                let Some(definition) = Definition::parse(&constraint.definition) else { continue };
                let (schema, name) = match (&constraint.references, &definition.table) {
                    (Some((schema, name)), _) => (schema.clone(), name.clone()),
                    (None, (schema, name)) => {
                        (schema.clone().unwrap_or_else(|| "public".to_owned()), name.clone())
                    }
                };
                let parents = known.meant(&schema, &name);
                if parents.is_empty() {
                    let there = crate::selection::shown_name(&schema, &name);
                    absent.push((&constraint.name, definition.columns.clone(), there));
                }
                for parent in parents {
                    keys.add(header, &known, (number, parent), &constraint.name, definition.clone());
                }
            }
            // Of a key that leads to a partitioned table there is one more for each partition, of which either is there.
            for (key, columns, there) in absent {
                let leads = |way: &usize| keys.graph.ways[*way].columns == columns;
                if !keys.graph.up(number).iter().any(leads) {
                    let why = format!("{key} of {}: {there} is not in the archive", table.shown());
                    keys.graph.leave(vec![number], why);
                }
            }
        }
        // Keys of single partitions, of which the archive has the table above.
        let objects = header.schema.iter().flat_map(|schema| &schema.objects);
        for object in objects.filter(|object| object.kind == Kind::ForeignKey) {
            let Some((schema, name)) = &object.table else { continue };
            let is_of_table = known.tables.contains_key(&(schema.as_str(), name.as_str()));
            let Some(child) = known.table(schema, name).filter(|_| !is_of_table) else { continue };
            let Some(definition) = object.create.first().and_then(|sql| Definition::parse(sql)) else {
                continue;
            };
            let (Some(schema), name) = &definition.table else { continue };
            for parent in known.meant(schema, name) {
                keys.add(header, &known, (child, parent), &object.name, definition.clone());
            }
        }
        keys
    }

    fn add(
        &mut self,
        header: &Header,
        known: &Known,
        (child, parent): (usize, usize),
        key: &str,
        definition: Definition,
    ) {
        if definition.temporal {
            let shown = header.tables[child].shown();
            let why =
                format!("{key} of {shown}: it has a PERIOD, whose values are compared as spans of time");
            return self.graph.leave(vec![child, parent], why);
        }
        let Definition { columns, referred, .. } = definition;
        let sides = sides(header, known, (child, parent), (&columns, &referred));
        let way = Way { child, parent, key: key.to_owned(), columns, referred };
        if self.graph.add(way).is_some() {
            self.sides.push(sides);
        }
    }
}

/// What the header says beside its tables.
struct Known<'a> {
    tables: HashMap<(&'a str, &'a str), usize>,
    /// The table above each partition.
    above: HashMap<(&'a str, &'a str), (String, String)>,
    /// For each table that the archive has in partitions, these.
    below: HashMap<(String, String), Vec<usize>>,
    /// What each domain is over.
    domains: HashMap<&'a str, String>,
    /// Columns that are compared by a collation under which different texts are equal.
    lenient: HashSet<(&'a str, &'a str, String)>,
}

impl<'a> Known<'a> {
    fn of(header: &'a Header) -> Known<'a> {
        let named = header.tables.iter().enumerate();
        let tables =
            named.map(|(number, table)| ((table.schema.as_str(), table.name.as_str()), number)).collect();
        let mut known = Known {
            tables,
            above: HashMap::new(),
            below: HashMap::new(),
            domains: HashMap::new(),
            lenient: HashSet::new(),
        };
        let objects = || header.schema.iter().flat_map(|schema| &schema.objects);
        let mut collations = Vec::new();
        for object in objects() {
            let create = object.create.first().map_or("", String::as_str);
            match (object.kind, &object.table) {
                (Kind::Attachment, Some((schema, name))) => {
                    if let Some((Some(above), table)) = name_behind(create, "ALTER TABLE ONLY ") {
                        known.above.insert((schema, name), (above, table));
                    }
                }
                (Kind::Domain, _) => {
                    if let (Some(name), Some((_, over))) =
                        (object.identity.strip_prefix("DOMAIN "), create.split_once(" AS "))
                    {
                        let end = [" COLLATE ", " DEFAULT ", " CONSTRAINT ", " NOT NULL", " CHECK ", "\n"]
                            .iter()
                            .filter_map(|word| over.find(word))
                            .min();
                        known.domains.insert(name, over[..end.unwrap_or(over.len())].to_owned());
                    }
                }
                (Kind::Collation, _) if create.contains(", deterministic = false") => {
                    collations.extend(object.identity.strip_prefix("COLLATION "));
                }
                _ => {}
            }
        }
        for (number, table) in header.tables.iter().enumerate() {
            let mut at = known.above.get(&(table.schema.as_str(), table.name.as_str()));
            for _ in 0..=known.above.len() {
                let Some(above) = at else { break };
                known.below.entry(above.clone()).or_default().push(number);
                at = known.above.get(&(above.0.as_str(), above.1.as_str()));
            }
        }
        if collations.is_empty() {
            return known;
        }
        for object in objects().filter(|object| object.kind == Kind::Table) {
            let Some(schema) = &object.schema else { continue };
            let Some(table) = known.tables.get(&(schema.as_str(), object.name.as_str())) else { continue };
            let lines: Vec<&str> = object.create.iter().flat_map(|sql| sql.lines()).map(str::trim).collect();
            for column in &header.tables[*table].columns {
                let quoted = quote::ident(&column.name);
                let is_lenient = |line: &&str| {
                    let column =
                        [quoted.as_str(), &column.name].iter().find_map(|name| line.strip_prefix(name));
                    let collation = column.filter(|rest| rest.starts_with(' '));
                    let collation = collation.and_then(|rest| rest.rsplit_once(" COLLATE "));
                    collation.is_some_and(|(_, name)| collations.contains(&name.trim_end_matches(',')))
                };
                if lines.iter().any(is_lenient) {
                    known.lenient.insert((schema, &object.name, column.name.clone()));
                }
            }
        }
        known
    }

    /// The tables of the archive that a table is: itself, the one that it is a partition of, or its partitions.
    fn meant(&self, schema: &str, name: &str) -> Vec<usize> {
        match self.table(schema, name) {
            Some(number) => vec![number],
            None => self.below.get(&(schema.to_owned(), name.to_owned())).cloned().unwrap_or_default(),
        }
    }

    /// The number of a table, or of the one that it is a partition of.
    fn table(&self, schema: &str, name: &str) -> Option<usize> {
        let (mut schema, mut name) = (schema, name);
        // Nothing is a partition of itself, but an archive may say so.
        for _ in 0..=self.above.len() {
            if let Some(number) = self.tables.get(&(schema, name)) {
                return Some(*number);
            }
            (schema, name) =
                self.above.get(&(schema, name)).map(|(schema, name)| (schema.as_str(), name.as_str()))?;
        }
        None
    }

    /// A type, or what it is over if it is a domain that is known.
    fn base<'t>(&'t self, mut name: &'t str) -> &'t str {
        for _ in 0..=self.domains.len() {
            match self.domains.get(name) {
                Some(over) => name = over,
                None => break,
            }
        }
        name
    }
}

/// Where the columns of a foreign key are in the rows of either table.
fn sides(
    header: &Header,
    known: &Known,
    (child, parent): (usize, usize),
    (columns, referred): (&[String], &[String]),
) -> Result<Sides, String> {
    let (child, parent) = (&header.tables[child], &header.tables[parent]);
    let mut sides = (Vec::new(), Vec::new());
    for (of_child, of_parent) in columns.iter().zip(referred) {
        let place = |table: &Table, name: &String| {
            let place = table.columns.iter().position(|column| column.name == *name);
            place.ok_or_else(|| match table.generated.contains(name) {
                true => {
                    format!("column {name:?} of {} is generated, and so not in the archive", table.shown())
                }
                false => format!("the archive does not have column {name:?} of {}", table.shown()),
            })
        };
        let (at_child, at_parent) = (place(child, of_child)?, place(parent, of_parent)?);
        let kind = |table: &Table, at: usize| known.base(&table.columns[at].type_name).to_owned();
        let (child_type, parent_type) = (kind(child, at_child), kind(parent, at_parent));
        let lenient = (parent.schema.as_str(), parent.name.as_str(), of_parent.clone());
        if known.lenient.contains(&lenient) && form::is_text(&parent_type) {
            return Err(format!(
                "column {of_parent:?} of {} has a collation for which different texts are equal",
                parent.shown()
            ));
        }
        let forms = form::forms(&child_type, &parent_type)
            .map_err(|kind| format!("when two values of {kind} are equal, only a server can tell"))?;
        sides.0.push(KeyCell::new(child, at_child, forms.0));
        sides.1.push(KeyCell::new(parent, at_parent, forms.1));
    }
    Ok(sides)
}

impl KeyCell {
    fn new(table: &Table, position: usize, form: Form) -> KeyCell {
        let column = &table.columns[position];
        let span = table.key.iter().take(MOST_SPANS).position(|name| *name == column.name);
        let is_comparable = form.is_as_printed() && column.form != CellForm::Json;
        KeyCell { position, form, cell: column.form, span: span.filter(|_| is_comparable) }
    }

    /// The cells of a table's own key, for rows that are named by it; none where it is not in the rows, the error is the
    /// type that cannot be compared.
    pub fn of_key(header: &Header, table: usize) -> Result<Option<Vec<KeyCell>>, String> {
        let known = Known::of(header);
        let table = &header.tables[table];
        let mut cells = Vec::with_capacity(table.key.len());
        for name in &table.key {
            let Some(position) = table.columns.iter().position(|column| column.name == *name) else {
                return Ok(None);
            };
            let kind = known.base(&table.columns[position].type_name);
            cells.push(KeyCell::new(table, position, form::forms(kind, kind)?.0));
        }
        Ok((!cells.is_empty()).then_some(cells))
    }

    /// Appends a value.
    fn write(&self, text: &[u8], key: &mut Vec<u8>) {
        let text = self.form.of(text);
        // A cell has at most 6 GiB: of two that differ in nothing but 4 GiB of length nobody makes a key.
        key.extend_from_slice(&(text.len() as u32).to_be_bytes());
        key.extend_from_slice(&text);
    }
}

/// Writes the key that a row has in `cells`, out of the row's own cells by position, into `key`; whether it has one: with
/// a NULL in it, it refers to nothing and nothing refers to it.
pub(super) fn write_key(cells: &[KeyCell], row: &[&[u8]], key: &mut Vec<u8>) -> bool {
    key.clear();
    for cell in cells {
        let Some(text) = row.get(cell.position).and_then(|raw| text_of(cell.cell, raw)) else { return false };
        cell.write(&text, key);
    }
    true
}

/// The key of these texts.
pub(super) fn key_of(cells: &[KeyCell], texts: &[String]) -> Key {
    let mut key = Vec::new();
    for (cell, text) in cells.iter().zip(texts) {
        cell.write(text.as_bytes(), &mut key);
    }
    key.into()
}

/// The texts in a key.
pub(super) fn texts(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = key;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (text, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = behind;
        Some(text)
    })
}
