//! An archive as a script that stock psql restores, in the order in which a restore goes: objects before rows, rows,
//! sequences, objects after rows, privileges, and last what acts upon the finished database.
//!
//! An archive may be hostile, and psql runs programs for whoever can slip a backslash command into its script. Rows
//! cannot: COPY text has no backslash that the decoder did not write. Definitions could, as they stand in the script
//! as they are. So the script begins with `\restrict` and a key that nobody can guess, as pg_dump's do, and psql
//! takes no other command until the key comes again. Comments hold names on one line each.
//!
//! A script that ends early must not pass for a whole one: its last statement then fails on purpose, and so does the
//! COPY that it was in, which psql would else end by itself and keep.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};

use tokio_util::sync::CancellationToken;

use super::rows::Rows;
use super::{ExportError, Exported, large_objects};
use crate::archive::model::Header;
use crate::archive::reader::Archive;
use crate::failure::{Failure, FailureKind};
use crate::postgres::quote;
use crate::progress::{Event, Events, Phase};
use crate::schema::script::{Style, ident};
use crate::schema::{Kind, Object, Section, scope};
use crate::selection::TableFilter;

/// What goes into a script.
#[derive(Clone, Debug)]
pub struct ScriptOptions {
    /// Which tables, views and sequences.
    pub filter: TableFilter,
    /// Objects that are made before rows.
    pub pre_data: bool,
    /// Rows, sequences' states and large objects.
    pub data: bool,
    /// Objects that are made after rows.
    pub post_data: bool,
    /// First remove what is there of the objects.
    pub clean: bool,
    /// What is left out of the statements.
    pub style: Style,
}

/// Writes a script.
pub fn write(
    archive: &Archive,
    options: &ScriptOptions,
    events: &Events,
    cancel: &CancellationToken,
    out: &mut dyn Write,
) -> Result<Exported, ExportError> {
    let objects = chosen(archive.header(), options, events)?;
    let tables = if options.data { tables(archive, &options.filter) } else { Vec::new() };
    let mut script = Script { archive, options, out, in_copy: None, exported: Exported::default() };
    let rows = Rows { archive, events, cancel };
    let key = key();
    match script.whole(&objects, &tables, &rows, &key) {
        Ok(()) => Ok(script.exported),
        Err(ExportError::Write(error)) => Err(ExportError::Write(error)),
        Err(error) => {
            script.spoil()?;
            Err(error)
        }
    }
}

/// The objects to make, in order, with a word about what is missing.
fn chosen(header: &Header, options: &ScriptOptions, events: &Events) -> Result<Vec<Object>, Failure> {
    let filter = &options.filter;
    let mut objects = header.schema.as_ref().map(|s| s.objects.clone()).unwrap_or_default();
    if header.schema.is_none() && (options.pre_data || options.post_data) {
        let what = "the archive holds no definitions, only rows";
        if !options.data {
            return Err(Failure::usage(what).state("nothing was written").next(
                "leave out --schema-only or --section; or choose a backup that was taken without --data-only",
            ));
        }
        events.warn(format!("{what}; so does the script, and its tables must be there"));
    }
    let relations = objects.iter().filter(|o| o.kind.is_relation());
    let relations = relations.filter_map(|o| Some((o.schema.as_deref()?, o.name.as_str())));
    let tables = header.tables.iter().map(|t| (t.schema.as_str(), t.name.as_str()));
    let unmatched = filter.unmatched(tables.chain(relations));
    if !unmatched.is_empty() {
        let list: Vec<String> = unmatched.iter().map(|p| format!("{p:?}")).collect();
        return Err(Failure::usage(format!("no table of the archive matches {}", list.join(", ")))
            .state("nothing was written")
            .next("see what is inside with: pgkeep show FILE"));
    }
    if !filter.is_all() {
        let chosen = scope::choose(objects, filter);
        objects = chosen.objects;
        for identity in chosen.left_out {
            events.warn(format!("{identity} is left out: it refers to a table that is not exported"));
        }
        for (table, needed_by) in chosen.without_rows {
            events.warn(format!("{table} is exported without its rows: {needed_by} needs it"));
        }
    }
    let wanted = |object: &Object| match object.section {
        Section::PreData => options.pre_data,
        Section::PostData => options.post_data,
    };
    objects.retain(wanted);
    for secret in objects.iter().filter(|o| o.kind == Kind::Secret) {
        events.warn(format!(
            "{} is left out: no script holds a secret; pgkeep restore brings it back",
            secret.identity
        ));
    }
    objects.retain(|o| o.kind != Kind::Secret);
    for object in objects.iter_mut().filter(|o| is_public(o)) {
        // Every new database has it; one from which it was dropped is to have it, too.
        object.create = vec!["CREATE SCHEMA IF NOT EXISTS public".to_owned()];
        object.drop.clear();
    }
    Ok(objects)
}

fn is_public(object: &Object) -> bool {
    object.kind == Kind::Schema && object.name == "public"
}

/// The positions of the tables to fill, those that others refer to before these, where no circle forbids.
fn tables(archive: &Archive, filter: &TableFilter) -> Vec<usize> {
    let all = &archive.header().tables;
    let mut left: Vec<usize> =
        (0..all.len()).filter(|n| filter.wants(&all[*n].schema, &all[*n].name)).collect();
    left.sort_by_key(|n| (all[*n].large_objects, &all[*n].schema, &all[*n].name));
    let places: HashMap<(&str, &str), usize> =
        left.iter().map(|n| ((all[*n].schema.as_str(), all[*n].name.as_str()), *n)).collect();
    let parents: HashMap<usize, HashSet<usize>> = left
        .iter()
        .map(|n| {
            let named = all[*n].constraints.iter().filter_map(|c| c.references.as_ref());
            let found = named.filter_map(|(schema, name)| places.get(&(schema.as_str(), name.as_str())));
            (*n, found.copied().filter(|parent| parent != n).collect())
        })
        .collect();
    let mut sorted = Vec::with_capacity(left.len());
    let mut done: HashSet<usize> = HashSet::new();
    while !left.is_empty() {
        let ready = |n: &usize| parents.get(n).is_none_or(|all| all.is_subset(&done));
        let (mut next, later): (Vec<usize>, Vec<usize>) = left.iter().partition(|n| ready(n));
        left = later;
        if next.is_empty() {
            next.append(&mut left);
        }
        done.extend(&next);
        sorted.append(&mut next);
    }
    sorted
}

/// Letters and digits that nobody knows before the script is written.
fn key() -> String {
    // Each has keys of its own from the system's source of randomness.
    (0..4_u8).map(|n| format!("{:016x}", RandomState::new().hash_one(n))).collect()
}

struct Script<'a> {
    archive: &'a Archive,
    options: &'a ScriptOptions,
    out: &'a mut dyn Write,
    /// The number of columns of the COPY that is open.
    in_copy: Option<usize>,
    exported: Exported,
}

impl Script<'_> {
    fn whole(
        &mut self,
        objects: &[Object],
        tables: &[usize],
        rows: &Rows<'_>,
        key: &str,
    ) -> Result<(), ExportError> {
        let bytes = |n: &usize| self.archive.table_chunks(*n as u32).iter().map(|c| c.bytes).sum::<u64>();
        let total_bytes = tables.iter().map(bytes).sum();
        rows.events.emit(Event::Started { phase: Phase::Export, total_bytes });
        self.exported.objects = objects.len() as u64;
        self.begin(key)?;
        if self.options.clean {
            self.removals(objects)?;
        }
        self.definitions(objects.iter().filter(|o| o.section == Section::PreData))?;
        for index in tables {
            self.rows(*index as u32, rows)?;
        }
        if self.options.data {
            self.sequences(tables)?;
        }
        let post_data = |o: &&Object| o.section == Section::PostData;
        self.definitions(objects.iter().filter(post_data).filter(|o| !o.kind.is_last()))?;
        self.privileges(objects)?;
        // Views are filled by what their owners may read.
        let fills = objects.iter().any(|o| o.kind == Kind::Refresh);
        let row_security = |on| if fills { format!("SET row_security = {on};\n\n") } else { String::new() };
        self.out.write_all(row_security("on").as_bytes())?;
        self.definitions(objects.iter().filter(post_data).filter(|o| o.kind.is_last()))?;
        self.out.write_all(row_security("off").as_bytes())?;
        write!(self.out, "--\n-- End of pgkeep's script\n--\n\n\\unrestrict {key}\n")?;
        self.out.flush()?;
        rows.events.emit(Event::Finished { phase: Phase::Export });
        Ok(())
    }

    /// Settings under which everything means what it meant when it was read.
    fn begin(&mut self, key: &str) -> io::Result<()> {
        let header = self.archive.header();
        let source = &header.source;
        // A database of encoding SQL_ASCII takes any bytes, and gave them as they are.
        let encoding = if source.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
        let tool = one_line(&header.tool);
        write!(
            self.out,
            "--\n-- Database {} on Postgres {}, taken {} by {tool}; for psql\n--\n\n\\restrict {key}\n\n",
            one_line(&source.database),
            one_line(&source.server_version),
            header.created_at.format("%Y-%m-%d %H:%M:%S UTC"),
        )?;
        for (name, value) in [
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("client_encoding", &format!("'{encoding}'")),
            ("standard_conforming_strings", "on"),
            ("check_function_bodies", "false"),
            ("xmloption", "content"),
            ("client_min_messages", "warning"),
            ("row_security", "off"),
            // As rows and literals were printed; the role or the database may have it otherwise.
            ("datestyle", "'ISO, YMD'"),
            ("intervalstyle", "'postgres'"),
            ("default_tablespace", "''"),
            ("default_table_access_method", "heap"),
        ] {
            writeln!(self.out, "SET {name} = {value};")?;
        }
        // Servers before 17 do not have it.
        writeln!(
            self.out,
            "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout';"
        )?;
        write!(self.out, "SELECT pg_catalog.set_config('search_path', '', false);\n\n")
    }

    fn heading(&mut self, text: &str) -> io::Result<()> {
        write!(self.out, "--\n-- {}\n--\n\n", one_line(text))
    }

    fn statements(&mut self, all: impl IntoIterator<Item = String>) -> io::Result<()> {
        for sql in all {
            // A comment at the end would swallow the semicolon.
            let last = sql.lines().last().unwrap_or_default();
            let end = if last.contains("--") { "\n;" } else { ";" };
            write!(self.out, "{sql}{end}\n\n")?;
        }
        Ok(())
    }

    fn definitions<'a>(&mut self, objects: impl Iterator<Item = &'a Object>) -> io::Result<()> {
        for object in objects {
            let statements = object.definition(&self.options.style);
            if !statements.is_empty() {
                self.heading(&object.identity)?;
                self.statements(statements)?;
            }
        }
        Ok(())
    }

    fn privileges(&mut self, objects: &[Object]) -> io::Result<()> {
        for object in objects {
            let statements = object.privilege_statements(&self.options.style);
            if !statements.is_empty() {
                self.heading(&format!("Privileges on {}", object.identity))?;
                self.statements(statements)?;
            }
        }
        Ok(())
    }

    /// Removes the objects, what needs others before these.
    fn removals(&mut self, objects: &[Object]) -> io::Result<()> {
        self.heading("What is there already is removed")?;
        for object in objects.iter().rev() {
            let statements = match (object.kind, object.name.parse::<u32>()) {
                // There is no IF EXISTS for these.
                (Kind::LargeObject, Ok(oid)) => vec![format!(
                    "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '{oid}'"
                )],
                _ => object.removal(),
            };
            self.statements(statements)?;
        }
        Ok(())
    }

    fn rows(&mut self, index: u32, rows: &Rows<'_>) -> Result<(), ExportError> {
        let archive = self.archive;
        let Some(table) = archive.header().tables.get(index as usize) else { return Ok(()) };
        if archive.table_chunks(index).is_empty() {
            return Ok(());
        }
        if table.large_objects {
            self.heading("Bytes of large objects")?;
            large_objects::write(rows, index, !self.options.pre_data, self.out)?;
            return Ok(writeln!(self.out)?);
        }
        self.heading(&format!("Rows of {}", table.shown()))?;
        let columns: Vec<String> = table.columns.iter().map(|c| ident(&c.name)).collect();
        let list = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
        writeln!(self.out, "COPY {}.{}{list} FROM stdin;", ident(&table.schema), ident(&table.name))?;
        self.in_copy = Some(columns.len());
        let out = &mut *self.out;
        let count = rows.each(index, |text| Ok(out.write_all(text)?))?;
        write!(self.out, "\\.\n\n")?;
        self.in_copy = None;
        self.exported.tables += 1;
        self.exported.rows += count;
        Ok(())
    }

    /// Sets the sequences; where tables were chosen, those that these use.
    fn sequences(&mut self, tables: &[usize]) -> Result<(), ExportError> {
        let all = self.options.filter.is_all();
        let chosen: HashSet<usize> = tables.iter().copied().collect();
        let wanted = self
            .archive
            .header()
            .sequences
            .iter()
            .filter(|s| {
                all || self.options.filter.includes(&s.schema, &s.name)
                    || s.used_by.iter().any(|t| chosen.contains(&(*t as usize)))
            })
            .collect::<Vec<_>>();
        if !wanted.is_empty() {
            self.heading("Sequences")?;
        }
        for sequence in wanted {
            let last: i64 = sequence.last_value.parse().map_err(|_| {
                let what = format!("the archive's last value of sequence {} is no integer", sequence.shown());
                Failure::new(FailureKind::Archive, what)
            })?;
            let name = format!("{}.{}", ident(&sequence.schema), ident(&sequence.name));
            let name = quote::literal(&name);
            write!(self.out, "SELECT pg_catalog.setval({name}, {last}, {});\n\n", sequence.is_called)?;
        }
        Ok(())
    }

    /// Ends a script that is not whole, so that it fails.
    fn spoil(&mut self) -> io::Result<()> {
        if let Some(columns) = self.in_copy {
            // One value too many: the server refuses the row, and with it the whole COPY.
            writeln!(self.out, "{}\n\\.\n", vec!["\\N"; columns + 1].join("\t"))?;
        }
        writeln!(
            self.out,
            "\nDO $pgkeep$ BEGIN RAISE EXCEPTION 'pgkeep: this script is not whole'; END $pgkeep$;"
        )?;
        self.out.flush()
    }
}

/// A name on one line, so that no line of a comment can be anything but a comment.
fn one_line(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_comment() {
        assert_eq!(one_line("a\n\\! rm\r\x0b"), "a\\n\\! rm\\r\\u{b}");
    }

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (a, b) = (key(), key());
        assert!(a != b && a.len() == 64 && a.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
