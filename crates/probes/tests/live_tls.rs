//! Plaintext of OpenSSL's own client and server, and the probes on them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "groups/mod.rs"]
mod groups;
#[path = "tls/rust.rs"]
mod rust;

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use groups::Group;
use taproot_probes::payload::{Options, PayloadCollector, Record, Verdict};
use taproot_probes::tls::TlsCollector;
use taproot_testkit::{need, need_commands, need_root, skip};

/// How long something is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(20));
    }
}

/// A program that is ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn id(&self) -> u32 {
        self.0.id()
    }

    fn write(&mut self, text: &str) {
        self.0.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }
}

/// Bytes of code that the process runs otherwise than the file has them.
fn patched(process: u32, file: &str) -> usize {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let code = maps.lines().filter(|line| line.contains(file) && line.contains(" r-xp "));
    code.map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = words[0].split_once('-').unwrap();
        let mut runs = vec![0; (hex(end) - hex(start)) as usize];
        memory.read_exact_at(&mut runs, hex(start)).unwrap();
        let mut has = vec![0; runs.len()];
        let read = File::open(words[5]).unwrap().read_at(&mut has, hex(words[2])).unwrap();
        runs[..read].iter().zip(&has).filter(|(a, b)| a != b).count()
    })
    .sum()
}

/// What was told: connections that were opened, and plaintext by connection.
#[derive(Default)]
struct Told {
    opened: Vec<u64>,
    plain: Vec<(u64, bool, u32, Vec<u8>)>,
}

/// A server that sends lines back reversed, out of scope, and a client of it in a group.
struct Bed {
    group: Group,
    server: Running,
    client: Running,
    address: String,
    file: &'static str,
    payload: PayloadCollector,
    tls: TlsCollector,
    told: Rc<RefCell<Told>>,
    _dir: tempfile::TempDir,
}

fn serve(dir: &Path) -> (Running, u16) {
    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    let make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=shop.test";
    let mut openssl = Command::new("openssl");
    openssl.args(make.split(' ')).arg("-keyout").arg(&key).arg("-out").arg(&cert);
    assert!(openssl.stderr(Stdio::null()).status().unwrap().success());
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut openssl = Command::new("openssl");
    openssl.args(["s_server", "-rev", "-accept", &format!("127.0.0.1:{port}")]);
    openssl.arg("-key").arg(&key).arg("-cert").arg(&cert);
    openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Running(openssl.spawn().unwrap());
    wait("the server listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    (server, port)
}

/// Starts a client in a group.
fn connect(group: &Path, client: &[&str]) -> Running {
    let join = "echo $$ > \"$1/cgroup.procs\" && shift && exec \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", join, "sh"]).arg(group).args(client);
    // What this very program is told where it is the client.
    shell.env(rust::PORT, client.last().unwrap_or(&""));
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(shell.spawn().unwrap())
}

impl Bed {
    fn new(name: &str) -> Result<Self, String> {
        Self::with(name, "/libssl", |_, port| {
            let server = format!("127.0.0.1:{port}");
            ["openssl", "s_client", "-quiet", "-connect", &server].map(str::to_owned).to_vec()
        })
    }

    /// With a client that is made in a folder, for a port; `file` is where its TLS is.
    fn with(
        name: &str,
        file: &'static str,
        client: impl FnOnce(&Path, u16) -> Vec<String>,
    ) -> Result<Self, String> {
        let group = Group::new(name)?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let told = Rc::new(RefCell::new(Told::default()));
        let into = Rc::clone(&told);
        let payload = PayloadCollector::start(&Options::default(), move |record| {
            let mut told = into.borrow_mut();
            match record {
                Record::Open(open) => told.opened.push(open.id),
                Record::Plain(plain) => {
                    let piece = &plain.piece;
                    let bytes = piece.bytes.to_vec();
                    told.plain.push((piece.id, piece.outbound, piece.offset, bytes));
                }
                _ => {}
            }
        })
        .map_err(|error| error.to_string())?;
        let tls = TlsCollector::start(&payload.records().unwrap()).unwrap();
        let (server, port) = serve(dir.path());
        let client = client(dir.path(), port);
        let client: Vec<&str> = client.iter().map(String::as_str).collect();
        let client = connect(group.paths.unified.as_ref().unwrap(), &client);
        let address = format!("127.0.0.1:{port}");
        let mut bed = Self { group, server, client, address, file, payload, tls, told, _dir: dir };
        let group = bed.path();
        bed.payload.watch(&group).unwrap();
        bed.tls.watch(&group);
        bed.attached();
        Ok(bed)
    }

    fn path(&self) -> PathBuf {
        self.group.paths.unified.clone().unwrap()
    }

    /// Looks until the client's library is attached to.
    fn attached(&mut self) {
        let (tls, client, file) = (&mut self.tls, self.client.id(), self.file);
        wait("the client's library is attached to", || {
            tls.scan();
            !tls.libraries().is_empty() && patched(client, file) > 0
        });
    }

    /// The plaintext of the only connection, both ways, once there is so much of it.
    fn plain(&self, sent: usize, received: usize) -> [Vec<u8>; 2] {
        let mut out = [Vec::new(), Vec::new()];
        wait("plaintext is told", || {
            while self.payload.consume(1000).unwrap() > 0 {}
            let told = self.told.borrow();
            out = [Vec::new(), Vec::new()];
            for (id, outbound, offset, bytes) in &told.plain {
                assert!(told.opened.contains(id), "it is a connection that was told");
                let stream = &mut out[usize::from(!outbound)];
                assert_eq!(*offset as usize, stream.len(), "pieces follow each other");
                stream.extend(bytes);
            }
            out[0].len() >= sent && out[1].len() >= received
        });
        out
    }
}

macro_rules! bed {
    ($name:expr) => {
        bed!(in Bed::new($name))
    };
    (in $bed:expr) => {
        match $bed {
            Ok(bed) => bed,
            Err(why) => skip!("{why}"),
        }
    };
}

#[test]
fn a_client_is_told_under_its_connection_and_the_server_is_left_alone() {
    need_root!();
    need_commands!("openssl", "sh");
    let mut bed = bed!("tls-told");
    assert_eq!(patched(bed.server.id(), bed.file), 0, "it is not in scope");
    bed.client.write("one\n");
    assert_eq!(bed.plain(4, 4), [b"one\n".to_vec(), b"eno\n".to_vec()]);
    bed.client.write("another\n");
    assert_eq!(bed.plain(12, 12), [b"one\nanother\n".to_vec(), b"eno\nrehtona\n".to_vec()]);
    let [library] = &bed.tls.libraries()[..] else { panic!("one library") };
    assert!(library.path.contains("libssl") && library.processes == 1, "{library:?}");
    assert_eq!(bed.tls.losses().unwrap(), []);
    // What an older kernel lacks has a stand-in, and nothing else may be missing.
    let spare = |program: &str| {
        program.ends_with("_many") || ["tls_sent", "tls_received"].contains(&program)
    };
    let missing: Vec<_> = bed.tls.off().iter().filter(|off| !spare(&off.program)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_leaves_the_scope_is_let_go_and_goes_on() {
    need_root!();
    need_commands!("openssl", "sh");
    let mut bed = bed!("tls-left");
    bed.client.write("one\n");
    bed.plain(4, 4);
    let group = bed.path();
    bed.tls.unwatch(&group);
    bed.tls.scan();
    assert!(bed.tls.libraries().is_empty());
    wait("no probe is left", || patched(bed.client.id(), bed.file) == 0);
    bed.client.write("unseen\n");
    sleep(Duration::from_millis(300));
    assert_eq!(bed.plain(4, 4)[0], b"one\n", "nobody looked");
    // And back again, in the middle of the connection: another stream from here on.
    bed.tls.watch(&group);
    bed.attached();
    bed.told.borrow_mut().plain.clear();
    bed.client.write("again\n");
    wait("it is told again", || {
        while bed.payload.consume(1000).unwrap() > 0 {}
        bed.told.borrow().plain.iter().any(|(.., bytes)| bytes == b"again\n")
    });
    drop(std::mem::replace(&mut bed.client, Running(Command::new("true").spawn().unwrap())));
    wait("the last user takes the probes along", || {
        bed.tls.scan();
        bed.tls.libraries().is_empty()
    });
}

#[test]
fn plaintext_that_nobody_wants_is_not_told() {
    need_root!();
    need_commands!("openssl", "sh");
    let mut bed = bed!("tls-verdict");
    bed.client.write("one\n");
    bed.plain(4, 4);
    let id = bed.told.borrow().plain[0].0;
    let verdicts = bed.tls.verdicts().unwrap();
    verdicts.decide(id, Verdict::Nothing).unwrap();
    bed.client.write("two\n");
    sleep(Duration::from_millis(300));
    assert_eq!(bed.plain(4, 4)[0], b"one\n");
    verdicts.forget(id);
    bed.client.write("three\n");
    wait("it is wanted again", || {
        while bed.payload.consume(1000).unwrap() > 0 {}
        // After what was not told there is a hole.
        bed.told.borrow().plain.iter().any(|(_, sent, at, _)| *sent && *at == 8)
    });
}

/// Debian's OpenSSL, to be built into programs.
const STATIC: &str = "/usr/lib/x86_64-linux-gnu/libssl.a";

/// Builds the client with OpenSSL in it, without symbols.
fn build(dir: &Path, flags: &[&str]) -> String {
    let program = dir.join("client");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/client.c");
    let mut cc = Command::new("cc");
    cc.args(["-s", "-O2"]).args(flags).arg("-o").arg(&program).arg(source);
    let out = cc.args(["-l:libssl.a", "-l:libcrypto.a"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    program.to_str().unwrap().to_owned()
}

fn built_in(mut bed: Bed) {
    bed.client.write("one\n");
    assert_eq!(bed.plain(4, 4), [b"one\n".to_vec(), b"eno\n".to_vec()]);
    bed.client.write("another\n");
    assert_eq!(bed.plain(12, 12), [b"one\nanother\n".to_vec(), b"eno\nrehtona\n".to_vec()]);
    assert_eq!(bed.tls.losses().unwrap(), []);
    // The server's library stands in the survey, though nobody observes it.
    let all = taproot_probes::tls::survey();
    let found = |part: &str| all.iter().any(|l| l.path.contains(part) && l.why_not.is_none());
    assert!(found("/client") && found("/libssl"), "{all:?}");
}

#[test]
fn openssl_built_in_without_symbols() {
    need_root!();
    need_commands!("openssl", "sh", "cc");
    need!(Path::new(STATIC).exists(), "not installed: libssl-dev");
    let client = |dir: &Path, port: u16| vec![build(dir, &[]), port.to_string(), "plain".into()];
    built_in(bed!(in Bed::with("tls-built-in", "/client", client)));
}

#[test]
fn openssl_built_in_at_fixed_addresses() {
    need_root!();
    need_commands!("openssl", "sh", "cc");
    need!(Path::new(STATIC).exists(), "not installed: libssl-dev");
    let flags = &["-static", "-no-pie"];
    let client = |dir: &Path, port: u16| vec![build(dir, flags), port.to_string(), "ex".into()];
    built_in(bed!(in Bed::with("tls-fixed", "/client", client)));
}

/// This very program, as a client of rustls with its symbols.
fn rustls_client(port: u16) -> Vec<String> {
    let own = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let only = ["--ignored", "--exact", "rust::rustls_client", "--nocapture", "--"];
    let args = only.into_iter().map(str::to_owned).chain([port.to_string()]);
    [own].into_iter().chain(args).collect()
}

#[test]
fn rustls_is_told_also_after_its_connection_has_moved() {
    need_root!();
    need_commands!("openssl", "sh");
    let own = |library: &taproot_probes::tls::Library| library.path.contains("/live_tls");
    let found = taproot_probes::tls::survey().into_iter().find(own);
    let why = found.map_or(Some("no TLS".to_owned()), |library| library.why_not);
    need!(why.is_none(), "what this program's compiler left of rustls: {why:?}");
    let mut bed = bed!(in Bed::with("tls-rust", "/live_tls", |_, port| rustls_client(port)));
    bed.client.write("one\n");
    assert_eq!(bed.plain(4, 4), [b"one\n".to_vec(), b"eno\n".to_vec()]);
    bed.client.write("another\n");
    assert_eq!(bed.plain(12, 12), [b"one\nanother\n".to_vec(), b"eno\nrehtona\n".to_vec()]);
    assert_eq!(bed.tls.losses().unwrap(), []);
}

#[test]
fn a_file_is_let_go_when_its_last_user_leaves() {
    need_root!();
    need_commands!("openssl", "sh");
    let mut bed = bed!("tls-users");
    let second = connect(&bed.path(), &["openssl", "s_client", "-quiet", "-connect", &bed.address]);
    let users = |bed: &mut Bed| {
        bed.tls.scan();
        bed.tls.libraries().iter().map(|library| library.processes).sum::<usize>()
    };
    wait("both use it", || {
        users(&mut bed) == 2 && patched(second.id(), bed.file) == patched(bed.client.id(), bed.file)
    });
    drop(second);
    wait("one has left", || users(&mut bed) == 1);
    assert!(patched(bed.client.id(), bed.file) > 0, "it is still observed");
    bed.client.write("one\n");
    assert_eq!(bed.plain(4, 4), [b"one\n".to_vec(), b"eno\n".to_vec()]);
    drop(std::mem::replace(&mut bed.client, Running(Command::new("true").spawn().unwrap())));
    wait("the last one has left", || users(&mut bed) == 0);
}

/// The command of a client that takes the server's port as its last argument, and what the
/// path of the file with its TLS contains.
const CLIENT: [&str; 2] = ["TAPROOT_TLS_CLIENT", "TAPROOT_TLS_FILE"];

#[test]
fn a_client_with_a_library_of_ones_own() {
    need_root!();
    need_commands!("openssl", "sh");
    let [Ok(client), Ok(file)] = CLIENT.map(std::env::var) else {
        skip!("no client is named by {CLIENT:?}");
    };
    let command = |port: u16| {
        let words = client.split(' ').map(str::to_owned);
        words.chain([port.to_string()]).collect()
    };
    let mut bed = bed!(in Bed::with("tls-own", file.leak(), |_, port| command(port)));
    let has = |bytes: &[u8], word: &str| String::from_utf8_lossy(bytes).contains(word);
    let mut length = [0, 0];
    for (word, answer) in [("one", "eno"), ("another", "rehtona")] {
        bed.client.write(&format!("{word}\n"));
        wait("it is told", || {
            let [sent, received] = bed.plain(length[0] + 1, length[1] + 1);
            length = [sent.len(), received.len()];
            has(&sent, word) && has(&received, answer)
        });
    }
    assert_eq!(bed.tls.losses().unwrap(), []);
}
