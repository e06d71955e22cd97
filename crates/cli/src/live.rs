//! An agent on a thread of its own, feeding a world.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use taproot_agent::{Agent, Feature, Options, Scope};
use taproot_model::Signal;
use taproot_world::{Config, World};

use crate::args::AgentArgs;

/// Something that takes every batch of signals, on the agent's thread.
pub(crate) type Sink = Box<dyn FnMut(&[Signal]) + Send>;

/// A running agent.
pub(crate) struct Live {
    world: Arc<Mutex<World>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub(crate) features: Vec<Feature>,
}

/// What the agent's thread says once it runs.
struct Started {
    features: Vec<Feature>,
}

impl Live {
    /// Starts an agent and waits until it observes.
    pub(crate) fn start(options: Options, sink: Option<Sink>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let world = Arc::new(Mutex::new(World::new(Config::default())));
        let (tell, told) = channel();
        let (shared, halt) = (Arc::clone(&world), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("agent".into())
            .spawn(move || {
                let mut agent = match Agent::start(options) {
                    Ok(agent) => agent,
                    Err(error) => {
                        let _ = tell.send(Err(anyhow!(error)));
                        return;
                    }
                };
                let started = Started { features: agent.features().to_vec() };
                let _ = tell.send(Ok(started));
                let mut sink = sink;
                agent.run(&halt, |signals| {
                    lock(&shared).add_all(signals);
                    if let Some(sink) = &mut sink {
                        sink(signals);
                    }
                });
            })
            .context("starting the agent's thread")?;
        let Started { features } = wait(&told)?;
        Ok(Self { world, stop, thread: Some(thread), features })
    }

    /// The picture so far.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// The picture, to be shared with a server.
    pub(crate) fn shared(&self) -> Arc<Mutex<World>> {
        Arc::clone(&self.world)
    }

    /// Begins a new picture; who is who is kept.
    pub(crate) fn forget(&self) {
        let mut world = self.world();
        let mut fresh = World::new(Config::default());
        for entity in world.entities() {
            fresh.add(&Signal::Entity(Box::new(entity.clone())));
        }
        *world = fresh;
    }

    /// Stops the agent; everything it attached is gone when this returns.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.halt()
    }

    fn halt(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => bail!("the agent's thread panicked; run again with -vv and report it"),
            _ => Ok(()),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.halt();
    }
}

fn wait(told: &Receiver<Result<Started>>) -> Result<Started> {
    told.recv().context("the agent's thread ended before it began")?
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Agent options out of the flags; `--lab` fills in what a lab knows.
pub(crate) fn options(args: &AgentArgs) -> Result<Options> {
    let defaults = Options::default();
    let mut names = defaults.names.clone();
    names.pods_file.clone_from(&args.pods_file);
    let ring_bytes = u32::try_from(args.ring).context("--ring is at most 2GiB")?;
    let mut options = Options {
        scope: args.scope.clone(),
        interval: args.interval,
        names,
        log_root: Some(args.log_root.clone()),
        node_netns: args.node_netns.clone(),
        http: taproot_probes::http::Options { ring_bytes, ..defaults.http },
        payload: defaults.payload,
        failures: !args.no_syscalls,
        tls: !args.no_tls,
    };
    if let Some(name) = &args.lab {
        let dir = taproot_lab::default_state_dir(name)?;
        of_lab(&mut options, &dir)?;
    }
    Ok(options)
}

/// Where a trace takes its names from: a file of objects, a lab, or what is found.
pub(crate) fn trace_names(pods_file: Option<&Path>, lab: Option<&str>) -> Result<Options> {
    let mut options = Options::default();
    options.names.pods_file = pods_file.map(Path::to_owned);
    if let Some(name) = lab {
        of_lab(&mut options, &taproot_lab::default_state_dir(name)?)?;
    }
    Ok(options)
}

/// Points an agent at a lab: its cgroup, its objects, its logs, its node.
pub(crate) fn of_lab(options: &mut Options, dir: &Path) -> Result<()> {
    let lab = taproot_lab::state::Lab::load(dir)?;
    let root = PathBuf::from("/").join(&lab.cgroup_root);
    options.names.networks_below = Some(root.clone());
    options.scope = Scope::Cgroup(root);
    options.names.node.clone_from(&lab.node.name);
    options.names.pods_file = Some(taproot_lab::objects::path(dir));
    options.names.refresh = Duration::from_secs(2);
    options.names.cri_socket = None;
    options.log_root = Some(dir.join("pods"));
    options.node_netns = Some(Path::new("/run/netns").join(&lab.node.netns.name));
    Ok(())
}

/// Set by Ctrl-C or SIGTERM.
pub(crate) fn interrupt_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).context("listening for Ctrl-C")?;
    }
    Ok(flag)
}

/// Sleeps; `true` when interrupted before the time was over.
pub(crate) fn pause(time: Duration, interrupted: &AtomicBool) -> bool {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if interrupted.load(Ordering::Relaxed) {
            return true;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
    interrupted.load(Ordering::Relaxed)
}
