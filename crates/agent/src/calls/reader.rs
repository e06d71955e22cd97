//! The thread that empties the ring, and the agent's handle on it.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use taproot_probes::payload::{Options, PayloadCollector, Verdict};
use taproot_probes::tls::Verdicts;
use taproot_probes::{Error, Off};

use super::libraries::Libraries;
use super::table::{Harvest, Table};
use crate::clock;

/// Records taken before commands are looked at again.
const BATCH: usize = 8192;
/// Most batches before a harvest is handed over, so that a ring that fills as fast as
/// it is emptied does not hold up the agent.
const LAST_BATCHES: usize = 16;
/// Longest pause between two looks at the ring. The programs end it early, each time
/// they have written some hundred KiB.
const PAUSE: Duration = Duration::from_millis(20);

/// Its niceness. It must run when the servers that fill the ring do, or the ring
/// overflows; it uses no more of a CPU for that.
const NICENESS: i32 = -10;

enum Command {
    Watch(PathBuf, Sender<Result<(), Error>>),
    Harvest(Sender<Harvest>),
    Ring(Sender<Result<OwnedFd, Error>>),
    Plain(Verdicts),
}

/// The running collector with its parsers. Dropping it ends the thread, which
/// detaches and unloads everything.
pub(crate) struct Calls {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    off: Vec<Off>,
    libraries: Option<Libraries>,
}

impl Calls {
    /// Starts the thread; nothing is observed until a group is [added](Self::watch).
    pub(crate) fn start(options: Options) -> Result<Self, Error> {
        let (commands, orders) = channel();
        let (tell, told) = channel();
        let thread = std::thread::Builder::new()
            .name("payload".into())
            .spawn(move || match Reader::start(&options) {
                Ok(reader) => {
                    let _ = tell.send(Ok(reader.collector.off().to_vec()));
                    reader.run(&orders);
                }
                Err(error) => drop(tell.send(Err(error))),
            })
            .map_err(Error::io("starting the thread that reads payload"))?;
        let off = told.recv().unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { commands: Some(commands), thread: Some(thread), off, libraries: None })
    }

    /// Programs that do not run here, and why.
    pub(crate) fn off(&self) -> &[Off] {
        &self.off
    }

    /// Looks inside of TLS from now on. Gives the programs that do not run here.
    pub(crate) fn look_inside(&mut self) -> Result<Vec<Off>, Error> {
        let ring = self.ask(Command::Ring).unwrap_or_else(|| Err(gone()))?;
        let (libraries, verdicts) = Libraries::start(ring)?;
        if let Some(commands) = &self.commands {
            commands.send(Command::Plain(verdicts)).map_err(|_| gone())?;
        }
        let off = libraries.off().to_vec();
        self.libraries = Some(libraries);
        Ok(off)
    }

    /// A process has begun to run something else.
    pub(crate) fn hint(&self, process: u32) {
        if let Some(libraries) = &self.libraries {
            libraries.hint(process);
        }
    }

    /// Observes a control group and all below it.
    pub(crate) fn watch(&self, group: &Path) -> Result<(), Error> {
        if let Some(libraries) = &self.libraries {
            libraries.watch(group);
        }
        self.ask(|reply| Command::Watch(group.to_owned(), reply)).unwrap_or_else(|| Err(gone()))
    }

    /// What was counted since the last call; `None` when the thread has ended.
    pub(crate) fn harvest(&self) -> Option<Harvest> {
        let mut harvest = self.ask(Command::Harvest)?;
        if let Some(libraries) = &self.libraries {
            harvest.losses.extend(libraries.losses());
        }
        Some(harvest)
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = channel();
        self.commands.as_ref()?.send(command(reply)).ok()?;
        answer.recv().ok()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.libraries = None;
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gone() -> Error {
    Error::Invalid("the thread that reads payload has ended; -vv says why".into())
}

/// What the thread owns.
struct Reader {
    collector: PayloadCollector,
    table: Rc<RefCell<Table>>,
    /// Where plaintext is decided on, when TLS is looked into.
    plain: Option<Verdicts>,
}

impl Reader {
    fn start(options: &Options) -> Result<Self, Error> {
        let table = Rc::new(RefCell::new(Table::default()));
        let into = Rc::clone(&table);
        let collector =
            PayloadCollector::start(options, move |record| into.borrow_mut().take(record))?;
        Ok(Self { collector, table, plain: None })
    }

    /// Looks at the ring now and then: being woken for every record would cost the
    /// sender of each packet an interrupt.
    fn run(mut self, orders: &Receiver<Command>) {
        let this = rustix::thread::gettid();
        if let Err(error) = rustix::process::setpriority_process(Some(this), NICENESS) {
            tracing::debug!(%error, "payload is read at the priority of others");
        }
        loop {
            if self.look() < BATCH {
                self.rest();
            }
            match orders.try_recv() {
                Ok(Command::Watch(group, reply)) => {
                    let _ = reply.send(self.collector.watch(&group));
                }
                Ok(Command::Harvest(reply)) => {
                    let _ = reply.send(self.harvest());
                }
                Ok(Command::Ring(reply)) => {
                    let _ = reply.send(self.collector.records());
                }
                Ok(Command::Plain(verdicts)) => self.plain = Some(verdicts),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn rest(&self) {
        if let Err(error) = self.collector.wait(PAUSE) {
            tracing::debug!(%error, "payload");
            std::thread::sleep(PAUSE);
        }
    }

    /// Takes a batch of records, and tells the kernel what is wanted.
    fn look(&mut self) -> usize {
        let taken = self.collector.consume(BATCH).unwrap_or_else(|error| {
            tracing::warn!(%error, "payload");
            0
        });
        let mut table = self.table.borrow_mut();
        for (id, verdict) in table.decisions() {
            self.decide(id, verdict);
        }
        for (id, verdict) in table.plain_decisions() {
            let Some(Err(error)) = self.plain.as_ref().map(|plain| plain.decide(id, verdict))
            else {
                continue;
            };
            tracing::debug!(%error, id, ?verdict, "plaintext");
        }
        for id in table.ended() {
            self.collector.forget(id);
            if let Some(plain) = &self.plain {
                plain.forget(id);
            }
        }
        taken
    }

    fn decide(&self, id: u64, verdict: Verdict) {
        if let Err(error) = self.collector.decide(id, verdict) {
            tracing::debug!(%error, id, ?verdict, "payload");
        }
    }

    /// What was counted up to the last record that is in the ring now.
    fn harvest(&mut self) -> Harvest {
        for _ in 0..LAST_BATCHES {
            if self.look() < BATCH {
                break;
            }
        }
        let mut harvest = self.table.borrow_mut().harvest(clock::monotonic());
        match self.collector.losses() {
            Ok(lost) => harvest.losses.extend(lost),
            Err(error) => tracing::warn!(%error, "payload"),
        }
        harvest
    }
}
