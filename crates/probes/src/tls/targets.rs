//! Finds in a program or library the functions that take and give plaintext.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use object::ReadCache;

use super::elf::Elf;
use super::frame::{self, Places};
use super::rustls::Function;
use super::{builtin, golang, rustls};

/// What a function does: `enum tls_operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Operation {
    Read,
    Write,
    ReadEx,
    WriteEx,
    Other,
    RustIo,
    RustWrite,
    RustWriteMany,
}

/// Functions of OpenSSL, `BoringSSL` and `GnuTLS` by name. The ones that carry no
/// plaintext are where most sessions meet their connection first.
const FUNCTIONS: [(&str, Operation); 12] = [
    ("SSL_read", Operation::Read),
    ("SSL_write", Operation::Write),
    ("SSL_read_ex", Operation::ReadEx),
    ("SSL_write_ex", Operation::WriteEx),
    ("SSL_do_handshake", Operation::Other),
    ("SSL_shutdown", Operation::Other),
    ("gnutls_record_recv", Operation::Read),
    ("gnutls_record_recv_seq", Operation::Read),
    ("gnutls_record_send", Operation::Write),
    ("gnutls_record_send2", Operation::Write),
    ("gnutls_handshake", Operation::Other),
    ("gnutls_bye", Operation::Other),
];

/// A place for a probe in a library in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// In the file.
    pub(super) offset: usize,
    /// What the function does, for the programs.
    pub(super) cookie: u64,
    /// Places within it at which probes cost less than at its ends.
    pub(super) within: Option<Places>,
}

impl Site {
    pub(super) fn new(offset: usize, operation: Operation) -> Self {
        Self { offset, cookie: operation as u64, within: None }
    }

    /// Looks into the function, where its result says all.
    fn look_within(&mut self, file: &File) {
        let plain = [Operation::Read, Operation::Write].map(|operation| operation as u64);
        let mut code = [0; frame::MOST];
        if plain.contains(&self.cookie)
            && let Ok(length) = file.read_at(&mut code, self.offset as u64)
        {
            self.within = frame::places(&code[..length]);
        }
    }
}

/// What a file has of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Targets {
    /// Functions in C.
    pub(super) library: Vec<Site>,
    /// Where rustls has decrypted something, in the file.
    pub(super) decrypted: Vec<usize>,
    /// Those of Go.
    pub(super) go: Option<golang::Sites>,
    /// Why a file that has TLS offers nothing.
    pub(super) why_not: Option<String>,
}

impl Targets {
    /// Whether there is nothing to attach to.
    pub(super) fn is_empty(&self) -> bool {
        self.library.is_empty() && self.go.is_none()
    }

    /// Looks through a file.
    pub(super) fn find(file: File) -> Self {
        let Ok(plain) = file.try_clone() else { return Self::default() };
        let cache = ReadCache::new(file);
        let Ok(elf) = Elf::read(&cache, &plain) else { return Self::default() };
        let mut found = Self { library: library(&elf), ..Self::default() };
        found.add_rustls(&elf, &plain);
        match golang::find(&elf) {
            Some(Ok(sites)) => found.go = Some(sites),
            Some(Err(why)) => found.why_not = Some(why),
            None if found.library.is_empty() => found = Self::without_symbols(&elf),
            None => {}
        }
        found.library.iter_mut().for_each(|site| site.look_within(&plain));
        found
    }

    fn without_symbols(elf: &Elf<'_>) -> Self {
        match builtin::find(elf) {
            Some(Ok(library)) => Self { library, ..Self::default() },
            Some(Err(why)) => Self { why_not: Some(why), ..Self::default() },
            None => Self::default(),
        }
    }

    /// Adds the functions of rustls where all are there that it takes.
    fn add_rustls(&mut self, elf: &Elf<'_>, file: &File) {
        let (mut sites, mut decrypted) = (Vec::new(), BTreeSet::new());
        elf.functions(|name, address| {
            let Some((function, offset)) = Function::named(name).zip(elf.offset(address)) else {
                return;
            };
            let mut code = [0; rustls::MOST];
            let read = file.read_at(&mut code, offset).unwrap_or_default();
            if !function.begins(&code[..read]) {
                return;
            }
            let mut site = |operation| {
                let site = Site::new(offset as usize, operation);
                if !sites.contains(&site) {
                    sites.push(site);
                }
            };
            match function {
                Function::Io => site(Operation::RustIo),
                Function::Write => site(Operation::RustWrite),
                Function::WriteMany => site(Operation::RustWriteMany),
                Function::Decrypted => {
                    decrypted.insert(offset as usize);
                }
            }
        });
        let has = |operation| sites.iter().any(|site| site.cookie == operation as u64);
        if has(Operation::RustIo) && has(Operation::RustWrite) && !decrypted.is_empty() {
            self.library.extend(sites);
            self.decrypted = decrypted.into_iter().collect();
        }
    }
}

fn library(elf: &Elf<'_>) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    elf.functions(|name, address| {
        if !name.starts_with(b"SSL_") && !name.starts_with(b"gnutls_") {
            return;
        }
        let known = FUNCTIONS.iter().find(|(known, _)| known.as_bytes() == name);
        let Some(((_, operation), offset)) = known.zip(elf.offset(address)) else { return };
        let site = Site::new(offset as usize, *operation);
        // A symbol may stand in both tables.
        if !sites.contains(&site) {
            sites.push(site);
        }
    });
    let passes = |site: &Site| site.cookie != Operation::Other as u64;
    if sites.iter().any(passes) { sites } else { Vec::new() }
}
