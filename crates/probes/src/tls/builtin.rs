//! OpenSSL 3, built into a program without symbols.
//!
//! An error of OpenSSL's carries the name of the function that raised it, so that name
//! lies in the program as a string, and an instruction of the very function points to
//! it. Where functions begin and end is told by what every program carries for
//! unwinding its stack, `.eh_frame` (Linux Standard Base, "Exception Frames").

use std::fs::File;
use std::os::unix::fs::FileExt;

use memchr::memmem;

use super::elf::{Elf, Section};
use super::targets::{Operation, Site};

/// Texts that only a program with the library in it has, and whose they are.
const MARKS: [(&[u8], Kind); 3] = [
    (b"ssl/ssl_lib.c\0", Kind::OpenSsl),
    (b"ssl/ssl_lib.cc\0", Kind::BoringSsl),
    (b"/rustls-0.", Kind::Rustls),
];
/// Bytes of a file that are searched at a time, and by which these overlap.
const CHUNK: usize = 1 << 20;
const OVERLAP: usize = 32;
/// Among OpenSSL's reasons since version 3.2, where `ssl_write_internal` takes flags
/// before the place for what was written.
const FLAGS: &[u8] = b"unsupported write flag\0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OpenSsl,
    BoringSsl,
    Rustls,
}

/// Where the program reads and writes, or why that is not to be found; `None` when it
/// has no library that is known.
pub(super) fn find(elf: &Elf<'_>, file: &File) -> Option<Result<Vec<Site>, String>> {
    let (offset, size) = elf.place(".rodata")?;
    match mentioned(file, offset, size)? {
        Kind::OpenSsl => Some(openssl(elf)),
        Kind::BoringSsl => Some(Err("BoringSSL, built in without symbols".into())),
        Kind::Rustls => Some(Err("rustls: its functions have no stable names".into())),
    }
}

/// The first library that a part of a file mentions. Read piece by piece: of most files
/// nothing is wanted.
fn mentioned(file: &File, offset: u64, size: u64) -> Option<Kind> {
    let searches = MARKS.map(|(text, kind)| (memmem::Finder::new(text), kind));
    let mut chunk = vec![0; CHUNK.min(usize::try_from(size).ok()?)];
    let mut at = 0;
    while at < size {
        let room = chunk.len().min((size - at) as usize);
        let read = file.read_at(&mut chunk[..room], offset + at).ok()?;
        let found = searches.iter().find(|(text, _)| text.find(&chunk[..read]).is_some());
        if let Some((_, kind)) = found {
            return Some(*kind);
        }
        if read <= OVERLAP {
            return None;
        }
        at += (read - OVERLAP) as u64;
    }
    None
}

fn openssl(elf: &Elf<'_>) -> Result<Vec<Site>, String> {
    const WHAT: &str = "OpenSSL, built in without symbols: ";
    let section = |name| elf.section(&[name]).ok_or(format!("{WHAT}no {name}"));
    let (texts, code, frames) = (section(".rodata")?, section(".text")?, section(".eh_frame")?);
    let flags = memmem::find(texts.bytes, FLAGS).is_some();
    let code = Code { functions: functions(&frames), code };
    let site = |name: &str, operation: Operation| {
        let offset = elf.offset(code.names(&addresses(&texts, name))?)?;
        Some(Site::new(offset as usize, operation))
    };
    let read =
        site("ssl_read_internal", Operation::ReadEx).or_else(|| site("SSL_read", Operation::Read));
    let inner = || site("ssl_write_internal", Operation::WriteEx);
    let inner = if flags { None } else { inner() };
    let write = inner.or_else(|| site("SSL_write", Operation::Write));
    let (Some(read), Some(write)) = (read, write) else {
        return Err(format!("{WHAT}its functions are not to be told apart"));
    };
    let others = ["SSL_do_handshake", "SSL_shutdown"];
    let others = others.into_iter().filter_map(|name| site(name, Operation::Other));
    Ok([read, write].into_iter().chain(others).collect())
}

/// Where a text lies, with its end.
fn addresses(texts: &Section<'_>, name: &str) -> Vec<u64> {
    let name = [name.as_bytes(), b"\0"].concat();
    memmem::find_iter(texts.bytes, &name).map(|at| texts.address + at as u64).collect()
}

/// Beginning and end of every function, by address.
fn functions(frames: &Section<'_>) -> Vec<(u64, u64)> {
    let word = |at: usize| Some(u32::from_le_bytes(*frames.bytes.get(at..)?.first_chunk()?));
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(length) = word(at) {
        // An entry of 64 bits has this instead of its length; no program has so many.
        if length == u32::MAX || length < 4 {
            break;
        }
        // Those that belong to no other describe no function.
        if word(at + 4).is_some_and(|parent| parent != 0) {
            let (begin, size) = (word(at + 8), word(at + 12));
            let Some((begin, size)) = begin.zip(size) else { break };
            let place = frames.address + at as u64 + 8;
            let begin = place.wrapping_add_signed(i64::from(begin.cast_signed()));
            out.push((begin, begin.saturating_add(size.into())));
        }
        at += 4 + length as usize;
    }
    out.sort_unstable();
    out
}

/// The instructions of a program.
struct Code<'a> {
    code: Section<'a>,
    functions: Vec<(u64, u64)>,
}

impl Code<'_> {
    /// The one function that points to one of the addresses, where it is called as one:
    /// a part of a function that was put elsewhere is only jumped to.
    fn names(&self, addresses: &[u64]) -> Option<u64> {
        let mut found = None;
        for at in self.pointers(addresses) {
            let begin = self.around(at)?;
            if found.is_some_and(|known| known != begin) {
                return None;
            }
            found = Some(begin);
        }
        found.filter(|begin| self.is_called(*begin))
    }

    fn around(&self, at: u64) -> Option<u64> {
        let after = self.functions.partition_point(|(begin, _)| *begin <= at);
        let (begin, end) = *self.functions.get(after.checked_sub(1)?)?;
        (at < end).then_some(begin)
    }

    /// Places of `lea register, [rip + ...]` and `mov register, ...` with an address.
    fn pointers(&self, addresses: &[u64]) -> Vec<u64> {
        let points = |(at, window): (usize, &[u8])| {
            let [first, second, third, rest @ ..] = window else { return None };
            let here = self.code.address + at as u64;
            let relative = i32::from_le_bytes(*rest.first_chunk()?);
            let target = match (first, second, third) {
                (0x48 | 0x4c, 0x8d, register) if register & 0xc7 == 0x05 => {
                    (here + 7).wrapping_add_signed(relative.into())
                }
                (0xb8..=0xbf, ..) => u32::from_le_bytes(*window[1..].first_chunk()?).into(),
                _ => return None,
            };
            addresses.contains(&target).then_some(here)
        };
        self.code.bytes.windows(7).enumerate().filter_map(points).collect()
    }

    fn is_called(&self, function: u64) -> bool {
        self.code.bytes.windows(5).enumerate().any(|(at, window)| {
            let [0xe8, relative @ ..] = window else { return false };
            let Some(relative) = relative.first_chunk() else { return false };
            let after = self.code.address + at as u64 + 5;
            after.wrapping_add_signed(i32::from_le_bytes(*relative).into()) == function
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Functions at 0x1000 and 0x1010, of 16 bytes each: their entries lie at 0x2000.
    fn frames() -> Vec<u8> {
        let mut out = Vec::new();
        for word in [12_u32, 0, 1, 2] {
            out.extend(word.to_le_bytes()); // belongs to no other
        }
        for begin in [0x1000_u32, 0x1010] {
            let place = 0x2000 + out.len() as u32 + 8;
            for word in [12, out.len() as u32 + 4, begin.wrapping_sub(place), 16] {
                out.extend(word.to_le_bytes());
            }
        }
        out.extend([0; 4]);
        out
    }

    /// The second function points to 0x3000, and is called or jumped to by the first.
    fn code(how: u8) -> Vec<u8> {
        let mut out = vec![0x90; 32];
        out[4] = how;
        out[5..9].copy_from_slice(&7_i32.to_le_bytes());
        out[20..23].copy_from_slice(&[0x48, 0x8d, 0x15]);
        out[23..27].copy_from_slice(&(0x3000_i32 - 0x101b).to_le_bytes());
        out
    }

    fn named(bytes: &[u8], address: u64) -> Option<u64> {
        let frames = frames();
        let functions = functions(&Section { address: 0x2000, bytes: &frames });
        assert_eq!(functions, [(0x1000, 0x1010), (0x1010, 0x1020)]);
        Code { code: Section { address: 0x1000, bytes }, functions }.names(&[address])
    }

    #[test]
    fn a_function_is_known_by_the_text_it_points_to() {
        assert_eq!(named(&code(0xe8), 0x3000), Some(0x1010));
        assert_eq!(named(&code(0xe8), 0x3001), None);
        assert_eq!(named(&code(0xe9), 0x3000), None, "nobody calls it");
        let mut fixed = code(0xe8);
        fixed[20..27].copy_from_slice(&[0xba, 0, 0x30, 0, 0, 0x90, 0x90]);
        assert_eq!(named(&fixed, 0x3000), Some(0x1010), "of a program with fixed addresses");
        fixed[10..17].copy_from_slice(&[0xba, 0, 0x30, 0, 0, 0x90, 0x90]);
        assert_eq!(named(&fixed, 0x3000), None, "two point to it");
    }
}
