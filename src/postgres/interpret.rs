//! What connection parameters mean: from words to a [`ConnInfo`]'s fields. An empty value stands for the default,
//! as in libpq.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::conninfo::{
    ChannelBinding, ClientCert, ConnInfo, Host, Keepalives, Place, RootCert, SslMode, TargetSession,
    TlsOptions, TlsVersion,
};
use super::resolve::{ConnInfoError, DEFAULT_PORT, Environment, SOCKET_FOLDERS, Values};
use super::secret::Secret;

/// Unlike libpq, which waits for ever.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Values {
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

    /// The whole, except for passwords from a password file.
    pub(super) fn interpret(
        &self,
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
        Ok(ConnInfo {
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
                || self.get("supa").is_some_and(|kind| kind.contains("pooler")),
            user,
            warnings: Vec::new(),
        })
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
