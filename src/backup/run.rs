//! From the snapshot to the archive under its name.

use std::io::Write;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use super::destination::{to_file, to_folder};
use super::dump::{Dump, Starts};
use super::snapshot::{self, Snapshot};
use super::unfinished::Had;
use super::{BackupOptions, BackupResult, Content, Destination, Roles, header};
use crate::archive::model::{Header, Source};
use crate::archive::writer::{ArchiveWriter, Summary};
use crate::check::{self, Limits};
use crate::connection::{Connector, lead, stop};
use crate::failure::Failure;
use crate::folders::{self, Folders};
use crate::postgres::catalog::{Catalog, Relation};
use crate::postgres::connect::Session;
use crate::postgres::ddl::{self, Secrets};
use crate::postgres::extensions;
use crate::progress::{Events, Phase};
use crate::schema::{Kind, Object, Schema, scope};
use crate::selection::TableFilter;

/// How long after an interruption the engine may take to end in its own way before it is cut off.
const GRACE: Duration = Duration::from_secs(3);

/// Runs a backup.
pub async fn run(
    connector: &Connector,
    folders: &Folders,
    options: &BackupOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<BackupResult, Failure> {
    if let Destination::File(path) = &options.destination
        && path.exists()
    {
        return Err(Failure::usage(format!("{} exists already; pgkeep overwrites nothing", path.display()))
            .state("the existing file is untouched")
            .next("choose another name with --out, or move the file away"));
    }
    let started = Instant::now();
    let had = Had::default();
    let events = &had.listen(events);
    let session = lead(connector, events, cancel).await?;
    let backup = Backup { connector, folders, options, events, cancel, session: &session };
    let result = tokio::select! {
        biased;
        result = backup.run(started) => result,
        () = interrupted(cancel) => Err(Failure::interrupted()),
    };
    match result {
        Ok(result) => {
            // The archive is whole by now; ending the transaction politely only keeps the server's log clean.
            let _ = session.client.batch_execute("ROLLBACK").await;
            Ok(result)
        }
        Err(failure) => {
            stop(&session).await;
            let failure = failure.state(match options.destination {
                Destination::Stdout => {
                    "what went to standard output is not a whole archive; the database was only read"
                }
                _ => "no archive was left behind; the database was only read",
            });
            Err(match had.describe() {
                Some(had) => Failure { state: format!("{}; {had}", failure.state), ..failure },
                None => failure,
            })
        }
    }
}

/// Resolves some time after `cancel` was set: engines that watch the token themselves end sooner, and cleanly.
async fn interrupted(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

struct Backup<'a> {
    connector: &'a Connector,
    folders: &'a Folders,
    options: &'a BackupOptions,
    events: &'a Events,
    cancel: &'a CancellationToken,
    session: &'a Session,
}

impl Backup<'_> {
    async fn run(&self, started: Instant) -> Result<BackupResult, Failure> {
        let (options, session) = (self.options, self.session);
        // Reading the definitions of many tables is work for two; how many there are for rows is not known yet.
        let helps = options.jobs > 1;
        let (tables, host, mut workers) = tokio::join!(
            snapshot::look(&session.client, session.server_version_num),
            self.connector.host(&session.client),
            self.connector.workers(usize::from(helps), self.events),
        );
        let tables = tables.map_err(|e| e.while_doing("listing the tables"))?;
        let host = host?;
        let second = workers.first().map(|s| &s.client);
        let taken = snapshot::take(&session.client, second, tables, host, options, self.events).await?;
        let (started_at, taken_at) = (Utc::now(), Instant::now());
        self.events.holds(format!(
            "a snapshot, because of which VACUUM removes no row that has died since, and ACCESS SHARE locks on its tables ({}), for which only DROP, TRUNCATE and ALTER wait",
            taken.plan.parts.len()
        ));
        let Snapshot { catalog, plan, id, schema, chosen } = taken;
        let (catalog, plan, id) = (&catalog, &plan, &id);
        self.check().await?;
        let filter = chosen.as_ref().map_or(&options.filter, |(filter, _)| filter);
        if let Some((_, tree)) = &chosen {
            self.events.info(tree.lines().join("\n"));
            for why in &tree.not_followed {
                self.events.warn(format!("a foreign key was not followed: {why}"));
            }
        }
        let has_rows = options.content != Content::Schema;
        let is_chosen = |o: &Object| {
            o.kind.is_relation() && filter.wants(o.schema.as_deref().unwrap_or_default(), &o.name)
        };
        let has_others = schema.iter().flat_map(|s| &s.objects).any(is_chosen);
        if has_rows && plan.parts.is_empty() && !filter.is_all() && !has_others {
            return Err(Failure::usage("the patterns leave no table to back up")
                .state("nothing was written")
                .next("see which tables there are with psql -c '\\dt *.*', and mend --table and --exclude"));
        }
        if has_rows && plan.parts.is_empty() {
            self.events.warn(format!("there is no table in database {}", catalog.server.database));
        }
        for name in &plan.foreign {
            self.events.warn(format!("foreign table {name} is left out: its rows live on another server"));
        }
        for name in &plan.without_rows {
            self.events.warn(format!(
                "unlogged table {name} is left empty: the server is a standby, which has no rows of it"
            ));
        }
        if self.leaves_secrets(catalog, filter).await? {
            self.events
                .warn("the secrets of the vault are left out: --with-secrets takes them, in the clear");
        }
        let schema = match schema {
            Some(schema) => Some(self.wanted(schema, filter).await?),
            None => None,
        };
        let mut header = header(catalog, plan, session, filter, started_at, None, schema);
        options.note(&mut header.selection);
        let more = options.jobs.min(plan.units.len()).saturating_sub(1);
        workers.truncate(more);
        // It was under the snapshot if it has read definitions.
        for second in workers.iter().filter(|_| options.content != Content::Data) {
            second.client.batch_execute("ROLLBACK").await?;
        }
        if !helps || !workers.is_empty() {
            let rest = more.saturating_sub(workers.len());
            workers.extend(self.connector.workers(rest, self.events).await);
        }
        let jobs = workers.len() + 1;
        let dump = Dump {
            plan,
            catalog,
            snapshot: id,
            compression: options.compression,
            pace: options.pace,
            taken_at,
            starts: Starts::default(),
            phase: Phase::Backup,
            events: self.events,
            cancel: self.cancel,
        };
        let (file, summary) = match &options.destination {
            Destination::Stdout => (None, self.to_stdout(dump, workers, &header).await?),
            Destination::File(path) => {
                let (file, summary) = to_file(dump, session, workers, &header, path).await?;
                (Some(file.commit().map_err(|e| Failure::from_archive(&e))?), summary)
            }
            Destination::Folder => {
                let stem = format!("{}_backup_{}", prefix(&header.source), folders::stamp(started_at));
                let folder = self.folders.backups();
                let (path, summary) = to_folder(dump, session, workers, &header, &folder, &stem).await?;
                (Some(path), summary)
            }
        };
        Ok(BackupResult {
            file,
            started_at,
            database: header.source.database,
            server_version: header.source.server_version,
            tables: header.tables.iter().filter(|t| !t.large_objects).count() as u64,
            large_objects: header.tables.iter().any(|t| t.large_objects),
            sequences: header.sequences.len() as u64,
            objects: header.schema.as_ref().map_or(0, |s| s.objects.len() as u64),
            rows: summary.totals.rows,
            bytes: summary.file_bytes,
            json_bytes: summary.totals.bytes,
            seconds: started.elapsed().as_secs_f64(),
            snapshot_seconds: taken_at.elapsed().as_secs_f64(),
            jobs,
            index_sha256: summary.index_sha256,
            foreign_tables: plan.foreign.clone(),
            entity: chosen.map(|(_, tree)| tree),
        })
    }

    /// Refuses a state that the user's own checks find fault with. They are asked under the snapshot, so that they hold of
    /// the very rows that the archive gets.
    async fn check(&self) -> Result<(), Failure> {
        let (client, version) = (&self.session.client, self.session.server_version_num);
        let outcomes = check::run(client, version, &self.options.checks, Limits::default()).await?;
        match check::failure(&outcomes) {
            Some(failure) => Err(failure
                .next("see the rows with pgkeep check, and mend them; or back up without --run-checks")),
            None => Ok(()),
        }
    }

    /// Whether there are secrets that nobody asked for.
    async fn leaves_secrets(&self, catalog: &Catalog, filter: &TableFilter) -> Result<bool, Failure> {
        let is_vault = |r: &&Relation| extensions::keeps_objects(r) && r.schema == "vault";
        let vault = catalog.relations.iter().find(is_vault);
        let can_tell = |r: &&Relation| r.lacks(&["USAGE", "SELECT"]).is_empty() && !r.row_security_active;
        let is_wanted = self.options.content != Content::Data && filter.is_all();
        let Some(vault) =
            vault.filter(|_| is_wanted && self.options.secrets == Secrets::Left).filter(can_tell)
        else {
            return Ok(false);
        };
        let sql = format!("SELECT EXISTS (SELECT FROM {})", vault.quoted());
        Ok(self.session.client.query_typed(&sql, &[]).await?[0].get(0))
    }

    /// The objects that are wanted, with the cluster's roles where these are.
    async fn wanted(&self, mut schema: Schema, filter: &TableFilter) -> Result<Schema, Failure> {
        let (options, session) = (self.options, self.session);
        if !filter.is_all() {
            let chosen = scope::choose(schema.objects, filter);
            schema.objects = chosen.objects;
            if filter.has_includes() {
                schema.database = None;
            }
            for identity in chosen.left_out {
                self.events
                    .warn(format!("{identity} is left out: it refers to a table that is not backed up"));
            }
            for (table, needed_by) in chosen.without_rows {
                self.events.warn(format!("{table} is backed up without its rows: {needed_by} needs it"));
            }
        }
        if options.content == Content::Schema {
            // They count as rows, as in pg_dump --schema-only.
            let objects = &schema.objects;
            let kept = (0..objects.len()).filter(|n| objects[*n].kind != Kind::LargeObject).collect();
            schema.objects = scope::keep(schema.objects, &kept);
        }
        if let Some(roles) = options.roles {
            let passwords = roles == Roles::WithPasswords;
            let roles = ddl::roles(&session.client, session.server_version_num, passwords).await;
            schema.roles = roles.map_err(|e| Failure::from_server(&e).while_doing("reading the roles"))?;
        }
        Ok(schema)
    }

    async fn to_stdout(
        &self,
        dump: Dump<'_>,
        workers: Vec<Session>,
        header: &Header,
    ) -> Result<Summary, Failure> {
        let writer = ArchiveWriter::create(std::io::stdout(), dump.compression, header)
            .map_err(|e| Failure::from_archive(&e))?;
        let (mut stdout, summary) = dump.run(self.session, workers, writer).await?;
        stdout.flush().map_err(|e| Failure::from_io("writing the archive to standard output", &e))?;
        Ok(summary)
    }
}

/// What an archive's file name begins with.
fn prefix(source: &Source) -> String {
    if source.supabase { "supabase".to_owned() } else { folders::file_part(&source.database) }
}
