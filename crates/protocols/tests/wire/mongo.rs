//! `MongoDB`.

use taproot_protocols::mongo::Mongo;

use crate::kit::{Client, Server, Tap, Write, calls, conforms, recognised, refused, shown, write};

fn text(name: &str, value: &str) -> Vec<u8> {
    let length = (value.len() as u32 + 1).to_le_bytes();
    [b"\x02", name.as_bytes(), b"\0", &length, value.as_bytes(), b"\0"].concat()
}

fn int(name: &str, value: i32) -> Vec<u8> {
    [b"\x10", name.as_bytes(), b"\0", &value.to_le_bytes()[..]].concat()
}

fn double(name: &str, value: f64) -> Vec<u8> {
    [b"\x01", name.as_bytes(), b"\0", &value.to_le_bytes()[..]].concat()
}

fn inner(kind: u8, name: &str, elements: &[Vec<u8>]) -> Vec<u8> {
    [&[kind], name.as_bytes(), b"\0", &document(elements)[..]].concat()
}

fn document(elements: &[Vec<u8>]) -> Vec<u8> {
    let body = elements.concat();
    [&(body.len() as u32 + 5).to_le_bytes()[..], &body, b"\0"].concat()
}

fn message(number: u32, answers: u32, code: u32, body: &[u8]) -> Vec<u8> {
    let words = [body.len() as u32 + 16, number, answers, code];
    [words.map(u32::to_le_bytes).concat(), body.to_vec()].concat()
}

fn msg(number: u32, answers: u32, flags: u8, elements: &[Vec<u8>]) -> Vec<u8> {
    message(number, answers, 2013, &[&[flags, 0, 0, 0, 0], &document(elements)[..]].concat())
}

fn find(number: u32) -> Vec<u8> {
    let filter = inner(3, "filter", &[text("name", "secret")]);
    msg(number, 0, 0, &[text("find", "orders"), filter, text("$db", "shop")])
}

fn hello() -> Vec<u8> {
    let body =
        [b"\0\0\0\0admin.$cmd\0\0\0\0\0\xff\xff\xff\xff", &document(&[int("isMaster", 1)])[..]]
            .concat();
    message(1, 0, 2004, &body)
}

pub(crate) fn script() -> Vec<Write> {
    let rows = inner(4, "firstBatch", &[text("0", &"x".repeat(6000))]);
    let error = inner(3, "0", &[int("index", 0), int("code", 11000)]);
    vec![
        write(Client, hello()),
        write(Server, message(9, 1, 1, &[&[0; 20], &document(&[double("ok", 1.0)])[..]].concat())),
        write(
            Client,
            [find(2), msg(3, 0, 0, &[text("insert", "stock"), text("$db", "shop")])].concat(),
        ),
        write(
            Server,
            msg(10, 3, 0, &[int("n", 0), inner(4, "writeErrors", &[error]), double("ok", 1.0)]),
        ),
        write(Server, msg(11, 2, 0, &[inner(3, "cursor", &[rows]), double("ok", 1.0)])),
        write(Client, msg(4, 0, 2, &[text("update", "stock"), text("$db", "shop")])),
        write(Client, msg(5, 0, 0, &[int("replSetGetStatus", 1), text("$db", "admin")])),
        write(
            Server,
            msg(12, 5, 0, &[double("ok", 0.0), text("errmsg", "secret"), int("code", 76)]),
        ),
        write(Client, message(6, 0, 2012, b"\xdd\x07\0\0\x10\0\0\0\x01abcdef")),
        write(Server, message(13, 6, 2012, b"\xdd\x07\0\0\x10\0\0\0\x01abcdef")),
        write(Client, msg(7, 0, 0, &[int("ping", 1), text("$db", "admin")])),
        write(Server, msg(14, 7, 0, &[double("ok", 1.0)])),
    ]
}

#[test]
fn commands_and_answers() {
    let expected = [
        "isMaster ok",
        "insert stock 11000",
        "find orders ok",
        "update stock >",
        "replSetGetStatus 76",
        "_OTHER ok",
        "ping ok",
    ];
    conforms::<Mongo>(&script(), &expected);
    let all = calls::<Mongo>(&script());
    assert_eq!(all[2].namespace.as_deref(), Some("shop"));
    assert!(!format!("{all:?}").contains("secret"));
}

#[test]
fn a_gap_costs_the_calls_in_it() {
    for lost in 0..9 {
        let mut tap = Tap::<Mongo>::new();
        for (at, (side, bytes)) in script().iter().enumerate() {
            if at == lost { tap.miss(*side, bytes) } else { tap.send(*side, bytes) }
        }
        tap.close();
        assert!(shown(&tap.records).contains(&"ping ok".to_owned()), "without {lost}");
    }
}

#[test]
fn recognises_by_content() {
    recognised::<Mongo>(Client, &find(2));
    recognised::<Mongo>(Client, &hello());
    recognised::<Mongo>(Server, &msg(10, 3, 0, &[double("ok", 1.0)]));
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x20\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\xff\0\0\0\0",
        b"*1\r\n$4\r\nPING\r\n",
    ] {
        refused::<Mongo>(bytes);
    }
}
