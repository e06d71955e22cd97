//! A plain HTTP server: one thread for each connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::{Control, Watch};
use crate::serve::http::{Request, Response, Wire};
use crate::serve::leak::log;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Accept queue of a server that is not told otherwise.
const BACKLOG: i32 = 128;

/// What a server is made of.
pub(crate) struct Server<H> {
    port: u16,
    watch: Watch,
    handler: H,
}

impl<H> Server<H>
where
    H: Fn(&Request) -> Response + Send + Sync + 'static,
{
    /// A server on all addresses whose requests `handler` answers.
    pub(crate) fn new(port: u16, watch: Watch, handler: H) -> Self {
        Self { port, watch, handler }
    }

    /// Serves until the process ends.
    pub(crate) fn run(self) -> io::Result<()> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)))?;
        let handler = Arc::new(self.handler);
        let mut gate = Gate { backlog: BACKLOG, since: Instant::now() };
        loop {
            gate.hold(&listener, &self.watch.get())?;
            match listener.accept() {
                Ok((stream, _)) => {
                    let (handler, watch) = (Arc::clone(&handler), self.watch.clone());
                    let serve = move || serve_connection(stream, &*handler, &watch);
                    // Out of threads: the connection is dropped, as a full server does it.
                    if let Err(e) = std::thread::Builder::new().spawn(serve) {
                        accept_failed(&e);
                    }
                }
                Err(e) => {
                    accept_failed(&e);
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
}

fn accept_failed(e: &io::Error) {
    log(&format!("level=error msg=\"accept failed\" err=\"{e}\""));
}

/// Lets connections in, or (when told so) only for a part of the time and
/// through an accept queue of one.
struct Gate {
    backlog: i32,
    since: Instant,
}

impl Gate {
    fn hold(&mut self, listener: &TcpListener, control: &Control) -> io::Result<()> {
        let wanted = if control.accept_pause_ms > 0 { 1 } else { BACKLOG };
        if wanted != self.backlog {
            // listen(2) on a listening socket only changes the length of its queue.
            rustix::net::listen(listener, wanted)?;
            self.backlog = wanted;
            self.since = Instant::now();
        }
        let open = Duration::from_millis(control.accept_run_ms);
        if control.accept_pause_ms > 0 && self.since.elapsed() >= open {
            std::thread::sleep(Duration::from_millis(control.accept_pause_ms));
            self.since = Instant::now();
        }
        Ok(())
    }
}

fn serve_connection(stream: TcpStream, handler: &impl Fn(&Request) -> Response, watch: &Watch) {
    let prepared = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(IDLE)));
    if prepared.is_err() {
        return;
    }
    let mut wire = Wire::new(stream);
    // Whatever goes wrong on a connection ends that connection only.
    while let Ok(Some(request)) = wire.read_request() {
        let control = watch.get();
        if control.answer_delay_ms > 0 {
            std::thread::sleep(Duration::from_millis(control.answer_delay_ms));
        }
        let mut response = handler(&request);
        // A server that hardly accepts has no long-lived connections either.
        response.keep_alive &= request.keep_alive && control.accept_pause_ms == 0;
        if wire.write_response(&response, &request.method).is_err() || !response.keep_alive {
            return;
        }
    }
}
