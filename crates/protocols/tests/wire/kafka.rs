//! Kafka.

use taproot_protocols::kafka::Kafka;

use crate::kit::{Client, Server, Tap, Write, conforms, recognised, refused, shown, write};

fn sized(message: &[&[u8]]) -> Vec<u8> {
    let message = message.concat();
    [&(message.len() as u32).to_be_bytes()[..], &message].concat()
}

fn request(api: u8, version: u8, number: u32, body: &[u8]) -> Vec<u8> {
    sized(&[&[0, api, 0, version], &number.to_be_bytes(), b"\0\x04rdka", body])
}

fn response(number: u32, body: &[u8]) -> Vec<u8> {
    sized(&[&number.to_be_bytes(), body])
}

/// Version 7: transaction, acks, timeout, one topic.
fn produce(number: u32, acks: u8) -> Vec<u8> {
    let body =
        [b"\xff\xff\0", &[acks][..], b"\0\0\x75\x30\0\0\0\x01\0\x06orders", &[9; 3000]].concat();
    request(0, 7, number, &body)
}

fn produced(number: u32, error: u8) -> Vec<u8> {
    response(
        number,
        &[b"\0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\0\0", &[error][..], &[0; 20]].concat(),
    )
}

/// Version 12 is flexible: tags, and lengths as varints.
const FETCH: &[u8] =
    b"\0\xff\xff\xff\xff\0\0\x01\xf4\0\0\0\x01\x03\x20\0\0\0\0\0\0\0\0\0\0\0\x02\x06stock\x02\0";

pub(crate) fn script() -> Vec<Write> {
    vec![
        write(Client, request(18, 3, 1, b"\0\x05rdka\x022\0")),
        write(Server, response(1, b"\0\0\x02\0\0\0\0\0\x0b\0\0\0\0\0\0")),
        write(Client, [produce(2, 1), produce(3, 1)].concat()),
        write(Server, produced(3, 6)),
        write(Server, produced(2, 0)),
        write(Client, produce(4, 0)),
        write(Client, request(1, 12, 5, FETCH)),
        write(Server, response(5, b"\0\0\0\0\0\0\x46\0\0\0\0\0\0")),
        write(Client, request(12, 3, 6, b"\0\x01g\0\0\0\x01\0\x01m")),
        write(Server, response(6, b"\0\0\0\0\0\x1b")),
        write(Client, request(3, 1, 7, b"\0\0\0\0")),
        write(Server, response(7, &[0; 4000])),
    ]
}

#[test]
fn requests_and_responses() {
    let expected = [
        "ApiVersions ok",
        "Produce orders 6",
        "Produce orders ok",
        "Produce orders >",
        "Fetch stock 70",
        "Heartbeat 27",
        "Metadata ok",
    ];
    conforms::<Kafka>(&script(), &expected);
}

#[test]
fn a_gap_costs_the_calls_in_it() {
    for lost in 0..9 {
        let mut tap = Tap::<Kafka>::new();
        for (at, (side, bytes)) in script().iter().enumerate() {
            if at == lost { tap.miss(*side, bytes) } else { tap.send(*side, bytes) }
        }
        tap.close();
        assert!(shown(&tap.records).contains(&"Metadata ok".to_owned()), "without {lost}");
    }
}

#[test]
fn recognises_by_content() {
    recognised::<Kafka>(Client, &produce(1, 1));
    recognised::<Kafka>(Client, &request(18, 3, 1, b"\0\x05rdka\x022\0"));
    let nameless = sized(&[&[0, 3, 0, 1], &[0, 0, 0, 9], b"\xff\xff", &[0; 4]]);
    recognised::<Kafka>(Client, &nameless);
    recognised::<Kafka>(Client, &[&nameless[..], &produce(1, 1)].concat());
    let followed_by_others = [&nameless[..], b"\xe5\xe5\xe5\xe5"].concat();
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\0\0\0\x20\0\0\0\x99\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01",
        b"\x08\0\0\0\0\x27\0\0\0\0\0\x14\0\0\0\0",
        &followed_by_others,
    ] {
        refused::<Kafka>(bytes);
    }
}
