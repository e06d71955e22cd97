//! Where identity comes from. Each source has a thread of its own, asks at an
//! interval and when told of something new, and may fail for as long as it likes.

mod api;
mod cri;
mod events;
mod file;
mod kubelet;
mod local;
mod runtime;

use crate::resolver::{Job, Shared, SourceStatus};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Jobs that may wait for one source.
const QUEUE: usize = 1024;

/// Longest pause between two attempts at a source that fails.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long to gather jobs before a refresh that they call for.
const GATHER: Duration = Duration::from_millis(50);

/// One source of identity.
trait Source: Send + 'static {
    /// Name for the status.
    fn name(&self) -> &'static str;

    /// Pause between two refreshes.
    fn interval(&self, shared: &Shared) -> Duration {
        shared.options.refresh
    }

    /// Asks the source for all it knows; returns what to show, or why it failed.
    fn refresh(&mut self, shared: &Shared) -> Result<String, String>;

    /// Does one job out of turn; true when a refresh is called for.
    fn job(&mut self, _shared: &Shared, _job: &Job) -> bool {
        false
    }
}

/// Starts every source that is asked for, and says why the others are off.
pub(crate) fn start(shared: &Arc<Shared>) {
    spawn(shared, local::Local::default());
    spawn(shared, runtime::RuntimeState::new(&shared.options));
    match &shared.options.cri_socket {
        Some(path) => spawn(shared, cri::CriSource::new(path.clone())),
        None => shared.set_status(SourceStatus::off("cri", "no socket of a container runtime")),
    }
    match &shared.options.kubelet {
        Some(target) => spawn(shared, kubelet::Kubelet::new(target.clone())),
        None => shared.set_status(SourceStatus::off("kubelet", "no address given")),
    }
    if let Some(target) = &shared.options.api_server {
        spawn(shared, api::ApiServer::new(target.clone()));
        spawn(shared, events::Events::new(target.clone()));
    } else {
        shared.set_status(SourceStatus::off("api-server", "no address given"));
        shared.set_status(SourceStatus::off("cluster-events", "no API server"));
    }
    match &shared.options.pods_file {
        Some(path) => spawn(shared, file::PodsFile::new(path.clone())),
        None => shared.set_status(SourceStatus::off("pods-file", "no file given")),
    }
}

fn spawn(shared: &Arc<Shared>, source: impl Source) {
    let name = source.name();
    shared.set_status(SourceStatus::starting(name));
    let (sender, receiver) = sync_channel(QUEUE);
    shared.add_queue(sender);
    let for_thread = shared.clone();
    let started = std::thread::Builder::new()
        .name(format!("who-{name}"))
        .spawn(move || drive(source, &for_thread, &receiver));
    if let Err(why) = started {
        shared.note(name, Err(format!("cannot start a thread: {why}")));
    }
}

fn drive(mut source: impl Source, shared: &Shared, jobs: &Receiver<Job>) {
    let mut failures = 0;
    while !shared.is_stopping() {
        let outcome = source.refresh(shared);
        failures = if outcome.is_ok() { 0 } else { (failures + 1).min(8) };
        shared.note(source.name(), outcome);
        let pause = source.interval(shared) * 2_u32.pow(failures);
        let until = Instant::now() + pause.min(MAX_PAUSE.max(source.interval(shared)));
        do_jobs(&mut source, shared, jobs, until);
    }
}

/// Does jobs until it is time for the next refresh, or one of them calls for it.
fn do_jobs(source: &mut impl Source, shared: &Shared, jobs: &Receiver<Job>, until: Instant) {
    let mut until = until;
    while !shared.is_stopping() {
        match jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
            // A pod comes as several groups at once: one refresh for all.
            Ok(job) if source.job(shared, &job) => until = until.min(Instant::now() + GATHER),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}
