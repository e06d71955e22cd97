//! WebSocket.

use taproot_protocols::websocket::WebSocket;

use crate::kit::{Client, Server, Write, calls, conforms, recovers, refused, write};

const TEXT: u8 = 0x81;

pub(crate) fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(bit | short as u8),
        length @ 126..=65535 => {
            bytes.push(bit | 0x7e);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(bit | 0x7f);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| bytes.extend(mask)).unwrap_or_default();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, Some([7, 77, 177, 27]), payload)
}

fn script() -> Vec<Write> {
    let fragments = [
        masked(0x02, &[1; 300]),
        masked(0x89, b"are you there"),
        masked(0x00, &[2; 10]),
        masked(0x80, &[3; 10]),
    ];
    vec![
        write(Client, masked(TEXT, b"hello")),
        write(Server, frame(TEXT, None, &[b'x'; 500])),
        write(Client, fragments.concat()),
        write(
            Server,
            [frame(0x8a, None, b"are you there"), frame(0x82, None, &[0; 70_000])].concat(),
        ),
        write(Client, masked(TEXT, b"")),
        write(Client, masked(0x88, b"\x03\xe8bye")),
        write(Server, frame(0x88, None, b"\x03\xf3secret")),
    ]
}

#[test]
fn messages_are_counted() {
    let expected = [
        "text >",
        "text >",
        "ping >",
        "binary >",
        "pong >",
        "binary >",
        "text >",
        "close 1000",
        "close 1011",
    ];
    conforms::<WebSocket>(&script(), &expected);
    recovers::<WebSocket>(&script());
    let all = calls::<WebSocket>(&script());
    assert_eq!((all[3].from, all[3].request_size), (Client, 300 + 8 + 10 + 6 + 10 + 6));
    assert_eq!((all[5].from, all[5].request_size), (Server, 70_010));
    assert!(all[8].outcome.is_error() && !all[7].outcome.is_error());
}

#[test]
fn only_the_upgrade_tells() {
    refused::<WebSocket>(&masked(TEXT, b"hello"));
}
