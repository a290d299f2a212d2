//! A connected session: the client, the task that drives its socket, and what became of the connection.
//!
//! The task ends when the client is dropped, when the server or network ends the connection, or a moment after the
//! session is dropped. Why it ended is remembered before any query can learn that it did.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Connection, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::Host;
use super::error;
use super::socket::{Address, Socket};
use super::tap::{CopyOut, Wanted};

/// How long a dropped session may take to say goodbye to the server.
const GOODBYE: Duration = Duration::from_secs(1);

/// A request to cancel is one small packet; longer than this means that the network is gone.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Notices kept while nobody listens.
const KEPT_NOTICES: usize = 100;

/// A NOTICE, WARNING or the like from the server. A trigger may have put row values into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNotice {
    /// `NOTICE`, `WARNING`, …, perhaps in the server's language.
    pub severity: String,
    /// SQLSTATE.
    pub sqlstate: String,
    /// The text.
    pub message: String,
}

/// Hears notices; called from the task that drives the connection, and must not block.
pub type NoticeListener = Arc<dyn Fn(&ServerNotice) + Send + Sync>;

/// A session on one server. Dropping it closes the connection; work that the server is doing for it goes on until
/// the server notices, unless it is [cancelled](Session::cancel) first.
pub struct Session {
    /// Runs queries. Behind a pooler in transaction mode named statements break: use typed or simple queries.
    pub client: Client,
    /// The host that was connected.
    pub host: Host,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Such as 150014 for 15.14.
    pub server_version_num: u32,
    /// The server's process; behind a pooler in transaction mode, the one that happened to answer.
    pub backend_pid: i32,
    /// The process that the other end said it was when the connection was made: that one, unless a pooler is between.
    pub announced_pid: Option<i32>,
    /// The connection as a URL without a password.
    pub url: String,
    wanted: Wanted,
    cancel: CancelHandle,
    link: Arc<Link>,
    // Before `driver`, so that the task learns of the drop.
    _goodbye: Goodbye,
    driver: JoinHandle<()>,
}

/// What a session and its task share.
#[derive(Default)]
struct Link {
    ended: Mutex<Option<String>>,
    notices: Mutex<Notices>,
    closing: Notify,
}

#[derive(Default)]
struct Notices {
    listener: Option<NoticeListener>,
    kept: Vec<ServerNotice>,
}

struct Goodbye(Arc<Link>);

impl Drop for Goodbye {
    fn drop(&mut self) {
        self.0.closing.notify_one();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("url", &self.url).field("backend_pid", &self.backend_pid).finish()
    }
}

/// A connection that is driven, before anything is known about the server.
pub(crate) struct Driven {
    pub client: Client,
    wanted: Wanted,
    link: Arc<Link>,
    goodbye: Goodbye,
    driver: JoinHandle<()>,
}

impl Driven {
    /// Spawns the task that drives `connection`, of which the tap takes what is `wanted`.
    pub(crate) fn spawn<S, T>(client: Client, connection: Connection<S, T>, wanted: Wanted) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let link = Arc::new(Link::default());
        let driver = tokio::spawn(drive(connection, link.clone()));
        Driven { client, wanted, goodbye: Goodbye(link.clone()), link, driver }
    }

    /// Makes it a session.
    pub(crate) fn into_session(
        self,
        host: Host,
        url: String,
        address: Address,
        tls: Option<MakeRustlsConnect>,
        server_version_num: u32,
        backend_pid: i32,
    ) -> Session {
        let place = host.display_with_port();
        Session {
            tls: tls.is_some(),
            cancel: CancelHandle { token: self.client.cancel_token(), address, tls, place },
            client: self.client,
            announced_pid: self.wanted.process(),
            wanted: self.wanted,
            host,
            server_version_num,
            backend_pid,
            url,
            link: self.link,
            _goodbye: self.goodbye,
            driver: self.driver,
        }
    }
}

async fn drive<S, T>(mut connection: Connection<S, T>, link: Arc<Link>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let run = async {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notice(notice))) => link.hear(ServerNotice {
                    severity: notice.severity().to_owned(),
                    sqlstate: notice.code().code().to_owned(),
                    message: notice.message().to_owned(),
                }),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    // A query may have been told more already.
                    lock(&link.ended).get_or_insert_with(|| error::describe(&error));
                    return;
                }
                None => return,
            }
        }
    };
    let stop = async {
        link.closing.notified().await;
        tokio::time::sleep(GOODBYE).await;
    };
    tokio::select! { () = run => {}, () = stop => {} }
}

impl Link {
    fn hear(&self, notice: ServerNotice) {
        let mut notices = lock(&self.notices);
        match notices.listener.clone() {
            Some(listener) => {
                drop(notices);
                listener(&notice);
            }
            None if notices.kept.len() < KEPT_NOTICES => notices.kept.push(notice),
            None => {}
        }
    }
}

/// No invariant spans a panic of a holder, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Hears the server's notices from now on, after those that came before (at most 100 are kept).
    pub fn on_notice(&self, listener: NoticeListener) {
        let kept = {
            let mut notices = lock(&self.link.notices);
            notices.listener = Some(listener.clone());
            std::mem::take(&mut notices.kept)
        };
        kept.iter().for_each(|notice| listener(notice));
    }

    /// Why the connection ended, if the server or the network ended it.
    pub fn lost(&self) -> Option<String> {
        lock(&self.link.ended).clone()
    }

    /// One sentence about a failed query: the server's words, or why the connection is gone.
    pub fn describe(&self, error: &Error) -> String {
        if !error::is_connection_loss(error) {
            return error::describe(error);
        }
        let reason = if error.as_db_error().is_some() {
            // The server ended the session while it ran this query: its words went to the query, not to the task.
            // Later queries shall know them too.
            let words = error::describe(error);
            *lock(&self.link.ended) = Some(words.clone());
            words
        } else {
            self.lost().unwrap_or_else(|| error::describe(error))
        };
        format!("the connection to {} was lost: {}", self.host.display_with_port(), without_prefix(&reason))
    }

    /// Runs `sql`, a simple query of one or several statements, and takes what its `COPY … TO STDOUT` send. One at a
    /// time: the data of the next query is for whoever asked last.
    pub fn copy_out(&self, sql: String) -> CopyOut<'_> {
        CopyOut::new(&self.client, self.wanted.clone(), sql)
    }

    /// Asks the server to cancel what the session is doing.
    pub async fn cancel(&self) -> Result<(), CancelError> {
        self.cancel.cancel().await
    }

    /// A handle that cancels without the session at hand.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// Closes the connection and waits until the server has been told.
    pub async fn close(self) {
        let Session { client, _goodbye, driver, .. } = self;
        drop((client, _goodbye));
        // A driver that panicked is closed too.
        let _ = driver.await;
    }
}

fn without_prefix(reason: &str) -> &str {
    reason.strip_prefix("the connection to the server was lost: ").unwrap_or(reason)
}

/// Cancels what a session is doing, over a connection of its own with the same encryption.
#[derive(Clone)]
pub struct CancelHandle {
    token: CancelToken,
    address: Address,
    tls: Option<MakeRustlsConnect>,
    place: String,
}

/// A request to cancel could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot send the request to cancel to {place}: {reason}")]
pub struct CancelError {
    place: String,
    reason: String,
}

impl CancelHandle {
    /// Sends the request. The server does not say whether it came in time.
    pub async fn cancel(&self) -> Result<(), CancelError> {
        let request = async {
            let socket = self.address.open().await.map_err(|e| error::describe_io(&e))?;
            let sent = match &self.tls {
                Some(tls) => self.token.cancel_query_raw(socket, tls_for(tls, &self.address)).await,
                None => self.token.cancel_query_raw(socket, NoTls).await,
            };
            sent.map_err(|e| error::describe(&e))
        };
        let failed = |reason: String| CancelError { place: self.place.clone(), reason };
        match tokio::time::timeout(CANCEL_TIMEOUT, request).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(failed(reason)),
            Err(_) => Err(failed(format!("no answer within {} s", CANCEL_TIMEOUT.as_secs()))),
        }
    }
}

/// What makes a TLS connection to that address.
pub(crate) fn tls_for(
    tls: &MakeRustlsConnect,
    address: &Address,
) -> <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect {
    match MakeTlsConnect::<Socket>::make_tls_connect(&mut tls.clone(), address.server_name()) {
        Ok(connect) => connect,
        Err(never) => match never {},
    }
}
