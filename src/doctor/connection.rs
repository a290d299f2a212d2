//! The connection: whether a pooler is in between and how it shares its connections, and whether it is encrypted.

use super::Check;
use crate::connection::Connector;
use crate::connection::pooling::Pooling;
use crate::host::Profile;
use crate::postgres::connect::Session;
use crate::postgres::conninfo::{ConnInfo, Place, SslMode};

/// How the server is reached.
pub fn pooling(connector: &Connector, session: &Session, host: &Profile, restores: bool) -> Check {
    const NAME: &str = "connection";
    let place = session.host.display_with_port();
    let other = host.other_way();
    match connector.pooling() {
        Pooling::Direct => Check::pass(NAME, format!("direct, to {place}")),
        Pooling::Session => {
            let found = format!(
                "by a pooler or proxy at {place} that gives each session a server connection of its own"
            );
            Check::pass(NAME, found)
        }
        Pooling::Transaction => {
            let found = format!("by a pooler at {place} that shares server connections between transactions");
            match restores {
                true => Check::fail(
                    NAME,
                    found,
                    format!("a restore needs a server connection of its own: {other}"),
                ),
                false => Check::warn(
                    NAME,
                    found,
                    format!("a backup goes over one connection alone; to use several, {other}"),
                ),
            }
        }
        Pooling::Unknown => {
            let found = format!(
                "by a pooler or proxy at {place} that grants no second connection to find out how it shares them"
            );
            match restores {
                true => Check::fail(
                    NAME,
                    found,
                    format!("a restore needs a server connection of its own: {other}"),
                ),
                false => Check::warn(
                    NAME,
                    found,
                    format!("a backup goes over one connection alone; to be sure, {other}"),
                ),
            }
        }
    }
}

/// Whether others on the way could read along.
pub fn encryption(info: &ConnInfo, session: &Session) -> Check {
    const NAME: &str = "encryption";
    match (&session.host.place, session.tls, info.tls.mode) {
        (Place::Unix(_), ..) => Check::pass(NAME, "none is needed: a Unix socket"),
        (_, true, SslMode::VerifyFull) => {
            Check::pass(NAME, "TLS, and the server's certificate and name are checked")
        }
        (_, true, SslMode::VerifyCa) => Check::pass(NAME, "TLS, and the server's certificate is checked"),
        (Place::Tcp { name, .. }, false, _) if is_loopback(name) => {
            Check::pass(NAME, "none, to this machine itself")
        }
        (_, true, _) => Check::warn(
            NAME,
            "TLS, but nobody checks who the server is",
            "add sslmode=verify-full, with sslrootcert=FILE (the host's CA) or sslrootcert=system",
        ),
        (_, false, _) => Check::warn(
            NAME,
            "none: password and rows can be read on the way",
            "add sslmode=require, or better verify-full, where the server offers TLS",
        ),
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
