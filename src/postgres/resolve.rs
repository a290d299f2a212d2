//! From a connection string, a service and an environment to a [`ConnInfo`], in libpq's order: what the string says,
//! then the service, then the environment, then defaults.
//!
//! The environment and the home folder are handed in; files that they name are read here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::conninfo::{ConnInfo, Place};
use super::dsn::{self, DsnError};
use super::passfile;
use super::service::{self, ServiceError};

/// Postgres's port when none is given.
pub const DEFAULT_PORT: u16 = 5432;

/// Debian's and the compiled-in default of Postgres's own packages.
pub(super) const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Where distributions have their libpq look when `PGSYSCONFDIR` is not set.
const SERVICE_FOLDERS: [&str; 2] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql"];

/// Parameters that are understood, with the environment variable of each.
const KNOWN: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("service", "PGSERVICE"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslsni", "PGSSLSNI"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("requiressl", "PGREQUIRESSL"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
    ("tcp_user_timeout", ""),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("gssencmode", "PGGSSENCMODE"),
    ("client_encoding", ""),
    ("replication", ""),
    ("pgbouncer", ""),
];

/// Parameters that change nothing for pgkeep: GSS details, TLS compression (long gone), protocol versions, and
/// what Supabase, Vercel and Prisma add to their URLs for other clients.
const IGNORED: &[&str] = &[
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "sslcompression",
    "min_protocol_version",
    "max_protocol_version",
    "connection_limit",
    "pool_timeout",
    "supa",
    "workaround",
];

/// libpq's parameters that protect something in a way that pgkeep cannot: ignoring them would be worse than refusing.
const REFUSED: &[(&str, &str, &str)] = &[
    ("sslcrl", "PGSSLCRL", "certificate revocation lists are not supported"),
    ("sslcrldir", "PGSSLCRLDIR", "certificate revocation lists are not supported"),
    ("sslpassword", "", "encrypted private keys are not supported; decrypt the key, or use a password"),
    ("requirepeer", "PGREQUIREPEER", "checking the socket's owner is not supported"),
    (
        "require_auth",
        "PGREQUIREAUTH",
        "it is not supported; use sslmode=verify-full to be sure of the server",
    ),
    ("scram_client_key", "", "it is not supported; give the password"),
    ("scram_server_key", "", "it is not supported; give the password"),
];

/// Why a connection's settings cannot be used. Values are quoted only where they cannot be secret.
#[derive(Debug, thiserror::Error)]
pub enum ConnInfoError {
    /// The connection string does not parse.
    #[error(transparent)]
    Dsn(#[from] DsnError),
    /// The service cannot be used.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A parameter that nobody knows.
    #[error("unknown connection parameter \"{0}\"")]
    Unknown(String),
    /// A parameter that nobody knows and that may be a piece of a password.
    #[error(
        "the connection string holds an unknown parameter (a password with spaces must stand in single quotes; in a URL it must be percent-encoded)"
    )]
    UnknownUnnamed,
    /// A parameter that is known and cannot be honoured.
    #[error("connection parameter {name}: {reason}")]
    Unsupported {
        /// The parameter.
        name: &'static str,
        /// What is the matter.
        reason: &'static str,
    },
    /// A value that is none of those allowed.
    #[error("connection parameter {name} must be {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// Lists of different lengths.
    #[error("the connection names {hosts} hosts but {others} {what}")]
    Count {
        /// Hosts.
        hosts: usize,
        /// The others.
        others: usize,
        /// What they are.
        what: &'static str,
    },
    /// `sslrootcert=system` with a mode that does not check names.
    #[error(
        "sslrootcert=system needs sslmode=verify-full: anybody can get a certificate from a public authority"
    )]
    WeakSystemRoots,
    /// Direct TLS with a mode that may do without.
    #[error("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")]
    WeakDirect,
    /// No user name.
    #[error("no user name: name one in the connection URL or in PGUSER")]
    NoUser,
}

pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl ConnInfo {
    /// Resolves connection settings. `url` is a `postgres://` URL, a `key=value` string or a bare database name.
    ///
    /// `environment` gives libpq's variables (`PGHOST`, …) and `USER`/`LOGNAME`; `home` is the folder of
    /// `.pgpass`, `.pg_service.conf` and `.postgresql/`.
    pub fn resolve(
        url: Option<&str>,
        environment: Environment<'_>,
        home: Option<&Path>,
    ) -> Result<ConnInfo, ConnInfoError> {
        let mut values = Values::default();
        if let Some(url) = url {
            for param in dsn::parse(url)? {
                values.check_name(&param.name, param.doubtful)?;
                values.warn_ignored(&param.name);
                values.map.insert(param.name, param.value);
            }
        }
        values.add_service(environment, home)?;
        values.add_environment(environment)?;
        let mut info = values.interpret(environment, home)?;
        if info.password.is_none() {
            values.add_passfile(&mut info, home);
        }
        info.warnings = values.warnings;
        Ok(info)
    }
}

/// What is given, by parameter; the first to give a parameter decides.
#[derive(Default)]
pub(super) struct Values {
    map: HashMap<String, String>,
    warnings: Vec<String>,
}

impl Values {
    fn check_name(&self, name: &str, doubtful: bool) -> Result<(), ConnInfoError> {
        if let Some((name, _, reason)) = REFUSED.iter().find(|(refused, _, _)| *refused == name) {
            return Err(ConnInfoError::Unsupported { name, reason });
        }
        if is_known(name) {
            return Ok(());
        }
        let plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        Err(match plain && !doubtful {
            true => ConnInfoError::Unknown(name.to_owned()),
            false => ConnInfoError::UnknownUnnamed,
        })
    }

    fn warn_ignored(&mut self, name: &str) {
        if ["connection_limit", "pool_timeout"].contains(&name) {
            self.warnings.push(format!("connection parameter {name} is for other clients and is ignored"));
        }
    }

    fn add_service(
        &mut self,
        environment: Environment<'_>,
        home: Option<&Path>,
    ) -> Result<(), ConnInfoError> {
        let named = self.map.get("service").cloned().or_else(|| environment("PGSERVICE"));
        let Some(name) = named.filter(|name| !name.is_empty()) else { return Ok(()) };
        let system = match environment("PGSYSCONFDIR") {
            Some(folder) => vec![Path::new(&folder).join("pg_service.conf")],
            None => SERVICE_FOLDERS.iter().map(|folder| Path::new(folder).join("pg_service.conf")).collect(),
        };
        let places = service::Places {
            named: environment("PGSERVICEFILE").map(PathBuf::from),
            home: home.map(|home| home.join(".pg_service.conf")),
            system,
        };
        for (name, value) in service::load(&name, &places, &is_known)? {
            self.map.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn add_environment(&mut self, environment: Environment<'_>) -> Result<(), ConnInfoError> {
        for (name, variable) in KNOWN.iter().filter(|(_, variable)| !variable.is_empty()) {
            if let Some(value) = environment(variable) {
                self.map.entry((*name).to_owned()).or_insert(value);
            }
        }
        for (name, variable, reason) in REFUSED.iter().filter(|(_, variable, _)| !variable.is_empty()) {
            if environment(variable).is_some_and(|value| !value.is_empty()) {
                return Err(ConnInfoError::Unsupported { name, reason });
            }
        }
        Ok(())
    }

    /// A value that is given and not empty; an empty one stands for the default, as in libpq.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.map.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Gives each host the password that the password file has for it.
    fn add_passfile(&mut self, info: &mut ConnInfo, home: Option<&Path>) {
        let named = self.get("passfile").map(PathBuf::from);
        let Some(path) = named.or_else(|| home.map(|home| home.join(".pgpass"))) else { return };
        let Some(content) = passfile::read(&path, &mut self.warnings) else { return };
        for host in &mut info.hosts {
            let name = match &host.place {
                Place::Tcp { name, .. } => name.clone(),
                // libpq's rule: the default folder goes by the name of localhost.
                Place::Unix(folder) if SOCKET_FOLDERS.iter().any(|known| Path::new(known) == folder) => {
                    "localhost".to_owned()
                }
                Place::Unix(folder) => folder.display().to_string(),
            };
            let wanted =
                passfile::Wanted { host: &name, port: host.port, database: &info.dbname, user: &info.user };
            host.password = passfile::find(&content, wanted);
        }
    }
}

fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == name) || IGNORED.contains(&name)
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
