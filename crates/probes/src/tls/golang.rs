//! Go programs: where `crypto/tls` reads and writes.
//!
//! Every Go program, stripped or not, carries a table of its functions for
//! backtraces, `pclntab` (runtime/symtab.go; the layout here is that of Go 1.18 and
//! later). Go has no return probes: its stacks move, and a changed return address
//! ends the program. So every return instruction of a function gets a probe.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};

use super::elf::Elf;
use super::part::{Near, Part};

const READ: &[u8] = b"crypto/tls.(*Conn).Read";
const WRITE: &[u8] = b"crypto/tls.(*Conn).Write";
/// `pclntab` of Go 1.18, and of 1.20 on.
const MAGIC: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// The beginning of `.go.buildinfo`; the byte of flags, and the one that Go 1.18 brought.
const BUILD: &[u8] = b"\xff Go buildinf:";
const FLAGS: usize = 15;
const INLINE: u8 = 2;

/// Places for probes, as offsets in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sites {
    /// Where `Write` has its arguments in registers.
    pub(super) write: usize,
    /// Where `Read` has.
    pub(super) read: usize,
    /// Where `Read` returns.
    pub(super) returns: Vec<usize>,
}

/// Where a program reads and writes; `None` when it is no Go program or has no TLS.
pub(super) fn find(elf: &Elf<'_>) -> Option<Result<Sites, String>> {
    let build = elf.section(&[".go.buildinfo"])?.read(0, FLAGS as u64 + 1)?;
    if !build.starts_with(BUILD) {
        return None;
    }
    if build[FLAGS] & INLINE == 0 {
        return Some(Err("made by Go 1.17 or earlier".into()));
    }
    let table = elf.section(&[".gopclntab", ".data.rel.ro.gopclntab"])?;
    let Some(mut table) = Table::read(table) else {
        return Some(Err("its function table is of an unknown kind".into()));
    };
    let text = elf.section(&[".text"])?;
    let start = if table.text == 0 { text.address } else { table.text };
    let mut body = |name: &[u8]| {
        let (from, to) = table.find(name)?;
        let begin = start.checked_add(from)?;
        let bytes = text.read(begin.checked_sub(text.address)?, to - from)?;
        Some((elf.offset(begin)? as usize, bytes))
    };
    let (read, write) = (body(READ)?, body(WRITE)?);
    let returns: Vec<usize> = returns(&read.1).into_iter().map(|at| read.0 + at).collect();
    if returns.is_empty() {
        return Some(Err("its Read never returns".into()));
    }
    Some(Ok(Sites { write: write.0 + entry(&write.1), read: read.0 + entry(&read.1), returns }))
}

/// The table of functions.
struct Table<'a> {
    /// Address of the first function; 0 where the table does not say.
    text: u64,
    functions: u64,
    names: u64,
    lines: u64,
    /// Each of the three is read near where it was read before.
    order: Near<'a>,
    about: Near<'a>,
    called: Near<'a>,
}

impl<'a> Table<'a> {
    fn read(part: Part<'a>) -> Option<Self> {
        let head = part.read(0, 72)?;
        let (magic, words) = head.split_at_checked(8)?;
        if !MAGIC.contains(&u32::from_le_bytes(*magic.first_chunk()?)) || magic[7] != 8 {
            return None;
        }
        let word = |index: usize| words[8 * index..].first_chunk().copied().map(u64::from_le_bytes);
        let near = || Near::of(part);
        let (functions, text) = (word(0)?, word(2)?);
        let (names, lines) = (word(3)?, word(7)?);
        Some(Self { text, functions, names, lines, order: near(), about: near(), called: near() })
    }

    /// Beginning and end of a function, from the first one on.
    fn find(&mut self, name: &[u8]) -> Option<(u64, u64)> {
        let wanted = [name, b"\0"].concat();
        for index in 0..self.functions {
            let at = self.lines.checked_add(index.checked_mul(8)?)?;
            // The table ends before its number of functions says.
            let begin = self.order.number32(at)?;
            let about = self.lines.checked_add(self.order.number32(at + 4)?.into())?;
            let Some(called) = self.about.number32(about + 4) else { continue };
            let called = self.names.checked_add(called.into())?;
            if self.called.bytes(called, wanted.len()) == wanted {
                let end = self.order.number32(at + 8)?;
                return (end > begin).then_some((begin.into(), end.into()));
            }
        }
        None
    }
}

fn instructions(code: &[u8]) -> impl Iterator<Item = (usize, Instruction)> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let at = decoder.position();
        decoder.can_decode().then(|| (at, decoder.decode()))
    })
}

/// Offsets of the instructions that return.
fn returns(code: &[u8]) -> Vec<usize> {
    let all = instructions(code).filter(|(_, found)| found.mnemonic() == Mnemonic::Ret);
    all.map(|(at, _)| at).collect()
}

/// Where a function begins in earnest. It first looks whether its stack is large
/// enough, and begins again when it was not: a probe before that would fire twice.
fn entry(code: &[u8]) -> usize {
    let mut first = instructions(code).take(4);
    first
        .find(|(_, found)| found.mnemonic() == Mnemonic::Jbe)
        .map_or(0, |(at, found)| at + found.len())
}

#[cfg(test)]
mod tests {
    use super::super::part::tests::Bytes;
    use super::*;

    #[test]
    fn a_return_within_an_instruction_is_none() {
        // mov eax, 0xc3; ret; nop; ret 8
        let code = [0xb8, 0xc3, 0, 0, 0, 0xc3, 0x90, 0xc2, 8, 0];
        assert_eq!(returns(&code), [5, 7]);
    }

    #[test]
    fn a_function_begins_after_the_look_at_its_stack() {
        // cmp rsp, [r14+0x10]; jbe +0x12; push rbp
        assert_eq!(entry(&[0x49, 0x3b, 0x66, 0x10, 0x76, 0x12, 0x55]), 6);
        // lea r12, [rsp-0x20]; cmp r12, [r14+0x10]; jbe +0x100; push rbp
        let large = [0x4c, 0x8d, 0x64, 0x24, 0xe0, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0, 1, 0, 0];
        assert_eq!(entry(&large), 15);
        assert_eq!(entry(&[0x55, 0xc3]), 0);
    }

    /// A table of two functions, as Go 1.20 writes it.
    fn table() -> Vec<u8> {
        let names = b"main.main\0crypto/tls.(*Conn).Read\0";
        let (names_at, lines_at) = (72u64, 72 + names.len() as u64);
        let mut out = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
        for word in [2, 0, 0x40_1000, names_at, 0, 0, 0, lines_at] {
            out.extend(u64::to_le_bytes(word));
        }
        out.extend(names);
        // Beginnings and places of what is said of each, and the end of all.
        for number in [0u32, 20, 0x100, 28, 0x180] {
            out.extend(number.to_le_bytes());
        }
        for number in [0u32, 0, 0x100, 10] {
            out.extend(number.to_le_bytes());
        }
        out
    }

    #[test]
    fn finds_a_function_by_its_whole_name() {
        let bytes = Bytes(table());
        let mut read = Table::read(bytes.at(0)).unwrap();
        assert_eq!(read.text, 0x40_1000);
        assert_eq!(read.find(READ), Some((0x100, 0x180)));
        assert_eq!(read.find(b"crypto/tls.(*Conn).Rea"), None);
        assert_eq!(read.find(WRITE), None);
    }

    #[test]
    fn a_table_that_is_cut_short_holds_nothing() {
        let bytes = table();
        for length in 0..bytes.len() {
            let cut = Bytes(bytes[..length].to_vec());
            if let Some(mut read) = Table::read(cut.at(0)) {
                assert_eq!(read.find(READ), None, "{length} bytes");
            }
        }
    }
}
