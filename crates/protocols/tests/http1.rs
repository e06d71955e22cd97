//! HTTP/1 from whole streams, cut streams and streams with holes.

use proptest::prelude::*;
use taproot_protocols::http1::{Answer, Exchange, Http1, Method, Record};
use taproot_protocols::stream::Limits;
use taproot_protocols::{Connection, Piece, Side};

struct Tap {
    connection: Connection<Http1>,
    at: [u64; 2],
    time: u64,
    records: Vec<Record>,
}

impl Tap {
    fn new() -> Self {
        let connection = Connection::from_start(Http1::default(), Limits::default());
        Self { connection, at: [0, 0], time: 0, records: Vec::new() }
    }

    fn late() -> Self {
        let connection = Connection::joined_late(Http1::default(), Limits::default());
        Self { connection, at: [77, 7700], ..Self::new() }
    }

    fn send(&mut self, side: Side, bytes: &[u8]) -> &mut Self {
        self.send_cut(side, bytes, bytes.len())
    }

    /// Sends `bytes` of which only `copied` were copied.
    fn send_cut(&mut self, side: Side, bytes: &[u8], copied: usize) -> &mut Self {
        self.time += 1;
        let position = self.at[side as usize];
        let length = bytes.len() as u64;
        self.at[side as usize] += length;
        let piece = Piece { position, length, bytes: &bytes[..copied], time: self.time };
        self.connection.push(side, piece, &mut self.records);
        self
    }

    fn send_all(&mut self, side: Side, parts: &[&[u8]]) {
        for part in parts {
            self.send(side, part);
        }
    }

    fn miss(&mut self, side: Side, bytes: &[u8]) -> &mut Self {
        self.at[side as usize] += bytes.len() as u64;
        self.time += Limits::default().patience + 1;
        self
    }

    fn client(&mut self, text: &str) -> &mut Self {
        self.send(Side::Client, text.as_bytes())
    }

    fn server(&mut self, text: &str) -> &mut Self {
        self.send(Side::Server, text.as_bytes())
    }

    fn close(&mut self) -> &mut Self {
        self.time += 1;
        self.connection.close(Side::Client, self.time, &mut self.records);
        self.connection.close(Side::Server, self.time, &mut self.records);
        self
    }

    /// `METHOD path status` of each record, `-` unanswered, `?` unseen.
    fn seen(&self) -> Vec<String> {
        self.records.iter().map(describe).collect()
    }

    fn exchange(&self, index: usize) -> &Exchange {
        match &self.records[index] {
            Record::Exchange(exchange) => exchange,
            Record::Orphan(response) => panic!("an orphan: {response:?}"),
        }
    }
}

fn describe(record: &Record) -> String {
    match record {
        Record::Orphan(response) => format!("orphan {}", response.status),
        Record::Exchange(Exchange { request, answer, .. }) => {
            let answer = match answer {
                Answer::Response(response) => response.status.to_string(),
                Answer::Unanswered => "-".into(),
                Answer::Unseen => "?".into(),
            };
            format!("{} {} {answer}", request.method.as_str(), request.path)
        }
    }
}

#[test]
fn keep_alive() {
    let mut tap = Tap::new();
    tap.client("GET /a?x=1 HTTP/1.1\r\nHost: shop\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        .client("POST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
        .server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(tap.seen(), ["GET /a 200", "POST /b 404"]);
    let first = tap.exchange(0);
    assert_eq!((first.request_body, first.response_body, first.complete), (0, 3, true));
    let times = first.times;
    assert_eq!((times.request_start, times.response_end), (1, Some(2)));
    assert_eq!(tap.exchange(1).request_body, 2);
}

#[test]
fn pipelining() {
    let mut tap = Tap::new();
    tap.client("GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n").server(
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\
         HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    );
    assert_eq!(tap.seen(), ["GET /1 200", "HEAD /2 200", "GET /3 304"]);
}

#[test]
fn chunked_with_extensions_and_trailers() {
    let mut tap = Tap::new();
    tap.client("GET / HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
        .server("5;a=\"b\"\r\nhello\r\n3\r\nabc\r\n0\r\nExpires: 0\r\nX: y\r\n\r\n")
        .client("GET /next HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(tap.seen(), ["GET / 200", "GET /next 204"]);
    assert_eq!(tap.exchange(0).response_body, 8);
}

#[test]
fn interim_responses_are_not_the_answer() {
    let mut tap = Tap::new();
    tap.client("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .server("HTTP/1.1 100 Continue\r\n\r\n")
        .client("hi")
        .server("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(tap.seen(), ["POST / 201"]);
    assert_eq!(tap.exchange(0).interim, 2);
}

#[test]
fn switching_protocols_ends_http() {
    let mut tap = Tap::new();
    tap.client("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
        .client("GET /not-http HTTP/1.1\r\n\r\n");
    assert_eq!(tap.seen(), ["GET /ws 101"]);
    assert!(tap.connection.has_left());
}

#[test]
fn a_refused_upgrade_goes_on() {
    let mut tap = Tap::new();
    tap.client("GET /1 HTTP/1.1\r\nUpgrade: h2c\r\n\r\n")
        .client("GET /2 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(tap.seen(), ["GET /1 200", "GET /2 200"]);
}

#[test]
fn a_tunnel_is_not_http_unless_it_is() {
    let mut tap = Tap::new();
    tap.client("CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n")
        .server("HTTP/1.1 200 Connection Established\r\n\r\n")
        .client("\x16\x03\x01 GET / HTTP/1.1\r\n\r\n")
        .server("\x16\x03\x03");
    assert_eq!(tap.seen(), ["CONNECT shop:443 200"]);
    tap.client("GET /inner HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(tap.seen()[1..], ["GET /inner 200"]);
    assert!(tap.connection.coverage(Side::Client).unframed > 0);
}

#[test]
fn targets_of_every_form() {
    let mut tap = Tap::new();
    for target in ["http://u:p@shop/a?b", "*", "/käse", "/a b"] {
        tap.client(&format!("OPTIONS {target} HTTP/1.1\nHost: x\n\n"))
            .server("HTTP/1.1 200\nContent-Length: 0\n\n");
    }
    let expected =
        ["OPTIONS http://shop/a 200", "OPTIONS * 200", "OPTIONS /käse 200", "OPTIONS /a b 200"];
    assert_eq!(tap.seen(), expected);
}

#[test]
fn bodies_need_not_be_copied() {
    let mut tap = Tap::new();
    let mut response = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n".to_vec();
    let head = response.len();
    response.resize(head + 70_000, b'x');
    for path in ["/1", "/2"] {
        tap.client(&format!("GET {path} HTTP/1.1\r\n\r\n"));
        tap.send_cut(Side::Server, &response[..1000], 100);
        tap.send_cut(Side::Server, &response[1000..], 0);
    }
    assert_eq!(tap.seen(), ["GET /1 200", "GET /2 200"]);
    assert_eq!(tap.exchange(1).response_body, 70_000);
    assert_eq!(tap.connection.coverage(Side::Server).unframed, 0);
}

#[test]
fn a_gap_inside_a_body_is_stepped_over() {
    let mut tap = Tap::new();
    tap.client("GET /1 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
        .miss(Side::Server, b"cdefgh")
        .server("ij")
        .client("GET /2 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    tap.connection.tick(u64::MAX, &mut tap.records);
    assert_eq!(tap.seen(), ["GET /1 200", "GET /2 500"]);
}

#[test]
fn a_lost_answer_is_unseen_and_the_next_is_right() {
    let mut tap = Tap::new();
    tap.client("GET /1 HTTP/1.1\r\n\r\n")
        .miss(Side::Server, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .client("GET /2 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        .close();
    // Both wait when the gap is noticed, which looks like pipelining: neither is
    // given a status that might be the other's.
    assert!(!tap.seen().contains(&"GET /1 503".to_owned()));
    assert!(!tap.seen().contains(&"GET /1 -".to_owned()));
    assert!(tap.connection.coverage(Side::Server).losses == 1);
}

/// A connection over which some exchanges went, then one whose answer is lost.
fn after_a_lost_answer(before: usize) -> Tap {
    let mut tap = Tap::new();
    tap.connection = Connection::from_start(Http1::default(), Limits::in_order());
    for _ in 0..before {
        tap.client("GET /0 HTTP/1.1\r\n\r\n").server("HTTP/1.1 204 No Content\r\n\r\n");
    }
    tap.client("GET /1 HTTP/1.1\r\n\r\n")
        .miss(Side::Server, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .client("GET /2 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        .client("GET /3 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 204 No Content\r\n\r\n");
    tap
}

#[test]
fn a_client_that_always_waited_loses_little() {
    let tap = after_a_lost_answer(3);
    assert_eq!(tap.seen()[3..], ["GET /1 ?", "GET /2 ?", "orphan 503", "GET /3 204"]);
}

#[test]
fn a_client_that_may_pipeline_is_believed_after_a_pause() {
    let mut tap = after_a_lost_answer(0);
    assert!(tap.seen().iter().all(|one| !one.ends_with("503") || one.starts_with("orphan")));
    tap.time += 2_000_000_000;
    tap.client("GET /4 HTTP/1.1\r\n\r\n").server("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(tap.seen().last().map(String::as_str), Some("GET /4 204"));
}

#[test]
fn a_lost_request_makes_an_orphan() {
    let mut tap = Tap::new();
    tap.client("GET /1 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .miss(Side::Client, b"GET /2 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        .client("GET /3 HTTP/1.1\r\n\r\n");
    tap.connection.tick(u64::MAX, &mut tap.records);
    tap.server("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(tap.seen(), ["GET /1 200", "orphan 500", "GET /3 204"]);
}

#[test]
fn unanswered_stays_unanswered() {
    let mut tap = Tap::new();
    tap.client("GET /1 HTTP/1.1\r\n\r\n").close();
    assert_eq!(tap.seen(), ["GET /1 -"]);
    assert_eq!(tap.exchange(0).times.response_start, None);
}

#[test]
fn a_late_join_waits_for_a_message() {
    let mut tap = Tap::late();
    tap.server("rest of a body HTTP/1.1 200 OK\r\n\r\n")
        .client("lo\r\n\r\n")
        .client("GET /1 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(tap.seen(), ["GET /1 200"]);
}

#[test]
fn a_truncated_head_still_counts() {
    let mut tap = Tap::new();
    let request = b"GET /1 HTTP/1.1\r\nHost: shop\r\nCookie: long long long\r\n\r\n";
    for _ in 0..2 {
        tap.send_cut(Side::Client, request, 35);
        tap.server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    assert_eq!(tap.seen(), ["GET /1 200", "GET /1 200"]);
    assert_eq!(tap.exchange(0).request.host.as_deref(), Some("shop"));
    assert!(!tap.exchange(0).complete);
}

#[test]
fn a_body_that_ends_with_the_connection() {
    let mut tap = Tap::new();
    tap.client("GET /1 HTTP/1.0\r\n\r\n").server("HTTP/1.0 200 OK\r\n\r\nab").server("cd").close();
    assert_eq!(tap.seen(), ["GET /1 200"]);
    assert_eq!((tap.exchange(0).response_body, tap.exchange(0).complete), (4, true));
}

#[test]
fn an_early_refusal() {
    let mut tap = Tap::new();
    tap.client("POST /1 HTTP/1.1\r\nContent-Length: 1000\r\n\r\nab")
        .server("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        .close();
    assert_eq!(tap.seen(), ["POST /1 413"]);
    assert!(!tap.exchange(0).complete);
}

#[test]
fn garbage_is_malformed_and_counted() {
    let mut tap = Tap::new();
    tap.client("\x00\x01\x02\x03").client("GET /1 HTTP/1.1\r\n\r\n");
    tap.server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(tap.seen(), ["GET /1 200"]);
    let coverage = tap.connection.coverage(Side::Client);
    assert_eq!((coverage.malformed, coverage.unframed), (1, 4));
}

/// One exchange as both sides write it, and how it should be described.
fn arbitrary_exchange() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, String)> {
    let method = prop::sample::select(vec!["GET", "POST", "HEAD", "DELETE", "PURGE"]);
    let status = prop::sample::select(vec![200_u16, 204, 304, 404, 500]);
    (method, "[a-z]{1,8}", status, prop::collection::vec(any::<u8>(), 0..200), any::<[bool; 3]>())
        .prop_map(|(method, path, status, body, [chunked, upload, interim])| {
            let mut request = format!("{method} /{path}?q=1 HTTP/1.1\r\nHost: h\r\n").into_bytes();
            write_body(&mut request, &body, chunked, upload);
            let mut response = Vec::new();
            if interim {
                response.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            response.extend_from_slice(format!("HTTP/1.1 {status} X\r\n").as_bytes());
            let bodiless = method == "HEAD" || status == 204 || status == 304;
            if bodiless {
                response.extend_from_slice(b"Content-Length: 42\r\n\r\n");
            } else {
                write_body(&mut response, &body, chunked, true);
            }
            (request, response, format!("{method} /{path} {status}"))
        })
}

fn write_body(out: &mut Vec<u8>, body: &[u8], chunked: bool, present: bool) {
    if !present {
        out.extend_from_slice(b"\r\n");
    } else if chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(50) {
            out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n\r\n");
    } else {
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(body);
    }
}

fn pieces<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    for cut in cuts.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (part, rest) = bytes.split_at((*cut).min(bytes.len()));
        parts.push(part);
        bytes = rest;
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same(
        exchanges in prop::collection::vec(arbitrary_exchange(), 1..6),
        cuts in prop::collection::vec(1_usize..300, 1..8),
        pipelined in any::<bool>(),
    ) {
        let expected: Vec<_> = exchanges.iter().map(|(_, _, text)| text.clone()).collect();
        let mut tap = Tap::new();
        if pipelined {
            let requests: Vec<u8> = exchanges.iter().flat_map(|one| one.0.clone()).collect();
            let responses: Vec<u8> = exchanges.iter().flat_map(|one| one.1.clone()).collect();
            tap.send_all(Side::Client, &pieces(&requests, &cuts));
            tap.send_all(Side::Server, &pieces(&responses, &cuts));
        } else {
            for (request, response, _) in &exchanges {
                tap.send_all(Side::Client, &pieces(request, &cuts));
                tap.send_all(Side::Server, &pieces(response, &cuts));
            }
        }
        prop_assert_eq!(tap.seen(), expected);
        prop_assert_eq!(tap.connection.coverage(Side::Client).unframed, 0);
        prop_assert_eq!(tap.connection.coverage(Side::Server).unframed, 0);
        prop_assert!(tap.records.iter().all(|record| matches!(record, Record::Exchange(one) if one.complete)));
    }

    #[test]
    fn holes_invent_nothing(
        exchanges in prop::collection::vec(arbitrary_exchange(), 1..14),
        in_order in any::<bool>(),
        cuts in prop::collection::vec(1_usize..400, 1..8),
        fates in prop::collection::vec(0_u8..6, 1..40),
        late in any::<bool>(),
    ) {
        let expected: Vec<_> = exchanges.iter().map(|(_, _, text)| text.clone()).collect();
        let mut tap = if late { Tap::late() } else { Tap::new() };
        if in_order && !late {
            tap.connection = Connection::from_start(Http1::default(), Limits::in_order());
        }
        if late {
            // Without a first position on both sides a loss before the first piece
            // cannot be told from silence.
            tap.client("tail of a body").server("tail of a body");
        }
        let mut fates = fates.iter().cycle();
        for (request, response, _) in &exchanges {
            for (side, bytes) in [(Side::Client, request), (Side::Server, response)] {
                for part in pieces(bytes, &cuts) {
                    match fates.next() {
                        Some(0) => { tap.miss(side, part); }
                        Some(1) => { tap.send_cut(side, part, part.len() / 2); }
                        _ => { tap.send(side, part); }
                    }
                }
            }
        }
        tap.connection.tick(u64::MAX, &mut tap.records);
        tap.close();
        for record in &tap.records {
            let text = describe(record);
            if let Record::Exchange(one) = record {
                let mut words = text.split(' ');
                let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                // A start line that was cut keeps a prefix of its path.
                let known = expected.iter().any(|e| e.starts_with(&format!("{method} {path}")));
                prop_assert!(known, "invented {}", text);
                if matches!(one.answer, Answer::Response(_)) && one.request.complete {
                    prop_assert!(expected.contains(&text), "mispaired {} of {:?}", text, expected);
                }
            }
        }
        prop_assert!(tap.records.len() <= 2 * expected.len());
    }

    #[test]
    fn random_bytes_do_not_panic(
        parts in prop::collection::vec((any::<bool>(), any::<u16>(), 0_u64..100, prop::collection::vec(any::<u8>(), 0..60)), 0..60)
    ) {
        let mut tap = Tap::new();
        for (client, position, more, bytes) in parts {
            let side = if client { Side::Client } else { Side::Server };
            tap.time += 10_000_000;
            let length = bytes.len() as u64 + more;
            let piece = Piece { position: u64::from(position), length, bytes: &bytes, time: tap.time };
            tap.connection.push(side, piece, &mut tap.records);
        }
        tap.close();
        prop_assert!(tap.records.is_empty());
    }
}

#[test]
fn one_byte_pieces_cost_linear_time() {
    let mut tap = Tap::new();
    let mut head = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
    head.resize(60_000, b'x');
    head.extend_from_slice(b"\r\n\r\n");
    let started = std::time::Instant::now();
    tap.send_all(Side::Client, &pieces(&head, &[1]));
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    tap.server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(tap.seen(), ["GET / 200"]);
    assert_eq!(tap.exchange(0).request.method, Method::Get);
}
