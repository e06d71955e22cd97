use std::path::PathBuf;
use std::time::Duration;

use crate::Scope;

/// How an agent runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is observed.
    pub scope: Scope,
    /// Time between two batches of signals.
    pub interval: Duration,
    /// Where names come from.
    pub names: taproot_kube::Options,
    /// Where the kubelet keeps container logs; `None` to leave logs alone.
    pub log_root: Option<PathBuf>,
    /// The node's network namespace, where it is not the agent's own.
    pub node_netns: Option<PathBuf>,
    /// How HTTP is observed.
    pub http: taproot_probes::http::Options,
    /// How every other protocol is observed.
    pub payload: taproot_probes::payload::Options,
    /// Whether TLS is looked into, by probes on the libraries of processes in scope.
    pub tls: bool,
    /// Whether failing system calls are counted (every system call gets a little slower).
    pub failures: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scope: Scope::All,
            interval: Duration::from_secs(1),
            names: taproot_kube::Options::detect(),
            log_root: Some("/var/log/pods".into()),
            node_netns: None,
            http: taproot_probes::http::Options::default(),
            payload: taproot_probes::payload::Options::default(),
            tls: true,
            failures: true,
        }
    }
}
