//! What `/proc` says of one process.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use taproot_model::{Name, Timestamp};

/// Ticks a second in `/proc/<pid>/stat` (`USER_HZ`): 100 on every architecture
/// that Linux gives BPF.
const TICKS: u64 = 100;

/// Name of a process: its `comm`, at most 15 bytes.
pub(crate) fn comm(proc_root: &Path, pid: u32) -> io::Result<Name> {
    let text = fs::read(proc_root.join(format!("{pid}/comm")))?;
    Ok(Name::from(String::from_utf8_lossy(&text).trim_end_matches('\n')))
}

/// Processes of a control group, from a directory with `cgroup.procs`. Empty
/// when the group is gone. Processes outside the reader's pid namespace are
/// listed as 0 by the kernel and left out.
pub(crate) fn of_group(directory: &Path) -> Vec<u32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid != 0).collect()
}

/// All processes, by rising pid.
pub(crate) fn all(proc_root: &Path) -> Vec<u32> {
    let entries = fs::read_dir(proc_root).into_iter().flatten().flatten();
    let mut pids: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// When a process was started, to a hundredth of a second.
///
/// Reckoned back from now by the time since boot: the boot time itself is known
/// to the second only.
pub(crate) fn started(proc_root: &Path, pid: u32) -> Option<Timestamp> {
    let stat = fs::read_to_string(proc_root.join(format!("{pid}/stat"))).ok()?;
    let uptime = fs::read_to_string(proc_root.join("uptime")).ok()?;
    let age = parse_uptime(&uptime)?.saturating_sub(parse_start(&stat)?);
    Some(Timestamp::now() - age)
}

/// Time from boot to the start of the process: field 22 of `stat`, counted from
/// behind the name, which may hold blanks and brackets.
fn parse_start(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    Some(Duration::from_millis(ticks * (1000 / TICKS)))
}

fn parse_uptime(text: &str) -> Option<Duration> {
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 1234 0 0";
        assert_eq!(parse_start(stat), Some(Duration::from_millis(12_340)));
        assert_eq!(parse_start("7 (x) S 1"), None);
        assert_eq!(parse_uptime("12.50 3.0\n"), Some(Duration::from_millis(12_500)));
        assert_eq!(parse_uptime("-1 0"), None);
    }

    #[test]
    fn this_process_began_a_moment_ago() {
        let start = started("/proc".as_ref(), std::process::id()).unwrap();
        let age = Timestamp::now().since(start);
        assert!(age < Duration::from_hours(1), "{age:?}");
        assert!(!comm("/proc".as_ref(), std::process::id()).unwrap().is_empty());
        assert_eq!(started("/proc".as_ref(), 0), None);
    }
}
