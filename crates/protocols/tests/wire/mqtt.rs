//! MQTT.

use taproot_protocols::mqtt::Mqtt;

use crate::kit::{Client, Server, Write, conforms, recognised, recovers, refused, write};

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let byte = (left & 0x7f) as u8;
        left >>= 7;
        bytes.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

fn publish(quality: u8, topic: &str, number: u8, payload: usize) -> Vec<u8> {
    let mut body = [&[0, topic.len() as u8], topic.as_bytes()].concat();
    if quality > 0 {
        body.extend([0, number]);
    }
    body.resize(body.len() + payload, b'x');
    packet(0x30 | quality << 1, &body)
}

fn connect() -> Vec<u8> {
    packet(0x10, b"\0\x04MQTT\x04\x02\0\x3c\0\x02id")
}

pub(crate) fn script() -> Vec<Write> {
    vec![
        write(Client, connect()),
        write(Server, packet(0x20, b"\0\0")),
        write(Client, packet(0x82, b"\0\x01\0\x06home/+\0")),
        write(Server, packet(0x90, b"\0\x01\0")),
        write(
            Client,
            [publish(0, "home/light", 0, 3), publish(1, "plant/7/heat", 9, 40_000)].concat(),
        ),
        write(Server, publish(1, "home/light", 9, 3)),
        write(Client, packet(0x40, b"\0\x09")),
        write(Server, packet(0x40, b"\0\x09")),
        write(Client, publish(2, "stock", 10, 5)),
        write(Server, packet(0x50, b"\0\x0a")),
        write(Client, packet(0x62, b"\0\x0a")),
        write(Server, packet(0x70, b"\0\x0a")),
        write(Client, packet(0x82, b"\0\x02\0\0\x06secret\0")),
        write(Server, packet(0x90, b"\0\x02\x87")),
        write(Client, packet(0xc0, b"")),
        write(Server, packet(0xd0, b"")),
        write(Client, publish(1, "last/word", 11, 5)),
        write(Server, packet(0x40, b"\0\x0b")),
    ]
}

#[test]
fn publications_and_subscriptions() {
    let expected = [
        "connect ok",
        "subscribe home/+ ok",
        "publish home/light >",
        "publish home/light ok",
        "publish plant/*/heat ok",
        "publish stock ok",
        "subscribe secret 135",
        "publish last/word ok",
    ];
    conforms::<Mqtt>(&script(), &expected);
    recovers::<Mqtt>(&script());
}

#[test]
fn a_refused_login() {
    let script = [write(Client, connect()), write(Server, packet(0x20, b"\0\x05"))];
    conforms::<Mqtt>(&script, &["connect 5"]);
}

#[test]
fn recognises_by_content() {
    recognised::<Mqtt>(Client, &connect());
    recognised::<Mqtt>(Client, &packet(0x10, b"\0\x06MQIsdp\x03\x02\0\x3c\0\x02id"));
    recognised::<Mqtt>(Server, &packet(0x20, b"\0\0"));
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x10\x0c\0\x04MQTX\x04", b"\x20\x02\x07\0"] {
        refused::<Mqtt>(bytes);
    }
}
