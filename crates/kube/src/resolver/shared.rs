//! The state that the resolver's threads share.

use super::options::Options;
use super::pids::Pids;
use super::status::{Counters, SourceStatus};
use crate::cgroup::{Layout, LayoutError, Tree};
use crate::conntrack::Conntrack;
use crate::directory::Directory;
use crate::netns;
use crate::objects::EventFact;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use taproot_model::{Entity, Name, Timestamp};

/// What a source is asked to do out of turn.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// A container was just made: say who it is.
    Container(Name),
    /// A process runs in a container whose network is not known yet.
    Network { container: Name, pid: u32, since: Option<Timestamp> },
    /// Wake up, for instance to end.
    Wake,
}

/// Everything that changes.
pub(crate) struct State {
    pub(crate) directory: Directory,
    pub(crate) tree: Tree,
}

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) layout: Result<Layout, LayoutError>,
    /// Inode of the node's own network namespace.
    pub(crate) node_netns: Option<u64>,
    state: RwLock<State>,
    pub(super) pids: Mutex<Pids>,
    /// Owners of groups that must be told by their processes, for a short time.
    pub(super) plain: Mutex<HashMap<u64, (Arc<Entity>, Instant)>>,
    pub(super) cookies: RwLock<HashMap<u64, u64>>,
    /// Lines to connection tracking, once asked for.
    pub(super) nat: Mutex<Option<Vec<Conntrack>>>,
    pub(super) last_walk: Mutex<Option<Instant>>,
    statuses: Mutex<BTreeMap<&'static str, SourceStatus>>,
    queues: Mutex<Vec<SyncSender<Job>>>,
    unknown_groups: AtomicU64,
    jobs_dropped: AtomicU64,
    stopping: AtomicBool,
    events: Mutex<EventLog>,
}

/// What the cluster said happened, until it is asked for.
#[derive(Default)]
struct EventLog {
    /// Each with when it came.
    waiting: VecDeque<(Instant, EventFact)>,
    /// The newest time of each event that was told: lists name it again and again.
    told: HashMap<Name, Timestamp>,
}

/// Events that may wait, and that are remembered as told.
const MOST_EVENTS: usize = 4096;
/// How long the pod of an event may take to be known.
const EVENT_WAITS: Duration = Duration::from_secs(30);

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        let layout = Layout::detect(&options.proc_root, options.cgroup_root.as_deref());
        let root = layout.as_ref().ok().and_then(|layout| layout.tree().cloned());
        let state = State { directory: Directory::new(&options.node), tree: Tree::new(root) };
        let node_netns = netns::of_pid(&options.proc_root, options.node_pid).ok();
        Self {
            options,
            layout,
            node_netns,
            state: RwLock::new(state),
            pids: Mutex::default(),
            plain: Mutex::default(),
            cookies: RwLock::default(),
            nat: Mutex::default(),
            last_walk: Mutex::default(),
            statuses: Mutex::default(),
            queues: Mutex::default(),
            unknown_groups: AtomicU64::new(0),
            jobs_dropped: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            events: Mutex::default(),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_queue(&self, queue: SyncSender<Job>) {
        lock(&self.queues).push(queue);
    }

    /// Hands a job to every source; a full queue is counted, never waited for.
    pub(crate) fn post(&self, job: &Job) {
        for queue in lock(&self.queues).iter() {
            if queue.try_send(job.clone()).is_err() {
                self.jobs_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn set_status(&self, status: SourceStatus) {
        lock(&self.statuses).insert(status.name, status);
    }

    pub(crate) fn note(&self, name: &'static str, outcome: Result<String, String>) {
        let mut statuses = lock(&self.statuses);
        let status = statuses.entry(name).or_insert_with(|| SourceStatus::starting(name));
        if outcome.is_err() && status.failures == 0 {
            let why = outcome.as_ref().err();
            tracing::warn!(source = name, error = why, "a source of identity does not answer");
        }
        status.note(outcome, Timestamp::now());
    }

    pub(crate) fn statuses(&self) -> Vec<SourceStatus> {
        lock(&self.statuses).values().cloned().collect()
    }

    pub(super) fn count_unknown_group(&self) {
        self.unknown_groups.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            unknown_groups: self.unknown_groups.load(Ordering::Relaxed),
            jobs_dropped: self.jobs_dropped.load(Ordering::Relaxed),
        }
    }

    /// Takes in what the cluster said happened; what it said before is passed over.
    pub(crate) fn happened(&self, facts: Vec<EventFact>) {
        let mut log = lock(&self.events);
        for fact in facts {
            if log.told.get(&fact.uid).is_some_and(|told| *told >= fact.at) {
                continue;
            }
            if log.told.len() >= MOST_EVENTS {
                log.told.clear();
            }
            if log.waiting.len() >= MOST_EVENTS {
                log.waiting.pop_front();
            }
            log.told.insert(fact.uid.clone(), fact.at);
            log.waiting.push_back((Instant::now(), fact));
        }
    }

    /// Hands over what the cluster said happened, each once `owner` knows to whom; a pod
    /// may be heard of before it is known, and most are of other nodes.
    pub(super) fn drain_events<T>(
        &self,
        owner: impl Fn(&EventFact) -> Option<T>,
    ) -> Vec<(T, EventFact)> {
        let mut out = Vec::new();
        lock(&self.events).waiting.retain(|(came, fact)| match owner(fact) {
            Some(owner) => {
                out.push((owner, fact.clone()));
                false
            }
            None => came.elapsed() < EVENT_WAITS,
        });
        out
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.post(&Job::Wake);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// A lock whose holder panicked still guards whole values here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
