//! Indexes and constraints, several at once, then what can only be made one after the other.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use super::foreign_keys;
use super::ledger::Step as Ledgered;
use super::pool::{self, Job, Step};
use super::{Rebuild, tables_of};
use crate::failure::Failure;
use crate::postgres::connect::Session;
use crate::progress::{Event, Phase};
use crate::schema::{Kind, Object, Section};

/// Small tables' indexes are made together in one transaction: up to so many tables, and of such a weight.
const TOGETHER: (usize, u64) = (200, 4 << 20);
/// From this weight on the indexes of one table are made side by side, and so are the checks of its foreign keys.
const SIDE_BY_SIDE: u64 = 2 << 20;
/// What a row costs in an index, in the bytes of JSON that are loaded in the same time.
const ROW_IN_INDEX: u64 = 64;

/// What is made together; each behind all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Indexes and constraints that look at nothing but the rows of their own table.
    BehindRows,
    /// Indexes, and constraints that are made of them.
    Indexes,
    /// Indexes of partitions become parts of their table's; what came with the constraints of tables above.
    Attachments,
    /// They need unique constraints, whole.
    ForeignKeys,
    /// Triggers, rules, policies, and whatever needs them.
    Rest,
}

/// What is to be made behind the rows, and when.
pub struct After<'a> {
    objects: &'a [Object],
    stages: Vec<Option<Stage>>,
    roots: Vec<usize>,
    rows: HashMap<(&'a str, &'a str), u64>,
    calling: Vec<bool>,
}

impl<'a> After<'a> {
    /// Sorts the objects of a rebuild.
    pub fn new(rebuild: &Rebuild<'a>) -> After<'a> {
        let objects = rebuild.objects;
        let (stages, roots, calling) = (stages(objects), roots(objects), calling(objects));
        After { objects, stages, roots, rows: rows(rebuild), calling }
    }

    /// Whether a row that comes into this table may make the server call a function of the user's.
    pub fn calls(&self, table: usize) -> bool {
        self.calling[table]
    }

    /// The table that locks of this object's table are counted for.
    pub fn root(&self, table: usize) -> usize {
        self.roots[table]
    }

    /// What is made as soon as the rows of its table are in.
    pub fn behind_rows(&self) -> Vec<Job<Vec<&'a Object>>> {
        self.jobs(Stage::BehindRows)
    }

    /// Makes everything else that belongs behind the rows, but for what is made last of all. The caller has said that
    /// [`Phase::Finish`] has begun.
    pub async fn rest(&self, rebuild: &Rebuild<'_>, sessions: &[&Session]) -> Result<(), Failure> {
        // Those behind rows are made already, or there are no rows to be behind.
        let behind = if rebuild.options.objects.data { None } else { Some(Stage::BehindRows) };
        let others = [Stage::Indexes, Stage::Attachments, Stage::ForeignKeys, Stage::Rest];
        for stage in behind.into_iter().chain(others) {
            match stage {
                Stage::ForeignKeys => self.foreign_keys(rebuild, sessions).await?,
                Stage::BehindRows | Stage::Indexes => self.parallel(rebuild, sessions, stage).await?,
                _ => {
                    let of_stage = self.of_stage(stage);
                    let made: HashSet<&str> = of_stage.map(|n| self.objects[n].identity.as_str()).collect();
                    rebuild.define(|o| made.contains(o.identity.as_str())).await?;
                }
            }
        }
        rebuild.events.emit(Event::Finished { phase: Phase::Finish });
        Ok(())
    }

    fn of_stage(&self, stage: Stage) -> impl Iterator<Item = usize> + '_ {
        (0..self.objects.len()).filter(move |n| self.stages[*n] == Some(stage))
    }

    fn rows_of(&self, table: usize) -> u64 {
        let table = &self.objects[table];
        let name = (table.schema.as_deref().unwrap_or_default(), table.name.as_str());
        self.rows.get(&name).copied().unwrap_or_default()
    }

    /// What is of one table goes to one connection, in its order. Each foreign key is a job of its own, and so is an
    /// index of a large table: the server makes several of them at once.
    fn jobs(&self, stage: Stage) -> Vec<Job<Vec<&'a Object>>> {
        let objects = self.objects;
        let tied: HashSet<usize> = self
            .of_stage(stage)
            .flat_map(|n| objects[n].needs.iter().map(|need| *need as usize))
            .filter(|n| self.stages[*n].is_some())
            .collect();
        let mut jobs: Vec<Job<Vec<&Object>>> = Vec::new();
        let mut by_table: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut ways: HashMap<usize, u64> = HashMap::new();
        for at in self.of_stage(stage) {
            let object = &objects[at];
            let mut tables: Vec<usize> = tables_of(objects, &self.roots, at).into_iter().collect();
            tables.sort_unstable();
            let weight = tables.iter().map(|n| self.rows_of(*n)).sum::<u64>().saturating_mul(ROW_IN_INDEX);
            tables.iter().for_each(|t| *ways.entry(*t).or_default() += weight);
            let is_tied =
                tied.contains(&at) || object.needs.iter().any(|n| self.stages[*n as usize].is_some());
            let shared = object.kind == Kind::Index && weight >= SIDE_BY_SIDE && !is_tied;
            match by_table.get(&tables).filter(|_| !shared && object.kind != Kind::ForeignKey) {
                Some(job) => {
                    jobs[*job].work.push(object);
                    jobs[*job].weight += weight;
                }
                None => {
                    if !shared {
                        by_table.insert(tables.clone(), jobs.len());
                    }
                    jobs.push(Job { work: vec![object], tables, shared, step: Step::Make, weight, way: 0 });
                }
            }
        }
        // All of a table's have the way that is left for the table.
        for job in &mut jobs {
            job.way = job.tables.iter().filter_map(|t| ways.get(t)).copied().max().unwrap_or_default();
        }
        jobs
    }

    async fn parallel(
        &self,
        rebuild: &Rebuild<'_>,
        sessions: &[&Session],
        stage: Stage,
    ) -> Result<(), Failure> {
        run(rebuild, sessions, self.jobs(stage), Ledgered::Made).await
    }

    /// Foreign keys, of which those of large tables are checked side by side.
    async fn foreign_keys(&self, rebuild: &Rebuild<'_>, sessions: &[&Session]) -> Result<(), Failure> {
        let jobs = self.jobs(Stage::ForeignKeys);
        // What an earlier run has begun so ends so.
        let is_begun =
            |job: &Job<Vec<&Object>>| job.work.iter().any(|key| rebuild.ledger.has(Ledgered::Added, key));
        let side_by_side =
            |job: &Job<Vec<&Object>>| sessions.len() > 1 && job.weight >= SIDE_BY_SIDE || is_begun(job);
        if !jobs.iter().any(side_by_side) {
            return run(rebuild, sessions, jobs, Ledgered::Made).await;
        }
        let client = &sessions[0].client;
        let partitioned = foreign_keys::partitioned(client).await?;
        let is_partitioned = |table: usize| {
            let table = &self.objects[table];
            partitioned.contains(&(table.schema.clone().unwrap_or_default(), table.name.clone()))
        };
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for job in jobs {
            let part = match job.work.as_slice() {
                [key] if rebuild.ledger.has(Ledgered::Made, key) => None,
                [key] if side_by_side(&job) && !job.tables.iter().any(|t| is_partitioned(*t)) => {
                    foreign_keys::parted(key)
                }
                _ => None,
            };
            match part {
                Some(part) => parts.push((part, job)),
                None => whole.push(job),
            }
        }
        run(rebuild, sessions, whole, Ledgered::Made).await?;
        let adding: Vec<&Object> = parts.iter().map(|((add, _), _)| add).collect();
        for batch in adding.chunks(super::BATCH) {
            client.batch_execute(&rebuild.begin()).await?;
            rebuild.take_step(client, batch, Ledgered::Added).await?;
            client.batch_execute("COMMIT").await?;
        }
        let checks = parts.iter().map(|((_, check), job)| {
            let refers = |n: &usize| {
                let table = (&self.objects[*n].schema, &self.objects[*n].name);
                check
                    .table
                    .as_ref()
                    .is_some_and(|(schema, name)| (Some(schema), name) == (table.0.as_ref(), table.1))
            };
            let tables = job.tables.iter().copied().filter(refers).collect();
            Job {
                work: vec![check],
                tables,
                shared: false,
                step: Step::Make,
                weight: job.weight,
                way: job.way,
            }
        });
        run(rebuild, sessions, checks.collect(), Ledgered::Checked).await
    }
}

/// Takes a step with the objects of the jobs over all connections.
async fn run(
    rebuild: &Rebuild<'_>,
    sessions: &[&Session],
    jobs: Vec<Job<Vec<&Object>>>,
    step: Ledgered,
) -> Result<(), Failure> {
    pool::run(sessions, jobs, TOGETHER, |turn, batch: Vec<Vec<&Object>>| async move {
        let client = &sessions[turn.session].client;
        client.batch_execute(&rebuild.begin()).await?;
        let objects: Vec<&Object> = batch.into_iter().flatten().collect();
        make(rebuild, client, &objects, step, turn.spare).await?;
        Ok(client.batch_execute("COMMIT").await?)
    })
    .await
}

/// Makes indexes and constraints in a transaction that the caller has begun, while so many connections have nothing to
/// do.
pub async fn make(
    rebuild: &Rebuild<'_>,
    client: &Client,
    objects: &[&Object],
    step: Ledgered,
    spare: usize,
) -> Result<(), Failure> {
    if objects.is_empty() {
        return Ok(());
    }
    client.batch_execute(&parallel_workers(spare)).await?;
    rebuild.take_step(client, objects, step).await
}

/// Lets the server take as many processes more for an index as there are connections without work: with them it keeps
/// to what `--jobs` allows. Where its administrator wants none, there are none.
fn parallel_workers(spare: usize) -> String {
    format!(
        "SELECT pg_catalog.set_config('max_parallel_maintenance_workers', '{spare}', true)
          WHERE pg_catalog.current_setting('max_parallel_maintenance_workers') <> '0'"
    )
}

/// The stage of each object, none for what is made before the rows or last of all.
fn stages(objects: &[Object]) -> Vec<Option<Stage>> {
    let mut stages: Vec<Option<Stage>> = Vec::with_capacity(objects.len());
    for object in objects {
        let own = match object.kind {
            _ if object.section == Section::PreData || object.kind.is_last() => None,
            // One of a child or partition that comes with its parent's.
            Kind::Constraint if is_with_another(object, objects, &stages) => Some(Stage::Attachments),
            // Its children's rows must be in, and nobody may hold one of them meanwhile.
            Kind::Constraint if goes_to_children(object) => Some(Stage::Attachments),
            Kind::Index | Kind::Constraint if looks_at_its_table_alone(object, objects) => {
                Some(Stage::BehindRows)
            }
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

/// Whether it is a constraint that children get as well, such as a `CHECK … NOT VALID` of a table that others inherit from.
fn goes_to_children(object: &Object) -> bool {
    object.create.iter().any(|sql| sql.starts_with("ALTER TABLE ") && !sql.starts_with("ALTER TABLE ONLY "))
}

/// Whether nothing that it calls can look at rows of another table, which may not be in yet: a user's function may,
/// and so may what has functions. An extension's looks at its own tables at most, which are filled before.
fn looks_at_its_table_alone(object: &Object, objects: &[Object]) -> bool {
    object.needs.iter().all(|need| {
        matches!(
            objects[*need as usize].kind,
            Kind::Table | Kind::Schema | Kind::Extension | Kind::Collation | Kind::Index | Kind::Constraint
        )
    })
}

/// Whether each is a function, or needs one.
fn calling(objects: &[Object]) -> Vec<bool> {
    let mut calling: Vec<bool> = Vec::with_capacity(objects.len());
    for object in objects {
        let is_one = matches!(object.kind, Kind::Function | Kind::Procedure | Kind::Aggregate);
        let needs_one = object.needs.iter().any(|n| calling.get(*n as usize).is_some_and(|calls| *calls));
        calling.push(is_one || needs_one);
    }
    calling
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

/// Rows of each table of the archive.
fn rows<'a>(rebuild: &Rebuild<'a>) -> HashMap<(&'a str, &'a str), u64> {
    let archive = rebuild.archive;
    let tables = archive.header().tables.iter().enumerate();
    tables
        .map(|(n, t)| {
            let rows = archive.table_chunks(n as u32).iter().map(|c| c.rows).sum();
            ((t.schema.as_str(), t.name.as_str()), rows)
        })
        .collect()
}
