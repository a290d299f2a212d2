//! The flags that choose tables, as all commands have them.

use std::collections::HashMap;

use clap::Args;

use super::context::Context;
use crate::closure::{Root, RootError, Scope};
use crate::failure::Failure;
use crate::postgres::quote;
use crate::restore::entity::Chosen;
use crate::selection::mapping::Mapping;
use crate::selection::{ByTable, PatternError, RowChoice, TableFilter};

/// Flags that choose tables.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which tables")]
pub struct ChoiceArgs {
    /// These tables, all others left out: schema.table or table (which means schema public), * and ? as in a shell; a list, or given several times
    #[arg(short, long, value_name = "PATTERN", env = "PGKEEP_TABLE")]
    pub table: Vec<String>,
    /// Tables to leave out; a list, or given several times
    #[arg(long, value_name = "PATTERN", env = "PGKEEP_EXCLUDE")]
    pub exclude: Vec<String>,
    /// Which rows and columns of them.
    #[command(flatten)]
    pub rows: RowArgs,
    /// All tables of these schemas, as --table 'NAME.*'; a list, or given several times
    #[arg(long, value_name = "NAME", env = "PGKEEP_SCHEMA_NAME")]
    pub schema_name: Vec<String>,
}

/// Flags that choose rows and columns of tables.
#[derive(Args, Clone, Debug, Default)]
pub struct RowArgs {
    /// Rows to take, by a condition as it would stand behind WHERE: 'bookings: created_at >= $since'; may be given several times
    #[arg(long = "where", value_name = "TABLE: CONDITION", env = "PGKEEP_WHERE")]
    pub condition: Vec<String>,
    /// A value for $NAME in conditions; may be given several times
    #[arg(long, value_name = "NAME=VALUE", env = "PGKEEP_PARAM")]
    pub param: Vec<String>,
    /// Columns to take, those of the key always with them: 'users: email,phone'; may be given several times
    #[arg(long, value_name = "TABLE: COLUMNS", env = "PGKEEP_COLUMNS")]
    pub columns: Vec<String>,
}

/// Flags that choose rows by what belongs together.
#[derive(Args, Clone, Debug, Default)]
pub struct EntityArgs {
    /// Only what belongs to these rows, which are named by their key: what refers to them by foreign keys, transitively, and the rows that those refer to; such as weddings=7 or seats=7/12,7/13; may be given several times
    #[arg(long, value_name = "TABLE=ID", env = "PGKEEP_ENTITY", conflicts_with_all = ["table", "schema_name", "condition", "with_references"])]
    pub entity: Vec<String>,
    /// Groups of tables out of [data_types] in pgkeep.toml to which an --entity is narrowed; a list, or given several times
    #[arg(long, value_name = "GROUP", env = "PGKEEP_DATA_TYPES", value_delimiter = ',', requires = "entity")]
    pub data_types: Vec<String>,
    /// Of other tables the rows, too, that those of --table and --where refer to, so that no foreign key breaks
    #[arg(long, env = "PGKEEP_WITH_REFERENCES")]
    pub with_references: bool,
}

/// Flags that give tables other names.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Under other names")]
pub struct MappingArgs {
    /// Where a table of the archive goes: users=archive.users, or all of a schema: shop.*=old.*; one that is not there is made; may be given several times
    #[arg(long, value_name = "OLD=NEW", env = "PGKEEP_MAP")]
    pub map: Vec<String>,
    /// The schema that all chosen tables go to, under their own names; it and they are made where they are missing
    #[arg(long, value_name = "NAME", env = "PGKEEP_INTO_SCHEMA")]
    pub into_schema: Option<String>,
}

impl MappingArgs {
    /// As the engines take it.
    pub fn mapping(&self) -> Result<Mapping, Failure> {
        Mapping::parse(&self.map, self.into_schema.as_deref()).map_err(|error| {
            Failure::usage(error.to_string())
                .next("write --map users=archive.users or --into-schema NAME; quote a name that holds a dot: '\"a.b\"'")
        })
    }
}

impl EntityArgs {
    /// As the engines take it; `exclude` are patterns of tables that are left out.
    pub fn chosen(&self, context: &Context, exclude: &[String]) -> Result<Chosen, Failure> {
        if self.entity.is_empty() {
            return Ok(if self.with_references { Chosen::WithReferences } else { Chosen::All });
        }
        let roots: Result<Vec<Root>, RootError> = self.entity.iter().map(|text| Root::parse(text)).collect();
        let roots = roots.map_err(|e| Failure::usage(e.to_string()))?;
        Ok(Chosen::Entity(Scope { roots, within: context.tables_of(&self.data_types, exclude)? }))
    }
}

impl ChoiceArgs {
    /// The tables as the engines take them.
    pub fn filter(&self) -> Result<TableFilter, Failure> {
        filter(&self.table, &self.exclude, &self.schema_name)
    }

    /// The rows as the engines take them.
    pub fn rows(&self) -> Result<RowChoice, Failure> {
        self.rows.choice()
    }
}

impl RowArgs {
    /// As the engines take them.
    pub fn choice(&self) -> Result<RowChoice, Failure> {
        let params = params(&self.param)?;
        let conditions: Result<Vec<String>, Failure> =
            self.condition.iter().map(|text| substituted(text, &params)).collect();
        Ok(RowChoice {
            conditions: ByTable::parse(&conditions?).map_err(unreadable)?,
            columns: ByTable::parse(&self.columns).map_err(unreadable)?,
        })
    }
}

/// Tables by the values of `--table`, `--exclude` and `--schema-name`.
pub fn filter(tables: &[String], exclude: &[String], schemas: &[String]) -> Result<TableFilter, Failure> {
    let filter = TableFilter::parse(tables, exclude);
    filter.and_then(|filter| filter.with_schemas(schemas)).map_err(unreadable)
}

fn unreadable(error: PatternError) -> Failure {
    Failure::usage(error.to_string())
        .next("write schema.table or table; quote a name that holds a dot or a comma: '\"a.b\"'")
}

/// `NAME=VALUE`, each name once.
fn params(given: &[String]) -> Result<HashMap<&str, &str>, Failure> {
    let mut params = HashMap::new();
    for text in given {
        let pair = text.split_once('=').filter(|(name, _)| is_name(name));
        let Some((name, value)) = pair else {
            return Err(Failure::usage(format!("--param {text:?} is not NAME=VALUE"))
                .next("write --param since=2025-11-01, and $since in the condition"));
        };
        if value.contains('\0') {
            return Err(Failure::usage(format!(
                "--param {name} has a value that no text of the server's can be"
            )));
        }
        if params.insert(name, value).is_some() {
            return Err(Failure::usage(format!("--param gives {name:?} twice")));
        }
    }
    Ok(params)
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

/// The condition with the values of its `$NAME`s, as literals. What stands in quotes is left as it is.
fn substituted(text: &str, params: &HashMap<&str, &str>) -> Result<String, Failure> {
    let mut out = String::with_capacity(text.len());
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        let end = tail.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(tail.len());
        let name = &tail[..end];
        match (quote, c) {
            // A text between $tag$s.
            (None, '$') if tail[end..].starts_with('$') && (name.is_empty() || is_name(name)) => {
                let tag = &rest[..1 + end + 1];
                let close = rest[tag.len()..].find(tag).map_or(rest.len(), |at| 2 * tag.len() + at);
                out += &rest[..close];
                rest = &rest[close..];
                continue;
            }
            (None, '$') if is_name(name) => {
                let value = params.get(name).ok_or_else(|| {
                    Failure::usage(format!("nothing says what ${name} is"))
                        .next(format!("add --param {name}=VALUE, or let the shell put the value there"))
                })?;
                out += &quote::literal(value);
                rest = &tail[end..];
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        out.push(c);
        rest = tail;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parameters_become_literals_where_they_are_not_quoted() {
        let given = ["since=it's".to_owned(), "x_1=it's".to_owned()];
        let params = params(&given).unwrap();
        let of = |text: &str| substituted(text, &params).unwrap();
        assert_eq!(of("at >= $since AND a = $x_1"), "at >= 'it''s' AND a = 'it''s'");
        assert_eq!(
            of("a = '$since' AND \"$x\" = $$y$$ AND b = $1"),
            "a = '$since' AND \"$x\" = $$y$$ AND b = $1"
        );
        assert!(substituted("a = $other", &params).unwrap_err().what.contains("$other"));
    }
}
