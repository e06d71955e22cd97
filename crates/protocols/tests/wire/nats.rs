//! NATS.

use taproot_protocols::nats::Nats;

use crate::kit::{Client, Server, Tap, Write, conforms, recognised, refused, shown, write};

pub(crate) fn script() -> Vec<Write> {
    let long = "x".repeat(5000);
    vec![
        write(Server, "INFO {\"server_id\":\"a\",\"version\":\"2.10.7\"}\r\n"),
        write(Client, "CONNECT {\"verbose\":false,\"pass\":\"secret\"}\r\nPING\r\n"),
        write(Server, "PONG\r\n"),
        write(Client, "SUB orders.* 1\r\nSUB _INBOX.ab12.* 2\r\n"),
        write(Client, format!("PUB orders.new 5000\r\n{long}\r\n")),
        write(Server, "MSG orders.new 1 2\r\nhi\r\n"),
        write(
            Client,
            "PUB stock.get _INBOX.ab12.1 3\r\na17\r\nHPUB stock.get _INBOX.ab12.2 12 13\r\nNATS/1.0\r\n\r\n1\r\n",
        ),
        write(
            Server,
            "MSG _INBOX.ab12.2 2 1\r\n7\r\nHMSG _INBOX.ab12.1 2 12 13\r\nNATS/1.0\r\n\r\n1\r\n",
        ),
        write(Server, "MSG orders.check 1 _INBOX.cd.1 0\r\n\r\n"),
        write(Client, "PUB _INBOX.cd.1 2\r\nok\r\n"),
        write(Server, "-ERR 'Permissions Violation for Publish to \"secret\"'\r\n"),
        write(Server, "PING\r\n"),
        write(Client, "PONG\r\nPUB last 0\r\n\r\n"),
    ]
}

#[test]
fn messages_and_requests() {
    let expected = [
        "subscribe orders.* >",
        "subscribe _INBOX.*.* >",
        "publish orders.new >",
        "publish orders.new >",
        "request stock.get ok",
        "request stock.get ok",
        "request orders.check ok",
        "error Permissions Violation",
        "publish last >",
    ];
    let script = script();
    let mut tap = Tap::<Nats>::new();
    for (side, bytes) in &script {
        tap.send(*side, bytes);
    }
    tap.close();
    assert_eq!(shown(&tap.records), expected);
    assert!(!format!("{:?}", tap.records).contains("secret"));
    conforms::<Nats>(&script, &expected);
}

#[test]
fn recognises_by_content() {
    recognised::<Nats>(Server, b"INFO {\"server_id\":\"a\"}\r\n");
    recognised::<Nats>(Client, b"PUB a.b 2\r\nhi\r\n");
    recognised::<Nats>(Server, b"MSG a.b 1 2\r\nhi\r\n");
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], b"PUB a\r\n", b"CONNECT shop:443 HTTP/1.1\r\n", b"PINGPONG"]
    {
        refused::<Nats>(bytes);
    }
}
