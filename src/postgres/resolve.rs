//! From a connection string, a service and an environment to a [`ConnInfo`], in libpq's order: what the string says,
//! then the service, then the environment, then defaults.
//!
//! The environment and the home folder are handed in; files that they name are read here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::conninfo::{
    ChannelBinding, ClientCert, ConnInfo, Host, Keepalives, Place, RootCert, SslMode, TargetSession,
    TlsOptions, TlsVersion,
};
use super::dsn::{self, DsnError};
use super::passfile;
use super::secret::Secret;
use super::service::{self, ServiceError};

/// Postgres's port when none is given.
pub const DEFAULT_PORT: u16 = 5432;

/// Unlike libpq, which waits for ever.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Debian's and the compiled-in default of Postgres's own packages.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

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

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

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
        values.finish(environment, home)
    }
}

#[derive(Default)]
struct Values {
    map: HashMap<String, String>,
    warnings: Vec<String>,
}

impl Values {
    fn check_name(&self, name: &str, doubtful: bool) -> Result<(), ConnInfoError> {
        if KNOWN.iter().any(|(known, _)| *known == name) || IGNORED.contains(&name) {
            return Ok(());
        }
        if let Some((name, _, reason)) = REFUSED.iter().find(|(refused, _, _)| *refused == name) {
            return Err(ConnInfoError::Unsupported { name, reason });
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
        for (name, value) in service::load(&name, &places)? {
            self.check_name(&name, true)?;
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
    fn get(&self, name: &str) -> Option<&str> {
        self.map.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &'static str) -> Result<Option<i32>, ConnInfoError> {
        let parse = |value: &str| value.trim().parse().ok();
        let wrong = ConnInfoError::Value { name, expected: "a whole number" };
        self.get(name).map(|value| parse(value).ok_or(wrong)).transpose()
    }

    /// A positive number of seconds or milliseconds; zero and less stand for the default.
    fn positive(&self, name: &'static str) -> Result<Option<u32>, ConnInfoError> {
        Ok(self.number(name)?.and_then(|value| u32::try_from(value).ok()).filter(|&value| value > 0))
    }

    fn choice<T: Copy>(
        &self,
        name: &'static str,
        expected: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ConnInfoError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match choices.iter().find(|(word, _)| *word == value) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => Err(ConnInfoError::Value { name, expected }),
        }
    }

    fn finish(
        mut self,
        environment: Environment<'_>,
        home: Option<&Path>,
    ) -> Result<ConnInfo, ConnInfoError> {
        self.refuse_what_cannot_be_honoured()?;
        let hosts = self.hosts()?;
        let user = match self.get("user") {
            Some(user) => user.to_owned(),
            None => os_user(environment).ok_or(ConnInfoError::NoUser)?,
        };
        let dbname = self.get("dbname").unwrap_or(&user).to_owned();
        let connect_timeout = match self.number("connect_timeout")? {
            None => Some(DEFAULT_CONNECT_TIMEOUT),
            Some(seconds) => u64::try_from(seconds).ok().filter(|&s| s > 0).map(Duration::from_secs),
        };
        let seconds = |value: Option<u32>, default: u64| {
            value.map_or(Duration::from_secs(default), |seconds| Duration::from_secs(u64::from(seconds)))
        };
        let keepalives = Keepalives {
            enabled: self.number("keepalives")? != Some(0),
            idle: seconds(self.positive("keepalives_idle")?, 30),
            interval: seconds(self.positive("keepalives_interval")?, 10),
            count: self.positive("keepalives_count")?.unwrap_or(3),
        };
        let application = self.get("application_name").or(self.get("fallback_application_name"));
        let flags = [("true", true), ("1", true), ("false", false), ("0", false)];
        let mut info = ConnInfo {
            hosts,
            password: self.get("password").map(Secret::new),
            dbname,
            tls: self.tls(home)?,
            connect_timeout,
            application_name: application.unwrap_or("pgkeep").to_owned(),
            options: self.get("options").map(str::to_owned),
            keepalives,
            tcp_user_timeout: self
                .positive("tcp_user_timeout")?
                .map(|ms| Duration::from_millis(u64::from(ms))),
            target: self.target()?,
            channel_binding: self
                .choice(
                    "channel_binding",
                    "disable, prefer or require",
                    &[
                        ("disable", ChannelBinding::Disable),
                        ("prefer", ChannelBinding::Prefer),
                        ("require", ChannelBinding::Require),
                    ],
                )?
                .unwrap_or(ChannelBinding::Prefer),
            shuffle: self
                .choice("load_balance_hosts", "disable or random", &[("disable", false), ("random", true)])?
                .unwrap_or(false),
            pooler: self.choice("pgbouncer", "true or false", &flags)?.unwrap_or(false)
                || self.map.contains_key("supa"),
            user,
            warnings: Vec::new(),
        };
        if info.password.is_none() {
            self.add_passfile(&mut info, home);
        }
        info.warnings = self.warnings;
        Ok(info)
    }

    fn refuse_what_cannot_be_honoured(&self) -> Result<(), ConnInfoError> {
        let unsupported = |name, reason| Err(ConnInfoError::Unsupported { name, reason });
        match self.get("gssencmode") {
            None | Some("disable" | "prefer") => {}
            Some("require") => return unsupported("gssencmode", "GSS encryption is not supported"),
            Some(_) => {
                return Err(ConnInfoError::Value { name: "gssencmode", expected: "disable or prefer" });
            }
        }
        match self.get("client_encoding").map(str::to_ascii_lowercase).as_deref() {
            None | Some("auto" | "utf8" | "utf-8" | "unicode") => {}
            Some(_) => return unsupported("client_encoding", "pgkeep always uses UTF8"),
        }
        match self.get("replication") {
            None | Some("false" | "off" | "no" | "0") => Ok(()),
            Some(_) => unsupported("replication", "pgkeep uses ordinary connections"),
        }
    }

    fn target(&self) -> Result<TargetSession, ConnInfoError> {
        let choices = [
            ("any", TargetSession::Any),
            ("read-write", TargetSession::ReadWrite),
            ("read-only", TargetSession::ReadOnly),
            ("primary", TargetSession::Primary),
            ("standby", TargetSession::Standby),
            ("prefer-standby", TargetSession::PreferStandby),
        ];
        let expected = "any, read-write, read-only, primary, standby or prefer-standby";
        Ok(self.choice("target_session_attrs", expected, &choices)?.unwrap_or(TargetSession::Any))
    }

    fn tls(&self, home: Option<&Path>) -> Result<TlsOptions, ConnInfoError> {
        let own = |file: &str| home.map(|home| home.join(".postgresql").join(file));
        let existing = |file: &str| own(file).filter(|path| path.exists());
        let root = match self.get("sslrootcert") {
            Some("system") => Some(RootCert::System),
            Some(path) => Some(RootCert::File(path.into())),
            None => existing("root.crt").map(RootCert::File),
        };
        let modes = [
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ];
        let expected = "disable, allow, prefer, require, verify-ca or verify-full";
        let fallback = match root {
            _ if self.get("requiressl") == Some("1") => SslMode::Require,
            Some(RootCert::System) => SslMode::VerifyFull,
            _ => SslMode::Prefer,
        };
        let mode = self.choice("sslmode", expected, &modes)?.unwrap_or(fallback);
        if root == Some(RootCert::System) && mode != SslMode::VerifyFull {
            return Err(ConnInfoError::WeakSystemRoots);
        }
        let negotiations = [("postgres", false), ("direct", true)];
        let direct = self.choice("sslnegotiation", "postgres or direct", &negotiations)?.unwrap_or(false);
        if direct && mode < SslMode::Require {
            return Err(ConnInfoError::WeakDirect);
        }
        let cert = match self.get("sslcertmode") {
            Some("disable") => None,
            None | Some("allow") => {
                self.get("sslcert").map(PathBuf::from).or_else(|| existing("postgresql.crt"))
            }
            Some(_) => {
                return Err(ConnInfoError::Value { name: "sslcertmode", expected: "disable or allow" });
            }
        };
        let key = self.get("sslkey").map(PathBuf::from).or_else(|| own("postgresql.key"));
        let versions = [
            ("TLSv1", TlsVersion::V1_2),
            ("TLSv1.1", TlsVersion::V1_2),
            ("TLSv1.2", TlsVersion::V1_2),
            ("TLSv1.3", TlsVersion::V1_3),
        ];
        let (oldest, newest) = ("ssl_min_protocol_version", "ssl_max_protocol_version");
        Ok(TlsOptions {
            mode,
            root,
            client: cert.zip(key).map(|(cert, key)| ClientCert { cert, key }),
            direct,
            sni: self.get("sslsni") != Some("0"),
            oldest: self.choice(oldest, "TLSv1.2 or TLSv1.3", &versions)?.unwrap_or(TlsVersion::V1_2),
            newest: self
                .choice(newest, "TLSv1.2 or TLSv1.3", versions.get(2..).unwrap_or_default())?
                .unwrap_or(TlsVersion::V1_3),
        })
    }

    fn hosts(&self) -> Result<Vec<Host>, ConnInfoError> {
        let list = |name: &str| -> Vec<&str> {
            self.get(name).map(|value| value.split(',').map(str::trim).collect()).unwrap_or_default()
        };
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        let hosts = names.len().max(addresses.len()).max(1);
        let count = |others: usize, what| ConnInfoError::Count { hosts, others, what };
        if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
            return Err(ConnInfoError::Count {
                hosts: names.len(),
                others: addresses.len(),
                what: "addresses",
            });
        }
        if ports.len() > 1 && ports.len() != hosts {
            return Err(count(ports.len(), "ports"));
        }
        (0..hosts)
            .map(|index| {
                let nth = |list: &[&str]| list.get(index).copied().unwrap_or_default().to_owned();
                let port = if ports.len() == 1 { ports[0].to_owned() } else { nth(&ports) };
                host(nth(&names), &nth(&addresses), parse_port(&port)?)
            })
            .collect()
    }

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

fn parse_port(text: &str) -> Result<u16, ConnInfoError> {
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    let expected = "a number from 1 to 65535";
    let wrong = ConnInfoError::Value { name: "port", expected };
    text.parse().ok().filter(|&port| port > 0).ok_or(wrong)
}

fn host(name: String, address: &str, port: u16) -> Result<Host, ConnInfoError> {
    let expected = "an IP address";
    let address: Option<IpAddr> = match address {
        "" => None,
        text => Some(text.parse().map_err(|_| ConnInfoError::Value { name: "hostaddr", expected })?),
    };
    let place = match (name.as_str(), address) {
        ("", None) => default_place(port),
        ("", Some(address)) => Place::Tcp { name: address.to_string(), address: Some(address) },
        (abstract_socket, None) if abstract_socket.starts_with('@') => {
            let reason = "abstract Unix sockets are not supported";
            return Err(ConnInfoError::Unsupported { name: "host", reason });
        }
        (folder, None) if folder.starts_with('/') => Place::Unix(folder.into()),
        _ => Place::Tcp { name, address },
    };
    Ok(Host { place, port, password: None })
}

/// The socket folder in which a server listens on `port`, else this machine by name.
fn default_place(port: u16) -> Place {
    SOCKET_FOLDERS
        .iter()
        .find(|folder| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists())
        .map(|folder| Place::Unix(folder.into()))
        .unwrap_or_else(|| Place::Tcp { name: "localhost".to_owned(), address: None })
}

/// The user's name from the environment, else (cron and containers set none) from the system's list of users.
fn os_user(environment: Environment<'_>) -> Option<String> {
    let given = |name: &str| environment(name).filter(|value| !value.is_empty());
    given("USER").or_else(|| given("LOGNAME")).or_else(|| {
        let id = rustix::process::geteuid().as_raw().to_string();
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1) == Some(id.as_str())).then(|| name.to_owned())
        })
    })
}
