//! Reads of an ELF file what finding functions takes: sections, symbols, file offsets.

use std::fs::File;

use object::elf::{FileHeader64, ProgramHeader64, SHN_UNDEF, STT_FUNC, Sym64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::{LittleEndian, ReadCache, elf};

/// Largest section that is read, bytes.
const LARGEST: u64 = 256 << 20;
/// Longest name that is read whole, bytes: Rust's hold those of types.
const LONGEST: usize = 256;

type Header = FileHeader64<LittleEndian>;
type Cache = ReadCache<File>;

/// A program or library for this machine.
pub(super) struct Elf<'a> {
    file: &'a Cache,
    segments: &'a [ProgramHeader64<LittleEndian>],
    sections: SectionTable<'a, Header, &'a Cache>,
}

/// A section with its address.
pub(super) struct Section<'a> {
    pub(super) address: u64,
    pub(super) bytes: &'a [u8],
}

impl<'a> Elf<'a> {
    /// Reads the headers; `Err` says what the file is instead.
    pub(super) fn read(file: &'a Cache) -> Result<Self, String> {
        let wrong = |error: object::Error| format!("no 64-bit ELF file: {error}");
        let header = Header::parse(file).map_err(wrong)?;
        if header.e_machine(LittleEndian) != elf::EM_X86_64 {
            return Err("not for x86-64".into());
        }
        let segments = header.program_headers(LittleEndian, file).map_err(wrong)?;
        let sections = header.sections(LittleEndian, file).map_err(wrong)?;
        Ok(Self { file, segments, sections })
    }

    /// A section by one of its names.
    pub(super) fn section(&self, names: &[&str]) -> Option<Section<'a>> {
        let (_, found) = names
            .iter()
            .find_map(|name| self.sections.section_by_name(LittleEndian, name.as_bytes()))?;
        if found.sh_size(LittleEndian) > LARGEST {
            return None;
        }
        let bytes = found.data(LittleEndian, self.file).ok()?;
        Some(Section { address: found.sh_addr(LittleEndian), bytes })
    }

    /// Where in the file a section lies: offset and size, bytes.
    pub(super) fn place(&self, name: &str) -> Option<(u64, u64)> {
        let (_, found) = self.sections.section_by_name(LittleEndian, name.as_bytes())?;
        Some((found.sh_offset(LittleEndian), found.sh_size(LittleEndian)))
    }

    /// Hands over name and address of every function that is defined here.
    pub(super) fn functions(&self, mut each: impl FnMut(&[u8], u64)) {
        for section in self.sections.iter() {
            let kind = section.sh_type(LittleEndian);
            if kind != elf::SHT_DYNSYM && kind != elf::SHT_SYMTAB
                || section.sh_size(LittleEndian) > LARGEST
            {
                continue;
            }
            let symbols: Option<&[Sym64<LittleEndian>]> =
                section.data_as_array(LittleEndian, self.file).ok();
            let strings = self
                .sections
                .section(section.link(LittleEndian))
                .ok()
                .filter(|strings| strings.sh_size(LittleEndian) <= LARGEST)
                .and_then(|strings| strings.data(LittleEndian, self.file).ok());
            let (Some(symbols), Some(strings)) = (symbols, strings) else { continue };
            for symbol in symbols {
                if symbol.st_type() == STT_FUNC && symbol.st_shndx(LittleEndian) != SHN_UNDEF {
                    let name = symbol.st_name(LittleEndian) as usize;
                    each(
                        word(strings.get(name..).unwrap_or_default()),
                        symbol.st_value(LittleEndian),
                    );
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

/// Up to the first zero, of a name that is no longer than any that is looked for.
fn word(bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
