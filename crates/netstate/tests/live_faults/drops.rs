//! What the kernel itself says of drops: its `kfree_skb` trace event, in a trace
//! instance of the test's own. An oracle that shares no code with Taproot's probes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// One drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Reason without its prefix.
    pub(crate) reason: String,
    /// Functions, the dropping one first.
    pub(crate) stack: Vec<String>,
}

/// A running watch; ends when dropped.
pub(crate) struct Watch {
    folder: TempDir,
    instance: PathBuf,
}

impl Watch {
    /// Mounts a trace file system of our own and watches, or says why it cannot.
    pub(crate) fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        command("mount", &["-t", "tracefs", "none", &folder.path().display().to_string()])?;
        let instance = folder.path().join(format!("instances/taproot{}", std::process::id()));
        let watch = Self { folder, instance };
        let write = |file: &str, value: &str| {
            fs::write(watch.instance.join(file), value).map_err(|error| format!("{file}: {error}"))
        };
        fs::create_dir(&watch.instance).map_err(|error| error.to_string())?;
        write("buffer_size_kb", "2048")?;
        write("options/stacktrace", "1")?;
        if let Some(purge) = watch.number_of("QUEUE_PURGE") {
            // Every connection that ends anywhere on the machine would be listed.
            write("events/skb/kfree_skb/filter", &format!("reason != {purge}"))?;
        }
        write("events/skb/kfree_skb/enable", "1")?;
        Ok(watch)
    }

    /// The running kernel's number of a reason (`{ 104, "QUEUE_PURGE" }`).
    fn number_of(&self, reason: &str) -> Option<u32> {
        let format = fs::read_to_string(self.instance.join("events/skb/kfree_skb/format")).ok()?;
        let (before, _) = format.split_once(&format!(", \"{reason}\" }}"))?;
        before.rsplit("{ ").next()?.parse().ok()
    }

    /// Forgets what was seen.
    pub(crate) fn clear(&self) {
        fs::write(self.instance.join("trace"), "").expect("the trace is emptied");
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        parse(&fs::read_to_string(self.instance.join("trace")).expect("the trace is read"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Errors cannot be told from here; the mount goes with the folder.
        let _ = fs::remove_dir(&self.instance);
        let _ = command("umount", &[&self.folder.path().display().to_string()]);
    }
}

fn command(name: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(name).args(arguments).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(format!("{name}: {said}"))
}

/// The event's own functions, by their beginnings: who drops called them.
const OF_THE_EVENT: [&str; 4] = ["trace_", "__traceiter_", "kfree_skb", "__kfree_skb"];

fn parse(trace: &str) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    for line in trace.lines() {
        if let Some((_, event)) = line.split_once(" kfree_skb: ") {
            let after = |key: &str| {
                let (_, rest) = event.split_once(key)?;
                rest.split([' ', '+']).next().map(str::to_owned)
            };
            let reason = after("reason: ").unwrap_or_default();
            let function = after("location=").unwrap_or_default();
            // Before 6.4 the place is a number that tells nothing; then the stack has to.
            let named = !function.starts_with("00000000");
            seen.push(Seen { reason, stack: named.then_some(function).into_iter().collect() });
        } else if let (Some(function), Some(last)) =
            (line.trim().strip_prefix("=> "), seen.last_mut())
            && (!last.stack.is_empty() || !OF_THE_EVENT.iter().any(|f| function.starts_with(f)))
        {
            last.stack.push(function.to_owned());
        }
    }
    seen
}
