//! `PostgreSQL`.

use taproot_protocols::Side;
use taproot_protocols::postgres::Postgres;

use crate::kit::{
    Client, Server, Tap, Write, calls, conforms, recognised, recovers, refused, shown, write,
};

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn startup() -> Vec<u8> {
    let body = b"\x00\x03\x00\x00user\0joe\0database\0shop\0\0";
    [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

fn rows(count: usize, tag: &str) -> Vec<u8> {
    let description = message(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
    let row = message(b'D', b"\0\x01\0\0\0\x01x");
    [description, row.repeat(count), message(b'C', format!("{tag}\0").as_bytes())].concat()
}

fn execute(name: &str, parse: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(text) = parse {
        bytes.extend(message(b'P', format!("{name}\0{text}\0\0\0").as_bytes()));
    }
    bytes.extend(message(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes()));
    bytes.extend(message(b'D', b"P\0"));
    bytes.extend(message(b'E', b"\0\0\0\0\0"));
    bytes
}

fn error(code: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0C{code}\0Msecret\0\0").as_bytes())
}

pub(crate) fn script() -> Vec<Write> {
    let sync = message(b'S', b"");
    let prepared = [message(b'1', b""), message(b'2', b""), rows(3, "SELECT 3"), ready()].concat();
    let login = [message(b'R', b"\0\0\0\0"), message(b'S', b"a\0b\0"), ready()].concat();
    vec![
        write(Client, b"\0\0\0\x08\x04\xd2\x16\x2f"),
        write(Server, b"N"),
        write(Client, startup()),
        write(Server, login),
        write(Client, query("select * from orders where id = 17")),
        write(Server, [rows(300, "SELECT 300"), ready()].concat()),
        write(Client, [execute("s1", Some("update stock set n = $1")), sync.clone()].concat()),
        write(Server, &prepared),
        write(Client, query("select 'x'; insert into t values (1)")),
        write(Server, [rows(1, "SELECT 1"), error("42P01"), ready()].concat()),
        write(Client, [execute("s1", None), execute("s1", None), sync.clone()].concat()),
        write(Server, [message(b'2', b""), error("23505"), ready()].concat()),
        write(Client, [message(b'P', b"s2\0delete from t\0\0\0"), sync.clone()].concat()),
        write(Server, [message(b'1', b""), ready()].concat()),
        write(Client, [message(b'C', b"Ss2\0"), sync].concat()),
        write(Server, [message(b'3', b""), ready()].concat()),
        write(Client, query("commit")),
        write(Server, [message(b'C', b"COMMIT\0"), ready()].concat()),
    ]
}

#[test]
fn simple_and_extended() {
    let expected = [
        "CONNECT ok",
        "SELECT orders ok",
        "UPDATE stock ok",
        "SELECT 42P01",
        "UPDATE stock 23505",
        "UPDATE stock 23505",
        "PREPARE t ok",
        "COMMIT ok",
    ];
    conforms::<Postgres>(&script(), &expected);
    recovers::<Postgres>(&script());
    let all = calls::<Postgres>(&script());
    assert!(all.iter().all(|call| call.namespace.as_deref() == Some("shop")));
    assert_eq!(all[1].statement.as_deref(), Some("select * from orders where id = ?"));
    assert!(!format!("{all:?}").contains("secret"));
}

#[test]
fn an_unknown_name_is_no_statement() {
    let sync = message(b'S', b"");
    let script = [
        write(Client, [execute("old", None), sync].concat()),
        write(Server, [message(b'2', b""), rows(1, "SELECT 1"), ready()].concat()),
    ];
    assert_eq!(shown(&calls::<Postgres>(&script)), ["EXECUTE ok"]);
}

#[test]
fn a_refused_login() {
    let script = [write(Client, startup()), write(Server, error("28P01"))];
    assert_eq!(shown(&calls::<Postgres>(&script)), ["CONNECT 28P01"]);
}

#[test]
fn tls_ends_the_parsing() {
    let mut tap = Tap::<Postgres>::new();
    tap.send(Client, b"\0\0\0\x08\x04\xd2\x16\x2f");
    tap.send(Server, b"S");
    tap.send(Client, b"\x16\x03\x01\x00\x05hello");
    tap.close();
    assert!(tap.connection.has_left() && tap.records.is_empty());
}

#[test]
fn recognises_by_content() {
    recognised::<Postgres>(Client, &startup());
    recognised::<Postgres>(Client, &query("select 1 from t where something = 4"));
    recognised::<Postgres>(Client, &execute("s", Some("select 1 from t where a = 4 and b = 5")));
    recognised::<Postgres>(Side::Server, &rows(2, "SELECT 2"));
    recognised::<Postgres>(Side::Server, &error("42P01"));
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"Q\0\0\0\x09hello", b"PING\r\n", b"SELECT 1\n"] {
        refused::<Postgres>(bytes);
    }
}
