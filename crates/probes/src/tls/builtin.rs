//! OpenSSL and `BoringSSL`, built into a program without symbols.
//!
//! From its version 3 on an error of OpenSSL's carries the name of the function that
//! raised it, so that name lies in the program as a string, and an instruction of the
//! very function points to it. Before there were [numbers] instead.

use std::collections::BTreeSet;

use memchr::memmem;

use super::code::Code;
use super::elf::Elf;
use super::numbers::{self, Found};
use super::part::Part;
use super::targets::{Operation, Site};

/// Texts that only a program with the library in it has, and whose they are.
const MARKS: [(&[u8], Kind); 3] =
    [(OPEN, Kind::OpenSsl), (BORING, Kind::BoringSsl), (b"/rustls-0.", Kind::Rustls)];
/// The end of the name of a file of OpenSSL's, and of `BoringSSL`'s.
const OPEN: &[u8] = b"ssl/ssl_lib.c\0";
const BORING: &[u8] = b"ssl/ssl_lib.cc\0";
/// Functions of that file that raise errors: fewer than there are in any version.
const RAISING: usize = 16;
/// Longest name of a file, bytes (`PATH_MAX`).
const LONGEST: u64 = 4096;
/// Among OpenSSL's reasons since version 3.2, where `ssl_write_internal` takes flags
/// before the place for what was written.
const FLAGS: &[u8] = b"unsupported write flag\0";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    OpenSsl,
    BoringSsl,
    Rustls,
}

/// Where the program reads and writes, or why that is not to be found; `None` when it
/// has no library that is known.
pub(super) fn find(elf: &Elf<'_>) -> Option<Result<Vec<Site>, String>> {
    let mentioned = mentioned(&elf.section(&[".rodata"])?);
    mentioned.into_iter().find_map(|kind| match kind {
        Kind::OpenSsl => sites(elf, "OpenSSL", OPEN, |program, _| program.openssl()),
        Kind::BoringSsl => sites(elf, "BoringSSL", BORING, |program, files| {
            numbers::boringssl(&program.code, files)
        }),
        Kind::Rustls => Some(Err("rustls: its functions have no symbols, or are inlined".into())),
    })
}

/// Where a library is whose file ends in `name`; `None` where hardly a function points to
/// that name: it is text like any other there, as it is in this program.
fn sites<'a>(
    elf: &Elf<'a>,
    library: &str,
    name: &[u8],
    find: impl FnOnce(&Program<'a>, &[u64]) -> Option<Found>,
) -> Option<Result<Vec<Site>, String>> {
    let why = |why: &str| Err(format!("{library}, built in without symbols: {why}"));
    let program = match Program::read(elf) {
        Ok(program) => program,
        Err(missing) => return Some(why(&missing)),
    };
    let files = program.files(name);
    if program.code.pointing(&files).len() < RAISING {
        return None;
    }
    let site = |(address, operation)| Some(Site::new(elf.offset(address)? as usize, operation));
    let found =
        find(&program, &files).and_then(|found| found.into_iter().map(site).collect::<Option<_>>());
    Some(found.map_or_else(|| why("its functions are not to be told apart"), Ok))
}

/// The libraries that a part of a file mentions.
fn mentioned(texts: &Part<'_>) -> BTreeSet<Kind> {
    let searches = MARKS.map(|(text, kind)| (memmem::Finder::new(text), kind));
    let longest = MARKS.iter().map(|(text, _)| text.len()).max().unwrap_or_default();
    let mut kinds = BTreeSet::new();
    texts.look(longest, |_, piece| {
        let found = searches.iter().filter(|(text, _)| text.find(piece).is_some());
        kinds.extend(found.map(|(_, kind)| *kind));
        None::<()>
    });
    kinds
}

/// What a program without symbols is looked through for.
struct Program<'a> {
    texts: Part<'a>,
    code: Code<'a>,
}

impl<'a> Program<'a> {
    fn read(elf: &Elf<'a>) -> Result<Self, String> {
        let section = |name| elf.section(&[name]).ok_or(format!("no {name}"));
        let code = Code::new(section(".text")?, section(".eh_frame")?);
        Ok(Self { texts: section(".rodata")?, code })
    }

    /// Where a text lies, with its end.
    fn addresses(&self, text: &[u8]) -> Vec<u64> {
        let (search, mut found) = (memmem::Finder::new(text), Vec::new());
        self.texts.look(text.len(), |at, piece| {
            let within = search.find_iter(piece).map(|within| at + within as u64);
            found.extend(within.map(|at| self.texts.address + at));
            None::<()>
        });
        found
    }

    fn openssl(&self) -> Option<Found> {
        let site = |name: &str, operation: Operation| {
            let names = self.addresses(&[name.as_bytes(), b"\0"].concat());
            Some((self.code.names(&names)?, operation))
        };
        let flags = !self.addresses(FLAGS).is_empty();
        let read = site("ssl_read_internal", Operation::ReadEx)
            .or_else(|| site("SSL_read", Operation::Read));
        let inner = || site("ssl_write_internal", Operation::WriteEx);
        let inner = if flags { None } else { inner() };
        let write = inner.or_else(|| site("SSL_write", Operation::Write));
        let (Some(read), Some(write)) = (read, write) else {
            return numbers::openssl(&self.code);
        };
        let others = ["SSL_do_handshake", "SSL_shutdown"];
        let others = others.into_iter().filter_map(|name| site(name, Operation::Other));
        Some([read, write].into_iter().chain(others).collect())
    }

    /// Where names of files begin that end so: wherever the library was built, they are
    /// pointed to from there.
    fn files(&self, name: &[u8]) -> Vec<u64> {
        let begin = |at: u64| {
            let within = at - self.texts.address;
            let from = within.saturating_sub(LONGEST);
            let before = self.texts.read(from, within - from)?;
            let zero = before.iter().rposition(|byte| *byte == 0)?;
            Some(self.texts.address + from + zero as u64 + 1)
        };
        self.addresses(name).into_iter().filter_map(begin).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, File};

    use object::ReadCache;
    use taproot_testkit::skip;

    use super::*;

    /// A folder of programs and libraries, with their symbols or without.
    const FILES: &str = "TAPROOT_TLS_FILES";

    /// What the functions of a kind are called, where that is to be seen.
    fn names(operation: u64) -> &'static [&'static str] {
        const NAMES: [&[&str]; 5] = [
            &["SSL_read"],
            &["SSL_write"],
            &["SSL_read_ex", "ssl_read_internal"],
            &["SSL_write_ex", "ssl_write_internal"],
            &["SSL_do_handshake", "SSL_shutdown"],
        ];
        NAMES[operation as usize]
    }

    #[test]
    fn what_is_found_without_symbols_is_what_they_say() {
        let Ok(folder) = std::env::var(FILES) else { skip!("no folder is named by {FILES}") };
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let open = || File::open(&path).unwrap();
            let (cache, file) = (ReadCache::new(open()), open());
            let elf = Elf::read(&cache, &file).unwrap();
            let mut symbols = BTreeMap::<u64, Vec<String>>::new();
            elf.functions(|name, address| {
                let known = symbols.entry(elf.offset(address).unwrap_or_default()).or_default();
                known.push(String::from_utf8_lossy(name).into_owned());
            });
            let found = find(&elf);
            println!("{}: {found:x?}", path.display());
            for site in found.and_then(Result::ok).into_iter().flatten() {
                let called = symbols.get(&(site.offset as u64));
                let right = |name: &String| names(site.cookie).contains(&name.as_str());
                assert!(called.is_none_or(|c| c.iter().any(right)), "{called:?} is no {site:?}");
            }
        }
    }
}
