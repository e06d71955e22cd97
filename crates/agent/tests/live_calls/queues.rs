//! Caches and brokers: memcached by its `stats`, mosquitto by `$SYS`, NATS by `/varz`,
//! `RabbitMQ` by the length of its queue.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use taproot_model::{Protocol, Role};
use taproot_testkit::{need, need_commands, need_root};

use crate::bed::{Bed, Counted, Unread};
use crate::many;

fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()
}

/// A number that the server tells of itself.
fn stat(bed: &Bed, name: &str) -> u64 {
    bed.inside(|| {
        let mut stream = connect(11211);
        stream.write_all(b"stats\r\nquit\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let prefix = format!("STAT {name} ");
        lines.find_map(|l| l.strip_prefix(&prefix).map(str::to_owned)).unwrap()
    })
    .parse()
    .unwrap()
}

/// How many requests of one operation the server's end saw.
fn served(counted: &Counted, protocol: Protocol, method: &str) -> u64 {
    counted.by_method(protocol, Role::Server).get(method).copied().unwrap_or(0)
}

fn memcached(mut bed: Bed) -> Result<(), Unread> {
    let _server = bed.start("memcached", &["-u", "root", "-l", "127.0.0.1", "-p", "11211"]);
    bed.ready(11211);
    let n = many(40_000);
    bed.inside(|| {
        let mut stream = connect(11211);
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        for at in (0..n).step_by(20) {
            let mut batch = String::new();
            for i in at..at + 20 {
                let _ = write!(
                    batch,
                    "set item:{} 0 60 5\r\nvalue\r\nget item:{}\r\n",
                    i % 100,
                    i % 150
                );
            }
            stream.write_all(batch.as_bytes()).unwrap();
            let mut ends = 0;
            while ends < 40 {
                line.clear();
                answers.read_line(&mut line).unwrap();
                ends += u32::from(line == "STORED\r\n" || line == "END\r\n");
            }
        }
    });
    let (gets, sets, misses) =
        (stat(&bed, "cmd_get"), stat(&bed, "cmd_set"), stat(&bed, "get_misses"));
    let counted = bed.read()?;
    assert_eq!((gets, sets), (n, n));
    assert_eq!(served(&counted, Protocol::Memcached, "get"), gets, "lost: {:?}", bed.losses());
    assert_eq!(served(&counted, Protocol::Memcached, "set"), sets, "lost: {:?}", bed.losses());
    let missed = counted
        .of(Protocol::Memcached, Role::Server)
        .filter(|r| &*r.method == "get" && !r.code.is_empty())
        .map(|r| r.count)
        .sum::<u64>();
    assert_eq!(missed, misses);
    Ok(())
}

#[test]
fn memcached_pipelined() {
    need_root!();
    need_commands!("memcached", "ip");
    read_whole!(memcached);
}

fn mosquitto(mut bed: Bed) -> Result<(), Unread> {
    let file = bed.dir.path().join("conf");
    fs::write(&file, "listener 1883 127.0.0.1\nallow_anonymous true\nsys_interval 1\nuser root\n")
        .unwrap();
    let _server = bed.start("mosquitto", &["-c", file.to_str().unwrap()]);
    bed.ready(1883);
    let n = many(10_000);
    let to = ["-h", "127.0.0.1"];
    let args = [&to[..], &["-l", "-q", "1", "-t", "shop/orders"]].concat();
    assert!(bed.feed("mosquitto_pub", &args, &"an order\n".repeat(n as usize)).status.success());
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    let topic = "$SYS/broker/publish/messages/received";
    let truth = bed.run("mosquitto_sub", &[&to[..], &["-C", "1", "-t", topic]].concat());
    assert_eq!(truth.trim(), n.to_string());
    let counted = bed.read()?;
    for role in [Role::Server, Role::Client] {
        let orders = counted
            .of(Protocol::Mqtt, role)
            .filter(|r| &*r.method == "publish" && !r.route.starts_with('$'))
            .map(|r| r.count)
            .sum::<u64>();
        assert_eq!(orders, n, "{role:?}; lost: {:?}", bed.losses());
    }
    let odd = counted.odd(Protocol::Mqtt);
    assert!(odd.is_empty(), "{odd:?}");
    Ok(())
}

#[test]
fn mosquitto_publishes() {
    need_root!();
    need_commands!("mosquitto", "mosquitto_pub", "mosquitto_sub", "ip");
    read_whole!(mosquitto);
}

fn nats(mut bed: Bed) -> Result<(), Unread> {
    let _server = bed.start("nats-server", &["-a", "127.0.0.1", "-p", "4222", "-m", "8222"]);
    bed.ready(4222);
    bed.ready(8222);
    let n = many(50_000);
    let varz = bed.inside(|| {
        let mut stream = connect(4222);
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        stream.write_all(b"CONNECT {\"verbose\":false}\r\n").unwrap();
        for _ in 0..n / 50 {
            stream.write_all("PUB shop.orders 5\r\nhello\r\n".repeat(50).as_bytes()).unwrap();
        }
        stream.write_all(b"PING\r\n").unwrap();
        while line != "PONG\r\n" {
            line.clear();
            answers.read_line(&mut line).unwrap();
        }
        let mut monitor = connect(8222);
        monitor.write_all(b"GET /varz HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        monitor.read_to_string(&mut text).unwrap();
        text
    });
    let messages = varz.split("\"in_msgs\":").nth(1).unwrap().trim_start();
    let truth: u64 = messages.split([',', '}']).next().unwrap().trim().parse().unwrap();
    assert_eq!(truth, n, "{varz}");
    let counted = bed.read()?;
    assert_eq!(served(&counted, Protocol::Nats, "publish"), n, "lost: {:?}", bed.losses());
    Ok(())
}

#[test]
fn nats_publishes() {
    need_root!();
    need_commands!("nats-server", "ip");
    read_whole!(nats);
}

/// Where Debian has the programs of `RabbitMQ` that do not change the user.
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin";

fn rabbitmq(mut bed: Bed) -> Result<(), Unread> {
    let d = bed.dir.path().display().to_string();
    let environment = [
        format!("HOME={d}"),
        format!("RABBITMQ_MNESIA_BASE={d}/mnesia"),
        format!("RABBITMQ_LOG_BASE={d}/log"),
        format!("RABBITMQ_ENABLED_PLUGINS_FILE={d}/plugins"),
        "RABBITMQ_NODENAME=calls@localhost".into(),
        "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1".into(),
        "ERL_EPMD_ADDRESS=127.0.0.1".into(),
    ];
    let with = |program: String, args: &[&str]| -> Vec<String> {
        let args = args.iter().map(|arg| (*arg).to_owned());
        environment.iter().cloned().chain([program]).chain(args).collect()
    };
    let words = with(format!("{RABBITMQ}/rabbitmq-server"), &[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let _server = bed.start("env", &words);
    bed.ready(5672);
    let to = ["-u", "amqp://guest:guest@127.0.0.1"];
    bed.until("amqp-declare-queue", &[&to[..], &["-q", "orders"]].concat());
    let n = many(10_000);
    let args = [&to[..], &["-r", "orders", "-l"]].concat();
    assert!(bed.feed("amqp-publish", &args, &"an order\n".repeat(n as usize)).status.success());
    let words = with(format!("{RABBITMQ}/rabbitmqctl"), &["-q", "list_queues", "messages"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let text = bed.run_unseen("env", &words);
    let truth: u64 = text.lines().find_map(|line| line.trim().parse().ok()).unwrap();
    assert_eq!(truth, n, "{text}");
    let counted = bed.read()?;
    for role in [Role::Server, Role::Client] {
        let ours = counted.by_method(Protocol::Amqp, role);
        assert_eq!(ours.get("basic.publish"), Some(&n), "{role:?} {ours:?}; {:?}", bed.losses());
    }
    let odd = counted.odd(Protocol::Amqp);
    assert!(odd.is_empty(), "{odd:?}");
    Ok(())
}

#[test]
fn rabbitmq_publishes() {
    need_root!();
    need_commands!("amqp-declare-queue", "amqp-publish", "ip");
    need!(Path::new(RABBITMQ).exists(), "not installed: rabbitmq-server");
    read_whole!(rabbitmq);
}
