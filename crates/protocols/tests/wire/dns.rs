//! DNS over TCP and UDP.

use taproot_protocols::dns::{Datagrams, Dns};

use crate::kit::{Client, Server, Write, conforms, recognised, recovers, refused, shown, write};

fn message(id: u16, flags: u16, name: &str, kind: u8, answers: u8) -> Vec<u8> {
    let mut bytes = [id.to_be_bytes(), flags.to_be_bytes()].concat();
    bytes.extend([0, 1, 0, answers, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, kind, 0, 1]);
    for _ in 0..answers {
        bytes.extend(*b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01");
    }
    bytes
}

fn query(id: u16, name: &str, kind: u8) -> Vec<u8> {
    message(id, 0x0100, name, kind, 0)
}

fn tcp(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

pub(crate) fn script() -> Vec<Write> {
    let two = [tcp(&query(1, "shop.example", 1)), tcp(&query(2, "Shop.Example", 28))].concat();
    let answers = [
        tcp(&message(2, 0x8183, "shop.example", 28, 0)),
        tcp(&message(1, 0x8180, "shop.example", 1, 40)),
    ]
    .concat();
    vec![
        write(Client, two),
        write(Server, answers),
        write(Client, tcp(&query(3, "example.org", 15))),
        write(Server, tcp(&message(3, 0x8182, "example.org", 15, 0))),
        write(Client, tcp(&query(4, "example.net", 255))),
        write(Server, tcp(&message(4, 0x8180, "example.net", 255, 1))),
    ]
}

#[test]
fn over_tcp() {
    let expected = [
        "AAAA shop.example NXDOMAIN",
        "A shop.example NOERROR",
        "MX example.org SERVFAIL",
        "ANY example.net NOERROR",
    ];
    conforms::<Dns>(&script(), &expected);
    recovers::<Dns>(&script());
}

#[test]
fn recognises_by_content() {
    recognised::<Dns>(Client, &tcp(&query(7, "shop.example", 1)));
    recognised::<Dns>(Server, &tcp(&message(7, 0x8180, "shop.example", 1, 1)));
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\0\0"]
    {
        refused::<Dns>(bytes);
    }
}

#[test]
fn over_udp_an_answer_to_another_question_is_not_taken() {
    let mut records = Vec::new();
    let mut tap = Datagrams::default();
    let mut push =
        |bytes: &[u8], time| assert!(tap.push(bytes, bytes.len() as u64, time, &mut records));
    push(&query(9, "a.example", 1), 10);
    push(&message(9, 0x8180, "b.example", 1, 1), 20);
    push(&message(9, 0x8180, "a.example", 1, 1), 30);
    push(&query(10, "slow.example", 1), 40);
    assert!(!tap.push(b"not dns", 7, 50, &mut records));
    tap.tick(5_000_000_000, &mut records);
    assert_eq!(shown(&records), ["A a.example NOERROR"]);
    assert_eq!((records[0].times.start, records[0].times.answer), (10, Some(30)));
    tap.tick(20_000_000_000, &mut records);
    assert_eq!(shown(&records)[1..], ["A slow.example -"]);
}

#[test]
fn a_question_asked_again_is_one_lookup_that_was_not_seen_answered() {
    let (mut records, mut tap) = (Vec::new(), Datagrams::default());
    for (bytes, time) in [
        (query(1, "a.example", 1), 1),
        (query(1, "a.example", 1), 2),
        (message(1, 0x8180, "a.example", 1, 1), 3),
    ] {
        tap.push(&bytes, bytes.len() as u64, time, &mut records);
    }
    assert_eq!(shown(&records), ["A a.example ?", "A a.example NOERROR"]);
}
