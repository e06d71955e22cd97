//! Messages per second of every parser but HTTP/1's, on one core.
//!
//! `cargo bench -p taproot-protocols --bench wire` prints, for each case, messages
//! (requests plus answers) and bytes per second of CPU time: the best of several
//! rounds, and the median.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use taproot_protocols::amqp::Amqp;
use taproot_protocols::cql::Cql;
use taproot_protocols::dns::Dns;
use taproot_protocols::dubbo::Dubbo;
use taproot_protocols::http2::Http2;
use taproot_protocols::kafka::Kafka;
use taproot_protocols::memcached::Memcached;
use taproot_protocols::mongo::Mongo;
use taproot_protocols::mqtt::Mqtt;
use taproot_protocols::mysql::Mysql;
use taproot_protocols::nats::Nats;
use taproot_protocols::postgres::Postgres;
use taproot_protocols::redis::Redis;
use taproot_protocols::sql::{Dialect, normalise};
use taproot_protocols::stream::Limits;
use taproot_protocols::websocket::WebSocket;
use taproot_protocols::{Call, Connection, Piece, Protocol, Side};

const EXCHANGES: usize = 100_000;
const STATEMENT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711";

/// CPU seconds of this thread: what else runs on the machine does not count.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32).as_secs_f64()
}

/// One connection: what was said first, then `depth` exchanges in one write of
/// each side. `number` puts the number of an exchange into a write.
struct Case {
    name: &'static str,
    hello: Vec<(Side, Vec<u8>)>,
    request: Vec<u8>,
    answer: Vec<u8>,
    depth: usize,
    /// Calls of one exchange: one, or each side's message where none answers the other.
    calls: usize,
    number: fn(&mut [u8], u32),
}

fn keep(_: &mut [u8], _: u32) {}

fn case(name: &'static str, request: &[u8], answer: &[u8]) -> Case {
    let (request, answer) = (request.to_vec(), answer.to_vec());
    Case { name, hello: Vec::new(), request, answer, depth: 1, calls: 1, number: keep }
}

fn run<P: Protocol<Record = Call> + Default>(case: &Case) -> f64 {
    let mut connection = Connection::from_start(P::default(), Limits::in_order());
    let (mut records, mut at, mut time) = (Vec::new(), [0; 2], 0);
    let mut push = |side: Side, bytes: &[u8], records: &mut Vec<Call>| {
        time += 1000;
        let (position, length) = (at[side as usize], bytes.len() as u64);
        at[side as usize] += length;
        connection.push(side, Piece { position, length, bytes, time }, records);
    };
    for (side, bytes) in &case.hello {
        push(*side, bytes, &mut records);
    }
    let (mut request, mut answer) =
        (case.request.repeat(case.depth), case.answer.repeat(case.depth));
    let started = cpu();
    for number in 0..(EXCHANGES / case.depth) as u32 {
        records.clear();
        (case.number)(&mut request, number);
        (case.number)(&mut answer, number);
        push(Side::Client, &request, &mut records);
        push(Side::Server, &answer, &mut records);
        assert_eq!(records.len(), case.depth * case.calls, "{}: every exchange is seen", case.name);
        black_box(&records);
    }
    cpu() - started
}

fn show<P: Protocol<Record = Call> + Default>(case: &Case) {
    let mut rounds: Vec<f64> = (0..7).map(|_| run::<P>(case)).collect();
    rounds.sort_by(f64::total_cmp);
    let (best, median) = (rounds[0], rounds[rounds.len() / 2]);
    let messages = |seconds: f64| 2.0 * EXCHANGES as f64 / seconds / 1e6;
    let bytes = EXCHANGES as f64 * (case.request.len() + case.answer.len()) as f64 / best / 1e6;
    println!("{:<22}{:>8.2}{:>8.2}{bytes:>8.0}", case.name, messages(best), messages(median));
}

fn typed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn postgres() -> Case {
    let row = [typed(b'D', b"\0\x01\0\0\0\x010"), typed(b'C', b"SELECT 1\0"), typed(b'Z', b"I")];
    let fields = typed(b'T', b"\0\x01abalance\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
    let answer = [&fields[..], &row.concat()].concat();
    case("PostgreSQL simple", &typed(b'Q', format!("{STATEMENT}\0").as_bytes()), &answer)
}

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_le_bytes()[..3], &[number], payload].concat()
}

fn mysql() -> Case {
    let column = b"\x03def\x04shop\x01t\x01t\x01a\x01a\x0c\x3f\0\x0b\0\0\0\x03\0\0\0\0\0";
    let end = b"\xfe\0\0\x02\0\0\0";
    let answer = [packet(1, b"\x01"), packet(2, column), packet(3, b"\x011"), packet(4, end)];
    let ok = b"\0\0\0\x02\0\0\0";
    let greeting =
        [&b"\x0a8.0.36\0\x01\0\0\0abcdefgh\0\xff\xf7\x21\x02\0\xff\xc1\x15"[..], &[0; 30]];
    let login = [&(1_u32 << 9 | 1 << 15).to_le_bytes()[..], &[0; 28], b"joe\0\x04abcd"];
    let mut case =
        case("MySQL text", &packet(0, &[b"\x03", STATEMENT.as_bytes()].concat()), &answer.concat());
    case.hello = vec![
        (Side::Server, packet(0, &greeting.concat())),
        (Side::Client, packet(1, &login.concat())),
        (Side::Server, packet(2, ok)),
    ];
    case
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &[0, 0, 0, 1], payload].concat()
}

/// Requests whose fields are all in the tables: what a busy connection sends.
fn http2() -> Case {
    let literal =
        |index: u8, value: &str| [&[0x40 | index, value.len() as u8], value.as_bytes()].concat();
    let first = [&[0x82, 0x86][..], &literal(4, "/api/products"), &literal(1, "shop")].concat();
    let mut case = case(
        "HTTP/2 (3 frames)",
        &frame(1, 5, &[0x82, 0x86, 0xbf, 0xbe]),
        &[frame(1, 4, &[0x88]), frame(0, 1, &[b'x'; 120])].concat(),
    );
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    case.hello = vec![
        (Side::Client, [&preface[..], &frame(1, 5, &first)].concat()),
        (Side::Server, [frame(1, 4, &[0x88]), frame(0, 1, b"x")].concat()),
    ];
    case.number = |bytes, number| {
        let stream = (2 * number + 3).to_be_bytes();
        let mut at = 0;
        while at + 9 <= bytes.len() {
            bytes[at + 5..at + 9].copy_from_slice(&stream);
            at += 9 + usize::from(bytes[at + 2]);
        }
    };
    case
}

fn kafka() -> Case {
    let sized = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
    let produce = b"\0\0\0\x07\0\0\0\0\0\x04rdka\xff\xff\0\x01\0\0\x75\x30\0\0\0\x01\0\x06orders";
    let produced = b"\0\0\0\0\0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut case =
        case("Kafka produce", &sized(&[&produce[..], &[9; 300]].concat()), &sized(produced));
    case.number = |bytes, number| {
        let at = if bytes.len() > 200 { 8 } else { 4 };
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    };
    case
}

fn mongo() -> Case {
    let find =
        b"\x34\0\0\0\x02find\0\x07\0\0\0orders\0\x10limit\0\x01\0\0\0\x02$db\0\x05\0\0\0shop\0\0";
    let ok = b"\x11\0\0\0\x01ok\0\0\0\0\0\0\0\xf0\x3f\0";
    let message = |document: &[u8]| {
        let length = (document.len() as u32 + 21).to_le_bytes();
        [&length[..], &[0; 8], &2013_u32.to_le_bytes(), &[0; 5], document].concat()
    };
    let mut case = case("MongoDB find", &message(find), &message(ok));
    case.number = |bytes, number| {
        let at = if bytes.len() > 60 { 4 } else { 8 };
        bytes[at..at + 4].copy_from_slice(&(number + 1).to_le_bytes());
    };
    case
}

fn dns() -> Case {
    let message = |flags: &[u8], answers: u8, tail: &[u8]| {
        let question = b"\x04shop\x07example\0\0\x01\0\x01";
        let body = [&[0, 7], flags, &[0, 1, 0, answers, 0, 0, 0, 0], question, tail].concat();
        [&(body.len() as u16).to_be_bytes()[..], &body].concat()
    };
    let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01";
    case("DNS over TCP", &message(&[1, 0], 0, b""), &message(&[0x81, 0x80], 1, record))
}

fn amqp() -> Case {
    let method = |class: u8, method: u8, arguments: &[u8]| {
        let payload = [&[0, class, 0, method], arguments].concat();
        [&b"\x01\0\x01"[..], &(payload.len() as u32).to_be_bytes(), &payload, b"\xce"].concat()
    };
    let mut case = case("AMQP get", &method(60, 70, b"\0\0\x05stock\0"), &method(60, 72, b"\0"));
    case.hello = vec![(Side::Client, b"AMQP\x00\x00\x09\x01".to_vec())];
    case
}

fn cql() -> Case {
    let envelope = |version: u8, opcode: u8, body: &[u8]| {
        let length = (body.len() as u32).to_be_bytes();
        [&[version, 0, 0, 0, opcode][..], &length, body].concat()
    };
    let text = "SELECT total FROM shop.orders WHERE id = 17";
    let query = [&(text.len() as u32).to_be_bytes()[..], text.as_bytes(), b"\0\x01\0"].concat();
    let rows = [&[0, 0, 0, 2][..], &[0; 60]].concat();
    let mut case = case("Cassandra query", &envelope(4, 7, &query), &envelope(0x84, 8, &rows));
    case.number =
        |bytes, number| bytes[2..4].copy_from_slice(&(number as u16 & 0x7fff).to_be_bytes());
    case
}

fn dubbo() -> Case {
    let message = |flags: u8, status: u8, body: &[u8]| {
        let length = (body.len() as u32).to_be_bytes();
        [&[0xda, 0xbb, flags, status][..], &[0; 8], &length, body].concat()
    };
    let call = b"\x052.0.2\x09shop.Cart\x050.0.0\x03add\x12Ljava/lang/String;\x06secret";
    let mut case = case("Dubbo call", &message(0xc2, 0, call), &message(2, 20, b"\x94ok"));
    case.number = |bytes, number| bytes[8..12].copy_from_slice(&number.to_be_bytes());
    case
}

/// A message of each side; the client's is masked.
fn websocket() -> Case {
    let asked = [&[0x81, 0x80 | 0x14, 0, 0, 0, 0][..], &[b'q'; 20]].concat();
    let mut case = case("WebSocket messages", &asked, &[&[0x81, 60][..], &[b'a'; 60]].concat());
    case.calls = 2;
    case
}

fn redis(depth: usize, name: &'static str) -> Case {
    let mut case = case(name, b"*2\r\n$3\r\nGET\r\n$7\r\nuser:17\r\n", b"$5\r\nhello\r\n");
    case.depth = depth;
    case
}

fn main() {
    println!("{:<22}{:>8}{:>8}{:>8}  (best, median, best)", "", "M/s", "M/s", "MB/s");
    show::<Dns>(&dns());
    show::<Redis>(&redis(1, "Redis GET"));
    show::<Redis>(&redis(16, "Redis GET x16"));
    show::<Postgres>(&postgres());
    show::<Mysql>(&mysql());
    show::<Http2>(&http2());
    show::<Memcached>(&case(
        "memcached get",
        b"get user:17\r\n",
        b"VALUE user:17 0 5\r\nhello\r\nEND\r\n",
    ));
    show::<Kafka>(&kafka());
    show::<Mongo>(&mongo());
    show::<Mqtt>(&case("MQTT publish", b"\x32\x0f\0\x06a/b/cd\0\x07hello", b"\x40\x02\0\x07"));
    show::<Nats>(&case(
        "NATS request",
        b"PUB a.b _INBOX.a.1 2\r\nhi\r\n",
        b"MSG _INBOX.a.1 1 2\r\nhi\r\n",
    ));
    show::<Amqp>(&amqp());
    show::<Cql>(&cql());
    show::<Dubbo>(&dubbo());
    show::<WebSocket>(&websocket());
    let started = cpu();
    for _ in 0..EXCHANGES {
        black_box(normalise(black_box(STATEMENT.as_bytes()), Dialect::Postgres));
    }
    println!("{:<22}{:>8.2}", "statements", EXCHANGES as f64 / (cpu() - started) / 1e6);
}
