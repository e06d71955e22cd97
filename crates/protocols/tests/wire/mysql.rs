//! `MySQL` and `MariaDB`.

use taproot_protocols::mysql::Mysql;

use crate::kit::{
    Client, Server, Tap, Write, calls, conforms, recognised, recovers, refused, shown, write,
};

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&length[..3], &[number], payload].concat()
}

fn packets(payloads: &[&[u8]]) -> Vec<u8> {
    payloads
        .iter()
        .enumerate()
        .flat_map(|(at, one)| packet((at as u8).wrapping_add(1), one))
        .collect()
}

fn command(command: u8, arguments: &[u8]) -> Vec<u8> {
    packet(0, &[&[command], arguments].concat())
}

fn query(text: &str) -> Vec<u8> {
    command(3, text.as_bytes())
}

pub(crate) fn greeting() -> Vec<u8> {
    packet(
        0,
        &[&b"\x0a8.0.36\0\x01\0\0\0abcdefgh\0\xff\xf7\x21\x02\0\xff\xc1\x15"[..], &[0; 30]]
            .concat(),
    )
}

fn login(flags: u32) -> Vec<u8> {
    let mut payload = flags.to_le_bytes().to_vec();
    payload.extend([0; 28]);
    payload.extend(b"joe\0\x04abcdshop\0");
    packet(1, &payload)
}

const FLAGS: u32 = 1 << 3 | 1 << 9 | 1 << 15;
const OK: &[u8] = b"\0\x01\0\x02\0\0\0";
const END: &[u8] = b"\xfe\0\0\x02\0";
const COLUMN: &[u8] = b"\x03def\x04shop\x01t\x01t\x01a\x01a\x0c\x3f\0\x0b\0\0\0\x03\0\0\0\0\0";

fn rows(old: bool, count: usize) -> Vec<u8> {
    let mut all = vec![&b"\x02"[..], COLUMN, COLUMN];
    if old {
        all.push(END);
    }
    all.resize(all.len() + count, b"\x011\x05hello");
    all.push(if old { END } else { b"\xfe\0\0\x02\0\0\0" });
    packets(&all)
}

pub(crate) fn script() -> Vec<Write> {
    vec![
        write(Server, greeting()),
        write(Client, login(FLAGS)),
        write(Server, packet(2, OK)),
        write(Client, query("select * from orders where id = 17")),
        write(Server, rows(true, 400)),
        write(Client, query("select * from items where name = \"secret\"")),
        write(Server, rows(false, 3)),
        write(Client, query("update nothing set a = 1")),
        write(Server, packets(&[b"\xff\x7a\x04#42S02secret"])),
        write(Client, command(0x16, b"insert into t values (?, ?)")),
        write(Server, packets(&[b"\0\x07\0\0\0\0\0\x02\0\0\0\0", COLUMN, COLUMN, END])),
        write(Client, command(0x17, b"\x07\0\0\0\0\x01\0\0\0\0\x01\x08\0\x08\0")),
        write(Server, packets(&[OK])),
        write(Client, command(0x19, b"\x07\0\0\0")),
        write(Client, command(2, b"archive")),
        write(Server, packets(&[OK])),
        write(Client, query("call several()")),
        write(Server, packets(&[b"\0\x01\0\x0a\0\0\0", OK])),
        write(Client, command(0x0e, b"")),
        write(Server, packets(&[OK])),
    ]
}

#[test]
fn commands_and_answers() {
    let expected = [
        "CONNECT ok",
        "SELECT orders ok",
        "SELECT items ok",
        "UPDATE nothing 1146",
        "PREPARE t ok",
        "INSERT t ok",
        "CLOSE >",
        "USE ok",
        "CALL several ok",
        "PING ok",
    ];
    conforms::<Mysql>(&script(), &expected);
    recovers::<Mysql>(&script());
    let all = calls::<Mysql>(&script());
    assert_eq!(all[1].namespace.as_deref(), Some("shop"));
    assert_eq!(all[9].namespace.as_deref(), Some("archive"));
    assert_eq!(all[2].statement.as_deref(), Some("select * from items where name = ?"));
    assert!(!format!("{all:?}").contains("secret"));
}

#[test]
fn a_long_result_whose_numbers_come_round() {
    let script = [
        write(Client, query("select * from big")),
        write(Server, rows(false, 1000)),
        write(Client, command(0x0e, b"")),
        write(Server, packets(&[OK])),
    ];
    let mut tap = Tap::<Mysql>::new();
    tap.send(Server, &greeting());
    tap.send(Client, &login(FLAGS));
    tap.send(Server, &packet(2, OK));
    for (side, bytes) in &script {
        tap.send(*side, bytes);
    }
    assert_eq!(shown(&tap.records), ["CONNECT ok", "SELECT big ok", "PING ok"]);
    let size = script[1].1.len() as u64;
    assert_eq!(tap.records[1].answer_size, size);
}

#[test]
fn refusals() {
    let refused = [write(Server, packet(0, b"\xff\x10\x04Too many connections"))];
    assert_eq!(shown(&calls::<Mysql>(&refused)), ["CONNECT 1040"]);
    let denied = [
        write(Server, greeting()),
        write(Client, login(FLAGS)),
        write(Server, packet(2, b"\xfemysql_native_password\0abc")),
        write(Client, packet(3, b"12345678901234567890")),
        write(Server, packet(4, b"\xff\x15\x04#28000Access denied")),
    ];
    conforms::<Mysql>(&denied, &["CONNECT 1045"]);
}

#[test]
fn tls_and_compression_end_the_parsing() {
    let mut tls = Tap::<Mysql>::new();
    tls.send(Server, &greeting());
    let mut request = (FLAGS | 1 << 11).to_le_bytes().to_vec();
    request.extend([0; 28]);
    tls.send(Client, &packet(1, &request));
    assert!(tls.connection.has_left());
    let mut compressed = Tap::<Mysql>::new();
    compressed.send(Server, &greeting());
    compressed.send(Client, &login(FLAGS | 1 << 5));
    compressed.send(Server, &packet(2, OK));
    assert!(compressed.connection.has_left());
    assert_eq!(shown(&compressed.records), ["CONNECT ok"]);
}

#[test]
fn recognises_by_content() {
    recognised::<Mysql>(Server, &greeting());
    recognised::<Mysql>(Client, &query("select 1 from t where something = 4"));
    recognised::<Mysql>(Client, &command(0x0e, b""));
    recognised::<Mysql>(Server, &rows(false, 1));
    recognised::<Mysql>(Server, &packets(&[OK]));
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x05\0\0\0\x03hello", b"\x01\0\0\x07\x0e"] {
        refused::<Mysql>(bytes);
    }
}
