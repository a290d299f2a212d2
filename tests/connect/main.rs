//! Connections against a real server: one cluster with TLS on serves all tests.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certificates;
mod fallbacks;
mod hosts;
mod passwords;
mod retries;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use pgkeep::postgres::connect::{ConnectError, RetryNotice, RetryPolicy, Session, connect};
use pgkeep::postgres::conninfo::ConnInfo;
use support::{Cluster, Options, PASSWORD};

use certificates::Certificates;

/// The rules by database and user; what they leave goes by password, with or without TLS.
const HBA: &str = "\
local    trusting   all      trust
local    all        all      scram-sha-256
hostssl  certonly   all      127.0.0.1/32 cert
hostssl  plainonly  all      127.0.0.1/32 reject
hostnossl tlsonly   all      127.0.0.1/32 reject
host     all        clear    127.0.0.1/32 password
host     all        old      127.0.0.1/32 md5
host     all        all      127.0.0.1/32 scram-sha-256
";

pub struct World {
    pub cluster: Cluster,
    pub certificates: Certificates,
}

/// The cluster of all tests, with its databases and roles.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let certificates = Certificates::make();
        let cluster = Cluster::start(Options {
            config: [
                "ssl = on",
                "ssl_cert_file = 'server.crt'",
                "ssl_key_file = 'server.key'",
                "ssl_ca_file = 'clients.crt'",
            ]
            .map(str::to_owned)
            .to_vec(),
            hba: Some(HBA.to_owned()),
            files: certificates.server_files(),
            ..Options::default()
        });
        for database in ["shop", "certonly", "plainonly", "tlsonly", "trusting"] {
            cluster.create_database(database);
        }
        cluster.execute(
            "postgres",
            &format!(
                "CREATE ROLE app LOGIN PASSWORD '{PASSWORD}';
                 CREATE ROLE clear LOGIN PASSWORD '{PASSWORD}';
                 CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}';
                 ALTER ROLE reader SET default_transaction_read_only = on;
                 CREATE ROLE single LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 1;
                 SET password_encryption = 'md5';
                 CREATE ROLE old LOGIN PASSWORD '{PASSWORD}';
                 REVOKE CONNECT ON DATABASE tlsonly FROM PUBLIC;
                 GRANT CONNECT ON DATABASE tlsonly TO app;"
            ),
        );
        World { cluster, certificates }
    })
}

/// Settings from a string, without environment and home.
pub fn info(text: &str) -> ConnInfo {
    info_with(text, &[], None)
}

pub fn info_with(text: &str, environment: &[(&str, &str)], home: Option<&Path>) -> ConnInfo {
    let lookup = |name: &str| {
        environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    };
    ConnInfo::resolve(Some(text), &lookup, home).unwrap_or_else(|error| panic!("{error}"))
}

/// The URL of a role that has the common password, with more parameters.
pub fn url(user: &str, database: &str, parameters: &str) -> String {
    format!("{}?{parameters}", world().cluster.url_as(user, PASSWORD, database))
}

/// One attempt.
pub async fn once(info: &ConnInfo) -> Result<Session, ConnectError> {
    connect(info, &RetryPolicy::once(), &|_| {}).await
}

/// One attempt that must fail; its message, which must not hold the password.
pub async fn failure(info: &ConnInfo) -> ConnectError {
    let error = once(info).await.err().unwrap_or_else(|| panic!("{} was connected", info.redacted()));
    let shown = format!("{error} {error:?} {error:#?} {info:?} {}", info.redacted());
    assert!(!shown.contains(PASSWORD) && !shown.contains("sesame"), "{shown}");
    error
}

/// Attempts with short pauses; the outcome and what was said before each pause.
pub async fn with_retries(
    info: &ConnInfo,
    attempts: u32,
) -> (Result<Session, ConnectError>, Vec<RetryNotice>) {
    let notices = Mutex::new(Vec::new());
    let policy = RetryPolicy { attempts, first_delay: Duration::from_millis(100), ..RetryPolicy::default() };
    let outcome = connect(info, &policy, &|notice| notices.lock().unwrap().push(notice)).await;
    (outcome, notices.into_inner().unwrap())
}

/// The first value of a query.
pub async fn value(session: &Session, sql: &str) -> String {
    let messages = session.client.simple_query(sql).await.unwrap();
    messages
        .iter()
        .find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .unwrap()
}
