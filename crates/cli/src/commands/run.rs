//! `taproot run`: agent and server in one process, with the embedded store.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use taproot_agent::Feature;
use taproot_export::otlp::{Config, Exporter};
use taproot_model::Signal;
use taproot_server::{AppState, Server, Watch, WorldState};
use taproot_store::{SqliteStore, StoreOptions};
use taproot_world::World;

use super::run_packets::Packets;
use crate::args::RunArgs;
use crate::live::{self, Live};

/// Time between two looks for trouble.
const WATCH_EVERY: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let interrupted = live::interrupt_flag()?;
    let variable = |name: &str| std::env::var(name).ok();
    let otlp = Config::read(args.otlp_endpoint.as_deref(), &variable)?;
    let store = open_store(&args.store, args.store_size)?;
    let world = World::new(taproot_world::Config::default());
    let state = WorldState::new(world, Some(Box::new(store)), env!("CARGO_PKG_VERSION"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the server's runtime")?;
    let server = runtime.block_on(Server::bind(args.listen))?;
    let addr = server.addr();
    let exporter = otlp.map(|config| export(&state, config)).transpose()?;
    let options = live::options(&args.agent)?;
    let packets = (!args.no_trace).then(|| Packets::new(options.clone(), Arc::clone(&interrupted)));
    let live = Live::start(options, Some(feed(&state, exporter)))?;
    for feature in &live.features {
        tracing::info!(feature = feature.name, state = ?feature.state, "collector");
    }
    let served = runtime.spawn(
        server.run(Arc::clone(&state) as Arc<dyn AppState>, stopped(Arc::clone(&interrupted))),
    );
    tell(addr, &args.store);
    examine(&state, live.features.clone())?;
    watch(&state, packets, &interrupted);
    live.stop()?;
    runtime.block_on(served).context("the server's task")??;
    Ok(ExitCode::SUCCESS)
}

fn tell(addr: SocketAddr, store: &Path) {
    println!("taproot runs: http://{addr}  (store {}); Ctrl-C ends it", store.display());
}

fn export(state: &WorldState, config: Config) -> Result<Exporter> {
    for target in [&config.signals.metrics, &config.signals.traces].into_iter().flatten() {
        println!("taproot sends to {}", target.url);
    }
    Ok(Exporter::start(state.series(), config, env!("CARGO_PKG_VERSION"))?)
}

/// Lets the doctor look at what the collectors do not know, once they run: trying
/// hooks takes a while, and nobody waits for it.
fn examine(state: &Arc<WorldState>, features: Vec<Feature>) -> Result<()> {
    let state = Arc::clone(state);
    let look = move || {
        if let Ok(found) = serde_json::to_value(super::doctor::examine(features)) {
            state.set_doctor(found);
        }
    };
    // Detached: at the end of the program it may still be trying.
    std::thread::Builder::new().name("doctor".into()).spawn(look).context("starting a thread")?;
    Ok(())
}

fn open_store(path: &Path, max_bytes: u64) -> Result<SqliteStore> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| {
            format!("cannot make {}; give another place with --store", folder.display())
        })?;
    }
    let mut options = StoreOptions::default();
    options.retention.max_bytes = max_bytes;
    Ok(SqliteStore::open(path, options)?)
}

/// Every batch goes into the picture, the store and the export, which ends with the
/// agent's thread; a full disk is said once a minute.
fn feed(state: &Arc<WorldState>, mut exporter: Option<Exporter>) -> live::Sink {
    let state = Arc::clone(state);
    let mut said: Option<Instant> = None;
    Box::new(move |signals: &[Signal]| {
        if let Some(exporter) = &mut exporter {
            exporter.observe(signals);
        }
        if let Err(error) = state.add(signals)
            && said.is_none_or(|at| at.elapsed() > Duration::from_mins(1))
        {
            eprintln!("taproot: not stored: {error}");
            said = Some(Instant::now());
        }
    })
}

/// Looks for trouble before the user does, lets its packets be followed, and keeps the
/// store in shape.
fn watch(state: &WorldState, mut packets: Option<Packets>, interrupted: &AtomicBool) {
    let mut watch = Watch::new();
    let mut told = String::new();
    while !live::pause(WATCH_EVERY, interrupted) {
        let now = taproot_model::Timestamp::now();
        state.tell_coverage();
        while state.maintain(now).unwrap_or(false) && !interrupted.load(Ordering::Relaxed) {}
        // What its packets told makes a report new to its reader.
        if packets.as_mut().is_some_and(|packets| packets.tell(&mut watch)) {
            told.clear();
        }
        let found = watch.look(&state.world());
        match found {
            Ok(Some(report)) => {
                if *report.head.id != *told {
                    println!("\n{}", report.text.trim_end());
                    told = report.head.id.to_string();
                }
                if let Err(error) = state.put_report(&report) {
                    eprintln!("taproot: the report is not stored: {error}");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "watching"),
        }
        if let Some(packets) = &mut packets {
            packets.follow(&mut watch, &state.world());
        }
    }
}

async fn stopped(interrupted: Arc<AtomicBool>) {
    while !interrupted.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
