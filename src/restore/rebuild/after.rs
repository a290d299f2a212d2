//! Indexes and constraints, several at once, then what can only be made one after the other.

use std::collections::HashMap;

use super::pool::{self, Job};
use super::{Rebuild, tables_of};
use crate::failure::Failure;
use crate::postgres::connect::Session;
use crate::progress::{Event, Phase};
use crate::restore::objects::apply::{self, What};
use crate::schema::{Kind, Object, Section};

/// Small tables' indexes are made together in one transaction: up to so many tables, and so many bytes of JSON.
const TOGETHER: (usize, u64) = (200, 4 << 20);

/// What is made together; each behind all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Indexes, and constraints that are made of them.
    Indexes,
    /// Indexes of partitions become parts of their table's; what came with the constraints of tables above.
    Attachments,
    /// They need unique constraints, whole.
    ForeignKeys,
    /// Triggers, rules, policies, and whatever needs them.
    Rest,
}

/// Makes everything that belongs behind the rows, but for what is made last of all.
pub async fn all(rebuild: &Rebuild<'_>, sessions: &[&Session]) -> Result<(), Failure> {
    let objects = rebuild.objects;
    let stages = stages(objects);
    let roots = roots(objects);
    let sizes = sizes(rebuild);
    rebuild.events.emit(Event::Started { phase: Phase::Finish, total_bytes: 0 });
    for stage in [Stage::Indexes, Stage::Attachments, Stage::ForeignKeys, Stage::Rest] {
        let of_stage: Vec<usize> = (0..objects.len()).filter(|n| stages[*n] == Some(stage)).collect();
        match stage {
            Stage::Indexes | Stage::ForeignKeys => {
                parallel(rebuild, sessions, &of_stage, &roots, &sizes).await?;
            }
            _ => {
                let made: std::collections::HashSet<&str> =
                    of_stage.iter().map(|n| objects[*n].identity.as_str()).collect();
                rebuild.define(|o| made.contains(o.identity.as_str())).await?;
            }
        }
    }
    rebuild.events.emit(Event::Finished { phase: Phase::Finish });
    Ok(())
}

/// The stage of each object, none for what is made before the rows or last of all.
fn stages(objects: &[Object]) -> Vec<Option<Stage>> {
    let mut stages: Vec<Option<Stage>> = Vec::with_capacity(objects.len());
    for object in objects {
        let own = match object.kind {
            _ if object.section == Section::PreData || object.kind.is_last() => None,
            // One of a child or partition that comes with its parent's.
            Kind::Constraint if is_with_another(object, objects, &stages) => Some(Stage::Attachments),
            Kind::Index | Kind::Constraint => Some(Stage::Indexes),
            Kind::Attachment | Kind::IndexMark => Some(Stage::Attachments),
            Kind::ForeignKey => Some(Stage::ForeignKeys),
            _ => Some(Stage::Rest),
        };
        let needed = object.needs.iter().filter_map(|n| stages.get(*n as usize).copied().flatten()).max();
        stages.push(own.map(|own| needed.map_or(own, |needed| own.max(needed))));
    }
    stages
}

fn is_with_another(object: &Object, objects: &[Object], stages: &[Option<Stage>]) -> bool {
    let needs = object.needs.iter().map(|n| *n as usize).filter(|n| *n < stages.len());
    needs.into_iter().any(|n| objects[n].kind == Kind::Constraint && stages[n].is_some())
}

/// For each object that is a partition, the table at the top of its tree; for others themselves.
fn roots(objects: &[Object]) -> Vec<usize> {
    let mut above: HashMap<usize, usize> = HashMap::new();
    for object in objects.iter().filter(|o| o.kind == Kind::Attachment && o.section == Section::PreData) {
        let tables: Vec<usize> = object.needs.iter().map(|n| *n as usize).collect();
        let child = tables.iter().copied().find(|n| {
            let at = &objects[*n];
            object.table.as_ref().is_some_and(|t| Some(&t.0) == at.schema.as_ref() && t.1 == at.name)
        });
        let Some(child) = child else { continue };
        let is_table = |n: &usize| matches!(objects[*n].kind, Kind::Table | Kind::ForeignTable);
        if let Some(parent) = tables.iter().copied().find(|n| *n != child && is_table(n)) {
            above.insert(child, parent);
        }
    }
    (0..objects.len())
        .map(|mut at| {
            // Bounded, whatever an archive says.
            for _ in 0..objects.len() {
                match above.get(&at) {
                    Some(parent) => at = *parent,
                    None => break,
                }
            }
            at
        })
        .collect()
}

/// Bytes of JSON of each table of the archive.
fn sizes<'a>(rebuild: &Rebuild<'a>) -> HashMap<(&'a str, &'a str), u64> {
    let archive = rebuild.archive;
    let tables = archive.header().tables.iter().enumerate();
    tables
        .map(|(n, t)| {
            let bytes = archive.table_chunks(n as u32).iter().map(|c| c.bytes).sum();
            ((t.schema.as_str(), t.name.as_str()), bytes)
        })
        .collect()
}

async fn parallel(
    rebuild: &Rebuild<'_>,
    sessions: &[&Session],
    chosen: &[usize],
    roots: &[usize],
    sizes: &HashMap<(&str, &str), u64>,
) -> Result<(), Failure> {
    let objects = rebuild.objects;
    let mut jobs: Vec<Job<Vec<&Object>>> = Vec::new();
    // What is of one table goes to one connection, in its order; each foreign key is a job of its own.
    let mut by_table: HashMap<Vec<usize>, usize> = HashMap::new();
    for at in chosen {
        let tables = tables_of(objects, roots, *at);
        let size = |n: &usize| {
            let table = &objects[*n];
            let name = (table.schema.as_deref().unwrap_or_default(), table.name.as_str());
            sizes.get(&name).copied().unwrap_or_default()
        };
        let weight = tables.iter().map(size).sum::<u64>();
        let mut key: Vec<usize> = tables.iter().copied().collect();
        key.sort_unstable();
        let alone = objects[*at].kind == Kind::ForeignKey;
        match by_table.get(&key).filter(|_| !alone) {
            Some(job) => {
                jobs[*job].work.push(&objects[*at]);
                jobs[*job].weight += weight;
            }
            None => {
                by_table.insert(key, jobs.len());
                jobs.push(Job { work: vec![&objects[*at]], tables, weight });
            }
        }
    }
    let style = &rebuild.options.objects.style;
    pool::run(sessions, jobs, TOGETHER, |number, batch: Vec<Vec<&Object>>| async move {
        let client = &sessions[number].client;
        client.batch_execute(&rebuild.begin()).await?;
        let all: Vec<&Object> = batch.into_iter().flatten().collect();
        apply::run(client, &all, What::Definition, style).await?;
        Ok(client.batch_execute("COMMIT").await?)
    })
    .await
}
