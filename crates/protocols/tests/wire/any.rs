//! A connection whose protocol nobody told.

use taproot_protocols::amqp::Amqp;
use taproot_protocols::any::{Any, Kind, Record};
use taproot_protocols::cql::Cql;
use taproot_protocols::dns::Dns;
use taproot_protocols::dubbo::Dubbo;
use taproot_protocols::http1::{self, Answer, Http1};
use taproot_protocols::http2::Http2;
use taproot_protocols::kafka::Kafka;
use taproot_protocols::memcached::Memcached;
use taproot_protocols::mongo::Mongo;
use taproot_protocols::mqtt::Mqtt;
use taproot_protocols::mysql::Mysql;
use taproot_protocols::nats::Nats;
use taproot_protocols::postgres::Postgres;
use taproot_protocols::redis::Redis;
use taproot_protocols::tls::Tls;
use taproot_protocols::websocket::WebSocket;
use taproot_protocols::{Call, Protocol, Recognition};

use crate::cql::{bare, framed};
use crate::kit::{Client, Server, Tap, Write, calls, known, write};
use crate::{
    amqp, cql, dns, dubbo, http2, kafka, memcached, mongo, mqtt, mysql, nats, postgres, redis, tls,
};
use crate::{kit, websocket};

fn web() -> Vec<Write> {
    vec![
        write(
            Client,
            "POST /cart/7?secret HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nbody",
        ),
        write(Server, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
        write(Client, "GET /last HTTP/1.1\r\nHost: shop\r\n\r\n"),
        write(Server, "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n"),
    ]
}

/// What every protocol is tested with, and what its own parser makes of it.
fn samples() -> Vec<(Kind, Vec<Write>, Vec<String>)> {
    fn own<P: Protocol<Record = Call> + Default>(
        kind: Kind,
        script: Vec<Write>,
    ) -> (Kind, Vec<Write>, Vec<String>) {
        let shown = kit::shown(&calls::<P>(&script));
        (kind, script, shown)
    }
    vec![
        (Kind::Http1, web(), vec!["POST /cart/7 201".into(), "GET /last 404".into()]),
        own::<Http2>(Kind::Http2, http2::script()),
        own::<Amqp>(Kind::Amqp, amqp::script()),
        own::<Mqtt>(Kind::Mqtt, mqtt::script()),
        own::<Nats>(Kind::Nats, nats::script()),
        own::<Redis>(Kind::Redis, redis::script()),
        own::<Memcached>(Kind::Memcached, memcached::text()),
        own::<Memcached>(Kind::Memcached, memcached::binary()),
        own::<Postgres>(Kind::Postgres, postgres::script()),
        own::<Mysql>(Kind::Mysql, mysql::script()),
        own::<Cql>(Kind::Cql, cql::script(4, bare)),
        own::<Cql>(Kind::Cql, cql::script(5, framed)),
        own::<Dubbo>(Kind::Dubbo, dubbo::script()),
        own::<Mongo>(Kind::Mongo, mongo::script()),
        own::<Dns>(Kind::Dns, dns::script()),
        own::<Kafka>(Kind::Kafka, kafka::script()),
        own::<Tls>(Kind::Tls, tls::script()),
    ]
}

fn shown(records: &[Record]) -> Vec<String> {
    let one = |record: &Record| match record {
        Record::Call(call) => call.to_string(),
        Record::Http1(http1::Record::Orphan(response)) => format!("? {}", response.status),
        Record::Http1(http1::Record::Exchange(exchange)) => {
            let (method, path) = (exchange.request.method.as_str(), &exchange.request.path);
            match &exchange.answer {
                Answer::Response(response) => format!("{method} {path} {}", response.status),
                other => format!("{method} {path} {other:?}"),
            }
        }
    };
    records.iter().map(one).collect()
}

fn run(script: &[Write], cut: usize) -> Tap<Any> {
    let mut tap = Tap::<Any>::new();
    for (side, bytes) in script {
        tap.time += 1_000_000;
        tap.send_cut(*side, bytes, &[cut]);
    }
    tap
}

/// What is found, every byte of use, however the writes are cut.
fn gives(script: &[Write], expected: &[&str]) -> Tap<Any> {
    for cut in [1, 2, 3, 7, 16] {
        let mut tap = run(script, cut);
        tap.close();
        assert_eq!(shown(&tap.records), expected, "cut at {cut}");
    }
    let mut tap = run(script, usize::MAX);
    tap.close();
    assert_eq!(shown(&tap.records), expected);
    tap
}

#[test]
fn every_protocol_is_found_and_parsed_as_by_its_own_parser() {
    for (kind, script, expected) in samples() {
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        let tap = gives(&script, &expected);
        assert_eq!(tap.connection.protocol().kind(), Some(kind));
        assert_eq!(tap.unused(), 0, "{kind:?}: every byte belongs to a message");
    }
}

/// The name of a recogniser with what it says of bytes.
type Recogniser = (Kind, fn(&[u8]) -> Recognition);

const RECOGNISERS: [Recogniser; 16] = [
    (Kind::Tls, Tls::recognise),
    (Kind::Http1, Http1::recognise),
    (Kind::Http2, Http2::recognise),
    (Kind::Amqp, Amqp::recognise),
    (Kind::Mqtt, Mqtt::recognise),
    (Kind::Nats, Nats::recognise),
    (Kind::Redis, Redis::recognise),
    (Kind::Memcached, Memcached::recognise),
    (Kind::Postgres, Postgres::recognise),
    (Kind::Mysql, Mysql::recognise),
    (Kind::Cql, Cql::recognise),
    (Kind::Dubbo, Dubbo::recognise),
    (Kind::Mongo, Mongo::recognise),
    (Kind::Dns, Dns::recognise),
    (Kind::Kafka, Kafka::recognise),
    (Kind::WebSocket, WebSocket::recognise),
];

#[test]
fn no_parser_takes_the_messages_of_another() {
    let mut confused = Vec::new();
    for (kind, script, _) in samples() {
        for (at, (side, bytes)) in script.iter().enumerate() {
            for (other, recognise) in RECOGNISERS.iter().filter(|(other, _)| *other != kind) {
                if recognise(bytes) == Recognition::Yes(*side) {
                    confused.push(format!("{kind:?} {at} as {other:?}: {}", bytes.escape_ascii()));
                }
            }
        }
    }
    assert!(confused.is_empty(), "{confused:#?}");
}

/// What the order of the parsers rests on: more bytes decide what was too short,
/// and never turn a yes or a no.
#[test]
fn a_verdict_stays() {
    let mut turned = Vec::new();
    for (_, script, _) in samples() {
        for (_, bytes) in &script {
            let bytes = &bytes[..bytes.len().min(200)];
            for (kind, recognise) in RECOGNISERS {
                let mut verdict = Recognition::Short;
                for end in 0..=bytes.len() {
                    let next = recognise(&bytes[..end]);
                    let shown = bytes[..end].escape_ascii();
                    if verdict != Recognition::Short && next != verdict {
                        turned.push(format!("{kind:?}: {verdict:?}, then {next:?}: {shown}"));
                    }
                    verdict = next;
                }
            }
        }
    }
    assert!(turned.is_empty(), "{turned:#?}");
}

#[test]
fn joined_late_it_is_recognised_as_itself_or_not_at_all() {
    for (kind, script, _) in samples() {
        let mut recognised = 0;
        for first in 1..script.len() {
            let mut tap = Tap::<Any>::late();
            for (side, bytes) in &script[first..] {
                tap.send(*side, bytes);
            }
            let found = tap.connection.protocol().kind();
            assert!(found.is_none_or(|found| found == kind), "{kind:?} from {first}: {found:?}");
            recognised += usize::from(found.is_some());
        }
        assert!(recognised > 0, "{kind:?} is never recognised late");
    }
}

#[test]
fn joined_late_nothing_is_invented() {
    fn same<P: Protocol<Record = Call> + Default>(script: &[Write]) {
        let whole = calls::<P>(script);
        for first in 1..script.len() {
            let mut tap = Tap::<Any>::late();
            script[first..].iter().for_each(|(side, bytes)| tap.send(*side, bytes));
            tap.close();
            for record in &tap.records {
                let Record::Call(call) = record else { panic!("{record:?}") };
                assert!(known(call, &whole), "from {first}: invented {call}");
            }
        }
    }
    same::<Http2>(&http2::script());
    same::<Amqp>(&amqp::script());
    same::<Mqtt>(&mqtt::script());
    same::<Nats>(&nats::script());
    same::<Redis>(&redis::script());
    same::<Memcached>(&memcached::text());
    same::<Memcached>(&memcached::binary());
    same::<Postgres>(&postgres::script());
    same::<Mysql>(&mysql::script());
    same::<Cql>(&cql::script(4, bare));
    same::<Cql>(&cql::script(5, framed));
    same::<Dubbo>(&dubbo::script());
    same::<Mongo>(&mongo::script());
    same::<Dns>(&dns::script());
    same::<Kafka>(&kafka::script());
}

#[test]
fn what_redis_and_nats_share_is_told_by_who_begins() {
    let redis = [write(Client, "PING\r\n"), write(Server, "+PONG\r\n")];
    gives(&redis, &["PING ok"]);
    let nats = [
        write(Server, "INFO {\"server_id\":\"a\"}\r\n"),
        write(Client, "CONNECT {\"verbose\":true}\r\nPING\r\n"),
        write(Server, "+OK\r\nPONG\r\n"),
        write(Client, "PUB a 1\r\nx\r\n"),
        write(Server, "+OK\r\n"),
    ];
    let tap = gives(&nats, &["publish a >"]);
    assert_eq!(tap.connection.protocol().kind(), Some(Kind::Nats));
}

#[test]
fn mail_is_none_of_them() {
    let pop = [
        write(Server, "+OK Dovecot ready.\r\n"),
        write(Client, "USER joe\r\n"),
        write(Server, "+OK\r\n"),
        write(Client, "PASS secret\r\n"),
        write(Server, "-ERR [AUTH] Authentication failed.\r\n"),
        write(Client, "QUIT\r\n"),
    ];
    let tap = gives(&pop, &[]);
    assert_eq!(tap.connection.protocol().kind(), None);
    let bytes: usize = pop.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(tap.unused(), bytes as u64, "counted, as not understood");
}

fn upgrade(to: &str, answer: &str) -> Vec<Write> {
    vec![
        write(Client, format!("GET /chat?secret HTTP/1.1\r\nHost: shop\r\nUpgrade: {to}\r\n\r\n")),
        write(Server, format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {answer}\r\n\r\n")),
    ]
}

#[test]
fn an_upgrade_to_websocket() {
    let mut script = web();
    script.extend(upgrade("websocket", "WebSocket"));
    script.extend([
        write(Client, websocket::masked(0x81, b"GET / HTTP/1.1\r\n\r\n")),
        write(Server, websocket::frame(0x82, None, &[0; 300])),
    ]);
    let expected = ["POST /cart/7 201", "GET /last 404", "GET /chat 101", "text >", "binary >"];
    let tap = gives(&script, &expected);
    assert_eq!(tap.connection.protocol().kind(), Some(Kind::WebSocket));
    assert_eq!(tap.unused(), 0);
}

/// The first frame comes with the answer that upgrades.
#[test]
fn an_upgrade_in_one_write() {
    let mut script = upgrade("websocket", "websocket");
    script[1].1.extend(websocket::frame(0x81, None, b"hello"));
    assert_eq!(gives(&script, &["GET /chat 101", "text >"]).unused(), 0);
}

/// The request that upgrades is counted once, with the answer that it got.
#[test]
fn an_upgrade_to_http2() {
    let mut script = upgrade("h2c", "h2c");
    script.push(write(Server, http2::response(1, 0x8d, 9)));
    script.extend(http2::hello());
    script.push(write(Client, http2::request(3, 0x82, "/next", 1)));
    script.push(write(Server, http2::response(3, 0x88, 10)));
    let tap = gives(&script, &["GET /chat 404", "GET /next 200"]);
    assert_eq!(tap.unused(), 0);
    let Record::Call(first) = &tap.records[0] else { panic!("a call") };
    assert_eq!((first.namespace.as_deref(), first.request_size), (Some("shop"), 55));
}

#[test]
fn an_upgrade_whose_request_was_not_seen() {
    let mut tap = Tap::<Any>::late();
    for (side, bytes) in upgrade("websocket", "websocket").into_iter().skip(1) {
        tap.send(side, &bytes);
    }
    tap.send(Client, b"\x81\x82\x00\x00\x00\x00hi");
    assert_eq!(shown(&tap.records), ["? 101", "text >"]);
}

#[test]
fn an_upgrade_to_what_is_not_parsed() {
    let mut script = upgrade("tcp", "tcp");
    script.push(write(Server, b"\x01\0\0\0\0\0\0\x05hello"));
    let tap = gives(&script, &["GET /chat 101"]);
    assert_eq!((tap.connection.protocol().kind(), tap.unused()), (None, 13));
}

/// The login is left behind, and the handshake that follows is told.
#[test]
fn a_login_that_turns_to_tls() {
    let flags = (1_u32 << 11 | 1 << 9).to_le_bytes();
    let mysql = [
        write(Server, mysql::greeting()),
        write(Client, [&b"\x20\0\0\x01"[..], &flags, &[0; 28]].concat()),
    ];
    let postgres = [write(Client, b"\0\0\0\x08\x04\xd2\x16\x2f"), write(Server, b"S")];
    for login in [mysql, postgres] {
        let tap =
            gives(&[&login[..], &tls::script()].concat(), &["handshake shop.example TLSv1.3"]);
        let any = tap.connection.protocol();
        assert_eq!((any.kind(), any.is_opaque(), tap.unused()), (Some(Kind::Tls), true, 0));
    }
}

#[test]
fn a_tunnel_holds_anything() {
    for (kind, script, expected) in samples() {
        let connect = "CONNECT inner:1 HTTP/1.1\r\nHost: inner:1\r\n\r\n";
        let granted = "HTTP/1.1 200 Connection established\r\n\r\n";
        let all = [&[write(Client, connect), write(Server, granted)], &script[..]].concat();
        let first = ["CONNECT inner:1 200"].into_iter();
        let expected: Vec<&str> = first.chain(expected.iter().map(String::as_str)).collect();
        let tap = gives(&all, &expected);
        assert_eq!((tap.connection.protocol().kind(), tap.unused()), (Some(kind), 0));
    }
}

#[test]
fn another_protocol_in_the_place_of_a_message() {
    let script = [&web()[..], &redis::script()[..]].concat();
    let expected = [&samples()[0].2[..], &samples()[5].2[..]].concat();
    let mut tap = run(&script, usize::MAX);
    tap.close();
    assert_eq!(shown(&tap.records), expected);
    assert_eq!(tap.connection.protocol().kind(), Some(Kind::Redis));
}

/// Bytes that looked like one protocol once do not bind the connection to it.
#[test]
fn a_mistake_is_given_up() {
    let mut tap = Tap::<Any>::new();
    tap.send(Client, b"*1\r\n$4\r\nPING\r\n");
    tap.send(Server, b"+PONG\r\n");
    assert_eq!(tap.connection.protocol().kind(), Some(Kind::Redis));
    for _ in 0..3 {
        tap.send(Server, b":1\r\n\x07\x07 nothing\r\n");
    }
    assert_eq!(tap.connection.protocol().kind(), None);
    for (side, bytes) in web() {
        tap.send(side, &bytes);
    }
    assert_eq!(tap.connection.protocol().kind(), Some(Kind::Http1));
}

#[test]
fn mutilated_nothing_breaks() {
    for (_, script, _) in samples() {
        kit::mutilated::<Any>(&script);
    }
}
