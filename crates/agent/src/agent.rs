use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use taproot_kube::{Resolver, SourceStatus};
use taproot_model::{
    Entity, EntityKind, ErrnoCount, Loss, Name, Signal, SyscallFailure, Timestamp,
};
use taproot_probes::flow::FlowCollector;
use taproot_probes::http::HttpCollector;
use taproot_probes::lifecycle::{Event, Kind, Lifecycle};
use taproot_probes::pressure::{Failures, Sched};

use crate::calls::{self, Calls};
use crate::changes::{self, Changes, Wanted};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::features::Feature;
use crate::files::{self, Followed, FollowedById, Node, Sheet};
use crate::lifecycle::{self, BlackBox};
use crate::logs::{Book, Log};
use crate::names::Names;
use crate::options::Options;
use crate::releases::{self, Releases};
use crate::requests::{self, Routes};
use crate::start::{
    probe_changes, start_calls, start_failures, start_flow, start_http, start_lifecycle,
    start_sched, start_tls,
};
use crate::{Scope, flows, waits};

/// Longest wait for lifecycle events, so that a stop is noticed soon.
const PATIENCE: Duration = Duration::from_millis(100);

/// Longest wait for the first batch, so that something is told soon after the start.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// The collectors of one node, with names.
pub struct Agent {
    options: Options,
    clock: Clock,
    names: Names,
    http: Option<HttpCollector>,
    calls: Option<Calls>,
    flow: Option<FlowCollector>,
    lifecycle: Option<Lifecycle>,
    sched: Option<Sched>,
    failures: Option<Failures>,
    changes: Changes,
    releases: Releases,
    begun: Timestamp,
    node: Node,
    routes: Routes,
    edges: flows::Remembered,
    followed: FollowedById,
    logs: HashMap<Name, Log>,
    books: HashMap<Name, Book>,
    features: Vec<Feature>,
    last: Instant,
    /// Time from `last` to the next batch.
    pause: Duration,
}

impl Agent {
    /// Starts every collector that runs here.
    ///
    /// # Errors
    /// When none does, or the scope names a control group that does not exist.
    pub fn start(options: Options) -> Result<Self> {
        let own = std::path::Path::new("/proc/self/ns/net");
        let netns = options.node_netns.as_deref().unwrap_or(own);
        let node = Node::new(options.node_netns.as_deref())?;
        let mut sources = options.names.clone();
        // Where `/proc` is ours, so is our pid: that of init need not be open to us.
        let here = (sources.proc_root == std::path::Path::new("/proc")).then(std::process::id);
        sources.node_pid = node.resident().or(here).unwrap_or(sources.node_pid);
        let resolver = Resolver::start(sources);
        let names = Names::new(resolver, options.scope.clone(), netns);
        let mut features = Vec::new();
        let unified = names.resolver.layout().ok().and_then(|l| l.unified.clone());
        let lifecycle = start_lifecycle(unified.as_deref(), &mut features);
        let flow = start_flow(unified.clone(), &mut features);
        let sched = start_sched(&mut features);
        let http = start_http(&options, sched.as_ref(), &mut features);
        let mut calls = start_calls(&options, &mut features);
        start_tls(options.tls, calls.as_mut(), &mut features);
        let failures = start_failures(options.failures, &mut features);
        probe_changes(netns, &mut features);
        if http.is_none() && flow.is_none() && lifecycle.is_none() && sched.is_none() {
            let why = features.iter().map(|f| format!("{}: {:?}", f.name, f.state));
            return Err(Error::NothingRuns(why.collect::<Vec<_>>().join("; ")));
        }
        let clock = Clock::start();
        let mut agent = Self {
            clock,
            releases: Releases::default(),
            begun: clock.now(),
            node,
            routes: Routes::default(),
            edges: HashMap::new(),
            followed: HashMap::new(),
            logs: HashMap::new(),
            books: HashMap::new(),
            last: Instant::now(),
            pause: options.interval.min(FIRST_LOOK),
            options,
            names,
            http,
            calls,
            flow,
            lifecycle,
            sched,
            failures,
            changes: Changes::default(),
            features,
        };
        agent.watch_scope()?;
        agent.follow_namespaces();
        Ok(agent)
    }

    /// What runs here, what does not, and why.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// How the sources of names do.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.names.resolver.status()
    }

    /// This node.
    pub fn node(&self) -> Arc<Entity> {
        self.names.resolver.node()
    }

    /// The present on the agent's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs until `stop` is set, giving each interval's signals to `sink`.
    pub fn run(&mut self, stop: &AtomicBool, mut sink: impl FnMut(&[Signal])) {
        while !stop.load(Ordering::Relaxed) {
            let signals = self.tick(stop);
            sink(&signals);
        }
    }

    /// Waits for the end of the interval, following lifecycle events as they come,
    /// and returns what the interval brought.
    pub fn tick(&mut self, stop: &AtomicBool) -> Vec<Signal> {
        let mut out = Vec::new();
        let due = self.last + self.pause;
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.follow_events(left.min(PATIENCE), &mut out);
            self.changes.look(self.clock.now(), &mut self.names, &mut out);
        }
        self.follow_events(Duration::ZERO, &mut out);
        let interval = self.last.elapsed().as_nanos() as u64;
        self.last = Instant::now();
        self.pause = self.options.interval;
        self.collect(interval, &mut out);
        out
    }

    /// Attaches to the scope's control group, where it is one; pods of a namespace
    /// are attached to as they are found.
    fn watch_scope(&mut self) -> Result<()> {
        let Some(root) = self.unified() else { return Ok(()) };
        let group = match &self.options.scope {
            Scope::All => root,
            Scope::Cgroup(path) => {
                let group = root.join(path.strip_prefix("/").unwrap_or(path));
                if !group.is_dir() {
                    return Err(crate::ScopeError::NoGroup(path.clone()).into());
                }
                group
            }
            Scope::Namespace(_) | Scope::Pod { .. } => return Ok(()),
        };
        self.watch_http(&group);
        Ok(())
    }

    fn unified(&self) -> Option<PathBuf> {
        self.names.resolver.layout().ok().and_then(|l| l.unified.clone())
    }

    fn watch_http(&mut self, group: &std::path::Path) {
        if let Some(http) = &mut self.http
            && let Err(error) = http.watch(group)
        {
            tracing::warn!(group = %group.display(), %error, "HTTP is not observed here");
        }
        if let Some(calls) = &self.calls
            && let Err(error) = calls.watch(group)
        {
            tracing::warn!(group = %group.display(), %error, "payload is not observed here");
        }
    }

    fn follow_events(&mut self, wait: Duration, out: &mut Vec<Signal>) {
        let Some(lifecycle) = &mut self.lifecycle else {
            std::thread::sleep(wait);
            return;
        };
        let events = lifecycle.poll(wait).unwrap_or_else(|error| {
            tracing::warn!(%error, "lifecycle events");
            Vec::new()
        });
        for event in events {
            lifecycle::learn(&event, &self.names, self.clock);
            if matches!(event.kind, Kind::Exec { .. } | Kind::CgroupJoined { .. }) {
                self.follow(event.cgroup, true);
                if let Some((calls, process)) = self.calls.as_ref().zip(event.process.as_ref()) {
                    calls.hint(process.pid);
                }
            }
            if let (Kind::Exec { .. }, Some(process)) = (&event.kind, &event.process) {
                self.changes.started(process.pid, &process.comm, self.clock.at(event.at));
            }
            self.tell_event(&event, out);
        }
    }

    fn tell_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let Self { names, followed, logs, books, failures, clock, .. } = self;
        let at = clock.now();
        let mut late = Vec::new();
        let black_box = |owner: &Entity| {
            let known = followed.get(&event.cgroup);
            let last_words = logs.get_mut(&owner.id).map_or_else(Vec::new, |log| {
                let book = books.entry(owner.service.clone()).or_insert_with(|| Book::new(at));
                log.read(&owner.id, book, at, 0, &mut late);
                log.last_words()
            });
            BlackBox {
                last_failures: last_failures(failures.as_mut(), event.cgroup),
                fds: known.and_then(|k| k.fds),
                memory: known.and_then(|k| k.memory),
                last_words,
            }
        };
        lifecycle::signal(event, names, *clock, black_box, out);
        out.append(&mut late);
    }

    /// Begins to follow a container of the scope.
    fn follow(&mut self, cgroup: u64, fresh: bool) {
        if self.followed.contains_key(&cgroup) {
            return;
        }
        let Some(entity) = self.names.inside(cgroup) else { return };
        // A pod's own group is read with its containers.
        let container = entity.kind == EntityKind::Container && !entity.container_id.is_empty();
        if !container && entity.kind != EntityKind::Unit {
            return;
        }
        let own_path = self.names.resolver.cgroup_path(cgroup);
        if own_path.as_ref() != Some(&entity.cgroup_path) {
            return; // a group inside the container: its figures are part of it
        }
        let Ok(layout) = self.names.resolver.layout() else { return };
        let followed = Followed::new(Arc::clone(&entity), layout, fresh);
        self.followed.insert(cgroup, followed);
        if let Some(sched) = &self.sched
            && let Err(error) = sched.watch(cgroup)
        {
            tracing::warn!(container = %entity.id, %error, "its waits for a CPU are not seen");
        }
        if matches!(self.options.scope, Scope::Namespace(_) | Scope::Pod { .. })
            && let Some(root) = self.unified()
        {
            self.watch_http(&root.join(entity.cgroup_path.trim_start_matches('/')));
        }
    }

    fn collect(&mut self, interval: u64, out: &mut Vec<Signal>) {
        let at = self.clock.now();
        self.names.tell_changes(out);
        for id in self.names.resolver.cgroups() {
            self.follow(id, false);
        }
        self.collect_files(at, interval, out);
        releases::tell_events(&mut self.names, self.begun, out);
        self.follow_namespaces();
        self.changes.look(at, &mut self.names, out);
        self.collect_traffic(at, interval, out);
        self.collect_kernel(at, interval, out);
        self.collect_logs(at, interval, out);
        self.collect_losses(at, out);
    }

    fn collect_files(&mut self, at: Timestamp, interval: u64, out: &mut Vec<Signal>) {
        let node = self.names.resolver.node();
        self.names.tell(&node, out);
        let mut gone = Vec::new();
        for (&id, followed) in &mut self.followed {
            // Names arrive after the container does.
            followed.entity = self.names.resolver.resolve_cgroup(id);
            let entity = Arc::clone(&followed.entity);
            self.names.tell(&entity, out);
            if !followed.read(&mut Sheet { at, interval, out }) {
                gone.push(id);
            }
            if !entity.image.is_empty() && !entity.container.is_empty() {
                let since = followed.since.filter(|_| followed.is_fresh());
                out.extend(self.releases.look(&entity, since));
            }
        }
        for id in gone {
            self.forget(id);
        }
        self.node.read(&node, &mut Sheet { at, interval, out });
    }

    /// Listens for changes in the node's network namespace and in those of the scope.
    fn follow_namespaces(&mut self) {
        let resolver = &self.names.resolver;
        let own = PathBuf::from("/proc/self/ns/net");
        let path = self.options.node_netns.clone().unwrap_or(own);
        let node = self.names.node_netns();
        let of_node = node.map(|inode| Wanted { inode, path, owner: resolver.node() });
        let at = self.clock.now();
        let of_pod = |followed: &Followed| {
            let (inode, pid) = followed.namespace.filter(|(inode, _)| Some(*inode) != node)?;
            let owner = resolver.resolve_netns(inode, 0, at);
            let owner = owner.filter(|owner| self.options.scope.admits(owner));
            let owner = owner.unwrap_or_else(|| Arc::clone(&followed.entity));
            Some(Wanted { inode, path: format!("/proc/{pid}/ns/net").into(), owner })
        };
        let wanted = of_node.into_iter().chain(self.followed.values().filter_map(of_pod));
        self.changes.follow(wanted.collect());
    }

    fn forget(&mut self, cgroup: u64) {
        let Some(followed) = self.followed.remove(&cgroup) else { return };
        self.logs.remove(&followed.entity.id);
        if let Some(sched) = &self.sched {
            sched.unwatch(cgroup);
        }
    }

    fn collect_traffic(&mut self, at: Timestamp, interval: u64, out: &mut Vec<Signal>) {
        // Flows first: they teach which namespace a cookie stands for.
        match self.flow.as_mut().map(FlowCollector::poll) {
            Some(Ok(batch)) => {
                let poll = flows::Poll { clock: self.clock, at, interval };
                flows::signals(batch, &mut self.edges, &mut self.names, poll, out);
            }
            Some(Err(error)) => tracing::warn!(%error, "flows"),
            None => {}
        }
        match self.http.as_mut().map(HttpCollector::poll) {
            Some(Ok(batch)) => requests::signals(
                batch,
                &mut self.routes,
                &self.edges,
                &mut self.names,
                self.clock,
                interval,
                out,
            ),
            Some(Err(error)) => tracing::warn!(%error, "HTTP"),
            None => {}
        }
        if let Some(harvest) = self.calls.as_ref().and_then(Calls::harvest) {
            let Self { edges: flows, names, clock, .. } = self;
            let mut place = calls::signals::Place { flows, names, clock: *clock, interval };
            calls::signals::signals(harvest, &mut place, out);
        }
    }

    fn collect_kernel(&mut self, at: Timestamp, interval: u64, out: &mut Vec<Signal>) {
        match self.sched.as_mut().map(Sched::read) {
            Some(Ok(found)) => waits::signals(&found, &mut self.names, at, interval, out),
            Some(Err(error)) => tracing::warn!(%error, "waits for CPUs"),
            None => {}
        }
        let found = match self.failures.as_mut().map(Failures::read) {
            Some(Ok(found)) => found,
            Some(Err(error)) => {
                tracing::warn!(%error, "failing system calls");
                return;
            }
            None => return,
        };
        for failure in found {
            let Some(owner) = self.names.inside(failure.cgroup) else { continue };
            self.names.tell(&owner, out);
            out.push(Signal::SyscallFailure(Box::new(SyscallFailure {
                at,
                interval,
                entity: owner.id.clone(),
                syscall: failure.syscall.into(),
                errno: failure.errno.into(),
                target: Name::default(),
                count: failure.count,
            })));
        }
    }

    fn collect_logs(&mut self, at: Timestamp, interval: u64, out: &mut Vec<Signal>) {
        let Some(root) = &self.options.log_root else { return };
        for followed in self.followed.values() {
            let entity = &followed.entity;
            let Some(dir) = files::log_dir(root, entity) else { continue };
            let log = self
                .logs
                .entry(entity.id.clone())
                .or_insert_with(|| Log::open(dir, followed.is_fresh()));
            let book = self.books.entry(entity.service.clone()).or_insert_with(|| Book::new(at));
            log.read(&entity.id, book, at, interval, out);
        }
    }

    fn collect_losses(&mut self, at: Timestamp, out: &mut Vec<Signal>) {
        let node = self.names.resolver.node().id.clone();
        out.extend(changes::lost(at, &node, self.changes.losses()));
        let mut all: Vec<(&str, &str, u64)> = Vec::new();
        if let Some(Ok(lost)) = self.http.as_mut().map(HttpCollector::losses) {
            all.extend(lost.into_iter().map(|(reason, n)| ("http", reason, n)));
        }
        if let Some(Ok(lost)) = self.flow.as_mut().map(FlowCollector::losses) {
            all.extend(lost.into_iter().map(|(reason, n)| ("flow", reason, n)));
        }
        if let Some(Ok(lost)) = self.lifecycle.as_mut().map(Lifecycle::lost) {
            all.extend(lost.into_iter().map(|l| ("lifecycle", l.reason, l.count)));
        }
        if let Some(Ok(lost)) = self.sched.as_mut().map(Sched::lost) {
            all.extend(lost.into_iter().map(|l| ("pressure", l.reason, l.count)));
        }
        if let Some(Ok(lost)) = self.failures.as_mut().map(Failures::lost) {
            all.extend(lost.into_iter().map(|l| ("syscalls", l.reason, l.count)));
        }
        out.extend(all.into_iter().filter(|(.., n)| *n > 0).map(|(collector, reason, count)| {
            let entity = node.clone();
            Signal::Loss(Loss {
                at,
                entity,
                collector: collector.into(),
                reason: reason.into(),
                count,
            })
        }));
    }
}

fn last_failures(failures: Option<&mut Failures>, cgroup: u64) -> Vec<ErrnoCount> {
    let found = failures.and_then(|f| f.last_of(cgroup, lifecycle::LAST_FAILURES).ok());
    let found = found.unwrap_or_default();
    let one = |f: taproot_probes::pressure::Failure| ErrnoCount {
        syscall: f.syscall.into(),
        errno: f.errno.into(),
        count: f.count,
    };
    found.into_iter().map(one).collect()
}
