use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use taproot_model::Entity;

/// How long the owner of a pid is believed without a look at `/proc`: a pid can
/// be given to another process when its exit went unseen.
const BELIEVED: Duration = Duration::from_secs(5);

/// Pids remembered; an LRU would be finer, but a whole clearing is seldom.
const MAX_PIDS: usize = 65_536;

/// Owners of processes, so that a process that is gone before its events are
/// read is still named.
#[derive(Debug, Default)]
pub(super) struct Pids {
    known: HashMap<u32, (Arc<Entity>, Instant)>,
}

impl Pids {
    /// The owner, if it was learnt just now.
    pub(super) fn fresh(&self, pid: u32) -> Option<Arc<Entity>> {
        let (owner, since) = self.known.get(&pid)?;
        (since.elapsed() < BELIEVED).then(|| owner.clone())
    }

    /// The last known owner, for a process that is no more.
    pub(super) fn last(&self, pid: u32) -> Option<Arc<Entity>> {
        self.known.get(&pid).map(|(owner, _)| owner.clone())
    }

    pub(super) fn learn(&mut self, pid: u32, owner: Arc<Entity>) {
        if self.known.len() >= MAX_PIDS {
            self.known.clear();
        }
        self.known.insert(pid, (owner, Instant::now()));
    }
}
