//! Looks a server, a role and a connection over before anybody needs them: what is well, what to mind, what would fail,
//! and what to do about it. Reads only.

mod connection;
mod role;
mod server;
mod space;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::backup::{readable, snapshot};
use crate::connection::{Connector, lead, stop};
use crate::failure::Failure;
use crate::folders::Folders;
use crate::host::Profile;
use crate::postgres::connect::Session;
use crate::postgres::settings;
use crate::progress::Events;
use crate::restore::RestoreOptions;
use crate::selection::TableFilter;

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Well.
    Pass,
    /// It works, but something is to be minded.
    Warn,
    /// It would fail.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// What was found, a sentence or less.
    pub found: String,
    /// What to do about it; empty where there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl Check {
    /// It is well.
    fn pass(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, status: Status::Pass, found: found.into(), advice: String::new() }
    }

    /// It works, but `advice` is to be minded.
    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { name, status: Status::Warn, found: found.into(), advice: advice.into() }
    }

    /// It would fail.
    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { name, status: Status::Fail, found: found.into(), advice: advice.into() }
    }

    /// What would end a backup or a restore.
    fn failed(name: &'static str, failure: Failure) -> Check {
        let failure = failure.complete();
        Check::fail(name, failure.what, failure.next)
    }
}

/// What the server is looked over for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To be backed up.
    Backup,
    /// To have something restored into it; with an archive, to have that one restored.
    Restore(Option<Box<RestoreOptions>>),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// What for.
    pub purpose: Purpose,
    /// Connections that the work would use.
    pub jobs: usize,
    /// Transactions older than this are told of.
    pub older_than: Duration,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The target without its password.
    pub target: String,
    /// The name of the host's profile.
    pub host: String,
    /// What the host is called.
    pub host_title: String,
    /// The archive that is to be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
}

impl Report {
    /// How many checks ended so.
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }
}

/// Connects and looks everything over.
pub async fn run(
    connector: &Connector,
    folders: &Folders,
    options: &DoctorOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Report, Failure> {
    let session = lead(connector, events, cancel).await?;
    let doctor = Doctor { connector, folders, options, events, cancel, session: &session };
    let report = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        report = doctor.run() => report,
    };
    if report.is_err() {
        stop(&session).await;
    }
    report.map_err(|failure| failure.state("the database was only read"))
}

struct Doctor<'a> {
    connector: &'a Connector,
    folders: &'a Folders,
    options: &'a DoctorOptions,
    events: &'a Events,
    cancel: &'a CancellationToken,
    session: &'a Session,
}

impl Doctor<'_> {
    async fn run(&self) -> Result<Report, Failure> {
        let (client, version) = (&self.session.client, self.session.server_version_num);
        let restores = matches!(self.options.purpose, Purpose::Restore(_));
        let mut catalog = snapshot::look(client, version).await?;
        client.batch_execute(&begin(version)).await?;
        let host = self.connector.host(client).await?;
        host.leave_out(&mut catalog, true);
        let mut checks = vec![
            server::version(&catalog.server, restores),
            Check::pass("host", host_found(host)),
            role::attributes(client).await?,
            role::reading(client, &catalog, restores).await?,
            role::triggers(client, &catalog, host).await?,
            role::staging(client, &catalog.server).await?,
            role::replication(client).await?,
        ];
        checks.push(connection::pooling(self.connector, self.session, host, restores));
        checks.push(connection::encryption(self.connector.info(), self.session));
        checks.push(server::wal(client).await?);
        checks.push(server::extensions(client).await?);
        checks.push(server::transactions(client, self.options.older_than).await?);
        checks.push(server::connections(client, self.options.jobs).await?);
        checks.push(space::archives(client, self.folders, restores).await?);
        checks.push(server::clock(client).await?);
        client.batch_execute("ROLLBACK").await?;
        let mut file = None;
        if let Purpose::Restore(Some(options)) = &self.options.purpose {
            file = Some(options.archive.clone());
            checks.extend(target::checks(self, options, host).await?);
        }
        let (name, title) = (host.name.clone(), host.title.clone());
        Ok(Report { target: self.session.url.clone(), host: name, host_title: title, file, checks })
    }
}

/// A transaction to look in. It waits for nobody, whatever the role's defaults are.
fn begin(version: u32) -> String {
    let fixed = settings::statements(version);
    format!("BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY, NOT DEFERRABLE; {fixed}")
}

fn host_found(host: &Profile) -> String {
    match &host.administrator {
        Some(role) => format!("{} (profile {}); its customers are at most {role}", host.title, host.name),
        None => format!("{} (profile {})", host.title, host.name),
    }
}

/// Whether all tables and sequences can be read, as a backup asks before it begins.
fn check_readable(catalog: &crate::postgres::catalog::Catalog) -> Result<(), Failure> {
    readable::check_all_readable(catalog, &TableFilter::default())
}

/// `1 table`, `2 tables`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Some of `names`, and how many more there are.
fn some(names: &[String]) -> String {
    const NAMED: usize = 10;
    let mut text = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        text += &format!(" and {} more", names.len() - NAMED);
    }
    text
}
