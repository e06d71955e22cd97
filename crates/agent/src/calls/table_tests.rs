//! What the table makes of records, without a kernel.

use std::net::{IpAddr, Ipv4Addr};

use taproot_model::Role;
use taproot_probes::payload::{
    Datagram, Ends, Open, Piece, Plain, Record, Role as Socket, Verdict,
};

use super::table::{Harvest, Table};
use taproot_protocols::Outcome;
use taproot_protocols::exchange::Wire;

const ID: u64 = 7;
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$6\r\nuser:7\r\n";
const NIL: &[u8] = b"$-1\r\n";

fn ends() -> Ends {
    Ends {
        netns: 1,
        cgroup: 2,
        local: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        local_port: 40_000,
        remote: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        remote_port: 6379,
    }
}

fn open(role: Socket, pristine: bool) -> Record<'static> {
    Record::Open(Open { id: ID, time: 1, role, pristine, ends: ends() })
}

/// A segment that is copied whole.
fn piece(outbound: bool, offset: u32, bytes: &[u8]) -> Record<'_> {
    let length = bytes.len() as u32;
    Record::Piece(Piece { id: ID, time: 2, outbound, offset, length, bytes, fin: false, lost: 0 })
}

fn decisions(table: &mut Table) -> Vec<Verdict> {
    table.decisions().map(|(_, verdict)| verdict).collect()
}

/// `operation target ending count`, sorted.
fn shown(harvest: &Harvest) -> Vec<String> {
    let calls = harvest.pages.iter().flat_map(|page| &page.calls);
    let mut out: Vec<_> = calls
        .map(|(key, tally)| {
            let target = key.target.as_deref().unwrap_or("-");
            let ending = match &key.outcome {
                Outcome::Answered { error: false, .. } => "ok",
                Outcome::Answered { error: true, .. } => "error",
                Outcome::OneWay => ">",
                Outcome::Unanswered => "unanswered",
                Outcome::Unseen => "unseen",
            };
            format!("{} {target} {ending} {}", key.operation, tally.count)
        })
        .collect();
    out.sort();
    out
}

#[test]
fn a_client_and_its_calls() {
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, GET));
    assert_eq!(decisions(&mut table), [Verdict::All], "what is spoken is known: all of it");
    table.take(piece(false, 0, NIL));
    table.take(piece(true, GET.len() as u32, GET));
    table.take(piece(false, NIL.len() as u32, NIL));
    assert!(decisions(&mut table).is_empty(), "it was said once");
    let harvest = table.harvest(3);
    assert_eq!(shown(&harvest), ["GET user:* ok 2"]);
    let page = &harvest.pages[0];
    assert_eq!((page.end.role, page.end.port), (Role::Client, 6379));
    assert_eq!(page.covered.parsed, 2 * (GET.len() + NIL.len()) as u64);
    assert_eq!((page.covered.unparsed, page.covered.unseen), (0, [0; 4]));
    assert!(shown(&table.harvest(4)).is_empty(), "what was told is not told again");
}

#[test]
fn a_connection_that_ends_leaves_its_calls_unanswered() {
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, GET));
    table.take(Record::Close { id: ID, time: 3 });
    assert_eq!(shown(&table.harvest(4)), ["GET user:* unanswered 1"]);
    assert_eq!(table.ended().collect::<Vec<_>>(), [ID]);
}

#[test]
fn sides_are_told_by_content_where_the_socket_does_not() {
    let mut table = Table::default();
    table.take(open(Socket::Unknown, false));
    table.take(piece(true, 500, b"is this anything?"));
    table.take(piece(false, 900, PING));
    table.take(piece(true, 517, b"+PONG\r\n"));
    let harvest = table.harvest(3);
    assert_eq!(shown(&harvest), ["PING - ok 1"]);
    assert_eq!(harvest.pages[0].end.role, Role::Server, "it was asked");
    assert!(harvest.losses.contains(&("side_unknown_bytes", 17)), "{:?}", harvest.losses);
    assert!(harvest.losses.contains(&("joined_late_connections", 1)), "{:?}", harvest.losses);
}

#[test]
fn http_1_is_left_to_the_kernel() {
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"));
    assert_eq!(decisions(&mut table), [Verdict::All, Verdict::Http1], "the last one holds");
    table.take(piece(false, 0, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert!(shown(&table.harvest(3)).is_empty());
}

#[test]
fn what_a_tunnel_carries_is_parsed() {
    let mut table = Table::default();
    let (connect, granted) =
        (b"CONNECT cache:6379 HTTP/1.1\r\nHost: cache\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n");
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, connect));
    table.take(piece(false, 0, granted));
    table.take(piece(true, connect.len() as u32, GET));
    table.take(piece(false, granted.len() as u32, NIL));
    assert_eq!(shown(&table.harvest(3)), ["GET user:* ok 1"]);
}

#[test]
fn an_upgrade_is_told_from_its_answer_on() {
    let mut table = Table::default();
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    table.take(open(Socket::Server, false));
    table.take(piece(true, 0, switched));
    table.take(piece(false, 90, b"\x81\x82\x00\x00\x00\x00hi"));
    assert_eq!(shown(&table.harvest(3)), ["text - > 1"]);
}

#[test]
fn what_nobody_understands_is_only_glanced_at() {
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    let noise = vec![0xa5; 40_000];
    table.take(piece(true, 0, &noise));
    assert!(decisions(&mut table).is_empty(), "it may become clear yet");
    table.take(piece(true, 40_000, &noise));
    assert_eq!(decisions(&mut table), [Verdict::Glance]);
    let covered = table.harvest(3).pages[0].covered;
    assert_eq!((covered.parsed, covered.unparsed), (0, 80_000));
    // Later it speaks something that is known.
    table.take(piece(true, 4_000_000, GET));
    table.take(piece(false, 10, NIL));
    table.harvest(1_000_000_000);
    table.take(piece(true, 4_000_026, GET));
    table.take(piece(false, 15, NIL));
    assert!(decisions(&mut table).contains(&Verdict::All));
}

#[test]
fn a_connection_that_was_forgotten_is_asked_for_again() {
    let mut table = Table::default();
    table.take(piece(true, 0, GET));
    assert_eq!(decisions(&mut table), [Verdict::Again]);
    assert!(table.harvest(3).losses.contains(&("not_known_bytes", GET.len() as u64)));
    table.take(open(Socket::Client, false));
    table.take(piece(true, 26, GET));
    table.take(piece(false, 5, NIL));
    assert_eq!(shown(&table.harvest(4)), ["GET user:* ok 1"]);
}

#[test]
fn bytes_the_ring_had_no_room_for_invent_nothing() {
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, GET));
    table.take(piece(false, 0, NIL));
    // A question and its answer are missing; of the question it is known why.
    let Record::Piece(after) = piece(true, 2 * GET.len() as u32, GET) else { panic!("a piece") };
    table.take(Record::Piece(Piece { lost: GET.len() as u32, ..after }));
    table.take(piece(false, 2 * NIL.len() as u32, NIL));
    let harvest = table.harvest(1_000_000_000);
    let all: u64 = harvest.pages[0].calls.iter().map(|(_, tally)| tally.count).sum();
    assert_eq!(all, 2, "{:?}", shown(&harvest));
    let unseen = [GET.len() as u64, 0, NIL.len() as u64, 0];
    assert_eq!(harvest.pages[0].covered.unseen, unseen);
    assert!(table.harvest(2_000_000_000).pages.is_empty(), "it is told once");
}

/// `count latency`, of what is told of connections that speak nothing known.
fn unknown(harvest: &Harvest) -> Vec<(u64, Option<f64>)> {
    let calls = harvest.pages.iter().flat_map(|page| &page.calls);
    let unknown = calls.filter(|(key, _)| key.wire == Wire::Unknown);
    unknown.map(|(_, tally)| (tally.count, tally.latency.quantile(0.5))).collect()
}

#[test]
fn of_an_unknown_protocol_the_first_byte_is_told() {
    let at = |outbound, time, offset, bytes| {
        let Record::Piece(piece) = piece(outbound, offset, bytes) else { panic!("a piece") };
        Record::Piece(Piece { time, ..piece })
    };
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    table.take(at(true, 2, 0, b"\x01\x02something else"));
    table.take(at(false, 5_000_002, 0, b"\x03\x04and its answer"));
    assert!(unknown(&table.harvest(6_000_000)).is_empty(), "it may yet be known");
    table.take(Record::Close { id: ID, time: 7_000_000 });
    let told = unknown(&table.harvest(8_000_000));
    let [(1, Some(latency))] = told[..] else { panic!("{told:?}") };
    assert!((latency / 5e6 - 1.0).abs() < 0.1, "{latency} ns");
}

#[test]
fn an_unknown_protocol_without_an_answer_is_no_failure_and_a_known_one_is_not_unknown() {
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, b"\x01\x02something else"));
    table.take(Record::Close { id: ID, time: 3 });
    let harvest = table.harvest(4);
    assert_eq!(shown(&harvest), ["first byte - > 1"]);
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, GET));
    table.take(piece(false, 0, NIL));
    table.take(Record::Close { id: ID, time: 5 });
    assert_eq!(shown(&table.harvest(6)), ["GET user:* ok 1"]);
}

#[test]
fn a_lookup_and_its_answer() {
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04shop\x00\x00\x01\x00\x01";
    let mut answer = question.to_vec();
    (answer[2], answer[3]) = (0x81, 0x83); // an answer: no such name
    let ends = Ends { netns: 0, remote_port: 53, ..ends() };
    let datagram = |outbound, bytes, time| {
        let length = question.len() as u32;
        Record::Datagram(Datagram { id: ID, time, outbound, ends, length, bytes })
    };
    let mut table = Table::default();
    table.take(datagram(true, &question[..], 5));
    table.take(datagram(false, &answer[..], 1_005));
    table.take(datagram(true, &question[..], 2_000));
    let harvest = table.harvest(12_000_000_000);
    assert_eq!(shown(&harvest), ["A shop error 1", "A shop unanswered 1"]);
    let page = &harvest.pages[0];
    assert_eq!((page.end.role, page.end.port), (Role::Client, 53));
    assert!(harvest.samples.iter().any(|sample| sample.duration == 1_000));
}

#[test]
fn both_ends_of_a_loop_are_counted_and_one_is_parsed() {
    let mut table = Table::default();
    let near = ends();
    let far = Ends {
        cgroup: 3,
        local: near.remote,
        local_port: near.remote_port,
        remote: near.local,
        remote_port: near.local_port,
        ..near
    };
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, GET));
    let other = Open { id: ID + 1, time: 2, role: Socket::Server, pristine: true, ends: far };
    table.take(Record::Open(other));
    assert!(table.decisions().any(|decision| decision == (ID + 1, Verdict::Nothing)));
    // What is on its way already counts for nothing.
    let length = GET.len() as u32;
    let late = Piece {
        id: ID + 1,
        time: 3,
        outbound: false,
        offset: 0,
        length,
        bytes: GET,
        fin: false,
        lost: 0,
    };
    table.take(Record::Piece(late));
    table.take(piece(false, 0, NIL));
    let harvest = table.harvest(4);
    assert_eq!(shown(&harvest), ["GET user:* ok 1", "GET user:* ok 1"]);
    let roles: Vec<_> = harvest.pages.iter().map(|page| (page.end.role, page.end.cgroup)).collect();
    assert!(roles.contains(&(Role::Client, 2)) && roles.contains(&(Role::Server, 3)), "{roles:?}");
}

#[test]
fn of_tls_the_handshake_is_all_that_is_wanted() {
    let hello =
        [&b"\x16\x03\x01\0\x2d\x01\0\0\x29\x03\x03"[..], &[7; 32], b"\0\0\x02\x13\x01\x01\0"];
    let hello = hello.concat();
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, &hello));
    assert_eq!(decisions(&mut table), [Verdict::All]);
    table.take(piece(false, 0, b"\x15\x03\x03\0\x02\x02\x28"));
    assert_eq!(decisions(&mut table), [Verdict::Sealed]);
    table.take(piece(true, hello.len() as u32, b"\x17\x03\x03\0\x01!"));
    let harvest = table.harvest(3);
    assert_eq!(shown(&harvest), ["handshake - error 1"]);
    assert_eq!(harvest.pages[0].covered.parsed, hello.len() as u64 + 7);
}

const HELLO: &[u8] = b"\x16\x03\x01\0\x2d\x01\0\0\x29\x03\x03\
    \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
    \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
    \0\0\x02\x13\x01\x01\0";
/// Of TLS 1.2.
const ANSWER: &[u8] = b"\x16\x03\x03\0\x2a\x02\0\0\x26\x03\x03\
    \x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\
    \x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\
    \0\0\x2f\0";
/// From here on a side encrypts.
const CIPHER: &[u8] = b"\x14\x03\x03\0\x01\x01";

/// Plaintext of a session that is known since then.
fn plain(id: u64, since: u64, outbound: bool, offset: u32, bytes: &[u8]) -> Record<'_> {
    let length = bytes.len() as u32;
    let piece = Piece { id, time: 9, outbound, offset, length, bytes, fin: false, lost: 0 };
    Record::Plain(Plain { since, watched: since, settled: true, piece })
}

/// A client that has shaken hands.
fn sealed() -> Table {
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, HELLO));
    table.take(piece(false, 0, ANSWER));
    table.take(piece(true, HELLO.len() as u32, CIPHER));
    table.take(piece(false, ANSWER.len() as u32, CIPHER));
    assert!(decisions(&mut table).contains(&Verdict::Sealed), "the rest is encrypted");
    assert_eq!(shown(&table.harvest(8)), ["handshake - ok 1"]);
    table
}

#[test]
fn what_tls_carries_is_counted_whatever_it_is() {
    let mut table = sealed();
    let (asked, answered) =
        (b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    table.take(plain(ID, 1, true, 0, asked));
    table.take(plain(ID, 1, false, 0, answered));
    let harvest = table.harvest(10);
    assert_eq!(shown(&harvest), ["GET /a ok 1"], "the kernel cannot see it");
    assert_eq!(harvest.pages[0].covered.parsed, 0, "its requests carry their sizes");
    let mut table = sealed();
    table.take(plain(ID, 1, true, 0, GET));
    table.take(plain(ID, 1, false, 0, NIL));
    let harvest = table.harvest(10);
    assert_eq!(shown(&harvest), ["GET user:* ok 1"]);
    assert_eq!(harvest.pages[0].covered.parsed, (GET.len() + NIL.len()) as u64);
    table.take(plain(ID, 1, true, GET.len() as u32, GET));
    table.take(Record::Close { id: ID, time: 11 });
    assert_eq!(shown(&table.harvest(12)), ["GET user:* unanswered 1"]);
    table.take(plain(ID, 1, false, NIL.len() as u32, NIL));
    assert!(decisions(&mut table).contains(&Verdict::Again), "it was closed");
}

#[test]
fn plaintext_of_a_connection_that_was_joined_late() {
    for role in [Socket::Client, Socket::Unknown] {
        let mut table = Table::default();
        table.take(open(role, false));
        table.take(piece(true, 700, b"\x17\x03\x03\0\x35 of which nothing can be told"));
        table.take(plain(ID, 5, true, 0, GET));
        assert!(decisions(&mut table).contains(&Verdict::Sealed), "it is encrypted");
        table.take(plain(ID, 5, false, 0, NIL));
        table.take(piece(true, 800, b"\x17\x03\x03\0\x35 on its way already"));
        let harvest = table.harvest(10);
        assert_eq!(shown(&harvest), ["GET user:* ok 1"], "{role:?}");
        let covered = harvest.pages[0].covered;
        assert_eq!((covered.unparsed, covered.unseen), (0, [0; 4]), "{role:?}");
    }
}

#[test]
fn of_both_ends_inside_of_tls_the_first_is_listened_to() {
    let far = Ends {
        local: ends().remote,
        local_port: ends().remote_port,
        remote: ends().local,
        remote_port: ends().local_port,
        ..ends()
    };
    let mut table = Table::default();
    table.take(open(Socket::Client, true));
    table.take(piece(true, 0, HELLO));
    let other = Open { id: ID + 1, time: 2, role: Socket::Server, pristine: true, ends: far };
    table.take(Record::Open(other));
    table.take(piece(false, 0, ANSWER));
    table.take(piece(true, HELLO.len() as u32, CIPHER));
    table.take(piece(false, ANSWER.len() as u32, CIPHER));
    table.harvest(8);
    // The server reads before the client is back from writing.
    table.take(plain(ID + 1, 1, false, 0, GET));
    table.take(plain(ID, 1, true, 0, GET));
    let told: Vec<_> = table.plain_decisions().collect();
    assert_eq!(told, [(ID + 1, Verdict::All), (ID, Verdict::Nothing)]);
    table.take(plain(ID + 1, 1, true, 0, NIL));
    table.take(Record::Close { id: ID + 1, time: 10 });
    table.take(plain(ID, 1, false, 0, NIL));
    let harvest = table.harvest(11);
    assert_eq!(shown(&harvest), ["GET user:* ok 1", "GET user:* ok 1"]);
    assert!(harvest.losses.is_empty(), "{:?}", harvest.losses);
}

#[test]
fn a_session_that_begins_anew_is_another_stream() {
    let mut table = sealed();
    table.take(plain(ID, 1, true, 0, GET));
    table.take(plain(ID, 7, true, 0, GET));
    table.take(plain(ID, 7, false, 0, NIL));
    assert_eq!(shown(&table.harvest(10)), ["GET user:* ok 1", "GET user:* unanswered 1"]);
}

#[test]
fn plaintext_of_nobody_is_lost_and_said_so() {
    let mut table = Table::default();
    table.take(plain(ID, 1, true, 0, GET));
    assert_eq!(decisions(&mut table), [Verdict::Again]);
    assert!(table.harvest(10).losses.contains(&("not_known_bytes", GET.len() as u64)));
}

#[test]
fn a_late_session_begins_when_its_reads_are_seen() {
    let mut table = Table::default();
    table.take(open(Socket::Client, false));
    table.take(piece(true, 700, b"of which nothing can be told"));
    let unsettled = |offset, bytes| match plain(ID, 5, true, offset, bytes) {
        Record::Plain(plain) => Record::Plain(Plain { settled: false, ..plain }),
        other => other,
    };
    table.take(unsettled(0, GET)); // somebody reads the answer who is not seen
    table.take(plain(ID, 5, true, GET.len() as u32, PING));
    table.take(plain(ID, 5, false, 0, b"+PONG\r\n"));
    assert_eq!(shown(&table.harvest(10)), ["PING - ok 1"]);
}

#[test]
fn what_is_encrypted_is_weighed() {
    let mut table = sealed();
    table.take(Record::Passed { id: ID, bytes: 500 });
    assert_eq!(table.harvest(10).pages[0].covered.encrypted, 500, "nobody says what it is");
    // A library is asked from here on: what passed beyond its plaintext is TLS.
    table.take(plain(ID, 10, true, 0, GET));
    table.take(plain(ID, 10, false, 0, NIL));
    let plaintext = (GET.len() + NIL.len()) as u64;
    table.take(Record::Passed { id: ID, bytes: plaintext + 44 });
    let covered = table.harvest(11).pages[0].covered;
    assert_eq!((covered.parsed, covered.encrypted), (plaintext + 44, 0));
}
