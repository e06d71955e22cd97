//! Reads of an ELF file what finding functions takes: sections, symbols, file offsets.

use std::fs::File;

use object::elf::{FileHeader64, ProgramHeader64, SHN_UNDEF, STT_FUNC, SectionHeader64, Sym64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::{LittleEndian, ReadCache, elf, pod};

use super::part::{Near, Part};

/// Largest section that is looked through, bytes.
const LARGEST: u64 = 256 << 20;
/// Bytes of an entry in a table of symbols.
const SYMBOL: usize = size_of::<Sym64<LittleEndian>>();
/// Longest name that is read whole, bytes: Rust's hold those of types.
const LONGEST: usize = 256;

type Header = FileHeader64<LittleEndian>;
type Cache = ReadCache<File>;

/// A program or library for this machine.
pub(super) struct Elf<'a> {
    file: &'a File,
    segments: &'a [ProgramHeader64<LittleEndian>],
    sections: SectionTable<'a, Header, &'a Cache>,
}

impl<'a> Elf<'a> {
    /// Reads the headers, by a cache that keeps what it was asked for; `Err` says what the
    /// file is instead.
    pub(super) fn read(cache: &'a Cache, file: &'a File) -> Result<Self, String> {
        let wrong = |error: object::Error| format!("no 64-bit ELF file: {error}");
        let header = Header::parse(cache).map_err(wrong)?;
        if header.e_machine(LittleEndian) != elf::EM_X86_64 {
            return Err("not for x86-64".into());
        }
        let segments = header.program_headers(LittleEndian, cache).map_err(wrong)?;
        let sections = header.sections(LittleEndian, cache).map_err(wrong)?;
        Ok(Self { file, segments, sections })
    }

    /// A section by one of its names.
    pub(super) fn section(&self, names: &[&str]) -> Option<Part<'a>> {
        let by_name = |name: &&str| self.sections.section_by_name(LittleEndian, name.as_bytes());
        let (_, found) = names.iter().find_map(by_name)?;
        self.part(found)
    }

    fn part(&self, section: &SectionHeader64<LittleEndian>) -> Option<Part<'a>> {
        let place = section.file_range(LittleEndian).filter(|(_, size)| *size <= LARGEST)?;
        Some(Part::new(self.file, place, section.sh_addr(LittleEndian)))
    }

    /// Hands over name and address of every function that is defined here.
    pub(super) fn functions(&self, mut each: impl FnMut(&[u8], u64)) {
        let kinds = [elf::SHT_DYNSYM, elf::SHT_SYMTAB];
        for section in self.sections.iter().filter(|s| kinds.contains(&s.sh_type(LittleEndian))) {
            let strings = self.sections.section(section.link(LittleEndian)).ok();
            let Some((symbols, strings)) =
                self.part(section).zip(strings.and_then(|strings| self.part(strings)))
            else {
                continue;
            };
            let (mut table, mut names) = (Near::of(symbols), Near::of(strings));
            for at in (0..symbols.size).step_by(SYMBOL) {
                let read = pod::from_bytes::<Sym64<LittleEndian>>(table.bytes(at, SYMBOL));
                let Ok((symbol, _)) = read else { break };
                if symbol.st_type() == STT_FUNC && symbol.st_shndx(LittleEndian) != SHN_UNDEF {
                    let name = names.bytes(symbol.st_name(LittleEndian).into(), LONGEST);
                    each(word(name), symbol.st_value(LittleEndian));
                }
            }
        }
    }

    /// Where in the file an address is.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let (offset, size) = segment.file_range(LittleEndian);
            let within = address.checked_sub(segment.p_vaddr(LittleEndian))?;
            let loaded = segment.p_type(LittleEndian) == elf::PT_LOAD;
            (loaded && within < size).then(|| offset + within)
        })
    }
}

/// Up to the first zero.
fn word(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
