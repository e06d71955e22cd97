//! TLS handshakes.

use taproot_protocols::tls::Tls;

use crate::kit::{Client, Server, Tap, Write, conforms, recognised, refused, shown, write};

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &(body.len() as u16).to_be_bytes()[..], body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

fn extensions(all: &[Vec<u8>]) -> Vec<u8> {
    let all = all.concat();
    [&(all.len() as u16).to_be_bytes()[..], &all].concat()
}

fn alpn(protocols: &[&str]) -> Vec<u8> {
    let list: Vec<u8> =
        protocols.iter().flat_map(|p| [&[p.len() as u8], p.as_bytes()].concat()).collect();
    extension(16, &[&(list.len() as u16).to_be_bytes()[..], &list].concat())
}

fn server_name(host: &str) -> Vec<u8> {
    let name = [&[0], &(host.len() as u16).to_be_bytes()[..], host.as_bytes()].concat();
    extension(0, &[&(name.len() as u16).to_be_bytes()[..], &name].concat())
}

pub(crate) fn client_hello(host: &str) -> Vec<u8> {
    let rest = extensions(&[server_name(host), alpn(&["h2"])]);
    let body = [&[3, 3], &[7; 32][..], &[0], &[0, 2, 0x13, 1], &[1, 0], &rest].concat();
    record(22, &message(1, &body))
}

fn server_hello(version: u16, more: &[Vec<u8>]) -> Vec<u8> {
    let mut all = more.to_vec();
    if version == 0x0304 {
        all.push(extension(43, &version.to_be_bytes()));
    }
    let body = [&[3, 3], &[9; 32][..], &[0], &[0x13, 1, 0], &extensions(&all)].concat();
    message(2, &body)
}

/// A value of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, 0x82], &(content.len() as u16).to_be_bytes()[..], content].concat()
}

/// A chain of one certificate that is valid to the given time, and long enough to be
/// cut into several records.
fn certificates(end: &str) -> Vec<u8> {
    let validity = [der(0x17, b"250101000000Z"), der(0x17, end.as_bytes())].concat();
    let issuer = vec![0; 20_000];
    let signed = [
        der(0xa0, &[2, 1, 2]),
        der(2, &[5]),
        der(0x30, b"algorithm"),
        der(0x30, &issuer),
        der(0x30, &validity),
    ];
    let certificate = der(0x30, &der(0x30, &signed.concat()));
    let length = |n: usize| (n as u32).to_be_bytes()[1..].to_vec();
    let list = [length(certificate.len()), certificate].concat();
    message(11, &[length(list.len()), list].concat())
}

/// TLS 1.3.
pub(crate) fn script() -> Vec<Write> {
    vec![
        write(Client, client_hello("Shop.example")),
        write(Server, record(22, &server_hello(0x0304, &[]))),
        write(Server, [record(20, &[1]), record(23, &[5; 900])].concat()),
        write(Client, [record(20, &[1]), record(23, &[6; 53]), record(23, &[6; 400])].concat()),
        write(Server, record(23, &[7; 3000])),
    ]
}

fn all(script: &[Write]) -> (Vec<String>, bool) {
    let mut tap = Tap::<Tls>::new();
    for (side, bytes) in script {
        tap.send(*side, bytes);
    }
    let done = tap.connection.protocol().is_done();
    tap.close();
    (shown(&tap.records), done)
}

#[test]
fn version_1_3() {
    let script = script();
    assert_eq!(all(&script), (vec!["handshake shop.example TLSv1.3".into()], true));
    let mut tap = Tap::<Tls>::new();
    for (side, bytes) in &script {
        tap.send(*side, bytes);
    }
    assert_eq!(tap.records[0].namespace.as_deref(), Some("h2"));
    conforms::<Tls>(&script, &["handshake shop.example TLSv1.3"]);
}

#[test]
fn version_1_2_shows_its_certificate() {
    let handshake = [server_hello(0x0303, &[alpn(&["http/1.1"])]), certificates("270131120000Z")];
    let records: Vec<u8> =
        handshake.concat().chunks(9_000).flat_map(|part| record(22, part)).collect();
    let script = vec![
        write(Client, client_hello("shop.example")),
        write(Server, records),
        write(
            Client,
            [record(22, &message(16, &[1; 33])), record(20, &[1]), record(22, &[8; 40])].concat(),
        ),
        write(Server, [record(20, &[1]), record(22, &[8; 40])].concat()),
        write(Client, record(23, &[6; 400])),
    ];
    let expected =
        ["certificate shop.example 2027-01-31T12:00:00Z", "handshake shop.example TLSv1.2"];
    assert_eq!(all(&script), (expected.map(String::from).to_vec(), true));
    conforms::<Tls>(&script, &expected);
}

#[test]
fn a_refusal_is_named() {
    let hello = write(Client, client_hello("nowhere.example"));
    let refused = [hello.clone(), write(Server, record(21, &[2, 112]))];
    let expected = vec!["handshake nowhere.example unrecognized_name".to_owned()];
    assert_eq!(all(&refused), (expected, true));
    // The client dislikes the certificate: of TLS 1.3 that is encrypted.
    let mut disliked = script();
    disliked.truncate(3);
    disliked.push(write(Client, record(23, &[6; 19])));
    assert_eq!(all(&disliked).0, ["handshake shop.example _OTHER"]);
    assert_eq!(all(&[hello]), (vec!["handshake nowhere.example -".into()], false));
}

#[test]
fn another_hello_may_be_asked_for() {
    let retry = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
        0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
        0x33, 0x9c,
    ];
    let body = [&[3, 3][..], &retry, &[0, 0x13, 1, 0]].concat();
    let mut script = script();
    script.insert(1, write(Server, record(22, &message(2, &body))));
    script.insert(2, write(Client, client_hello("shop.example")));
    assert_eq!(all(&script).0, ["handshake shop.example TLSv1.3"]);
}

#[test]
fn recognises_by_content() {
    recognised::<Tls>(Client, &client_hello("shop.example"));
    recognised::<Tls>(Server, &record(22, &server_hello(0x0303, &[])));
    for bytes in [&b"\x17\x03\x03\0\x20abcdef"[..], b"\x16\0\0\x01abcdef", b"GET / HTTP/1.1\r\n"] {
        refused::<Tls>(bytes);
    }
}
