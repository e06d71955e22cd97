//! Finds in a program or library the functions that take and give plaintext.

use std::fs::File;

use object::ReadCache;

use super::elf::Elf;
use super::golang;

/// What a function does: `enum tls_operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Operation {
    Read,
    Write,
    ReadEx,
    WriteEx,
    Other,
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
}

/// What a file has of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Targets {
    /// Functions in C.
    pub(super) library: Vec<Site>,
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
        let cache = ReadCache::new(file);
        let Ok(elf) = Elf::read(&cache) else { return Self::default() };
        let library = library(&elf);
        match golang::find(&elf) {
            Some(Ok(sites)) => Self { library, go: Some(sites), why_not: None },
            Some(Err(why)) => Self { library, go: None, why_not: Some(why) },
            None => Self { library, go: None, why_not: None },
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
        let site = Site { offset: offset as usize, cookie: *operation as u64 };
        // A symbol may stand in both tables.
        if !sites.contains(&site) {
            sites.push(site);
        }
    });
    let passes = |site: &Site| site.cookie != Operation::Other as u64;
    if sites.iter().any(passes) { sites } else { Vec::new() }
}
