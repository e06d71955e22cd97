//! Running `ip`, `nft`, `tc` and `conntrack`.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Runs a program and gives its standard output.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String> {
    feed(program, args, "")
}

/// Runs a program with `input` on its standard input.
pub(crate) fn feed(program: &str, args: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| spawn_error(program, e))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early closes its input; its exit status tells more.
        let _ = stdin.write_all(input.as_bytes());
    }
    let out = child.wait_with_output().map_err(Error::io("wait for", program))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&out.stderr);
    let stderr = match stderr.trim() {
        "" => format!("it said nothing and ended with {}", out.status),
        said => said.to_owned(),
    };
    Err(Error::Tool { command: format!("{program} {}", args.join(" ")), stderr })
}

/// Runs `ip -n NETNS -batch -`, one command a line.
pub(crate) fn ip_batch(netns: Option<&str>, lines: &[String]) -> Result<()> {
    let mut args = Vec::new();
    if let Some(netns) = netns {
        args.extend(["-n", netns]);
    }
    args.extend(["-batch", "-"]);
    let mut input = lines.join("\n");
    input.push('\n');
    feed("ip", &args, &input).map(drop)
}

/// Loads an nft script inside a network namespace, all of it or nothing.
pub(crate) fn nft(netns: &str, script: &str) -> Result<()> {
    feed("ip", &["netns", "exec", netns, "nft", "-f", "-"], script).map(drop)
}

/// Fails early, and with the package's name, when a needed program is missing.
pub(crate) fn require() -> Result<()> {
    for tool in ["ip", "nft"] {
        if which(tool).is_none() {
            return Err(missing(tool));
        }
    }
    Ok(())
}

/// Looks a program up in `PATH` and in the directories root's `PATH` may lack.
pub(crate) fn which(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

fn spawn_error(program: &str, e: std::io::Error) -> Error {
    if e.kind() == std::io::ErrorKind::NotFound {
        missing(program)
    } else {
        Error::io("run", program)(e)
    }
}

fn missing(tool: &str) -> Error {
    let package = match tool {
        "nft" => "nftables",
        "conntrack" => "conntrack",
        "nginx" => "nginx-light",
        "redis-server" => "redis-server",
        _ => "iproute2",
    };
    Error::MissingTool { tool: tool.to_owned(), package }
}
