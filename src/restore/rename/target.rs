//! A restore under other names meets its target: which of the tables are there, and what the others need to be made.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Going, Renamed};
use crate::archive::model::{self, Header};
use crate::archive::reader::Archive;
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, SequenceInfo};
use crate::postgres::connect::Session;
use crate::postgres::ddl::{self, Secrets};
use crate::postgres::settings;
use crate::restore::RestoreOptions;
use crate::restore::entity::Chosen;
use crate::schema::copy::{Asked, Copy, copy};
use crate::schema::rename::{Names, Own, referred_to};
use crate::schema::{Kind, Schema};
use crate::selection::mapping::Name;
use crate::selection::{TableFilter, shown_name};

/// What the target has.
struct Target {
    catalog: Catalog,
    /// What each relation is, indexes, too (`pg_class.relkind`).
    relations: HashMap<Name, char>,
    schemas: HashSet<String>,
    /// Its objects, where some of the archive's are to be made.
    live: Option<Schema>,
}

/// Takes the archive as one whose tables have the names that they go by in this target. The session is outside of a
/// transaction, and is again afterwards unless this fails.
pub async fn apply(
    session: &Session,
    archive: &Arc<Archive>,
    options: &RestoreOptions,
    mut going: Vec<Going>,
) -> Result<Renamed, Failure> {
    let target = Target::look(session, options, archive.header()).await?;
    if let Some(places) = &options.places {
        // Rows of the target may be too many in tables of which the archive has none.
        going.retain(|g| !places.is_none(g.table) || target.relations.contains_key(&g.new));
    }
    target.check_takes(&going, options)?;
    let (there, made): (Vec<&Going>, Vec<&Going>) =
        going.iter().partition(|g| target.live.is_none() || target.relations.contains_key(&g.new));
    let pairs =
        |all: &[&Going]| all.iter().map(|g| (g.old.clone(), g.new.clone())).collect::<BTreeMap<_, _>>();
    let (there, made) = (pairs(&there), pairs(&made));
    let header = archive.header();
    let copied = match header.schema.as_ref().filter(|_| !made.is_empty()) {
        Some(schema) => {
            let asked = Asked {
                made: &made,
                there: &there,
                sequences: &sequences(header, &made),
                taken: target.relations.keys().cloned().collect(),
                schemas: target.schemas.clone(),
            };
            copy(&schema.objects, asked)
        }
        None => Copy {
            names: Names { tables: there.into_iter().collect(), ..Names::default() },
            ..Copy::default()
        },
    };
    target.check_needs(&copied, options)?;
    let mut notes = notes(&copied);
    let new = renamed_header(header, &going, &copied, &target, options, &mut notes);
    let tables: Vec<u32> = going.iter().map(|g| g.table).collect();
    let mapped = going.iter().map(|g| (shown_name(&g.new.0, &g.new.1), shown_name(&g.old.0, &g.old.1)));
    Ok(Renamed {
        options: renamed_options(options, &going, &copied),
        mapped: mapped.collect(),
        archive: Arc::new(archive.view(new, &tables)),
        notes,
    })
}

impl Target {
    async fn look(session: &Session, options: &RestoreOptions, header: &Header) -> Result<Target, Failure> {
        let client = &session.client;
        let version = session.server_version_num;
        client
            .batch_execute(&format!(
                "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; {} SET LOCAL lock_timeout = '{}ms';",
                settings::statements(version),
                options.lock_timeout.as_millis()
            ))
            .await?;
        let catalog = Catalog::read(client).await?;
        let sql = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text
              FROM pg_catalog.pg_namespace n
              LEFT JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid
             WHERE n.nspname OPERATOR(pg_catalog.!~) '^pg_' AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema'";
        let (mut relations, mut schemas) = (HashMap::new(), HashSet::new());
        for row in client.query_typed(sql, &[]).await? {
            let schema: String = row.get(0);
            schemas.insert(schema.clone());
            if let (Some(name), Some(kind)) = (row.get::<_, Option<String>>(1), row.get::<_, Option<&str>>(2))
            {
                relations.insert((schema, name), kind.chars().next().unwrap_or(' '));
            }
        }
        let makes = options.objects.pre_data && header.schema.is_some();
        let live = match makes {
            true => Some(ddl::read_with(client, version, Secrets::Left).await?),
            false => None,
        };
        client.batch_execute("ROLLBACK").await?;
        Ok(Target { catalog, relations, schemas, live })
    }

    /// Refuses to put rows into what is no table, and anything into a schema of the host's.
    fn check_takes(&self, going: &[Going], options: &RestoreOptions) -> Result<(), Failure> {
        let of_host = going.iter().find(|g| options.host.manages(&g.new.0));
        if let Some(Going { new, .. }) = of_host {
            return Err(Failure::usage(format!("schema {} is the host's", new.0))
                .next("choose another schema: what is in this one the host makes and changes"));
        }
        let what = |kind: char| match kind {
            'v' => Some("a view"),
            'm' => Some("a materialized view"),
            'f' => Some("a foreign table"),
            'S' => Some("a sequence"),
            'i' | 'I' => Some("an index"),
            'c' => Some("a type"),
            _ => None,
        };
        let wrong = going.iter().filter_map(|g| {
            let kind = what(*self.relations.get(&g.new)?)?;
            Some(format!("{} is {kind} in the target", shown_name(&g.new.0, &g.new.1)))
        });
        let wrong: Vec<String> = wrong.collect();
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Failure::usage(format!("no table can go there: {}", wrong.join(", ")))
                .next("choose another name with --map, or another schema")),
        }
    }

    /// Refuses to make what the target has not all that it needs for.
    fn check_needs(&self, copied: &Copy, options: &RestoreOptions) -> Result<(), Failure> {
        if let Some((child, parent)) = copied.heirs.first() {
            return Err(Failure::usage(format!("{child} inherits from {parent}, which is not chosen"))
                .next("choose both: what one inherits is said by the other"));
        }
        let Some(live) = self.live.as_ref().filter(|_| options.objects.pre_data) else { return Ok(()) };
        let own = live.objects.iter().map(|o| o.identity.as_str());
        let there: HashSet<&str> =
            own.chain(live.brought.iter().map(|b| b.object.identity.as_str())).collect();
        let missing: Vec<String> = (copied.needed.iter())
            .filter(|(identity, _)| !there.contains(identity.as_str()))
            .map(|(identity, user)| format!("{identity} (first needed for {user})"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!("the target lacks what the tables need:\n    {}", missing.join("\n    ")))
            .next("make it first: pgkeep show FILE --schema prints the statements; or restore all of the archive into an empty database and look there"))
    }

    /// The `oid`s of a table that is there and of all partitions below it, which have its defaults.
    fn tree(&self, name: &Name) -> Vec<u32> {
        let mut all: Vec<u32> = self.catalog.find(&name.0, &name.1).map(|r| r.oid).into_iter().collect();
        let mut at = 0;
        while let Some(oid) = all.get(at).copied() {
            all.extend(self.catalog.partitions(oid).map(|r| r.oid));
            at += 1;
        }
        all
    }

    /// The sequence of a table that is there that does the work of an archived one: it has its name, or a name made like
    /// the table's, or each is the only one. None that tables use, too, which are not among `all` that take rows.
    fn counterpart(
        &self,
        archived: &model::Sequence,
        users: &[&Going],
        all: &HashSet<u32>,
        alone: bool,
    ) -> Option<&SequenceInfo> {
        let own: HashSet<u32> = users.iter().flat_map(|g| self.tree(&g.new)).collect();
        let serves = |s: &&SequenceInfo| {
            s.used_by.iter().any(|t| own.contains(t)) && s.used_by.iter().all(|t| all.contains(t))
        };
        let candidates: Vec<&SequenceInfo> = self.catalog.sequences.iter().filter(serves).collect();
        let like = |s: &&&SequenceInfo| {
            let made_like = |g: &&Going| {
                archived
                    .name
                    .strip_prefix(&g.old.1)
                    .is_some_and(|rest| s.name == format!("{}{rest}", g.new.1))
            };
            s.name == archived.name || users.iter().any(made_like)
        };
        candidates
            .iter()
            .find(like)
            .or_else(|| candidates.first().filter(|_| alone && candidates.len() == 1))
            .copied()
    }
}

/// The sequences that tables which are made take defaults from, each with such a table.
fn sequences(header: &Header, made: &BTreeMap<Name, Name>) -> BTreeMap<Name, Name> {
    let mut used = BTreeMap::new();
    for sequence in header.sequences.iter().filter(|s| s.extension.is_none()) {
        let tables = sequence.used_by.iter().filter_map(|t| header.tables.get(*t as usize));
        let own = tables.map(|t| (t.schema.clone(), t.name.clone())).find(|name| made.contains_key(name));
        if let Some(table) = own {
            used.insert((sequence.schema.clone(), sequence.name.clone()), table);
        }
    }
    used
}

/// The header with these tables alone, and all that is theirs, under the new names.
fn renamed_header(
    header: &Header,
    going: &[Going],
    copied: &Copy,
    target: &Target,
    options: &RestoreOptions,
    notes: &mut Vec<String>,
) -> Header {
    let tables = going.iter().filter_map(|g| {
        let table = header.tables.get(g.table as usize)?;
        Some(renamed_table(table, g, &copied.names, &target.catalog))
    });
    let (tables, sequences) =
        (tables.collect(), renamed_sequences(header, going, copied, target, options, notes));
    let schema = header.schema.as_ref().map(|schema| Schema {
        database: schema.database.clone(),
        objects: copied.objects.clone(),
        ..Schema::default()
    });
    let selection = model::Selection { tables: Vec::new(), exclude: Vec::new(), ..header.selection.clone() };
    Header { tables, sequences, schema, selection, guards: None, ..header.clone() }
}

/// The sequences of these tables: of those that are made their own, of the others what does their work in the target.
fn renamed_sequences(
    header: &Header,
    going: &[Going],
    copied: &Copy,
    target: &Target,
    options: &RestoreOptions,
    notes: &mut Vec<String>,
) -> Vec<model::Sequence> {
    let numbers: HashMap<u32, usize> = going.iter().map(|g| g.table).zip(0..).collect();
    let users = |s: &model::Sequence| -> Vec<usize> {
        s.used_by.iter().filter_map(|old| numbers.get(old).copied()).collect()
    };
    let mut uses = vec![0_usize; going.len()];
    header.sequences.iter().flat_map(users).for_each(|table| uses[table] += 1);
    let oids: HashSet<u32> = going.iter().flat_map(|g| target.tree(&g.new)).collect();
    let (mut all, mut left) = (Vec::new(), Vec::new());
    for sequence in &header.sequences {
        let of = users(sequence);
        let copy = copied.names.sequences.get(&(sequence.schema.clone(), sequence.name.clone()));
        // What an entity's rows have used is used by others, too, but not in a copy.
        if copy.is_none() && (of.is_empty() || options.places.is_some()) {
            continue;
        }
        let tables: Vec<&Going> = of.iter().map(|table| &going[*table]).collect();
        let is_alone = of.iter().all(|table| uses[*table] == 1);
        let counterpart = || target.counterpart(sequence, &tables, &oids, is_alone);
        let new = copy.cloned().or_else(|| counterpart().map(|s| (s.schema.clone(), s.name.clone())));
        let Some((schema, name)) = new else {
            left.push(sequence.shown());
            continue;
        };
        let used_by = of.iter().map(|table| *table as u32).collect();
        all.push(model::Sequence { schema, name, used_by, extension: None, ..sequence.clone() });
    }
    if !left.is_empty() && options.objects.data && !options.compares {
        notes.push(format!(
            "sequences without a counterpart in the target that nobody else uses are left as they are: {}",
            left.join(", ")
        ));
    }
    all
}

fn renamed_table(table: &model::Table, going: &Going, names: &Names, catalog: &Catalog) -> model::Table {
    let is_copied =
        |c: &&model::Constraint| c.references.as_ref().is_none_or(|r| names.tables.contains_key(r));
    let own = Own { table: Some(&going.old), index: None };
    let constraints = table.constraints.iter().filter(is_copied).map(|c| model::Constraint {
        definition: match referred_to(&c.definition).is_empty() {
            true => c.definition.clone(),
            false => names.statement(&c.definition, own),
        },
        references: c.references.as_ref().and_then(|r| names.tables.get(r)).cloned(),
        ..c.clone()
    });
    // A column of rows of another table: those of a table that is there may still be of the old one.
    let live = catalog.find(&going.new.0, &going.new.1);
    let type_name = |column: &model::Column| {
        let live = live.and_then(|live| live.columns.iter().find(|c| c.name == column.name));
        let new = names.type_name(&column.type_name);
        if live.is_none_or(|live| live.type_name == new) { new } else { column.type_name.clone() }
    };
    let columns =
        table.columns.iter().map(|c| model::Column { type_name: type_name(c), ..c.clone() }).collect();
    let (schema, name) = going.new.clone();
    model::Table {
        columns,
        schema,
        name,
        constraints: constraints.collect(),
        extension: None,
        ..table.clone()
    }
}

/// What is asked for, of the tables under their new names.
fn renamed_options(options: &RestoreOptions, going: &[Going], copied: &Copy) -> RestoreOptions {
    let names: Vec<(Name, Name)> = going.iter().map(|g| (g.old.clone(), g.new.clone())).collect();
    let tables: Vec<u32> = going.iter().map(|g| g.table).collect();
    // With the partitions and the sequences that are made.
    let made = copied.objects.iter().filter(|o| o.kind.is_relation() && o.kind != Kind::View);
    let made = made.map(|o| (o.schema.as_deref().unwrap_or_default(), o.name.as_str()));
    let all = going.iter().map(|g| (g.new.0.as_str(), g.new.1.as_str())).chain(made);
    let all: BTreeSet<(&str, &str)> = all.collect();
    RestoreOptions {
        filter: TableFilter::of_tables(all),
        rows: options.rows.renamed(&names),
        preferences: options.preferences.renamed(&names),
        places: options.places.as_ref().map(|places| Arc::new(places.of_tables(&tables))),
        chosen: match &options.chosen {
            Chosen::Entity(scope) => Chosen::Entity(scope.renamed(&names)),
            other => other.clone(),
        },
        ..options.clone()
    }
}

/// What a copy does not have.
fn notes(copied: &Copy) -> Vec<String> {
    let mut notes = Vec::new();
    if !copied.foreign_keys.is_empty() {
        notes.push(format!(
            "left out, because they refer to tables that are not restored along: {}",
            copied.foreign_keys.join(", ")
        ));
    }
    if !copied.left_out.is_empty() {
        let counts: Vec<String> = (copied.left_out.iter())
            .map(|(kind, n)| format!("{n} {}", if *n == 1 { kind.one() } else { kind.many() }))
            .collect();
        notes.push(format!(
            "the tables that are made do not get what acts on them or shows them: {}",
            counts.join(", ")
        ));
    }
    if !copied.foreign.is_empty() {
        notes.push(format!("partitions that are foreign tables are left out: {}", copied.foreign.join(", ")));
    }
    notes
}
