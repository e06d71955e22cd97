//! The Redis serialization protocol (RESP2), as much of it as the shop needs:
//! the product's client, and a small server for machines without redis-server.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const MAX_BULK: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to a Redis server.
#[derive(Debug)]
struct Connection {
    reader: BufReader<TcpStream>,
}

/// Kept connections to one Redis server.
#[derive(Debug)]
pub(crate) struct Client {
    to: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, idle: Mutex::new(Vec::new()) }
    }

    /// Sends one command; a nil answer is none.
    pub(crate) fn command(&self, words: &[&[u8]]) -> io::Result<Option<Vec<u8>>> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match kept {
            Some(kept) => kept,
            None => Connection { reader: BufReader::new(connect(self.to)?) },
        };
        connection.reader.get_mut().write_all(&encode(words))?;
        let answer = read_reply(&mut connection.reader)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(answer)
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn read_reply(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let line = read_line(from)?;
    match line.split_first() {
        Some((b'+' | b':', rest)) => Ok(Some(rest.to_vec())),
        Some((b'$', rest)) => read_bulk(from, number(rest)?),
        Some((b'-', rest)) => Err(io::Error::other(String::from_utf8_lossy(rest).into_owned())),
        _ => Err(bad("unknown kind of reply")),
    }
}

fn read_bulk(from: &mut impl BufRead, length: i64) -> io::Result<Option<Vec<u8>>> {
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    if length > MAX_BULK {
        return Err(bad("bulk string is longer than 1 MiB"));
    }
    let mut bulk = vec![0; length + 2];
    from.read_exact(&mut bulk)?;
    bulk.truncate(length);
    Ok(Some(bulk))
}

fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(MAX_BULK as u64).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\r\n") {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed"));
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

fn number(digits: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|d| d.parse().ok())
        .ok_or_else(|| bad("length is no number"))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

type Map = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;

/// Serves GET, SET, DEL and PING until the process ends.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    let map = Map::default();
    loop {
        let (stream, _) = listener.accept()?;
        let map = Arc::clone(&map);
        std::thread::spawn(move || serve_connection(stream, &map));
    }
}

fn serve_connection(stream: TcpStream, map: &Map) {
    let mut reader = BufReader::new(stream);
    // A broken command or connection ends this connection only.
    while let Ok(words) = read_command(&mut reader) {
        let reply = answer(&words, map);
        if reader.get_mut().write_all(&reply).is_err() {
            return;
        }
    }
}

fn read_command(from: &mut impl BufRead) -> io::Result<Vec<Vec<u8>>> {
    let line = read_line(from)?;
    let count = number(line.strip_prefix(b"*").ok_or_else(|| bad("no array"))?)?;
    (0..count.clamp(0, 64))
        .map(|_| {
            let line = read_line(from)?;
            let length = number(line.strip_prefix(b"$").ok_or_else(|| bad("no bulk string"))?)?;
            read_bulk(from, length)?.ok_or_else(|| bad("nil in a command"))
        })
        .collect()
}

fn answer(words: &[Vec<u8>], map: &Map) -> Vec<u8> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    let name = words.first().map(|w| w.to_ascii_uppercase()).unwrap_or_default();
    match (name.as_slice(), &words[1.min(words.len())..]) {
        (b"PING", _) => b"+PONG\r\n".to_vec(),
        (b"GET", [key, ..]) => match map.get(key) {
            Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
            None => b"$-1\r\n".to_vec(),
        },
        (b"SET", [key, value, ..]) => {
            map.insert(key.clone(), value.clone());
            b"+OK\r\n".to_vec()
        }
        (b"DEL", [key, ..]) => format!(":{}\r\n", u8::from(map.remove(key).is_some())).into_bytes(),
        _ => b"-ERR unknown command\r\n".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_answered() {
        let map = Map::default();
        let ask = |words: &[&[u8]]| {
            let bytes = encode(words);
            let words = read_command(&mut &bytes[..]).unwrap();
            read_reply(&mut &answer(&words, &map)[..])
        };
        assert_eq!(ask(&[b"GET", b"a"]).unwrap(), None);
        assert_eq!(ask(&[b"SET", b"a", b"1\r\n2"]).unwrap().unwrap(), b"OK");
        assert_eq!(ask(&[b"get", b"a"]).unwrap().unwrap(), b"1\r\n2");
        assert_eq!(ask(&[b"DEL", b"a"]).unwrap().unwrap(), b"1");
        assert_eq!(ask(&[b"NOPE"]).unwrap_err().to_string(), "ERR unknown command");
    }
}
