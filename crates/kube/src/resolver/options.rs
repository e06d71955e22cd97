use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a service account's token and certificate authority are mounted.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Sockets of the container runtimes, most common first, below the run folder.
const CRI_SOCKETS: [&str; 4] = [
    "containerd/containerd.sock",
    "crio/crio.sock",
    "cri-dockerd.sock",
    "k3s/containerd/containerd.sock",
];

/// What a [`crate::Resolver`] looks at. Every source is optional.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of this node.
    pub node: String,
    /// Mount point of a `/proc` of the node's pid namespace.
    pub proc_root: PathBuf,
    /// Folder below which the node's control group hierarchies are mounted;
    /// `None` to take what `/proc/self/mountinfo` shows.
    pub cgroup_root: Option<PathBuf>,
    /// The node's `/run`: state of container runtimes, named namespaces.
    pub run_root: PathBuf,
    /// A process in the node's own network namespace.
    pub node_pid: u32,
    /// Network namespaces in which service addresses are translated, beside the
    /// node's own: paths as `/run/netns/<name>`.
    pub nat_namespaces: Vec<PathBuf>,
    /// The socket of the container runtime.
    pub cri_socket: Option<PathBuf>,
    /// The kubelet of this node.
    pub kubelet: Option<HttpTarget>,
    /// The API server.
    pub api_server: Option<HttpTarget>,
    /// A file with Kubernetes objects, as `kubectl get pods,services -A -o json`
    /// writes it; read again whenever it changes.
    pub pods_file: Option<PathBuf>,
    /// Only containers below this control group have their networks looked at:
    /// two networks of one machine may use the same addresses for different pods.
    pub networks_below: Option<PathBuf>,
    /// How often sources are asked again when nothing happens.
    pub refresh: Duration,
    /// How long who ended is remembered.
    pub memory: Duration,
}

/// An HTTPS server and how to talk to it.
#[derive(Clone, Debug)]
pub struct HttpTarget {
    /// `https://host:port`.
    pub url: String,
    /// File with the bearer token; read again for every request, as it is rotated.
    pub token_file: Option<PathBuf>,
    /// File with the certificates of the authorities to trust (PEM).
    pub ca_file: Option<PathBuf>,
    /// Do not check the certificate: many kubelets sign their own.
    pub insecure: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node: host_name(),
            proc_root: "/proc".into(),
            cgroup_root: None,
            run_root: "/run".into(),
            node_pid: 1,
            nat_namespaces: Vec::new(),
            cri_socket: None,
            kubelet: None,
            api_server: None,
            pods_file: None,
            networks_below: None,
            refresh: Duration::from_secs(10),
            memory: Duration::from_mins(15),
        }
    }
}

impl Options {
    /// What this machine has: the first runtime socket that exists; kubelet and
    /// API server when running in a pod. The variables `NODE_NAME` and `HOST_IP`
    /// (from the downward API) name node and kubelet.
    pub fn detect() -> Self {
        let defaults = Self::default();
        let cri_socket = find_socket(&defaults.run_root);
        let account = Path::new(SERVICE_ACCOUNT);
        let target = |url: String, insecure| HttpTarget {
            url,
            token_file: Some(account.join("token")),
            ca_file: Some(account.join("ca.crt")),
            insecure,
        };
        let in_pod = account.join("token").exists();
        let kubelet = env::var("HOST_IP").ok().filter(|_| in_pod);
        let api = env::var("KUBERNETES_SERVICE_HOST").ok().filter(|_| in_pod);
        let port = env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".into());
        Self {
            node: env::var("NODE_NAME").unwrap_or(defaults.node.clone()),
            cri_socket,
            kubelet: kubelet.map(|ip| target(format!("https://{}:10250", bracketed(&ip)), false)),
            api_server: api.map(|ip| target(format!("https://{}:{port}", bracketed(&ip)), false)),
            ..defaults
        }
    }
}

/// The first runtime socket that exists below a node's `/run`.
fn find_socket(run_root: &Path) -> Option<PathBuf> {
    CRI_SOCKETS.iter().map(|socket| run_root.join(socket)).find(|path| path.exists())
}

/// A host as it stands in a URL: IPv6 addresses in brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".into() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_socket_and_brackets_v6() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(find_socket(run.path()), None);
        fs::create_dir_all(run.path().join("crio")).unwrap();
        fs::write(run.path().join("crio/crio.sock"), "").unwrap();
        assert_eq!(find_socket(run.path()), Some(run.path().join("crio/crio.sock")));
        assert_eq!(bracketed("fd00::1"), "[fd00::1]");
        assert_eq!(bracketed("10.0.0.1"), "10.0.0.1");
        assert!(!Options::default().node.is_empty());
    }
}
