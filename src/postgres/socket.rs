//! The socket under a connection: TCP or Unix, with the keepalives that were asked for.
//!
//! Opened here and not by the driver, so that what arrives can be looked at on its way ([`super::tap`]).

use std::io;
use std::net::IpAddr;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::conninfo::{ConnInfo, Host, Keepalives, Place};

/// A connected socket.
pub type Socket = Either<TcpStream, UnixStream>;

/// Where one address of a host is, and how its sockets are set.
#[derive(Clone, Debug)]
pub struct Address {
    place: Place,
    address: Option<IpAddr>,
    port: u16,
    keepalives: Keepalives,
    tcp_user_timeout: Option<std::time::Duration>,
}

impl Address {
    /// The address of a host as `info` wants it reached; `address` is what its name was looked up to, none for a Unix
    /// socket.
    pub fn new(info: &ConnInfo, host: &Host, address: Option<IpAddr>) -> Address {
        Address {
            place: host.place.clone(),
            address,
            port: host.port,
            keepalives: info.keepalives,
            tcp_user_timeout: info.tcp_user_timeout,
        }
    }

    /// The name that a certificate must be for; empty for a Unix socket, which has none.
    pub fn server_name(&self) -> &str {
        match &self.place {
            Place::Tcp { name, .. } => name,
            Place::Unix(_) => "",
        }
    }

    /// Connects.
    pub async fn open(&self) -> io::Result<Socket> {
        match (&self.place, self.address) {
            (Place::Unix(folder), _) => {
                let path = folder.join(format!(".s.PGSQL.{}", self.port));
                UnixStream::connect(path).await.map(Either::Right)
            }
            (Place::Tcp { .. }, Some(address)) => self.set(TcpStream::connect((address, self.port)).await?),
            (Place::Tcp { name, .. }, None) => {
                self.set(TcpStream::connect((name.as_str(), self.port)).await?)
            }
        }
    }

    fn set(&self, stream: TcpStream) -> io::Result<Socket> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        #[cfg(target_os = "linux")]
        if let Some(timeout) = self.tcp_user_timeout {
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        if self.keepalives.enabled {
            let keepalive = TcpKeepalive::new()
                .with_time(self.keepalives.idle)
                .with_interval(self.keepalives.interval)
                .with_retries(self.keepalives.count);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        Ok(Either::Left(stream))
    }
}
