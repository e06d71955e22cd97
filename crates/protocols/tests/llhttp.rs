//! The cases of llhttp's own test (Markdown): every head that llhttp takes without
//! an error must be taken with the same method and target, or status.

use std::path::{Path, PathBuf};

use taproot_protocols::http1::{Answer, Http1, Record};
use taproot_protocols::redact;
use taproot_protocols::stream::Limits;
use taproot_protocols::{Connection, Piece, Side};
use taproot_testkit::skip;

struct Case {
    name: String,
    side: Side,
    skip_body: bool,
    input: Vec<u8>,
    /// `METHOD target` or a status for each complete head.
    heads: Vec<String>,
    fails: bool,
}

/// The text of the first fenced block of `kind` and what follows it.
fn block<'a>(text: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    let from = text.find(&format!("```{kind}\n"))? + kind.len() + 4;
    let to = text[from..].find("\n```")? + from;
    Some((&text[from..to], &text[to..]))
}

/// Undoes the notation of llhttp's test files: line ends are CRLF, a backslash at
/// the end of a line joins it to the next, escapes stand for control characters.
fn input(text: &str) -> Vec<u8> {
    let text = text.replace("\\\n", "").replace('\n', "\r\n");
    let text = text.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t");
    let text = text.replace("\\f", "\x0c");
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let byte = rest.get(at + 2..at + 4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let escape = if byte.is_some() { 4 } else { 2 };
        match byte {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(b"\\x"),
        }
        rest = &rest[at + escape..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn heads(log: &str) -> Vec<String> {
    let (mut heads, mut method, mut url) = (Vec::new(), String::new(), String::new());
    let span = |line: &str, name: &str| {
        let (_, text) = line.split_once(&format!("span[{name}]=\""))?;
        Some(text.strip_suffix('"').unwrap_or(text).to_owned())
    };
    for line in log.lines() {
        if line.ends_with("message begin") {
            method.clear();
            url.clear();
        }
        method.push_str(&span(line, "method").unwrap_or_default());
        url.push_str(&span(line, "url").unwrap_or_default());
        if let Some((_, rest)) = line.split_once("headers complete ") {
            match rest.split_once("status=") {
                Some((_, status)) => heads.push(status.chars().take(3).collect()),
                None => heads.push(format!("{method} {}", redact::target(&url, 4096))),
            }
        }
    }
    heads
}

fn cases(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).expect("the file is readable");
    let file = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut cases = Vec::new();
    for section in text.split("\n#").skip(1) {
        let title = section.lines().next().unwrap_or_default().trim_start_matches('#').trim();
        let mut rest = section;
        while let Some((meta, after)) =
            rest.split_once("meta=").and_then(|(_, found)| found.split_once("-->"))
        {
            let Some((body, after)) = block(after, "http") else { break };
            let Some((log, after)) = block(after, "log") else { break };
            let server = meta.contains("\"response");
            cases.push(Case {
                name: format!("{file}: {title}"),
                side: if server { Side::Server } else { Side::Client },
                skip_body: meta.contains("skipBody"),
                input: input(body),
                heads: heads(log),
                fails: log.contains("error code=") && !log.contains("reason=\"Pause on"),
            });
            rest = after;
        }
    }
    cases
}

fn found(case: &Case, cut: usize) -> Vec<String> {
    let mut connection = Connection::from_start(Http1::default(), Limits::default());
    let mut records = Vec::new();
    if case.side == Side::Server {
        let method = if case.skip_body { "HEAD" } else { "GET" };
        let requests = format!("{method} / HTTP/1.1\r\n\r\n").repeat(case.heads.len());
        let bytes = requests.as_bytes();
        let piece = Piece { position: 0, length: bytes.len() as u64, bytes, time: 0 };
        connection.push(Side::Client, piece, &mut records);
    }
    for (index, bytes) in case.input.chunks(cut).enumerate() {
        let position = (index * cut) as u64;
        let piece = Piece { position, length: bytes.len() as u64, bytes, time: 1 };
        connection.push(case.side, piece, &mut records);
    }
    connection.close(Side::Client, 2, &mut records);
    connection.close(Side::Server, 2, &mut records);
    let mut heads = Vec::new();
    for record in &records {
        match record {
            Record::Exchange(one) if case.side == Side::Client => {
                heads.push(format!("{} {}", one.request.method.as_str(), one.request.path));
            }
            Record::Exchange(one) => {
                heads.extend((0..one.interim).map(|_| "1xx".to_owned()));
                if let Answer::Response(response) = &one.answer {
                    heads.push(response.status.to_string());
                }
            }
            Record::Orphan(response) => heads.push(response.status.to_string()),
        }
    }
    heads
}

/// Cases where a tap has to differ, with the reason.
const EXPLAINED: &[(&str, &str)] = &[
    (
        "request/content-length: Content-Length reset when no body is received",
        "told to skip bodies",
    ),
    ("request/finish: It should be unsafe to finish after incomplete PUT request", "it was sent"),
    ("request/finish: It should be unsafe to finish inside of the header", "it was sent"),
    ("request/lenient-version: Invalid HTTP version (lenient)", "not HTTP/1"),
    ("request/method: SOURCE request with ICE", "not HTTP/1"),
    ("request/method: OPTIONS request with RTSP", "not HTTP/1"),
    ("request/method: ANNOUNCE request with RTSP", "not HTTP/1"),
    ("request/sample: No HTTP version", "HTTP/0.9: any line would be a request"),
    (
        "request/transfer-encoding: Chunk header not terminated by CRLF (lenient)",
        "a bare LF ends a line",
    ),
    ("response/lenient-version: Invalid HTTP version (lenient)", "not HTTP/1"),
    ("response/sample: RTSP response", "not HTTP/1"),
    ("response/sample: ICE response", "not HTTP/1"),
    ("response/sample: HTTP version 0.9", "not HTTP/1"),
];

#[test]
fn llhttp_cases() {
    let root = std::env::var_os("TAPROOT_DATA").map(|root| PathBuf::from(root).join("protocols"));
    let Some(root) = root.filter(|folder| folder.is_dir()) else {
        skip!("TAPROOT_DATA names no folder that holds protocols/")
    };
    let mut differ = Vec::new();
    let (mut same, mut failing) = (0, 0);
    for folder in ["request", "response"] {
        let entries = std::fs::read_dir(root.join("llhttp").join(folder)).expect("the cases");
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for case in paths.iter().flat_map(|path| cases(path)) {
            let whole = found(&case, usize::MAX);
            for cut in [1, 7] {
                assert_eq!(found(&case, cut), whole, "{folder}/{} cut at {cut}", case.name);
            }
            let name = format!("{folder}/{}", case.name);
            let interim = |head: &str| {
                if head.starts_with('1') && head != "101" {
                    "1xx".to_owned()
                } else {
                    head.to_owned()
                }
            };
            let expected: Vec<_> = case.heads.iter().map(|head| interim(head)).collect();
            if case.fails {
                failing += 1;
            } else if whole == expected {
                same += 1;
            } else if !EXPLAINED.iter().any(|(known, _)| *known == name) {
                println!("{name}: found {whole:?}, llhttp {expected:?}");
                differ.push(name);
            }
        }
    }
    println!("{same} cases equal, {} explained, {failing} are errors in llhttp", EXPLAINED.len());
    assert!(same > 0, "no case was read");
    assert!(differ.is_empty(), "{} cases differ without a reason", differ.len());
}
