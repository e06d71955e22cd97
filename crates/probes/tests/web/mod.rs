//! A control group with servers in it, and a collector that watches it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "each test binary uses its own share")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use taproot_probes::http::{Batch, Delta, HttpCollector, Options, Role, Sample};

/// A group that holds this very process, and a collector on it.
pub(crate) struct Web {
    group: PathBuf,
    http: HttpCollector,
    routes: BTreeMap<u64, String>,
    /// Samples that arrived so far.
    pub(crate) samples: u64,
    dir: tempfile::TempDir,
}

/// Requests counted at the two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) server: u64,
    pub(crate) client: u64,
}

fn unified() -> Option<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(PathBuf::from)
        .find(|mount| mount.join("cgroup.controllers").exists())
}

impl Web {
    /// Makes a group, moves this process into it, and watches it. Says why not.
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        let mount = unified().ok_or("no unified cgroup hierarchy")?;
        let group = mount.join(format!("taproot-http-{}", std::process::id()));
        fs::create_dir_all(&group).map_err(|e| format!("cannot make {}: {e}", group.display()))?;
        fs::write(group.join("cgroup.procs"), "0").map_err(|e| format!("cannot enter it: {e}"))?;
        let http = watching(options, &group);
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        Ok(Self { group, http, routes: BTreeMap::new(), samples: 0, dir })
    }

    /// Ends the collector and starts another one.
    pub(crate) fn restart(&mut self, options: &Options) {
        self.http = watching(options, &self.group);
    }

    /// Moves this process out of the group.
    pub(crate) fn leave(&self) {
        let root = self.group.parent().unwrap();
        fs::write(root.join("cgroup.procs"), "0").unwrap();
    }

    /// What was counted since the last call.
    pub(crate) fn poll(&mut self) -> Vec<Delta> {
        let batch = self.batch();
        self.samples += batch.samples.len() as u64;
        for sample in batch.samples {
            self.routes.insert(sample.key.route, sample.path);
        }
        batch.counts
    }

    /// Everything since the last call.
    pub(crate) fn batch(&mut self) -> Batch {
        // The last packet of a connection may still be on its way through softirq.
        sleep(Duration::from_millis(200));
        let mut all = self.http.poll().unwrap();
        // A sample whose answer was not seen to reach its device is kept for one poll.
        let later = self.http.poll().unwrap();
        all.counts.extend(later.counts);
        all.samples.extend(later.samples);
        all
    }

    /// Samples since the last call, as far as they have arrived.
    pub(crate) fn samples(&mut self) -> Vec<Sample> {
        self.http.poll().unwrap().samples
    }

    /// Requests of one path since the last call, all paths if empty.
    pub(crate) fn tally(&mut self, path: &str) -> Tally {
        let mut tally = Tally::default();
        for delta in self.poll() {
            let known = self.routes.get(&delta.key.route).map(String::as_str);
            if !path.is_empty() && known != Some(path) {
                continue;
            }
            match delta.key.role {
                Role::Server => tally.server += delta.count,
                Role::Client => tally.client += delta.count,
            }
        }
        tally
    }

    pub(crate) fn losses(&mut self) -> Vec<(&'static str, u64)> {
        self.http.losses().unwrap()
    }

    /// Starts nginx in the group.
    pub(crate) fn nginx(&self) -> Nginx {
        Nginx::start(self.dir.path())
    }
}

fn watching(options: &Options, group: &Path) -> HttpCollector {
    let mut http = HttpCollector::start(options).unwrap();
    http.watch(group).unwrap();
    http
}

impl Drop for Web {
    fn drop(&mut self) {
        self.leave();
        // Children that were just killed leave a moment later.
        for _ in 0..50 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// A real server with a count of its own.
pub(crate) struct Nginx {
    child: Child,
    addr: SocketAddr,
    log: PathBuf,
}

impl Nginx {
    fn start(dir: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let d = dir.display();
        fs::create_dir_all(dir.join("www")).unwrap();
        fs::write(dir.join("www/small"), "small\n").unwrap();
        fs::write(dir.join("www/64k"), "x".repeat(65536)).unwrap();
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {d}/tmp;"))
            .concat();
        let config = format!(
            "daemon off; user root; worker_processes 1; pid {d}/pid; error_log {d}/error.log;
             events {{ worker_connections 1024; }}
             http {{ access_log {d}/access.log; sendfile on; keepalive_requests 100000000; {temp}
               server {{ listen {addr} backlog=4096; root {d}/www; location /status {{ stub_status; }} }} }}"
        );
        fs::write(dir.join("nginx.conf"), config).unwrap();
        let child = Command::new("nginx")
            .args(["-e", &format!("{d}/error.log"), "-c", &format!("{d}/nginx.conf")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..200 {
            if TcpStream::connect(addr).is_ok() {
                break;
            }
            sleep(Duration::from_millis(25));
        }
        Self { child, addr, log: dir.join("access.log") }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).unwrap()
    }

    /// Its own count of requests, this question included.
    pub(crate) fn requests(&self) -> u64 {
        let mut stream = self.connect();
        stream.write_all(b"GET /status HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = text.lines().skip_while(|l| !l.starts_with("server accepts")).nth(1).unwrap();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    }

    /// Lines of the access log about a path.
    pub(crate) fn log_lines(&self, path: &str) -> u64 {
        let text = fs::read_to_string(&self.log).unwrap();
        text.lines().filter(|l| l.contains(&format!("GET {path} "))).count() as u64
    }

    /// Sends a fixed number of requests as fast as they go.
    pub(crate) fn ab(&self, path: &str, n: u64, flags: &[&str]) {
        let out = Command::new("ab")
            .args(["-q", "-n", &n.to_string()])
            .args(flags)
            .arg(format!("http://{}{path}", self.addr))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(text.contains(&format!("Complete requests:      {n}")), "{text}");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM to the master ends its worker as well.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Sends a request and reads its response.
pub(crate) fn round_trip(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).unwrap();
    read_responses(stream, 1);
}

/// Reads as many responses of "/small" as asked.
pub(crate) fn read_responses(stream: &mut TcpStream, count: usize) {
    let mut seen = Vec::new();
    let mut buffer = vec![0; 65536];
    let body = b"\r\n\r\nsmall\n";
    while seen.windows(body.len()).filter(|w| *w == body).count() < count {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "the server closed the connection");
        seen.extend_from_slice(&buffer[..n]);
    }
}

/// A server that reads so many bytes and answers with given ones, then again, then closes.
pub(crate) struct Scripted {
    addr: SocketAddr,
    thread: JoinHandle<()>,
}

impl Scripted {
    pub(crate) fn start(script: Vec<(usize, &'static [u8])>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for (bytes, answer) in script {
                let mut request = vec![0; bytes];
                if stream.read_exact(&mut request).is_err() {
                    return;
                }
                stream.write_all(answer).unwrap();
            }
        });
        Self { addr, thread }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).unwrap()
    }

    pub(crate) fn join(self) {
        self.thread.join().unwrap();
    }
}
