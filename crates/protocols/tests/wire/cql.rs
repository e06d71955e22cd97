//! Cassandra.

use taproot_protocols::cql::Cql;

use taproot_protocols::Side;

use crate::kit::{Client, Server, Write, calls, conforms, recognised, refused, write};

/// One envelope: version, stream, opcode, body.
fn envelope(side: Side, version: u8, stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let version = if side == Client { version } else { version | 0x80 };
    let length = (body.len() as u32).to_be_bytes();
    [&[version, 0], &stream.to_be_bytes()[..], &[opcode], &length, body].concat()
}

/// Envelopes as versions 3 and 4 send them.
pub(crate) fn bare(envelopes: &[u8]) -> Vec<u8> {
    envelopes.to_vec()
}

/// Envelopes in a frame of version 5, or in as many as it takes.
pub(crate) fn framed(envelopes: &[u8]) -> Vec<u8> {
    const LARGEST: usize = (1 << 17) - 1;
    let whole = envelopes.len() <= LARGEST;
    let frame = |part: &[u8]| {
        let header = (part.len() as u32 | u32::from(whole) << 17).to_le_bytes();
        let checksum = checksum(&header[..3]).to_le_bytes();
        [&header[..3], &checksum[..3], part, b"crc!"].concat()
    };
    envelopes.chunks(LARGEST).flat_map(frame).collect()
}

/// CRC-24 with Cassandra's numbers, a bit at a time.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = 0x0087_5060_u32;
    for bit in 0..bytes.len() * 8 {
        if bit % 8 == 0 {
            sum ^= u32::from(bytes[bit / 8]) << 16;
        }
        let carry = sum >> 23 & 1;
        sum = (sum << 1 & 0x00ff_ffff) ^ (carry * 0x0097_4f0b);
    }
    sum
}

fn long(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

const ID: &[u8] = b"\0\x100123456789abcdef";
const STARTUP: &[u8] = b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0";

/// What a driver says; behind the login every write goes through `wrap`.
pub(crate) fn script(version: u8, wrap: fn(&[u8]) -> Vec<u8>) -> Vec<Write> {
    let ask = |stream, opcode, body: &[u8]| envelope(Client, version, stream, opcode, body);
    let answer = |stream, opcode, body: &[u8]| envelope(Server, version, stream, opcode, body);
    let query = |stream, text: &str| ask(stream, 7, &[&long(text)[..], b"\0\x01\0"].concat());
    let rows = [&[0, 0, 0, 2][..], &vec![b'x'; 200_000]].concat();
    let two = [
        query(2, "select * from shop.orders where id = 17"),
        query(3, "insert into stock (a) values ('secret')"),
    ];
    let batch =
        [&b"\0\0\x01\0"[..], &long("update stock set n = 1 where a = 'secret'"), b"\0\0\0\x01\0"];
    vec![
        write(Client, ask(0, 5, b"")),
        write(Server, answer(0, 6, b"\0\x01\0\x0bCQL_VERSION\0\x01\0\x053.4.5")),
        write(Client, ask(0, 1, STARTUP)),
        write(Server, answer(0, 2, b"")),
        write(Client, wrap(&query(1, "use shop"))),
        write(Server, wrap(&answer(1, 8, b"\0\0\0\x03\0\x04shop"))),
        write(Client, wrap(&two.concat())),
        write(Server, wrap(&answer(3, 0, b"\0\0\x22\0\0\x06secret"))),
        write(Server, wrap(&answer(2, 8, &rows))),
        write(Client, wrap(&ask(4, 9, &long("delete from carts where id = ?")))),
        write(Server, wrap(&answer(4, 8, &[b"\0\0\0\x04", ID, &[0; 40]].concat()))),
        write(Client, wrap(&ask(5, 10, &[ID, b"\0\x01\x01\0\x01\0\0\0\x04abcd"].concat()))),
        write(Server, wrap(&answer(5, 8, b"\0\0\0\x01"))),
        write(Client, wrap(&ask(6, 13, &batch.concat()))),
        write(
            Server,
            wrap(&answer(-1, 12, b"\0\x0dSTATUS_CHANGE\0\x02UP\x04\x7f\0\0\x01\0\0\x23\x52")),
        ),
        write(
            Server,
            wrap(&answer(6, 0, b"\0\0\x11\0\0\x06secret\0\x01\0\0\0\0\0\0\0\x01\0\x05BATCH")),
        ),
        write(Client, wrap(&query(7, "select last from t"))),
        write(Server, wrap(&answer(7, 8, &[&[0, 0, 0, 2][..], &[0; 20]].concat()))),
    ]
}

const EXPECTED: [&str; 10] = [
    "OPTIONS ok",
    "STARTUP ok",
    "USE ok",
    "INSERT stock 0x2200",
    "SELECT shop.orders ok",
    "PREPARE carts ok",
    "DELETE carts ok",
    "EVENT >",
    "BATCH stock 0x1100",
    "SELECT t ok",
];

#[test]
fn statements_of_versions_3_and_4() {
    conforms::<Cql>(&script(3, bare), &EXPECTED);
    conforms::<Cql>(&script(4, bare), &EXPECTED);
}

#[test]
fn statements_in_frames_of_version_5() {
    conforms::<Cql>(&script(5, framed), &EXPECTED);
}

#[test]
fn literals_stay_and_the_key_space_is_known() {
    let all = calls::<Cql>(&script(4, bare));
    assert!(!format!("{all:?}").contains("secret"));
    assert_eq!(all[9].namespace.as_deref(), Some("shop"));
    assert_eq!(all[6].statement.as_deref(), Some("delete from carts where id = ?"));
    assert_eq!(all[4].answer_size, 200_013);
}

#[test]
fn recognises_by_content() {
    for (side, bytes) in &script(4, bare)[..9] {
        recognised::<Cql>(*side, bytes);
    }
    let frame = framed(&envelope(Client, 5, 1, 7, &long("select a from t")));
    recognised::<Cql>(Client, &frame);
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x04\0\0\0\x07\0\0\0\x09\0\0\0\x05hello",
        b"\x02\0\0\0\x05\0\0\0\0",
        b"\x04\0\0\0\x07\0\0\0\x09\xff\xff\xff\xffhello",
    ] {
        refused::<Cql>(bytes);
    }
}
