//! Following packets for the watch of `taproot run`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use taproot_agent::Options;
use taproot_diagnosis::traced::Seen;
use taproot_diagnosis::{Link, Traced};
use taproot_model::{Entity, Name};
use taproot_server::Watch;
use taproot_world::{EdgeKey, World};

use super::diagnose_trace;

/// How long the packets of a link are followed, as by `taproot diagnose`.
const LOOK: Duration = Duration::from_secs(6);
/// The packets of one link are followed at most once in this time.
const REST: Duration = Duration::from_mins(5);

/// Follows the packets of what the watch finds: one link at a time, each once for a
/// verdict, and none too often.
pub(super) struct Packets {
    options: Options,
    interrupted: Arc<AtomicBool>,
    /// The newest verdict's link, while another one is followed.
    waiting: Option<(Name, Link)>,
    running: Option<Running>,
    /// When each link was followed, and for which report.
    followed: BTreeMap<EdgeKey, (Instant, Name)>,
}

/// A link that is followed, for the report of that id.
struct Running {
    id: Name,
    link: Link,
    thread: JoinHandle<Option<Traced>>,
}

impl Packets {
    pub(super) fn new(options: Options, interrupted: Arc<AtomicBool>) -> Self {
        Self { options, interrupted, waiting: None, running: None, followed: BTreeMap::new() }
    }

    /// Before a look: gives the watch what packets have told since. Whether they have.
    pub(super) fn tell(&mut self, watch: &mut Watch) -> bool {
        let done = self.running.take_if(|running| running.thread.is_finished());
        let told = done.map(Running::result);
        if let Some((id, traced)) = &told {
            watch.put(id, traced.clone());
        }
        told.is_some()
    }

    /// After a look: follows what it found.
    pub(super) fn follow(&mut self, watch: &mut Watch, world: &World) {
        self.waiting = watch.take_link().or_else(|| self.waiting.take());
        if self.running.is_some() {
            return;
        }
        let Some((id, link)) = self.waiting.take() else { return };
        self.followed.retain(|_, (at, _)| at.elapsed() < REST);
        match self.followed.get(&link.key) {
            Some((_, before)) => watch.put(&id, too_soon(&link, before)),
            None => self.start(id, link, world.entities().cloned().collect()),
        }
    }

    fn start(&mut self, id: Name, link: Link, entities: Vec<Entity>) {
        let (options, interrupted) = (self.options.clone(), Arc::clone(&self.interrupted));
        let links = [link.clone()];
        let follow =
            move || diagnose_trace::follow(&links, entities, options, LOOK, &interrupted).pop();
        tracing::info!(client = %link.client, server = %link.server, "following packets");
        self.followed.insert(link.key.clone(), (Instant::now(), id.clone()));
        match std::thread::Builder::new().name("packets".into()).spawn(follow) {
            Ok(thread) => self.running = Some(Running { id, link, thread }),
            Err(error) => tracing::warn!(%error, "no thread to follow packets"),
        }
    }
}

impl Drop for Packets {
    /// What is attached is gone when this returns.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.thread.join();
        }
    }
}

impl Running {
    fn result(self) -> (Name, Traced) {
        let traced = self.thread.join().ok().flatten();
        let failed = || not_traced(&self.link, "the thread that followed them failed".to_owned());
        (self.id, traced.unwrap_or_else(failed))
    }
}

fn too_soon(link: &Link, before: &Name) -> Traced {
    let minutes = REST.as_secs() / 60;
    not_traced(link, format!("they were followed less than {minutes} min ago, for report {before}"))
}

fn not_traced(link: &Link, why: String) -> Traced {
    Traced {
        edge: link.key.clone(),
        client: link.client.clone(),
        server: link.server.clone(),
        seen: Seen::NotTraced { why },
    }
}
