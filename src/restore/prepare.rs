//! Before a restore: the archive is proven whole and the target looked at. Nothing is touched.

mod archive;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use archive::prove;

use super::objects::plan::ObjectPlan;
use super::plan::RestorePlan;
use super::rebuild::{Building, ledger};
use super::rename::{self, Renamed};
use super::stage::BUILT_IN_FIRST_PATH;
use super::{RestoreOptions, create, entity, lock, objects, refused, requirements};
use crate::archive::reader::Archive;
use crate::connection::{Connector, lead, stop};
use crate::failure::{Failure, FailureKind};
use crate::folders::Folders;
use crate::postgres::catalog::{Catalog, Relation, RelationKind};
use crate::postgres::connect::Session;
use crate::postgres::error as pg;
use crate::postgres::{ddl, settings};
use crate::progress::Events;
use crate::schema::Object;
use crate::selection::TableFilter;

/// A restore that is ready to go: archive proven, target looked at, nothing touched.
pub struct Prepared {
    pub(super) options: RestoreOptions,
    pub(super) connector: Connector,
    pub(super) folders: Folders,
    pub(super) archive: Arc<Archive>,
    pub(super) session: Session,
    /// Archived tables by the names that they go by, where these are others.
    pub mapped: BTreeMap<String, String>,
    /// What is to be said of that.
    pub(super) notes: Vec<String>,
    /// The target without its password.
    pub target: String,
    /// Tables in scope, as shown.
    pub tables: Vec<String>,
    /// Those that hold rows.
    pub tables_with_rows: Vec<String>,
    /// Whether rows may be deleted, because the mode says so or because their tables are made anew.
    pub deletes_rows: bool,
    /// Objects that are replaced or removed.
    pub objects_replaced: Vec<String>,
    /// Tables of the target that the archive does not have, and might have, as shown.
    pub others: Vec<String>,
    /// For a target that is as good as new: what is to be built.
    pub(super) rebuild: Option<Building>,
}

impl Prepared {
    /// Whether this restore destroys what it cannot bring back, so that a person has to agree.
    pub fn needs_confirmation(&self) -> bool {
        let destroys = !self.tables_with_rows.is_empty() || !self.objects_replaced.is_empty();
        !self.options.safe && !self.options.dry_run && destroys
    }
}

/// Proves the archive whole and looks at the target. Nothing is written.
pub async fn prepare(
    connector: &Connector,
    folders: &Folders,
    options: RestoreOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Prepared, Failure> {
    if let Some(rejects) = &options.rejects {
        refused::file::check(rejects).map_err(|f| f.state("the target is untouched"))?;
    }
    let archive = Arc::new(prove(folders, &options, events, cancel).await?);
    prepare_proven(connector, folders, archive, options, events, cancel).await
}

/// The same for an archive that is proven already.
pub async fn prepare_proven(
    connector: &Connector,
    folders: &Folders,
    archive: Arc<Archive>,
    options: RestoreOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Prepared, Failure> {
    archive::check_kind(&archive, &options)?;
    if !options.mapping.is_none() {
        rename::check(&options)?;
    }
    let (options, tree) = match entity::choose(&archive, &options, cancel).await? {
        None => (options, None),
        Some((places, tree)) => {
            let (places, rows) = (Some(Arc::new(places)), options.chosen.rest(&options.rows));
            (RestoreOptions { places, rows, ..options }, Some(tree))
        }
    };
    if let Some(tree) = &tree {
        events.info(tree.lines().join("\n"));
        for why in &tree.not_followed {
            events.warn(format!("a foreign key was not followed: {why}"));
        }
    }
    let going = match options.mapping.is_none() {
        true => None,
        false => Some(rename::choose(&archive, &options)?),
    };
    if options.objects.create && !goes_on_in_database(connector, &options, events, cancel).await? {
        return prepare_to_create(connector, folders, archive, options, events, cancel).await;
    }
    let session = lead(connector, events, cancel).await?;
    connector.refuse_sharing(&session).await?;
    let host = Arc::new(connector.host(&session.client).await?.clone());
    let options = options.on(host);
    let look = async {
        let named = match going {
            None => Renamed::not(archive, options),
            Some(going) => rename::apply(&session, &archive, &options, going).await?,
        };
        let mut looked = look(&session, connector, &named.archive, &named.options, events).await?;
        match looked.problems.is_empty() {
            true => Ok((looked, named)),
            false => Err(looked.problems.swap_remove(0).failure),
        }
    };
    let looked = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        looked = look => looked,
    };
    let (looked, named) = match looked {
        Ok(looked) => looked,
        Err(failure) => {
            stop(&session).await;
            return Err(failure.state("the target is untouched"));
        }
    };
    named.notes.iter().for_each(|note| events.warn(note.clone()));
    let Looked { objects_replaced, tables, tables_with_rows, deletes_rows, others, rebuild, .. } = looked;
    Ok(Prepared {
        target: connector.info().redacted(),
        tables,
        tables_with_rows,
        deletes_rows,
        objects_replaced,
        others,
        rebuild,
        options: named.options,
        connector: connector.clone(),
        folders: folders.clone(),
        archive: named.archive,
        mapped: named.mapped,
        notes: named.notes,
        session,
    })
}

/// Whether the database that is to be made is there already, and an interrupted restore may have made it.
async fn goes_on_in_database(
    connector: &Connector,
    options: &RestoreOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<bool, Failure> {
    if !options.resume {
        return Ok(false);
    }
    let session = create::connect(connector, events, cancel).await?;
    let is_there = create::exists(&session.client, &connector.info().dbname).await;
    stop(&session).await;
    is_there
}

/// The same for a database that is not there yet.
async fn prepare_to_create(
    connector: &Connector,
    folders: &Folders,
    archive: Arc<Archive>,
    options: RestoreOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Prepared, Failure> {
    let session = create::connect(connector, events, cancel).await?;
    connector.refuse_sharing(&session).await?;
    let look = async {
        create::check_absent(&session.client, &connector.info().dbname).await?;
        let archived = objects::chosen(archive.header(), &options, session.server_version_num);
        requirements::check(&session.client, &archived, archive.header().schema.as_ref(), &options.objects)
            .await?;
        Ok::<_, Failure>(archived)
    };
    let archived = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        archived = look => archived,
    };
    Ok(Prepared {
        target: connector.info().redacted(),
        tables: Vec::new(),
        tables_with_rows: Vec::new(),
        deletes_rows: false,
        objects_replaced: Vec::new(),
        others: Vec::new(),
        rebuild: Some(Building {
            objects: archived.map_err(|f| f.state("the target is untouched"))?,
            makes_database: true,
            ..Building::default()
        }),
        options,
        connector: connector.clone(),
        folders: folders.clone(),
        archive,
        mapped: BTreeMap::new(),
        notes: Vec::new(),
        session,
    })
}

/// Something that would end a restore before it touches anything.
#[derive(Debug)]
pub struct Problem {
    /// What it is about, a word.
    pub about: &'static str,
    /// What the restore would end with.
    pub failure: Failure,
}

/// What a look at the target showed.
#[derive(Debug, Default)]
pub struct Looked {
    /// Objects that would be replaced or removed.
    pub objects_replaced: Vec<String>,
    /// Tables in scope, as shown.
    pub tables: Vec<String>,
    /// Those that hold rows.
    pub tables_with_rows: Vec<String>,
    /// Whether rows may be deleted.
    pub deletes_rows: bool,
    /// Tables of the target that the archive does not have, and might have, as shown.
    pub others: Vec<String>,
    /// For a target that is as good as new, or that an interrupted restore has left: what is to be built.
    pub rebuild: Option<Building>,
    /// What is in the way. With any, what else there is to know is not looked for.
    pub problems: Vec<Problem>,
}

impl Looked {
    /// What was asked for, or nothing where it is a problem.
    fn note<T>(&mut self, about: &'static str, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.problems.push(Problem { about, failure })).ok()
    }
}

/// Whether the archive fits the target and the role may restore it: as far as that can be told by looking. The session
/// is outside of a transaction, and is again afterwards unless this fails.
pub async fn look(
    session: &Session,
    connector: &Connector,
    archive: &Archive,
    options: &RestoreOptions,
    events: &Events,
) -> Result<Looked, Failure> {
    let client = &session.client;
    // A person may take long to say yes.
    client.batch_execute(settings::stay_while_idle(session.server_version_num)).await?;
    client
        .batch_execute(&format!(
            "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY; {} SET LOCAL lock_timeout = '{}ms';",
            settings::statements(session.server_version_num),
            options.lock_timeout.as_millis()
        ))
        .await?;
    let looked = look_within(session, connector, archive, options, events).await?;
    client.batch_execute("ROLLBACK").await?;
    Ok(looked)
}

async fn look_within(
    session: &Session,
    connector: &Connector,
    archive: &Archive,
    options: &RestoreOptions,
    events: &Events,
) -> Result<Looked, Failure> {
    let client = &session.client;
    let mut looked = Looked::default();
    let catalog = Catalog::read(client).await?;
    if options.rollback {
        looked.note("database", archive::check_same_target(archive, &catalog));
    }
    let archived = objects::chosen(archive.header(), options, session.server_version_num);
    let mut object_plan = ObjectPlan::default();
    if !archived.is_empty() || options.undoes_objects(archive.header()) {
        let schema = archive.header().schema.as_ref();
        let live =
            ddl::read_with(client, session.server_version_num, objects::secrets(archive.header())).await?;
        // Chosen rows are staged first, and chosen by the server.
        let alone = !options.rollback
            && !options.dry_run
            && !options.keep_going
            && options.objects.only.is_empty()
            && options.rows.is_all()
            && options.places.is_none();
        let is_as_new = alone && objects::is_as_new(&live, &archived);
        let mut resumed = None;
        if options.resume {
            resumed = ledger::find(client, archive, options, &archived, (alone, is_as_new)).await?;
        }
        if is_as_new || resumed.is_some() {
            looked.note("needs", requirements::check(client, &archived, schema, &options.objects).await);
            let coming: Vec<Object> = {
                let there: HashSet<&str> = live.objects.iter().map(|o| o.identity.as_str()).collect();
                archived.iter().filter(|o| !there.contains(o.identity.as_str())).cloned().collect()
            };
            let may = requirements::check_may_make(client, &coming, &options.objects).await;
            looked.note("privileges", may);
            looked.rebuild = Some(Building::new(archived, live, resumed));
            return Ok(looked);
        }
        let planned = objects::plan(archive.header(), &archived, &live, options, &HashSet::new());
        let Some(planned) = looked.note("objects", planned) else { return Ok(looked) };
        object_plan = planned;
        let may = requirements::check_may_make(client, &object_plan.make, &options.objects).await;
        looked.note("privileges", may);
        let changed = object_plan.in_place.iter().chain(&object_plan.adjust).map(|(archived, _)| archived);
        let coming: Vec<Object> = object_plan.make.iter().chain(changed).cloned().collect();
        looked.note("needs", requirements::check(client, &coming, schema, &options.objects).await);
    }
    let planned = RestorePlan::new(archive, &catalog, options, &object_plan);
    let Some(mut plan) = looked.note("tables", planned) else { return Ok(looked) };
    if !options.objects.data {
        plan = RestorePlan { going: plan.going, ..RestorePlan::default() };
    }
    if !plan.misfits.is_empty() && !options.keep_going {
        looked.note("tables", Err::<(), _>(plan.misfit_failure()));
    }
    looked.note("privileges", plan.check_permitted(&catalog, !options.compares));
    if looked.problems.is_empty() {
        looked.note("rows", plan.check_conditions(client).await);
    }
    if !looked.problems.is_empty() {
        return Ok(looked);
    }
    let mut tables_with_rows = Vec::new();
    let mut deletes_rows = options.deletes();
    // With the trees that they are a part of.
    let above = |oid: &u32| catalog.ancestors(*oid).chain([*oid]).collect::<Vec<_>>();
    let going: HashSet<u32> = plan.going.iter().flat_map(above).collect();
    client.batch_execute(BUILT_IN_FIRST_PATH).await?;
    let roots: Vec<&Relation> =
        plan.roots(&catalog).into_iter().filter(|r| r.kind != RelationKind::Foreign).collect();
    for batch in roots.chunks(200) {
        let sql: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(i, r)| format!("SELECT {i}::pg_catalog.int4, EXISTS (SELECT 1 FROM {})", r.from_item()))
            .collect();
        let rows = match client.query_typed(&sql.join(" UNION ALL "), &[]).await {
            Err(error) if pg::is_lock_timeout(&error) => {
                return Err(lock::unreadable(connector, events, batch).await);
            }
            rows => rows?,
        };
        for row in rows {
            if row.get(1) {
                let root = batch[row.get::<_, i32>(0) as usize];
                tables_with_rows.push(root.shown());
                deletes_rows |= going.contains(&root.oid);
            }
        }
    }
    let large = plan.large_objects.iter().filter(|_| catalog.server.has_large_objects);
    tables_with_rows.extend(large.map(|t| t.shown.clone()));
    tables_with_rows.sort();
    let tables = plan.tables.iter().chain(&plan.large_objects).map(|t| t.shown.clone()).collect();
    let mut objects_replaced = object_plan.replaced();
    objects_replaced.extend(object_plan.removed_for_good());
    let others = others(archive, &catalog, options)?;
    Ok(Looked { objects_replaced, tables, tables_with_rows, deletes_rows, others, ..looked })
}

/// Tables of the target that the archive does not have although it might: neither the host's nor an extension's, and chosen
/// now as well as when the archive was made.
fn others(archive: &Archive, catalog: &Catalog, options: &RestoreOptions) -> Result<Vec<String>, Failure> {
    let header = archive.header();
    let made_of = TableFilter::parse(&header.selection.tables, &header.selection.exclude)
        .map_err(|e| Failure::new(FailureKind::Archive, e.to_string()))?;
    let is_archived = |r: &Relation| header.tables.iter().any(|t| t.name == r.name && t.schema == r.schema);
    let is_users = |r: &Relation| {
        r.kind != RelationKind::Foreign
            && r.extension.is_none()
            && r.partition_of.is_none()
            && !options.host.manages(&r.schema)
    };
    let is_wanted =
        |r: &Relation| options.filter.wants(&r.schema, &r.name) && made_of.wants(&r.schema, &r.name);
    let others = catalog.relations.iter().filter(|r| is_users(r) && is_wanted(r) && !is_archived(r));
    Ok(others.map(Relation::shown).collect())
}
