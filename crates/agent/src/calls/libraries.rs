//! The thread that finds TLS libraries and attaches to them.
//!
//! Reading the files of processes takes its time, and so does taking probes off: the
//! thread that empties the ring must not wait for it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use taproot_probes::tls::{TlsCollector, Verdicts};
use taproot_probes::{Error, Off};

/// Time between two looks at who runs in the groups.
const LOOK: Duration = Duration::from_millis(500);
/// How soon a process that begins to run something else is looked at: many may at once.
const SOON: Duration = Duration::from_millis(50);

enum Command {
    Watch(PathBuf),
    Hint(u32),
    Losses(Sender<Vec<(&'static str, u64)>>),
}

/// The running thread. Dropping it ends it, which takes all probes off.
pub(super) struct Libraries {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    off: Vec<Off>,
}

impl Libraries {
    /// Starts the thread; plaintext goes into the ring `records`.
    pub(super) fn start(records: OwnedFd) -> Result<(Self, Verdicts), Error> {
        let (commands, orders) = channel();
        let (tell, told) = channel();
        let thread = std::thread::Builder::new()
            .name("tls".into())
            .spawn(move || {
                let started = TlsCollector::start(&records)
                    .and_then(|collector| Ok((collector.verdicts()?, collector)));
                match started {
                    Ok((verdicts, collector)) => {
                        let _ = tell.send(Ok((verdicts, collector.off().to_vec())));
                        run(collector, &orders);
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            })
            .map_err(Error::io("starting the thread that finds TLS libraries"))?;
        let (verdicts, off) = told.recv().unwrap_or_else(|_| {
            Err(Error::Invalid("the thread that finds TLS libraries has ended".into()))
        })?;
        Ok((Self { commands: Some(commands), thread: Some(thread), off }, verdicts))
    }

    /// Programs that do not run here, and why.
    pub(super) fn off(&self) -> &[Off] {
        &self.off
    }

    /// Observes the processes of a control group and of all below it.
    pub(super) fn watch(&self, group: &Path) {
        self.tell(Command::Watch(group.to_owned()));
    }

    /// A process has begun to run something else.
    pub(super) fn hint(&self, process: u32) {
        self.tell(Command::Hint(process));
    }

    /// What could not be told since the last call.
    pub(super) fn losses(&self) -> Vec<(&'static str, u64)> {
        let (reply, answer) = channel();
        self.tell(Command::Losses(reply));
        answer.recv().unwrap_or_default()
    }

    fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // The thread ends only after the last command was dropped.
            let _ = commands.send(command);
        }
    }
}

impl Drop for Libraries {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut collector: TlsCollector, orders: &Receiver<Command>) {
    let mut due = Instant::now();
    loop {
        match orders.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Command::Watch(group)) => {
                collector.watch(&group);
                due = Instant::now();
            }
            Ok(Command::Hint(process)) => {
                collector.hint(process);
                due = due.min(Instant::now() + SOON);
            }
            Ok(Command::Losses(reply)) => {
                let lost = collector.losses().unwrap_or_else(|error| {
                    tracing::warn!(%error, "losses of TLS");
                    Vec::new()
                });
                let _ = reply.send(lost);
            }
            Err(RecvTimeoutError::Timeout) => {
                collector.scan();
                due = Instant::now() + LOOK;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
