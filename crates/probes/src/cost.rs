//! What the programs and maps of a process cost, as the kernel accounts it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use libbpf_rs::libbpf_sys::{
    BPF_PROG_TYPE_SOCKET_FILTER, BPF_STATS_RUN_TIME, bpf_enable_stats, bpf_insn, bpf_prog_load,
    bpf_prog_test_run_opts, bpf_test_run_opts,
};
use libbpf_rs::query::ProgInfoIter;

use crate::{Error, Result};

/// While it lives, the kernel measures the run time of every BPF program on the
/// machine, which itself costs two clock readings a run. Ends with the process at
/// the latest.
#[derive(Debug)]
pub struct RunTimes {
    _switch: OwnedFd,
}

impl RunTimes {
    /// Begins to measure.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`.
    pub fn measure() -> Result<Self> {
        // SAFETY: takes a number, gives a new file descriptor or a negative errno.
        let fd = unsafe { bpf_enable_stats(BPF_STATS_RUN_TIME) };
        let fd = checked("measuring BPF run time", fd)?;
        // SAFETY: the kernel has just given it to us, and nobody else holds it.
        Ok(Self { _switch: unsafe { OwnedFd::from_raw_fd(fd) } })
    }
}

impl RunTimes {
    /// Nanoseconds of each measured run that the measuring itself adds: what a
    /// program that does nothing is said to take.
    ///
    /// # Errors
    /// When the kernel refuses that program.
    pub fn overhead(&self) -> Result<f64> {
        let program = load_nothing()?;
        let packet = [0u8; 64];
        let mut options = bpf_test_run_opts {
            sz: size_of::<bpf_test_run_opts>() as _,
            data_in: packet.as_ptr().cast(),
            data_size_in: packet.len() as u32,
            repeat: 200_000,
            ..Default::default()
        };
        // SAFETY: the descriptor is open, and `packet` outlives the call.
        let failed = unsafe { bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
        checked("running an empty BPF program", failed)?;
        let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
        let info = fs::read_to_string(&path).map_err(Error::io(format!("reading {path}")))?;
        let (nanos, runs) = (field(&info, "run_time_ns"), field(&info, "run_cnt"));
        match (nanos, runs) {
            (Some(nanos), Some(runs)) if runs > 0 => Ok(nanos as f64 / runs as f64),
            _ => Err(Error::Invalid(format!("the kernel tells no run time in {path}"))),
        }
    }
}

/// A program of two instructions: return 0.
fn load_nothing() -> Result<OwnedFd> {
    const RETURN_VALUE_IS: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    let code = [RETURN_VALUE_IS, EXIT].map(|code| bpf_insn { code, ..Default::default() });
    // SAFETY: both strings end in NUL, `code` holds the two instructions told of,
    // and no options are given; the result is a new descriptor or a negative errno.
    let fd = unsafe {
        bpf_prog_load(
            BPF_PROG_TYPE_SOCKET_FILTER,
            c"taproot_nothing".as_ptr(),
            c"GPL".as_ptr(),
            code.as_ptr(),
            code.len() as _,
            null_mut(),
        )
    };
    let fd = checked("loading an empty BPF program", fd)?;
    // SAFETY: the kernel has just given it to us, and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A libbpf result: negative is an errno.
fn checked(what: &str, result: i32) -> Result<i32> {
    if result < 0 {
        return Err(Error::io(what)(std::io::Error::from_raw_os_error(-result)));
    }
    Ok(result)
}

/// Run time of a program since it was loaded, as far as [`RunTimes`] were measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunTime {
    /// How often it ran.
    pub runs: u64,
    /// Nanoseconds of it all.
    pub nanos: u64,
}

/// Run times of the BPF programs that a process holds open, by name; programs of
/// one name are added up.
///
/// # Errors
/// When the process is gone or belongs to somebody else.
pub fn run_times(pid: u32) -> Result<BTreeMap<String, RunTime>> {
    let ids: BTreeSet<u64> =
        file_infos(pid)?.iter().filter_map(|info| field(info, "prog_id")).collect();
    let mut times: BTreeMap<String, RunTime> = BTreeMap::new();
    for program in ProgInfoIter::default().filter(|p| ids.contains(&u64::from(p.id))) {
        let time = times.entry(program.name.to_string_lossy().into_owned()).or_default();
        time.runs += program.run_cnt;
        time.nanos += program.run_time_ns;
    }
    Ok(times)
}

/// Bytes of kernel memory that the BPF maps of a process take (`memlock`).
///
/// # Errors
/// When the process is gone or belongs to somebody else.
pub fn map_bytes(pid: u32) -> Result<u64> {
    let infos = file_infos(pid)?;
    let maps: BTreeMap<u64, u64> = infos
        .iter()
        .filter_map(|info| Some((field(info, "map_id")?, field(info, "memlock")?)))
        .collect();
    Ok(maps.values().sum())
}

/// What `/proc/PID/fdinfo` says of each open file.
fn file_infos(pid: u32) -> Result<Vec<String>> {
    let dir = format!("/proc/{pid}/fdinfo");
    let files = fs::read_dir(&dir).map_err(Error::io(format!("reading {dir}")))?;
    // A file may be closed while we look.
    Ok(files.flatten().filter_map(|f| fs::read_to_string(f.path()).ok()).collect())
}

pub(crate) fn field(info: &str, name: &str) -> Option<u64> {
    let mut lines = info.lines();
    let value = lines.find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use taproot_testkit::need_root;

    use super::*;

    #[test]
    fn fields_are_told_by_their_whole_name() {
        let info = "pos:\t0\nmemlock:\t4096\nmap_id:\t17\nmap_id_x:\t3\n";
        assert_eq!(field(info, "map_id"), Some(17));
        assert_eq!(field(info, "memlock"), Some(4096));
        assert_eq!(field(info, "map"), None);
    }

    #[test]
    fn measuring_costs_something_but_not_much() {
        need_root!();
        let overhead = RunTimes::measure().unwrap().overhead().unwrap();
        assert!((1.0..10_000.0).contains(&overhead), "{overhead} ns");
    }

    #[test]
    fn a_process_without_maps_has_no_map_bytes() {
        assert_eq!(map_bytes(std::process::id()).unwrap(), 0);
        assert!(map_bytes(u32::MAX).is_err());
    }
}
