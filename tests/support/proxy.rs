//! A TCP proxy in front of a server, which can cut or stall its connections at a chosen byte or moment.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often the pumps look whether they are to cut or stall.
const TICK: Duration = Duration::from_millis(5);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// An orderly end of stream, as from a server that exits.
    Close,
    /// A reset, as from a firewall or a crashed host.
    Reset,
}

/// What becomes of the first COMMIT that a client sends, and with it of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCommit {
    /// It never reaches the server; the connections are reset.
    LoseRequest,
    /// The server carries it out; the connections are reset in place of its answer.
    LoseAnswer,
    /// It never reaches the server, and nothing tells either side.
    HoldRequest,
    /// The server carries it out; its answer never arrives, and nothing tells either side.
    HoldAnswer,
}

/// Forwards `127.0.0.1:port` to a server on this machine; dropping it ends all its connections.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes forwarded in both directions, over all connections.
    forwarded: AtomicU64,
    accepted: AtomicUsize,
    stalled: AtomicBool,
    refusing: AtomicBool,
    closing: AtomicBool,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    /// Of connections that begin now.
    generation: u64,
    /// Connections of an earlier generation are to end, in this way.
    cut_before: u64,
    how: Option<Cut>,
    /// Connections of an earlier generation are stalled.
    held_before: u64,
    /// Cut everything once `forwarded` reaches this.
    cut_at: Option<u64>,
    stall_at: Option<u64>,
    at_commit: Option<AtCommit>,
    /// The COMMIT has been forwarded, and this is to become of what the server says to it.
    at_answer: Option<AtCommit>,
    /// From the COMMIT on, new connections are reset.
    then_refuse: bool,
}

/// As a simple query: only a commit is spelt like this on the wire.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

impl Proxy {
    /// A proxy to a port of this machine.
    pub fn to(server_port: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, (Ipv4Addr::LOCALHOST, server_port).into(), &shared));
        Proxy { port, state }
    }

    /// A server's URL, made to lead through this proxy.
    pub fn url(&self, server_url: &str, server_port: u16) -> String {
        let direct = format!("127.0.0.1:{server_port}/");
        assert!(server_url.contains(&direct), "the URL leads to that server by TCP");
        server_url.replace(&direct, &format!("127.0.0.1:{}/", self.port))
    }

    /// Cuts all connections now; new ones are taken again.
    pub fn cut(&self, how: Cut) {
        self.state.plan().cut(how);
    }

    /// Cuts all connections once, after this many more bytes (both directions, all connections together).
    pub fn cut_after(&self, bytes: u64, how: Cut) {
        let mut plan = self.state.plan();
        plan.cut_at = Some(self.forwarded() + bytes);
        plan.how = Some(how);
    }

    /// Forwards nothing more, but keeps the connections open.
    pub fn stall(&self) {
        self.state.stalled.store(true, Ordering::SeqCst);
    }

    /// Stalls after this many more bytes.
    pub fn stall_after(&self, bytes: u64) {
        self.state.plan().stall_at = Some(self.forwarded() + bytes);
    }

    /// Ends every stall and drops every plan; new connections are taken again.
    pub fn resume(&self) {
        let mut plan = self.state.plan();
        (plan.stall_at, plan.cut_at, plan.at_commit, plan.at_answer) = (None, None, None, None);
        plan.held_before = 0;
        drop(plan);
        self.refuse(false);
        self.state.stalled.store(false, Ordering::SeqCst);
    }

    /// Plans what becomes of the next COMMIT; new connections are taken again after it, or refused.
    pub fn at_commit(&self, what: AtCommit, then_refuse: bool) {
        let mut plan = self.state.plan();
        plan.at_commit = Some(what);
        plan.then_refuse = then_refuse;
    }

    /// Whether what was planned for a COMMIT has happened.
    pub fn had_commit(&self) -> bool {
        let plan = self.state.plan();
        plan.at_commit.is_none() && plan.at_answer.is_none()
    }

    /// From now on every new connection is reset at once (true), or taken again (false).
    pub fn refuse(&self, refuse: bool) {
        self.state.refusing.store(refuse, Ordering::SeqCst);
    }

    pub fn forwarded(&self) -> u64 {
        self.state.forwarded.load(Ordering::SeqCst)
    }

    /// How many connections there have been, refused ones included.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Whether a cut that was planned has happened.
    pub fn has_cut(&self) -> bool {
        let plan = self.state.plan();
        plan.cut_before > 0 && plan.cut_at.is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closing.store(true, Ordering::SeqCst);
    }
}

impl Plan {
    fn cut(&mut self, how: Cut) {
        self.generation += 1;
        self.cut_before = self.generation;
        self.how = Some(how);
        self.cut_at = None;
    }
}

impl State {
    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a connection of that generation is to end, if it is.
    fn cut_of(&self, generation: u64) -> Option<Cut> {
        if self.closing.load(Ordering::SeqCst) {
            return Some(Cut::Close);
        }
        let plan = self.plan();
        plan.how.filter(|_| plan.cut_before > generation)
    }

    fn is_stalled(&self, generation: u64) -> bool {
        self.stalled.load(Ordering::SeqCst) || self.plan().held_before > generation
    }

    /// Carries out what is planned for a COMMIT, where these bytes are one or the answer to it.
    fn meet_commit(&self, bytes: &[u8], way: Way) {
        let mut plan = self.plan();
        let what = match way {
            Way::ToServer if plan.at_commit.is_some() && bytes.windows(COMMIT.len()).any(|w| w == COMMIT) => {
                if plan.then_refuse {
                    self.refusing.store(true, Ordering::SeqCst);
                }
                plan.at_commit.take()
            }
            Way::ToClient => plan.at_answer.take(),
            Way::ToServer => None,
        };
        match (what, way) {
            (None, _) => {}
            (Some(AtCommit::LoseAnswer | AtCommit::HoldAnswer), Way::ToServer) => plan.at_answer = what,
            (Some(AtCommit::LoseRequest | AtCommit::LoseAnswer), _) => plan.cut(Cut::Reset),
            (Some(AtCommit::HoldRequest | AtCommit::HoldAnswer), _) => {
                plan.generation += 1;
                plan.held_before = plan.generation;
            }
        }
    }

    /// Takes up to `wanted` bytes from what may still pass; carries out a plan whose byte has come.
    fn pass(&self, wanted: u64) -> u64 {
        let mut plan = self.plan();
        let before = self.forwarded.load(Ordering::SeqCst);
        let limit = [plan.cut_at, plan.stall_at].into_iter().flatten().min().unwrap_or(u64::MAX);
        let granted = wanted.min(limit.saturating_sub(before));
        let after = before + granted;
        self.forwarded.store(after, Ordering::SeqCst);
        if plan.stall_at.is_some_and(|at| after >= at) {
            plan.stall_at = None;
            self.stalled.store(true, Ordering::SeqCst);
        }
        if let (true, Some(how)) = (plan.cut_at.is_some_and(|at| after >= at), plan.how) {
            plan.cut(how);
        }
        granted
    }
}

#[derive(Debug, Clone, Copy)]
enum Way {
    ToServer,
    ToClient,
}

fn accept(listener: &TcpListener, server: SocketAddr, state: &Arc<State>) {
    while !state.closing.load(Ordering::SeqCst) {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(_) => {
                std::thread::sleep(TICK);
                continue;
            }
        };
        state.accepted.fetch_add(1, Ordering::SeqCst);
        let server = TcpStream::connect(server);
        let (Ok(server), false) = (server, state.refusing.load(Ordering::SeqCst)) else {
            end(&client, Cut::Reset);
            continue;
        };
        let generation = state.plan().generation;
        for stream in [&client, &server] {
            stream.set_nonblocking(false).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(TICK)).unwrap();
            stream.set_write_timeout(Some(TICK)).unwrap();
        }
        let pair = (Arc::new(client), Arc::new(server));
        for (from, to, way) in [(&pair.0, &pair.1, Way::ToServer), (&pair.1, &pair.0, Way::ToClient)] {
            let (from, to, state) = (Arc::clone(from), Arc::clone(to), Arc::clone(state));
            std::thread::spawn(move || pump(&from, &to, &state, generation, way));
        }
    }
}

/// Forwards one direction. Each socket closes for good when the pumps of both directions have let go of it.
fn pump(from: &TcpStream, to: &TcpStream, state: &State, generation: u64, way: Way) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some(how) = state.cut_of(generation) {
            end(from, how);
            end(to, how);
            return;
        }
        if state.is_stalled(generation) {
            std::thread::sleep(TICK);
            continue;
        }
        let mut reader = from;
        match reader.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(std::net::Shutdown::Write);
                return;
            }
            Ok(length) => {
                state.meet_commit(&buffer[..length], way);
                if !forward(&buffer[..length], to, state, generation) {
                    let _ = from.shutdown(std::net::Shutdown::Both);
                    return;
                }
            }
            Err(error) if is_tick(&error) => {}
            Err(_) => {
                end(to, Cut::Reset);
                let _ = to.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }
}

/// Writes what may pass; false when the receiver is gone. Returns early when the connection is to end.
fn forward(mut bytes: &[u8], to: &TcpStream, state: &State, generation: u64) -> bool {
    while !bytes.is_empty() {
        if state.cut_of(generation).is_some() {
            return true;
        }
        if state.is_stalled(generation) {
            std::thread::sleep(TICK);
            continue;
        }
        let granted = state.pass(bytes.len() as u64) as usize;
        let (mut now, later) = bytes.split_at(granted);
        bytes = later;
        while !now.is_empty() {
            let mut writer = to;
            match writer.write(now) {
                Ok(length) => now = &now[length..],
                Err(error) if is_tick(&error) => {
                    if state.cut_of(generation).is_some() {
                        return true;
                    }
                }
                Err(_) => return false,
            }
        }
    }
    true
}

fn is_tick(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn end(stream: &TcpStream, how: Cut) {
    match how {
        Cut::Close => {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // With no time to linger, the close that follows sends a reset.
        Cut::Reset => {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}
