//! Redis.

use taproot_protocols::redis::Redis;

use crate::kit::{
    Client, Server, Write, calls, conforms, recognised, recovers, refused, shown, write,
};

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    bytes
}

pub(crate) fn script() -> Vec<Write> {
    let long = "x".repeat(5000);
    let pipeline = [command(&["SET", "user:17", &long]), command(&["GET", "user:17"])].concat();
    let replies = format!("+OK\r\n$5000\r\n{long}\r\n");
    vec![
        write(Client, command(&["HELLO", "3"])),
        write(Server, "%2\r\n+server\r\n+redis\r\n$5\r\nproto\r\n:3\r\n"),
        write(Client, pipeline),
        write(Server, replies),
        write(Client, command(&["LPUSH", "queue", "a"])),
        write(Server, "-WRONGTYPE Operation against a key\r\n"),
        write(Client, "ping\r\n"),
        write(Server, "+PONG\r\n"),
        write(Client, command(&["select", "2"])),
        write(Server, "+OK\r\n"),
        write(Client, command(&["hgetall", "h:1"])),
        write(Server, "|1\r\n+ttl\r\n:60\r\n*4\r\n$1\r\na\r\n$-1\r\n*2\r\n:1\r\n#t\r\n_\r\n"),
        write(Client, command(&["DEL", "other"])),
        write(Server, ":1\r\n"),
    ]
}

#[test]
fn commands_and_replies() {
    let expected = [
        "HELLO ok",
        "SET user:* ok",
        "GET user:* ok",
        "LPUSH queue WRONGTYPE",
        "PING ok",
        "SELECT ok",
        "HGETALL h:* ok",
        "DEL other ok",
    ];
    conforms::<Redis>(&script(), &expected);
    recovers::<Redis>(&script());
    let last = calls::<Redis>(&script()).pop().expect("a call");
    assert_eq!(last.namespace.as_deref(), Some("2"));
}

#[test]
fn values_never_leave() {
    let script = [
        write(Client, command(&["SET", "alice@example.org", "secret"])),
        write(Server, "-ERR secret failure\r\n"),
        write(Client, command(&["secretcommand", "secret"])),
        write(Server, "-secret\r\n"),
    ];
    let all = format!("{:?}", calls::<Redis>(&script));
    assert!(!all.contains("secret") && !all.contains("alice@"), "{all}");
}

#[test]
fn publish_and_subscribe() {
    let script = [
        write(Client, command(&["SUBSCRIBE", "news:a", "news:b"])),
        write(Server, "*3\r\n$9\r\nsubscribe\r\n$6\r\nnews:a\r\n:1\r\n"),
        write(Server, "*3\r\n$9\r\nsubscribe\r\n$6\r\nnews:b\r\n:2\r\n"),
        write(Server, "*3\r\n$7\r\nmessage\r\n$6\r\nnews:a\r\n$2\r\nhi\r\n"),
        write(Server, ">3\r\n$7\r\nmessage\r\n$6\r\nnews:a\r\n$2\r\nhi\r\n"),
        write(Client, command(&["PING"])),
        write(Server, "*3\r\n$7\r\nmessage\r\n$6\r\nnews:a\r\n$2\r\nhi\r\n"),
        write(Server, "*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
    ];
    let expected = [
        "SUBSCRIBE news:* ok",
        "message news:* >",
        "message news:* >",
        "message news:* >",
        "PING ok",
    ];
    conforms::<Redis>(&script, &expected);
}

#[test]
fn replies_that_were_switched_off() {
    let script = [
        write(Client, command(&["CLIENT", "REPLY", "SKIP"])),
        write(Client, command(&["SET", "a", "1"])),
        write(Client, command(&["CLIENT", "REPLY", "OFF"])),
        write(Client, command(&["SET", "b", "1"])),
        write(Client, command(&["CLIENT", "REPLY", "ON"])),
        write(Server, "+OK\r\n"),
    ];
    let expected = ["CLIENT >", "SET a >", "CLIENT >", "SET b >", "CLIENT ok"];
    assert_eq!(shown(&calls::<Redis>(&script)), expected);
}

#[test]
fn recognises_by_content() {
    recognised::<Redis>(Client, b"*1\r\n$4\r\nPING\r\n");
    recognised::<Redis>(Client, b"*2\r\n$3\r\nget\r\n$1\r\na\r\n");
    recognised::<Redis>(Server, b"-WRONGTYPE Operation against a key\r\n");
    recognised::<Redis>(Server, b"*2\r\n$5\r\nworld\r\n$1\r\na\r\n");
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"+\r\n", b"*x\r\n", b"$3\r\nabcd\r\n", b"get a\r\n"]
    {
        refused::<Redis>(bytes);
    }
}
