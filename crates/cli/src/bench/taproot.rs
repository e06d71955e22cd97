//! Taproot as a child process, so that its CPU time and memory are its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use taproot_model::{Loss, Protocol, Role, Signal as Observed};
use taproot_store::recording::RecordingReader;

use super::site::Site;

/// A running `taproot record`.
pub(super) struct Taproot {
    child: Child,
    file: PathBuf,
    /// Seconds from the start of the process to the first signals in its file.
    pub(super) first: f64,
}

/// Memory of the child, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Highest resident size so far.
    pub(super) peak: u64,
    /// Resident size now.
    pub(super) resident: u64,
    /// BPF maps.
    pub(super) maps: u64,
}

/// Requests in a recording, by the end that saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) server: u64,
    pub(super) client: u64,
    /// What was not seen, as `collector, reason`.
    pub(super) lost: BTreeMap<String, u64>,
}

impl Counted {
    /// By how many requests the worse of the two ends is off; what is known of it is said.
    pub(super) fn off(&self, served: u64) -> u64 {
        let off = self.server.abs_diff(served).max(self.client.abs_diff(served));
        if off > 0 {
            let Self { server, client, lost } = self;
            eprintln!(
                "· of {served} requests the server's end has {server}, the client's {client}"
            );
            eprintln!("  lost: {lost:?}");
        }
        off
    }
}

impl Taproot {
    /// Starts it and waits until it has written its first signals.
    pub(super) fn start(file: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let begin = Instant::now();
        let child = Command::new(program)
            .arg("record")
            .arg(file)
            .args(["--scope", &Site::scope()])
            .stderr(Stdio::piped())
            .spawn()
            .context("starting taproot record")?;
        let mut taproot = Self { child, file: file.to_owned(), first: 0.0 };
        taproot.wait_for_signals(begin)?;
        taproot.first = begin.elapsed().as_secs_f64();
        Ok(taproot)
    }

    /// The header is written at once; the file grows with the first signals.
    fn wait_for_signals(&mut self, begin: Instant) -> Result<()> {
        let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
        let mut header = 0;
        while begin.elapsed() < Duration::from_mins(1) {
            let now = size(&self.file);
            match header {
                0 => header = now,
                _ if now > header => return Ok(()),
                _ => {}
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("taproot record ended with {status}: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("taproot record wrote no signal within 60 s; try `taproot doctor`")
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            // What cannot be read does not explain anything.
            let _ = std::io::Read::read_to_string(stderr, &mut text);
        }
        text.trim().to_owned()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time it used so far, seconds, all threads.
    pub(super) fn cpu(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        cpu_of(&stat).with_context(|| format!("{path} is not understood"))
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let size =
            |name| kib(name).map(|n| n * 1024).with_context(|| format!("{path} has no {name}"));
        Ok(Memory {
            peak: size("VmHWM:")?,
            resident: size("VmRSS:")?,
            maps: taproot_probes::cost::map_bytes(self.pid())?,
        })
    }

    /// Ends it as Ctrl-C does, and adds up what it counted.
    pub(super) fn stop(mut self) -> Result<Counted> {
        self.interrupt();
        let status = self.child.wait()?;
        if !status.success() {
            bail!("taproot record ended with {status}: {}", self.said());
        }
        counted(&self.file)
    }

    fn interrupt(&self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // Gone already: its exit status tells why.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

impl Drop for Taproot {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.interrupt();
            let _ = self.child.wait();
        }
    }
}

fn counted(file: &Path) -> Result<Counted> {
    let mut sum = Counted::default();
    for signal in RecordingReader::open(file)? {
        match signal? {
            // Handshakes of TLS are no requests to nginx.
            Observed::Requests(requests) if requests.protocol != Protocol::Http => {}
            Observed::Requests(requests) if requests.route.as_str() == "/status" => {}
            Observed::Requests(requests) => match requests.edge.role {
                Role::Client => sum.client += requests.count,
                _ => sum.server += requests.count,
            },
            Observed::Loss(Loss { collector, reason, count, .. }) => {
                *sum.lost.entry(format!("{collector}, {reason}")).or_default() += count;
            }
            _ => {}
        }
    }
    Ok(sum)
}

/// Clock ticks a second of the times in `/proc`.
pub(super) fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// User and system time out of `/proc/PID/stat`, seconds.
fn cpu_of(stat: &str) -> Option<f64> {
    // The name in brackets may hold anything.
    let fields = stat.rsplit_once(')')?.1;
    let mut times = fields.split_whitespace().skip(11).map_while(|f| f.parse::<f64>().ok());
    Some((times.next()? + times.next()?) / ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 9 0 0";
        let ticks = cpu_of(stat).unwrap() * ticks_per_second();
        assert!((ticks - 200.0).abs() < 1e-6);
        assert_eq!(cpu_of("7 (a) S 1"), None);
    }
}
