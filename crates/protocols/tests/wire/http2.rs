//! HTTP/2 and gRPC.

use taproot_protocols::http2::Http2;
use taproot_protocols::{Outcome, Wire};

use crate::kit::{Client, Server, Tap, Write, calls, conforms, recognised, refused, shown, write};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal that is added to the table, under a name of the static table.
fn literal(index: u8, value: &str) -> Vec<u8> {
    [&[0x40 | index, value.len() as u8], value.as_bytes()].concat()
}

fn new_name(name: &str, value: &str) -> Vec<u8> {
    [&[0x40, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

pub(crate) fn request(stream: u32, method: u8, path: &str, flags: u8) -> Vec<u8> {
    let block = [&[method, 0x86][..], &literal(4, path), &literal(1, "shop.example")].concat();
    frame(1, flags | END_HEADERS, stream, &block)
}

fn grpc(stream: u32, path: &str) -> Vec<u8> {
    let kind = literal(31, "application/grpc+proto");
    let block = [&[0x83, 0x86][..], &literal(4, path), &kind].concat();
    [frame(1, END_HEADERS, stream, &block), frame(0, END_STREAM, stream, &[7; 20])].concat()
}

fn grpc_answer(stream: u32, status: &str) -> Vec<u8> {
    let head = [&[0x88][..], &literal(31, "application/grpc")].concat();
    let trailers = frame(1, END_HEADERS | END_STREAM, stream, &new_name("grpc-status", status));
    [frame(1, END_HEADERS, stream, &head), frame(0, 0, stream, &[7; 9]), trailers].concat()
}

pub(crate) fn response(stream: u32, status: u8, body: usize) -> Vec<u8> {
    let data = frame(0, END_STREAM, stream, &vec![b'x'; body]);
    [frame(1, END_HEADERS, stream, &[status]), data].concat()
}

pub(crate) fn hello() -> Vec<Write> {
    vec![
        write(Client, [PREFACE, &frame(4, 0, 0, b"\0\x03\0\0\0\x64")].concat()),
        write(Server, frame(4, 0, 0, b"\0\x03\0\0\0\x80")),
    ]
}

pub(crate) fn script() -> Vec<Write> {
    let many = [request(1, 0x82, "/a?q=secret", END_STREAM), request(3, 0x83, "/b", 0)].concat();
    let mut script = hello();
    script.extend([
        write(Client, [many, frame(0, END_STREAM, 3, b"body")].concat()),
        write(Server, response(3, 0x8e, 10)),
        write(Server, response(1, 0x88, 9000)),
        write(Client, grpc(5, "/shop.Cart/Add")),
        write(Server, grpc_answer(5, "5")),
        write(Client, request(7, 0x82, "/slow", END_STREAM)),
        write(Client, frame(3, 0, 7, &[0, 0, 0, 8])),
        write(Client, frame(6, 0, 0, &[0; 8])),
        write(Client, request(9, 0x82, "/last", END_STREAM)),
        write(Server, response(9, 0x8d, 1)),
    ]);
    script
}

#[test]
fn many_streams() {
    let expected = [
        "POST /b 500",
        "GET /a 200",
        "shop.Cart/Add NOT_FOUND",
        "GET /slow CANCEL",
        "GET /last 404",
    ];
    conforms::<Http2>(&script(), &expected);
    let all = calls::<Http2>(&script());
    assert_eq!(all[1].namespace.as_deref(), Some("shop.example"));
    assert_eq!((all[2].wire, all[0].outcome.is_error()), (Wire::Grpc, true));
    assert_eq!(all[1].answer_size, 9000 + 10 + 9);
    assert!(!format!("{all:?}").contains("secret"));
}

#[test]
fn a_traceparent_is_kept_as_it_came() {
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let named = [&[0x82, 0x86][..], &literal(4, "/a"), &new_name("traceparent", context)].concat();
    let mut script = hello();
    script.extend([
        write(Client, frame(1, END_HEADERS | END_STREAM, 1, &named)),
        write(Client, request(3, 0x82, "/b", END_STREAM)),
        write(Server, [response(1, 0x88, 3), response(3, 0x88, 3)].concat()),
    ]);
    let told = calls::<Http2>(&script);
    assert_eq!(told[0].traceparent.as_deref(), Some(context));
    assert_eq!(told[1].traceparent, None);
}

#[test]
fn a_block_in_several_frames_with_padding_and_priority() {
    let block = [&[0x82, 0x86][..], &literal(4, "/long"), &literal(1, "shop")].concat();
    let padded = [&[3, 0, 0, 0, 0, 1][..], &block[..5], &[0; 3]].concat();
    let mut script = hello();
    script.extend([
        write(Client, frame(1, 0x28 | END_STREAM, 1, &padded)),
        write(Client, frame(9, 0, 1, &block[5..8])),
        write(Client, frame(9, END_HEADERS, 1, &block[8..])),
        write(Server, response(1, 0x88, 3)),
    ]);
    conforms::<Http2>(&script, &["GET /long 200"]);
}

#[test]
fn interim_answers_and_trailers_are_part_of_one_call() {
    let mut script = hello();
    script.extend([
        write(Client, request(1, 0x83, "/up", 0)),
        write(Server, frame(1, END_HEADERS, 1, &literal(8, "100"))),
        write(Client, frame(0, 0, 1, b"body")),
        write(Client, frame(1, END_HEADERS | END_STREAM, 1, &new_name("x-sum", "1"))),
        write(Server, response(1, 0x88, 3)),
    ]);
    conforms::<Http2>(&script, &["POST /up 200"]);
}

#[test]
fn joined_late_what_the_table_held_is_left_out() {
    let mut tap = Tap::<Http2>::new();
    let all = script();
    for (side, bytes) in &all[..3] {
        tap.send(*side, bytes);
    }
    // The same requests again, by reference: method, path and authority.
    let again = frame(1, END_HEADERS | END_STREAM, 11, &[0x82, 0x86, 0xc1, 0xc0]);
    tap.send(Client, &again);
    tap.send(Server, &response(11, 0x88, 1));
    assert_eq!(shown(&tap.records), ["GET /a 200"]);
    let mut late = Tap::<Http2>::late();
    late.send(Client, &again);
    late.send(Server, &response(11, 0x88, 1));
    late.send(Client, &request(13, 0x82, "/new", END_STREAM));
    late.send(Server, &response(13, 0x88, 1));
    assert_eq!(shown(&late.records), ["GET 200", "GET /new 200"]);
}

#[test]
fn a_gap_costs_the_calls_that_were_under_way_and_no_more() {
    for lost in 2..8 {
        let mut tap = Tap::<Http2>::new();
        for (at, (side, bytes)) in script().iter().enumerate() {
            if at == lost { tap.miss(*side, bytes) } else { tap.send(*side, bytes) }
        }
        tap.close();
        let found = shown(&tap.records);
        assert!(found.contains(&"GET /last 404".to_owned()), "without {lost}: {found:?}");
        assert!(tap.records.iter().all(|call| call.outcome != Outcome::Unanswered));
    }
}

#[test]
fn recognises_by_content() {
    recognised::<Http2>(Client, PREFACE);
    recognised::<Http2>(Client, &request(1, 0x82, "/a", END_STREAM));
    recognised::<Http2>(Server, &frame(4, 0, 0, b"\0\x03\0\0\0\x80"));
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PRIX", b"\0\0\x06\x04\0\0\0\0\0\0\x77\0\0\0\0"] {
        refused::<Http2>(bytes);
    }
}
