//! An HTTP client that keeps its connections for a limited number of requests,
//! and a pool to share them between threads.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::serve::http::{Response, Wire};

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection.
    #[error("dial tcp {to}: {source}")]
    Connect { to: SocketAddr, source: io::Error },
    /// The answer took too long.
    #[error("read tcp {0}: i/o timeout")]
    Timeout(SocketAddr),
    /// The connection broke.
    #[error("read tcp {to}: {source}")]
    Broken { to: SocketAddr, source: io::Error },
    /// The name of the server could not be resolved.
    #[error("lookup {name}: {why}")]
    Lookup { name: String, why: String },
}

impl CallError {
    /// One word for counting.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Connect { source, .. } if is_timeout(source) => "connect_timeout",
            Self::Connect { .. } => "connect",
            Self::Timeout(_) => "timeout",
            Self::Broken { .. } => "broken",
            Self::Lookup { .. } => "lookup",
        }
    }

    /// True when waiting, not an answer, ended the call.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self.kind(), "timeout" | "connect_timeout")
    }
}

/// One request to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) chunked: bool,
}

impl<'a> Call<'a> {
    /// A request without a body.
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: "GET", path, body: &[], chunked: false }
    }
}

/// How a client treats its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Requests after which a connection is closed.
    pub(crate) max_uses: u32,
    /// Age from which on a connection is closed after use.
    pub(crate) max_age: Duration,
    /// Longest wait for a connection.
    pub(crate) connect: Duration,
    /// Longest wait for bytes of an answer.
    pub(crate) answer: Duration,
}

/// An answer and how it was got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// A connection was opened for it.
    pub(crate) connected: bool,
}

/// A kept connection.
#[derive(Debug)]
struct Connection {
    wire: Wire<TcpStream>,
    uses: u32,
    opened: Instant,
}

/// Kept connections to one server, shared by threads and used in turn.
#[derive(Debug)]
pub(crate) struct Pool {
    host: String,
    policy: Policy,
    idle: Mutex<VecDeque<Connection>>,
}

impl Pool {
    pub(crate) fn new(host: impl Into<String>, policy: Policy) -> Self {
        Self { host: host.into(), policy, idle: Mutex::default() }
    }

    /// Sends a request and waits for the whole answer. `resolve` is asked only
    /// when a new connection is needed.
    pub(crate) fn call(
        &self,
        call: Call<'_>,
        resolve: impl Fn() -> Result<SocketAddr, CallError>,
    ) -> Result<Answer, CallError> {
        if let Some(mut kept) = self.take() {
            match self.exchange(&mut kept, call) {
                // The server closed the idle connection just now: nothing was
                // lost but the connection, so a fresh one is used.
                Ok(None) => {}
                Ok(Some(response)) => return Ok(self.done(kept, response, false)),
                Err(e) if was_stale(&e) => {}
                Err(e) => return Err(failed(&kept, e)),
            }
        }
        let to = resolve()?;
        let mut fresh = self.connect(to)?;
        match self.exchange(&mut fresh, call) {
            Ok(Some(response)) => Ok(self.done(fresh, response, true)),
            Ok(None) => Err(CallError::Broken { to, source: closed() }),
            Err(e) => Err(failed(&fresh, e)),
        }
    }

    /// Opens connections beforehand; gives how many it opened.
    pub(crate) fn warm_up(&self, to: SocketAddr, count: usize) -> Result<u64, CallError> {
        for _ in 0..count {
            let connection = self.connect(to)?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
        }
        Ok(count as u64)
    }

    fn connect(&self, to: SocketAddr) -> Result<Connection, CallError> {
        let stream = TcpStream::connect_timeout(&to, self.policy.connect)
            .and_then(|s| {
                s.set_nodelay(true)?;
                s.set_read_timeout(Some(self.policy.answer))?;
                s.set_write_timeout(Some(self.policy.answer))?;
                Ok(s)
            })
            .map_err(|source| CallError::Connect { to, source })?;
        Ok(Connection { wire: Wire::new(stream), uses: 0, opened: Instant::now() })
    }

    fn exchange(&self, c: &mut Connection, call: Call<'_>) -> io::Result<Option<Response>> {
        c.uses += 1;
        c.wire.write_request(&self.host, call.method, call.path, call.body, call.chunked)?;
        c.wire.read_response(call.method)
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn done(&self, connection: Connection, response: Response, connected: bool) -> Answer {
        let young = connection.opened.elapsed() < self.policy.max_age;
        if response.keep_alive && young && connection.uses < self.policy.max_uses {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
        }
        Answer { response, connected }
    }
}

fn failed(connection: &Connection, source: io::Error) -> CallError {
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let to = connection.wire.stream.peer_addr().unwrap_or(unknown);
    if is_timeout(&source) { CallError::Timeout(to) } else { CallError::Broken { to, source } }
}

fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn was_stale(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "server closed without an answer")
}
