//! Memcached.

use taproot_protocols::memcached::Memcached;

use crate::kit::{Client, Server, Write, conforms, recognised, recovers, refused, write};

pub(crate) fn text() -> Vec<Write> {
    let long = "x".repeat(3000);
    vec![
        write(Client, format!("set user:17 0 0 3000\r\n{long}\r\n")),
        write(Server, "STORED\r\n"),
        write(Client, "get user:17 user:18\r\n"),
        write(Server, format!("VALUE user:17 0 3000\r\n{long}\r\nEND\r\n")),
        write(Client, "gets gone\r\n"),
        write(Server, "END\r\n"),
        write(Client, "incr hits 1\r\n"),
        write(Server, "42\r\n"),
        write(Client, "set a 0 0 1 noreply\r\nx\r\n"),
        write(Client, "add a 0 0 1\r\nx\r\n"),
        write(Server, "NOT_STORED\r\n"),
        write(Client, "mg a:1 v\r\n"),
        write(Server, "VA 2\r\nhi\r\n"),
        write(Client, "incr user:17 1\r\n"),
        write(Server, "CLIENT_ERROR cannot increment secret\r\n"),
        write(Client, "stats\r\n"),
        write(Server, "STAT pid 1\r\nSTAT uptime 2\r\nEND\r\n"),
        write(Client, "delete user:17\r\n"),
        write(Server, "DELETED\r\n"),
    ]
}

#[test]
fn text_protocol() {
    let expected = [
        "set user:* ok",
        "get user:* ok",
        "gets gone miss",
        "incr hits ok",
        "set a >",
        "add a NOT_STORED",
        "mg a:* ok",
        "incr user:* CLIENT_ERROR",
        "stats ok",
        "delete user:* ok",
    ];
    conforms::<Memcached>(&text(), &expected);
    recovers::<Memcached>(&text());
}

fn message(
    magic: u8,
    code: u8,
    status: u16,
    opaque: u32,
    extras: &[u8],
    key: &str,
    value: &[u8],
) -> Vec<u8> {
    let body = extras.len() + key.len() + value.len();
    let mut bytes = vec![magic, code];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0]);
    bytes.extend(status.to_be_bytes());
    bytes.extend((body as u32).to_be_bytes());
    bytes.extend(opaque.to_be_bytes());
    bytes.extend([0; 8]);
    [&bytes, extras, key.as_bytes(), value].concat()
}

pub(crate) fn binary() -> Vec<Write> {
    vec![
        write(Client, message(0x80, 1, 0, 1, &[0; 8], "user:1", &[b'x'; 2000])),
        write(Server, message(0x81, 1, 0, 1, &[], "", &[])),
        write(
            Client,
            [message(0x80, 9, 0, 2, &[], "user:1", &[]), message(0x80, 0, 0, 3, &[], "gone", &[])]
                .concat(),
        ),
        write(
            Server,
            [
                message(0x81, 9, 0, 2, &[0; 4], "", b"value"),
                message(0x81, 0, 1, 3, &[], "", b"Not found"),
            ]
            .concat(),
        ),
        write(Client, message(0x80, 5, 0, 4, &[0; 20], "hits", &[])),
        write(Server, message(0x81, 5, 0x82, 4, &[], "", &[])),
        write(Client, message(0x80, 4, 0, 5, &[], "user:1", &[])),
        write(Server, message(0x81, 4, 0, 5, &[], "", &[])),
    ]
}

#[test]
fn binary_protocol() {
    let expected = [
        "set user:* ok",
        "get user:* >",
        "get gone NOT_FOUND",
        "incr hits ENOMEM",
        "delete user:* ok",
    ];
    conforms::<Memcached>(&binary(), &expected);
    recovers::<Memcached>(&binary());
}

#[test]
fn recognises_by_content() {
    recognised::<Memcached>(Client, b"set user:17 0 0 3\r\n");
    recognised::<Memcached>(Client, b"get a b c\r\n");
    recognised::<Memcached>(Server, b"VALUE a 0 3\r\nabc\r\n");
    recognised::<Memcached>(Client, &message(0x80, 0, 0, 3, &[], "gone", &[]));
    recognised::<Memcached>(Server, &message(0x81, 0, 1, 3, &[], "", b"Not found"));
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"get\r\n",
        b"set a b c d\r\n",
        b"OK\r\n",
        b"\x80\x00\x01\x03\x01\x01",
    ] {
        refused::<Memcached>(bytes);
    }
}
