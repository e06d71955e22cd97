//! Where the load runs: a network namespace and a control group of the bench's own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use taproot_kube::netns::inside;

use super::load::Kind;

/// Name of the network namespace; fixed, so that a start finds what a crash left.
const NETNS: &str = "taproot-bench";
/// Control group of both ends; units in a slice, so that each end has a name.
const SLICE: &str = "taproot-bench.slice";
/// Where nginx takes TLS.
const TLS_PORT: u16 = 8443;
/// Which CPU an end runs on where there are two.
pub(super) const SERVER_CPU: usize = 0;
pub(super) const CLIENT_CPU: usize = 1;

/// nginx on the loopback device of its own network namespace.
pub(super) struct Site {
    root: PathBuf,
    pub(super) dir: tempfile::TempDir,
    pub(super) addr: SocketAddr,
    nginx: Option<Child>,
    /// One bench at a time: two would measure each other.
    _lock: File,
}

impl Site {
    /// Removes what a crash left, makes namespace and groups, and starts nginx.
    pub(super) fn up() -> Result<Self> {
        require()?;
        let lock = lock()?;
        let root = unified()?;
        let dir = tempfile::tempdir().context("making a temporary directory")?;
        let addr = SocketAddr::from(([127, 0, 0, 1], 8080));
        let mut site = Self { root, dir, addr, nginx: None, _lock: lock };
        site.clean();
        for unit in ["nginx.service", "client.service"] {
            let group = site.group(unit);
            fs::create_dir_all(&group).with_context(|| format!("making {}", group.display()))?;
        }
        run(&["ip", "netns", "add", NETNS])?;
        run(&["ip", "-n", NETNS, "link", "set", "lo", "up"])?;
        site.start_nginx()?;
        Ok(site)
    }

    /// What `--scope` is called that holds both ends.
    pub(super) fn scope() -> String {
        format!("cgroup:/{SLICE}")
    }

    pub(super) fn url(&self, kind: Kind) -> String {
        match kind {
            Kind::Tls => format!("https://127.0.0.1:{TLS_PORT}/small"),
            Kind::KeepAlive | Kind::Connection => format!("http://{}/small", self.addr),
        }
    }

    /// CPU time of both ends so far, seconds.
    pub(super) fn cpu(&self) -> Result<f64> {
        let file = self.root.join(SLICE).join("cpu.stat");
        let what = || format!("reading {}", file.display());
        let text = fs::read_to_string(&file).with_context(what)?;
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
        used.map(|micros: f64| micros / 1e6).with_context(what)
    }

    /// A command that runs as an end of the connection: in the namespace, in the
    /// group of `unit`, on one CPU.
    pub(super) fn command(&self, unit: &str, cpu: usize, words: &[&str]) -> Command {
        let procs = self.group(unit).join("cgroup.procs");
        let enter = "echo $$ > \"$0\" && exec \"$@\"";
        let mut command = Command::new("sh");
        command.arg("-c").arg(enter).arg(procs).args(["ip", "netns", "exec", NETNS]);
        if cpus() > 1 {
            command.args(["taskset", "-c", &cpu.to_string()]);
        }
        command.args(words);
        command
    }

    /// The client's command.
    pub(super) fn client(&self, words: &[&str]) -> Command {
        self.command("client.service", CLIENT_CPU, words)
    }

    /// nginx's own count of requests, without the questions for it.
    pub(super) fn served(&self) -> Result<u64> {
        let text = self.ask("/status")?;
        let line = text.lines().skip_while(|l| !l.starts_with("server accepts")).nth(1);
        let count = line.and_then(|l| l.split_whitespace().nth(2)?.parse::<u64>().ok());
        count.with_context(|| format!("nginx's status is not understood: {text}"))
    }

    /// One request from outside the scope.
    fn ask(&self, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        let answer = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.addr, Duration::from_secs(2))?;
            stream.write_all(request.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        inside(&Path::new("/run/netns").join(NETNS), answer)
            .and_then(|answer| answer)
            .context("asking nginx")
    }

    fn start_nginx(&mut self) -> Result<()> {
        let dir = self.dir.path();
        fs::create_dir_all(dir.join("www"))?;
        fs::write(dir.join("www/small"), "small\n")?;
        let (key, cert) = (path(&dir.join("key.pem")), path(&dir.join("cert.pem")));
        let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        let rest = ["-days", "2", "-subj", "/CN=bench.test", "-keyout", &key, "-out", &cert];
        run(&make.split(' ').chain(rest).collect::<Vec<_>>())?;
        let (error_log, config) = (path(&dir.join("error.log")), path(&dir.join("nginx.conf")));
        fs::write(&config, nginx_config(dir, self.addr))?;
        let words = ["nginx", "-e", &error_log, "-c", &config];
        let mut command = self.command("nginx.service", SERVER_CPU, &words);
        self.nginx = Some(command.stderr(Stdio::null()).spawn().context("starting nginx")?);
        let end = Instant::now() + Duration::from_secs(10);
        while let Err(error) = self.ask("/status") {
            if Instant::now() > end {
                let said = fs::read_to_string(&error_log).unwrap_or_default();
                bail!("nginx does not answer: {error:#}; its log: {said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn group(&self, unit: &str) -> PathBuf {
        self.root.join(SLICE).join(unit)
    }

    /// Ends whatever runs in the groups, and removes them and the namespace.
    fn clean(&self) {
        for unit in ["client.service", "nginx.service"] {
            empty(&self.group(unit));
        }
        // Absent where nothing was left.
        let _ = fs::remove_dir(self.root.join(SLICE));
        if Path::new("/run/netns").join(NETNS).exists()
            && let Err(error) = run(&["ip", "netns", "del", NETNS])
        {
            tracing::warn!(%error, "the bench's network namespace stays");
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.clean();
        if let Some(mut nginx) = self.nginx.take() {
            let _ = nginx.wait();
        }
    }
}

fn nginx_config(dir: &Path, addr: SocketAddr) -> String {
    let d = dir.display();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {d}/tmp;"))
        .concat();
    format!(
        "daemon off; user root; worker_processes 1; pid {d}/pid; error_log {d}/error.log;
         events {{ worker_connections 1024; }}
         http {{ access_log off; sendfile on; keepalive_requests 100000000; {temp}
           server {{ listen {addr} backlog=4096; root {d}/www;
             location /status {{ stub_status; }} }}
           server {{ listen 127.0.0.1:{TLS_PORT} ssl backlog=4096; root {d}/www;
             ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem; }} }}"
    )
}

/// Kills what runs in a group and removes it.
fn empty(group: &Path) {
    for _ in 0..250 {
        let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let pids = text.lines().filter_map(|l| Pid::from_raw(l.trim().parse().ok()?));
        pids.for_each(|pid| {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        });
        match fs::remove_dir(group) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => return,
        }
    }
    tracing::warn!(group = %group.display(), "the bench's control group stays");
}

fn require() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the bench needs root (namespaces, control groups, BPF): run it with sudo");
    }
    for (tool, package) in [
        ("nginx", "nginx-light"),
        ("ab", "apache2-utils"),
        ("ip", "iproute2"),
        ("openssl", "openssl"),
        ("taskset", "util-linux"),
    ] {
        if !installed(tool) {
            bail!("`{tool}` is not installed: on Debian or Ubuntu, `apt-get install {package}`");
        }
    }
    Ok(())
}

pub(super) fn installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
}

pub(super) fn lock() -> Result<File> {
    let path = "/run/taproot-bench.lock";
    let file = File::create(path).with_context(|| format!("making {path}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!("another bench runs on this machine; wait for it to end"),
    }
}

fn unified() -> Result<PathBuf> {
    let all = taproot_lab::cgroup::detect()?;
    let found = all.into_iter().find(|h| h.version == 2);
    found.map(|h| h.mount).context("no cgroup v2 hierarchy is mounted: HTTP cannot be observed")
}

/// CPUs that this process may use.
pub(super) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

pub(super) fn run(words: &[&str]) -> Result<()> {
    let [program, args @ ..] = words else { return Ok(()) };
    let out =
        Command::new(program).args(args).output().with_context(|| format!("running {program}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!("`{}` failed: {}", words.join(" "), said.trim());
    }
    Ok(())
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
