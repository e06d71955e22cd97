//! What a network namespace refused or dropped, read through one of its processes.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::counters::gained;
use crate::{Error, Result};

/// The connection-tracking table of a network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conntrack {
    /// Entries now.
    pub count: u64,
    /// Packets dropped because no entry could be made: the table was full.
    pub drops: u64,
    /// Entries thrown out to make room.
    pub early_drops: u64,
    /// Entries that could not be inserted (a clash of tuples).
    pub insert_failed: u64,
}

/// Counters of a network namespace since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetnsCounters {
    /// Connections that found the accept queue full (`ListenOverflows`).
    pub listen_overflows: u64,
    /// Connections dropped at a listener for any reason (`ListenDrops`).
    pub listen_drops: u64,
    /// Packets refused by reverse-path filtering (`IPReversePathFilter`).
    pub rp_filter: u64,
    /// Packets without a route, sent and received (`OutNoRoutes`, `InNoRoutes`).
    pub no_routes: u64,
    /// Retransmission timers that expired (`TCPTimeouts`).
    pub timeouts: u64,
    /// Segments sent again (`RetransSegs`).
    pub retransmits: u64,
    /// Connection attempts that failed (`AttemptFails`).
    pub failed_attempts: u64,
    /// Segments dropped because the socket's backlog was full (`TCPBacklogDrop`).
    pub backlog_drops: u64,
    /// Datagrams dropped because the receive buffer was full (`RcvbufErrors`).
    pub udp_buffer_drops: u64,
    /// Windows of zero announced: a receive buffer was full (`TCPToZeroWindowAdv`).
    pub zero_windows: u64,
    /// First packets that found the queue of half-open connections full
    /// (`TCPReqQFullDoCookies`, `TCPReqQFullDrop`).
    pub syn_queue_full: u64,
    /// Packets with a wrong checksum (`InCsumErrors` of IP, TCP, UDP).
    pub checksum_errors: u64,
    /// Connection tracking; `None` where the kernel has none or hides it.
    pub conntrack: Option<Conntrack>,
}

impl NetnsCounters {
    /// Reads the namespace that a process lives in.
    ///
    /// # Errors
    /// When the process is gone or may not be looked at.
    pub fn read(pid: u32) -> Result<Self> {
        let dir = Path::new("/proc").join(pid.to_string()).join("net");
        let netstat = text(&dir.join("netstat"))?;
        let snmp = text(&dir.join("snmp"))?;
        let conntrack = match fs::read_to_string(dir.join("stat/nf_conntrack")) {
            Ok(text) => conntrack(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(format!("reading nf_conntrack of {pid}"))(error)),
        };
        Ok(Self { conntrack, ..Self::parse(&netstat, &snmp) })
    }

    fn parse(netstat: &str, snmp: &str) -> Self {
        let mut values = HashMap::new();
        tables(netstat, &mut values);
        tables(snmp, &mut values);
        let get = |table, name| values.get(&(table, name)).copied().unwrap_or(0);
        Self {
            listen_overflows: get("TcpExt", "ListenOverflows"),
            listen_drops: get("TcpExt", "ListenDrops"),
            rp_filter: get("TcpExt", "IPReversePathFilter"),
            no_routes: get("Ip", "OutNoRoutes") + get("IpExt", "InNoRoutes"),
            timeouts: get("TcpExt", "TCPTimeouts"),
            retransmits: get("Tcp", "RetransSegs"),
            failed_attempts: get("Tcp", "AttemptFails"),
            backlog_drops: get("TcpExt", "TCPBacklogDrop"),
            udp_buffer_drops: get("Udp", "RcvbufErrors"),
            zero_windows: get("TcpExt", "TCPToZeroWindowAdv"),
            syn_queue_full: get("TcpExt", "TCPReqQFullDoCookies")
                + get("TcpExt", "TCPReqQFullDrop"),
            checksum_errors: get("Tcp", "InCsumErrors")
                + get("Udp", "InCsumErrors")
                + get("IpExt", "InCsumErrors"),
            conntrack: None,
        }
    }

    /// What was added since an earlier reading; levels stay levels.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            listen_overflows: gained(self.listen_overflows, before.listen_overflows),
            listen_drops: gained(self.listen_drops, before.listen_drops),
            rp_filter: gained(self.rp_filter, before.rp_filter),
            no_routes: gained(self.no_routes, before.no_routes),
            timeouts: gained(self.timeouts, before.timeouts),
            retransmits: gained(self.retransmits, before.retransmits),
            failed_attempts: gained(self.failed_attempts, before.failed_attempts),
            backlog_drops: gained(self.backlog_drops, before.backlog_drops),
            udp_buffer_drops: gained(self.udp_buffer_drops, before.udp_buffer_drops),
            zero_windows: gained(self.zero_windows, before.zero_windows),
            syn_queue_full: gained(self.syn_queue_full, before.syn_queue_full),
            checksum_errors: gained(self.checksum_errors, before.checksum_errors),
            conntrack: self.conntrack.map(|now| {
                let before = before.conntrack.unwrap_or_default();
                Conntrack {
                    count: now.count,
                    drops: gained(now.drops, before.drops),
                    early_drops: gained(now.early_drops, before.early_drops),
                    insert_failed: gained(now.insert_failed, before.insert_failed),
                }
            }),
        }
    }
}

impl Conntrack {
    /// Most entries a namespace may have. One figure for the whole node: a network
    /// namespace sees it but cannot change it. `None` without connection tracking.
    pub fn limit() -> Option<u64> {
        fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok()?.trim().parse().ok()
    }
}

fn text(file: &PathBuf) -> Result<String> {
    fs::read_to_string(file).map_err(Error::io(format!("reading {}", file.display())))
}

/// Adds `Table: name name ...` / `Table: value value ...` pairs of lines. Values
/// that are negative (`MaxConn`) are left out.
fn tables<'t>(text: &'t str, values: &mut HashMap<(&'t str, &'t str), u64>) {
    let mut lines = text.lines();
    while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
        let (Some((table, names)), Some((_, numbers))) =
            (names.split_once(':'), numbers.split_once(':'))
        else {
            return;
        };
        for (name, number) in names.split_whitespace().zip(numbers.split_whitespace()) {
            if let Ok(number) = number.parse() {
                values.insert((table, name), number);
            }
        }
    }
}

/// `/proc/net/stat/nf_conntrack`: a line of names, then hexadecimal values, one
/// line a CPU. Every line repeats the number of entries.
fn conntrack(text: &str) -> Option<Conntrack> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split_whitespace().collect();
    let rows: Vec<Vec<u64>> = lines
        .map(|line| line.split_whitespace().flat_map(|v| u64::from_str_radix(v, 16)).collect())
        .collect();
    let column = |name: &str| names.iter().position(|n| *n == name);
    let sum = |name: &str| {
        let column = column(name)?;
        Some(rows.iter().filter_map(|row| row.get(column)).sum())
    };
    Some(Conntrack {
        count: *rows.first()?.get(column("entries")?)?,
        drops: sum("drop").unwrap_or(0),
        early_drops: sum("early_drop").unwrap_or(0),
        insert_failed: sum("insert_failed").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETSTAT: &str = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPTimeouts TCPBacklogDrop IPReversePathFilter TCPToZeroWindowAdv TCPReqQFullDoCookies TCPReqQFullDrop\n\
                           TcpExt: 0 4 5 6 7 8 12 13 1\n\
                           IpExt: InNoRoutes InTruncatedPkts\n\
                           IpExt: 2 0\n";
    const SNMP: &str = "Ip: Forwarding DefaultTTL OutNoRoutes\nIp: 1 64 3\n\
                        Tcp: RtoAlgorithm MaxConn AttemptFails RetransSegs\nTcp: 1 -1 9 10\n\
                        Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors InCsumErrors\nUdp: 1 0 11 1 11 2\n\
                        UdpLite: InDatagrams RcvbufErrors\nUdpLite: 0 99\n";

    #[test]
    fn reads_by_name_not_by_position() {
        let counters = NetnsCounters::parse(NETSTAT, SNMP);
        assert_eq!((counters.listen_overflows, counters.listen_drops), (4, 5));
        assert_eq!((counters.rp_filter, counters.no_routes), (8, 5));
        assert_eq!((counters.timeouts, counters.retransmits), (6, 10));
        assert_eq!((counters.failed_attempts, counters.backlog_drops), (9, 7));
        assert_eq!((counters.udp_buffer_drops, counters.checksum_errors), (11, 2));
        assert_eq!((counters.zero_windows, counters.syn_queue_full), (12, 14));
    }

    #[test]
    fn what_a_kernel_does_not_have_reads_zero() {
        assert_eq!(NetnsCounters::parse("", "garbage\nwithout colons"), NetnsCounters::default());
    }

    #[test]
    fn sums_conntrack_over_cpus_but_not_its_entries() {
        let text = "entries  clashres found insert insert_failed drop early_drop icmp_error\n\
                    0000000f  00000000 0 00000000 00000001 00000002 00000000 00000000\n\
                    0000000f  00000000 0 00000000 00000010 00000001 00000003 00000000\n";
        let table = conntrack(text).expect("a table");
        assert_eq!((table.count, table.drops), (15, 3));
        assert_eq!((table.early_drops, table.insert_failed), (3, 17));
        assert_eq!(conntrack(""), None);
    }

    #[test]
    fn differences_keep_levels() {
        let with = |count, drops| NetnsCounters {
            listen_overflows: drops,
            conntrack: Some(Conntrack { count, drops, ..Conntrack::default() }),
            ..NetnsCounters::default()
        };
        let delta = with(7, 12).since(with(9, 2));
        assert_eq!(delta.listen_overflows, 10);
        let table = delta.conntrack.expect("a table");
        assert_eq!((table.count, table.drops), (7, 10));
    }

    #[test]
    fn reads_its_own_namespace() {
        NetnsCounters::read(std::process::id()).expect("own namespace");
        assert!(NetnsCounters::read(u32::MAX).is_err());
    }
}
