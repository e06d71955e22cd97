//! Dubbo 2.

use taproot_protocols::dubbo::Dubbo;

use crate::kit::{Client, Server, Write, calls, conforms, recognised, recovers, refused, write};

fn message(flags: u8, status: u8, number: u64, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[0xda, 0xbb, flags, status], &number.to_be_bytes()[..], &length, body].concat()
}

/// A long name takes the form with two bytes of length.
fn string(text: &str) -> Vec<u8> {
    let (high, low) = ((text.len() >> 8) as u8, text.len() as u8);
    let head = if text.len() < 32 { vec![low] } else { vec![0x30 + high, low] };
    [&head[..], text.as_bytes()].concat()
}

fn call(number: u64, service: &str, method: &str) -> Vec<u8> {
    let names = ["2.0.2", service, "0.0.0", method, "Ljava/lang/String;", "secret"];
    let body = names.map(string).concat();
    message(0xc2, 0, number, &[&body[..], &[7; 2000]].concat())
}

pub(crate) fn script() -> Vec<Write> {
    let long = "io.example.shop.api.service.a.long.way.down.OrderService";
    let json = b"\"2.0.2\"\n\"shop.Stock\"\n\"0.0.0\"\n\"count\"\n\"I\"\n17\n";
    vec![
        write(Client, [call(1, "shop.Cart", "add"), call(2, long, "order")].concat()),
        write(Server, message(2, 20, 2, &[&[0x94][..], &[b'x'; 3000]].concat())),
        write(Server, message(2, 20, 1, b"\x90C\x15java.lang.IllegalState")),
        write(Client, message(0xe2, 0, 3, b"N")),
        write(Server, message(0x22, 20, 3, b"N")),
        write(Server, message(0xe2, 0, 1, b"N")),
        write(Client, message(0x22, 20, 1, b"N")),
        write(Client, message(0xc6, 0, 4, json)),
        write(Server, message(6, 20, 4, b"1\n17\n")),
        write(
            Client,
            message(0x82, 0, 5, &["2.0.2", "shop.Log", "1", "write"].map(string).concat()),
        ),
        write(Client, message(0xd5, 0, 6, b"\x0a\x05proto")),
        write(Server, message(0x15, 60, 6, b"\x08secret")),
        write(Client, call(7, "shop.Cart", "last")),
        write(Server, message(2, 31, 7, b"\x06secret")),
    ]
}

#[test]
fn services_and_methods() {
    let expected = [
        "io.example.shop.api.service.a.long.way.down.OrderService/order ok",
        "shop.Cart/add EXCEPTION",
        "HEARTBEAT ok",
        "HEARTBEAT ok",
        "shop.Stock/count ok",
        "shop.Log/write >",
        "_OTHER SERVICE_NOT_FOUND",
        "shop.Cart/last SERVER_TIMEOUT",
    ];
    conforms::<Dubbo>(&script(), &expected);
    recovers::<Dubbo>(&script());
    let all = calls::<Dubbo>(&script());
    assert_eq!((all[2].from, all[3].from), (Client, Server));
    assert_eq!(all[0].answer_size, 3017);
    assert!(!format!("{all:?}").contains("secret"));
}

#[test]
fn recognises_by_content() {
    recognised::<Dubbo>(Client, &call(1, "shop.Cart", "add"));
    recognised::<Dubbo>(Server, &message(2, 20, 1, b"\x94"));
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &message(2, 21, 1, b""), &message(0xc0, 0, 1, b"")]
    {
        refused::<Dubbo>(bytes);
    }
}
