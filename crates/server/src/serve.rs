use crate::{AppState, api, guard, page};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Where the page is, unless told otherwise: only for this machine.
pub const DEFAULT_ADDR: &str = "127.0.0.1:7272";

/// How long answers under way may take once the server is to stop.
const GRACE: Duration = Duration::from_secs(3);

/// A server that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else has the port.
    #[error("{0} is in use, perhaps by another taproot: stop it, or give another address")]
    InUse(SocketAddr),
    /// The port needs privileges.
    #[error("may not listen on {0}: take a port from 1024 on, or run as root")]
    Permission(SocketAddr),
    /// The address is no address of this machine.
    #[error("{0} is no address of this machine: take 127.0.0.1, or 0.0.0.0 for all of them")]
    NotHere(SocketAddr),
    /// Any other failure.
    #[error("cannot listen on {addr}: {error}")]
    Io {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

impl ServeError {
    fn on(addr: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(addr),
            io::ErrorKind::PermissionDenied => Self::Permission(addr),
            io::ErrorKind::AddrNotAvailable => Self::NotHere(addr),
            _ => Self::Io { addr, error },
        }
    }
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Server {
    /// Takes the address; port 0 takes any free one.
    pub async fn bind(addr: SocketAddr) -> Result<Self, ServeError> {
        let on = |error| ServeError::on(addr, error);
        let listener = TcpListener::bind(addr).await.map_err(on)?;
        let addr = listener.local_addr().map_err(on)?;
        Ok(Self { listener, addr })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `shutdown` is ready; answers under way get three more seconds.
    pub async fn run(
        self,
        state: Arc<dyn AppState>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let (stopping, stopped) = oneshot::channel();
        let signal = async move {
            shutdown.await;
            let _ = stopping.send(());
        };
        let served = axum::serve(self.listener, router(state, self.addr))
            .with_graceful_shutdown(signal)
            .into_future();
        let too_long = async {
            let _ = stopped.await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = served => result.map_err(|error| ServeError::on(self.addr, error)),
            () = too_long => Ok(()),
        }
    }
}

/// Answers on `addr` until `shutdown` is ready.
pub async fn serve(
    addr: SocketAddr,
    state: Arc<dyn AppState>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    Server::bind(addr).await?.run(state, shutdown).await
}

fn router(state: Arc<dyn AppState>, addr: SocketAddr) -> Router {
    let missing = async || (StatusCode::NOT_FOUND, "nothing here: the page is at /\n");
    let router = api::router(state).merge(page::router()).fallback(missing);
    let router = router.layer(from_fn(guard::headers));
    if addr.ip().is_loopback() { router.layer(from_fn(guard::only_local_names)) } else { router }
}
