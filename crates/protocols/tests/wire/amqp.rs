//! AMQP 0-9-1.

use taproot_protocols::amqp::Amqp;

use crate::kit::{Client, Server, Write, conforms, recognised, recovers, refused, write};

const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";

fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    let size = (payload.len() as u32).to_be_bytes();
    [&[kind, 0, channel][..], &size, payload, b"\xce"].concat()
}

fn method(channel: u8, class: u8, method: u8, arguments: &[u8]) -> Vec<u8> {
    frame(1, channel, &[&[0, class, 0, method], arguments].concat())
}

fn publish(payload: usize) -> Vec<u8> {
    let content = [&[0, 60, 0, 0][..], &(payload as u64).to_be_bytes(), &[0, 0]].concat();
    [
        method(1, 60, 40, b"\0\0\x06orders\x07eu.west\0"),
        frame(2, 1, &content),
        frame(3, 1, &vec![b'x'; payload]),
    ]
    .concat()
}

pub(crate) fn script() -> Vec<Write> {
    let refusal = [b"\x01\x94".as_slice(), b"\x06secret", b"\0\x32\0\x0a"].concat();
    vec![
        write(Client, GREETING),
        write(Server, method(0, 10, 10, b"\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US")),
        write(Client, method(0, 10, 11, b"\0\0\0\0\x05PLAIN\0\0\0\x06secret\x05en_US")),
        write(Client, method(0, 10, 40, b"\x01/\0\0")),
        write(Server, method(0, 10, 41, b"\0")),
        write(Client, [method(1, 20, 10, b"\0"), method(2, 20, 10, b"\0")].concat()),
        write(Server, [method(2, 20, 11, b"\0\0\0\0"), method(1, 20, 11, b"\0\0\0\0")].concat()),
        write(Client, publish(9000)),
        write(Client, method(1, 60, 70, b"\0\0\x05stock\0")),
        write(Server, method(1, 60, 72, b"\0")),
        write(Server, method(1, 60, 60, b"\x01t\0\0\0\0\0\0\0\x01\0\0\x05stock")),
        write(Client, method(1, 60, 80, b"\0\0\0\0\0\0\0\x01\0")),
        write(Client, method(2, 50, 10, b"\0\0\x04gone\x01\0\0\0\0")),
        write(Server, method(2, 20, 40, &refusal)),
        write(Client, method(2, 20, 41, b"")),
        write(Client, frame(8, 0, b"")),
        write(Client, method(1, 50, 10, b"\0\0\x05stock\x02\0\0\0\0")),
        write(Server, method(1, 50, 11, b"\x05stock\0\0\0\0\0\0\0\0")),
    ]
}

#[test]
fn methods_and_answers() {
    let expected = [
        "connection.start ok",
        "connection.open ok",
        "channel.open ok",
        "channel.open ok",
        "basic.publish orders >",
        "basic.get stock empty",
        "basic.deliver stock >",
        "basic.ack >",
        "queue.declare gone 404",
        "channel.close ok",
        "queue.declare stock ok",
    ];
    conforms::<Amqp>(&script(), &expected);
    recovers::<Amqp>(&script());
}

#[test]
fn recognises_by_content() {
    recognised::<Amqp>(Client, GREETING);
    recognised::<Amqp>(Server, &method(0, 10, 10, b"\0\x09\0\0\0\0"));
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], b"AMQP\x03\x01\x00\x00", b"\x01\0\0\0\0\0\x04\0\x3c\0\x28"]
    {
        refused::<Amqp>(bytes);
    }
}
