//! The lab's commands as plain functions, for whichever binary carries them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Result};
use crate::faults::{Fault, Params, faults};
use crate::lab::{self, Lab};
use crate::options::{Options, default_state_dir};
use crate::state;

/// Starts a lab. In the foreground it stays until Ctrl-C and is removed then;
/// otherwise it stays up and this returns what to do next.
///
/// # Errors
/// As [`Lab::up`].
pub fn up(options: &Options, foreground: bool) -> Result<String> {
    let interrupted = interrupt_flag()?;
    let lab = Lab::up(options)?;
    let text = describe(&lab.state()?, lab.state_dir());
    // Ctrl-C during the start counts as well.
    if foreground || interrupted.load(Ordering::Relaxed) {
        println!("{text}\nCtrl-C removes it.");
        wait_until(&interrupted, None);
        lab.down()?;
        return Ok("lab removed".into());
    }
    lab.detach();
    Ok(text)
}

/// Removes a lab and its leftovers; says what was there.
///
/// # Errors
/// What could not be removed.
pub fn down(name: &str, state_dir: Option<&Path>) -> Result<String> {
    let removed = lab::down(name, state_dir)?;
    if removed.is_nothing() {
        return Ok(format!("lab `{name}`: nothing to remove"));
    }
    Ok(format!(
        "lab `{name}`: removed {} processes, {} network namespaces{}{}",
        removed.processes,
        removed.namespaces,
        if removed.cgroups { ", its cgroups" } else { "" },
        if removed.state { ", its state" } else { "" },
    ))
}

/// Labs that are up, and all faults with a sentence each.
pub fn list() -> String {
    let mut out = String::new();
    for dir in lab::list() {
        match state::Lab::load(&dir) {
            Ok(lab) => out.push_str(&describe(&lab, &dir)),
            Err(e) => {
                let _ = writeln!(out, "{e}");
            }
        }
    }
    if out.is_empty() {
        out.push_str("no lab is up\n");
    }
    out.push_str("\nfaults:\n");
    for fault in faults() {
        let _ = writeln!(out, "  {:<20} {}", fault.name, fault.sentence);
        for p in fault.params {
            let _ = writeln!(out, "  {:<20}   {}={} ({})", "", p.name, p.default, p.meaning);
        }
    }
    out
}

/// Puts a fault in force. With a time it stays that long (or until Ctrl-C) and
/// is taken back; without one it stays until [`clear`].
///
/// # Errors
/// [`Error::UnknownFault`], [`Error::NotUp`], or as [`Lab::inject`].
pub fn fault(
    name: &str,
    params: &Params,
    state_dir: &Path,
    time: Option<Duration>,
) -> Result<String> {
    let fault = Fault::parse(name)?;
    let lab = Lab::open(state_dir)?;
    let interrupted = interrupt_flag()?;
    let handle = lab.inject(fault, params)?;
    let said = format!("{name}: {}", fault.sentence());
    let Some(time) = time else {
        handle.detach();
        return Ok(format!("{said}\nin force until `fault clear`"));
    };
    println!("{said}");
    wait_until(&interrupted, Some(time));
    handle.clear()?;
    Ok(format!("{name}: taken back"))
}

/// Takes the active fault back.
///
/// # Errors
/// [`Error::NotUp`], or what could not be undone.
pub fn clear(state_dir: &Path) -> Result<String> {
    let cleared = Lab::open(state_dir)?.clear()?;
    Ok(cleared.map_or("no fault is in force".into(), |t| format!("{}: taken back", t.fault)))
}

/// State directory from a name and an explicit directory.
///
/// # Errors
/// [`Error::BadName`].
pub fn state_dir(name: &str, explicit: Option<&Path>) -> Result<std::path::PathBuf> {
    explicit.map_or_else(|| default_state_dir(name), |d| Ok(d.to_path_buf()))
}

fn describe(lab: &state::Lab, dir: &Path) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "lab `{}`: {} pods, {} requests/s, state in {}, cgroups below {} ({})",
        lab.name,
        lab.pods.len(),
        lab.requests_per_second,
        dir.display(),
        lab.cgroup_root.display(),
        crate::cgroup::layout_name(&lab.hierarchies)
    );
    for pod in &lab.pods {
        let ip = pod.ip().map_or("-".into(), |ip| ip.to_string());
        let pid = pod.container.process.map_or("down".into(), |p| p.pid.to_string());
        let _ = writeln!(
            out,
            "  {:<10} {:<13} pid {:<8} restarts {:<3} {}",
            pod.name, ip, pid, pod.restarts, pod.container.image
        );
    }
    if let Some(fault) = &lab.fault {
        let _ = writeln!(out, "  fault in force: {}", fault.truth.fault);
    }
    out
}

fn interrupt_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(Error::io("handle signals of", "the lab"))?;
    }
    Ok(flag)
}

fn wait_until(interrupted: &AtomicBool, time: Option<Duration>) {
    let start = Instant::now();
    while !interrupted.load(Ordering::Relaxed) && time.is_none_or(|t| start.elapsed() < t) {
        std::thread::sleep(Duration::from_millis(50));
    }
}
