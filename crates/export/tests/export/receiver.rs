//! A receiver that answers what a test tells it to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver as Inbox, Sender, channel};
use std::time::Duration;

/// One request as it came.
pub(crate) struct Arrived {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// An answer: status, further headers, body.
pub(crate) type Answer = (u16, &'static str, Vec<u8>);

pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    arrived: Inbox<Arrived>,
}

impl Receiver {
    /// Listens; `answer` is asked for the answer to the first request, the second, ...
    pub(crate) fn start(answer: impl Fn(usize) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, arrived) = channel();
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().flatten().enumerate() {
                // One connection after the other: each exporter keeps its own open, so
                // it is told to close.
                if serve(&stream, &tell, &answer(n)).is_none() {
                    return;
                }
            }
        });
        Self { addr, arrived }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The next request, which has to come soon.
    pub(crate) fn next(&self) -> Arrived {
        self.arrived.recv_timeout(Duration::from_secs(30)).expect("a request")
    }

    /// Whatever came until now.
    pub(crate) fn rest(&self) -> Vec<Arrived> {
        self.arrived.try_iter().collect()
    }
}

fn serve(stream: &TcpStream, tell: &Sender<Arrived>, answer: &Answer) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    tell.send(Arrived { path, headers, body }).ok()?;
    let (status, more, body) = answer;
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n",
        body.len()
    );
    let mut stream = stream;
    // A sender that does not wait for the answer is no concern of the receiver.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    Some(())
}
