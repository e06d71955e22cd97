//! Payload as it is told, on loopback, in a control group of our own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

use taproot_probes::payload::{Open, Options, PayloadCollector, Record, Role, Verdict};
use taproot_testkit::{need_root, skip};

/// One direction of a connection: offset, length and content of its pieces.
type Pieces = Vec<(u32, u32, Vec<u8>)>;

/// What was told so far.
#[derive(Default)]
struct Told {
    opened: Vec<Open>,
    /// By connection and whether its own end sent it.
    pieces: BTreeMap<(u64, bool), Pieces>,
    finished: Vec<(u64, bool)>,
    closed: Vec<u64>,
    /// Bytes of what is encrypted, by connection.
    passed: BTreeMap<u64, u64>,
    /// Direction, remote port and length of datagrams.
    datagrams: Vec<(bool, u16, u32)>,
}

impl Told {
    fn take(&mut self, record: Record<'_>) {
        match record {
            Record::Open(open) => self.opened.push(open),
            Record::Piece(piece) => {
                let id = (piece.id, piece.outbound);
                let one = (piece.offset, piece.length, piece.bytes.to_vec());
                self.pieces.entry(id).or_default().push(one);
                if piece.fin {
                    self.finished.push(id);
                }
            }
            Record::Close { id, .. } => self.closed.push(id),
            Record::Plain(plain) => panic!("nothing looks inside of TLS here: {plain:?}"),
            Record::Passed { id, bytes } => *self.passed.entry(id).or_default() += bytes,
            Record::Datagram(d) => {
                self.datagrams.push((d.outbound, d.ends.remote_port, d.length));
            }
        }
    }

    fn opened(&self, role: Role) -> Open {
        *self.opened.iter().rfind(|open| open.role == role).expect("it was told")
    }

    /// The bytes of a direction, which must follow each other from `offset` on.
    fn bytes(&self, id: u64, outbound: bool, offset: u32) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, length, bytes) in self.pieces.get(&(id, outbound)).into_iter().flatten() {
            if *length == 0 {
                continue; // the end alone
            }
            assert_eq!(at.wrapping_sub(offset), out.len() as u32, "pieces follow each other");
            assert_eq!(*length as usize, bytes.len(), "copied whole");
            out.extend_from_slice(bytes);
        }
        out
    }
}

/// A group that holds this very process, and a collector on it.
struct Bed {
    group: PathBuf,
    collector: PayloadCollector,
    told: Rc<RefCell<Told>>,
}

impl Bed {
    fn new(options: &Options) -> Result<Self, String> {
        let mount = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .map(PathBuf::from)
            .find(|mount| mount.join("cgroup.controllers").exists())
            .ok_or("no unified cgroup hierarchy")?;
        let group = mount.join(format!("taproot-payload-{}", std::process::id()));
        fs::create_dir_all(&group).map_err(|e| format!("cannot make {}: {e}", group.display()))?;
        fs::write(group.join("cgroup.procs"), "0").map_err(|e| format!("cannot enter it: {e}"))?;
        let (collector, told) = watching(options, &group);
        Ok(Self { group, collector, told })
    }

    /// Ends the collector and starts another one.
    fn restart(&mut self) {
        (self.collector, self.told) = watching(&Options::default(), &self.group);
    }

    fn leave(&self) {
        fs::write(self.group.parent().unwrap().join("cgroup.procs"), "0").unwrap();
    }

    /// Everything that was told up to now.
    fn look(&self) -> std::cell::Ref<'_, Told> {
        // The last packet of a connection may still be on its way through softirq.
        sleep(Duration::from_millis(200));
        while self.collector.consume(1000).unwrap() > 0 {}
        self.told.borrow()
    }
}

fn watching(options: &Options, group: &std::path::Path) -> (PayloadCollector, Rc<RefCell<Told>>) {
    let told = Rc::new(RefCell::new(Told::default()));
    let into = Rc::clone(&told);
    let mut collector =
        PayloadCollector::start(options, move |record| into.borrow_mut().take(record)).unwrap();
    collector.watch(group).unwrap();
    (collector, told)
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.leave();
        let _ = fs::remove_dir(&self.group);
    }
}

macro_rules! bed {
    ($options:expr) => {
        match Bed::new($options) {
            Ok(bed) => bed,
            Err(why) => skip!("{why}"),
        }
    };
}

/// Both ends of a connection on loopback.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Writes at one end and reads at the other.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    let mut got = vec![0; bytes.len()];
    to.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes);
}

/// Ends one direction, and waits until the other end knows. Of a socket that is closed
/// before, the peer's end is not told: the kernel keeps no more than its ports.
fn end(from: &TcpStream, to: &mut TcpStream) {
    from.shutdown(Shutdown::Write).unwrap();
    assert_eq!(to.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_connection_is_told_whole_at_both_ends() {
    need_root!();
    let bed = bed!(&Options::default());
    let (mut client, mut server) = pair();
    let large = vec![b'x'; 30_000];
    pass(&mut client, &mut server, b"question");
    pass(&mut server, &mut client, &large);
    pass(&mut client, &mut server, b"another");
    let port = client.local_addr().unwrap().port();
    end(&client, &mut server);
    end(&server, &mut client);
    drop((client, server));
    let told = bed.look();
    let (near, far) = (told.opened(Role::Client), told.opened(Role::Server));
    assert!(near.pristine && far.pristine);
    assert_eq!((near.ends.local_port, far.ends.remote_port), (port, port));
    assert_eq!(near.ends.netns, far.ends.netns);
    for (id, asks) in [(near.id, true), (far.id, false)] {
        assert_eq!(told.bytes(id, asks, 0), b"questionanother");
        assert_eq!(told.bytes(id, !asks, 0), large);
        assert!(told.finished.contains(&(id, asks)) && told.finished.contains(&(id, !asks)));
        assert!(told.closed.contains(&id));
    }
}

#[test]
fn met_in_the_middle_the_socket_still_says_who_asked() {
    need_root!();
    let mut bed = bed!(&Options::default());
    let (mut client, mut server) = pair();
    pass(&mut client, &mut server, b"before");
    pass(&mut server, &mut client, b"an answer before");
    bed.restart();
    pass(&mut client, &mut server, b"after");
    pass(&mut server, &mut client, b"an answer after");
    let told = bed.look();
    assert_eq!(told.opened.len(), 2);
    for (role, asks) in [(Role::Client, true), (Role::Server, false)] {
        let open = told.opened(role);
        assert!(!open.pristine);
        let first = |outbound| told.pieces[&(open.id, outbound)][0].0;
        assert_eq!(told.bytes(open.id, asks, first(asks)), b"after");
        assert_eq!(told.bytes(open.id, !asks, first(!asks)), b"an answer after");
    }
}

#[test]
fn a_verdict_is_obeyed() {
    need_root!();
    let bed = bed!(&Options::default());
    let (mut client, mut server) = pair();
    pass(&mut client, &mut server, b"one");
    let id = bed.look().opened(Role::Client).id;
    bed.collector.decide(id, Verdict::Nothing).unwrap();
    pass(&mut client, &mut server, b"two");
    assert_eq!(bed.look().bytes(id, true, 0), b"one", "nothing more was wanted");
    let other = bed.look().opened(Role::Server).id;
    bed.collector.decide(other, Verdict::Again).unwrap();
    pass(&mut client, &mut server, b"three");
    let told = bed.look();
    let again: Vec<_> = told.opened.iter().filter(|open| open.id == other).collect();
    assert_eq!(again.iter().map(|open| open.pristine).collect::<Vec<_>>(), [true, false]);
    assert_eq!(told.bytes(other, false, 0), b"onetwothree");
}

#[test]
fn of_what_is_encrypted_the_amount_is_told() {
    need_root!();
    let bed = bed!(&Options::default());
    let (mut client, mut server) = pair();
    pass(&mut client, &mut server, b"hello");
    let id = bed.look().opened(Role::Client).id;
    bed.collector.decide(id, Verdict::Sealed).unwrap();
    pass(&mut client, &mut server, &[1; 100]); // takes the verdict over
    for _ in 0..3 {
        pass(&mut client, &mut server, &[1; 1000]);
        pass(&mut server, &mut client, &[2; 500]);
    }
    drop((client, server));
    let told = bed.look();
    assert_eq!(told.passed, BTreeMap::from([(id, 4500)]));
    assert!(told.closed.contains(&id));
}

#[test]
fn what_nobody_understands_is_told_now_and_then() {
    need_root!();
    let bed = bed!(&Options::default());
    let (mut client, mut server) = pair();
    pass(&mut client, &mut server, b"?");
    let ids: Vec<u64> = bed.look().opened.iter().map(|open| open.id).collect();
    for id in &ids {
        bed.collector.decide(*id, Verdict::Glance).unwrap();
    }
    for _ in 0..500 {
        pass(&mut client, &mut server, &[7; 1000]);
    }
    let told = bed.look();
    for ((id, _), pieces) in &told.pieces {
        assert!(ids.contains(id));
        let glances = &pieces[1..];
        assert!(!glances.is_empty() && glances.len() < 50, "{} of 500", glances.len());
        assert!(glances.iter().all(|(_, length, bytes)| *length == 1000 && bytes.len() == 256));
    }
}

#[test]
fn http_1_is_not_copied_until_it_is_left() {
    need_root!();
    let bed = bed!(&Options::default());
    let (mut client, mut server) = pair();
    for _ in 0..10 {
        pass(&mut client, &mut server, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
        pass(&mut server, &mut client, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    assert!(bed.look().opened.is_empty() && bed.look().pieces.is_empty());
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    pass(&mut client, &mut server, b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    pass(&mut server, &mut client, switched);
    pass(&mut client, &mut server, b"\x81\x82\0\0\0\0hi");
    let told = bed.look();
    let open = told.opened(Role::Server);
    assert!(!open.pristine);
    assert_eq!(told.pieces[&(open.id, true)][0].2, switched);
    assert_eq!(told.pieces[&(open.id, false)][0].2, b"\x81\x82\0\0\0\0hi");
}

#[test]
fn of_datagrams_only_lookups_are_told() {
    need_root!();
    let bed = bed!(&Options::default());
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = server.local_addr().unwrap();
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04shop\0\0\x01\0\x01";
    for bytes in [&[0xff; 600][..], question, b"hello, this is no question at all"] {
        client.send_to(bytes, to).unwrap();
    }
    let length = question.len() as u32;
    let from = client.local_addr().unwrap().port();
    assert_eq!(bed.look().datagrams, [(true, to.port(), length), (false, from, length)]);
}

#[test]
fn a_full_ring_loses_what_it_says() {
    need_root!();
    let mut bed = bed!(&Options { ring_bytes: 1 << 20, undecided_bytes: 1 << 30 });
    let (mut client, mut server) = pair();
    let total = 8 << 20;
    let reader = std::thread::spawn(move || {
        let mut sink = vec![0; 1 << 16];
        let mut got = 0;
        while got < total {
            got += server.read(&mut sink).unwrap();
        }
    });
    client.write_all(&vec![9; total]).unwrap();
    reader.join().unwrap();
    let delivered: u64 =
        bed.look().pieces.values().flatten().map(|(_, length, _)| u64::from(*length)).sum();
    let lost: BTreeMap<_, _> = bed.collector.losses().unwrap().into_iter().collect();
    assert!(lost["ring_full_bytes"] > 0);
    assert_eq!(delivered + lost["ring_full_bytes"], 2 * total as u64, "{lost:?}");
}

#[test]
fn nothing_outside_the_group_is_seen() {
    need_root!();
    let bed = bed!(&Options::default());
    bed.leave();
    let (mut client, mut server) = pair();
    pass(&mut client, &mut server, b"*1\r\n$4\r\nPING\r\n");
    let told = bed.look();
    assert!(told.opened.is_empty() && told.pieces.is_empty());
}

#[test]
fn refuses_a_ring_that_cannot_be() {
    let options = Options { ring_bytes: 5000, ..Options::default() };
    let error = PayloadCollector::start(&options, |_| {});
    assert!(error.err().unwrap().to_string().contains("power of two"));
}
