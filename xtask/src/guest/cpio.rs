//! A writer for initramfs archives ("newc" cpio, see
//! `Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel).
//!
//! Written here rather than called, because the `cpio` program can only archive
//! files that exist with the right owner, mode and device numbers, which takes
//! root or fakeroot.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHAR_DEVICE: u32 = 0o020_000;

/// Writes entries one after another; parents must come before their children.
pub(crate) struct Writer<W> {
    out: W,
    position: u64,
    next_inode: u32,
}

impl<W: Write> Writer<W> {
    /// An archive that goes to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, position: 0, next_inode: 1 }
    }

    /// A directory with mode 0755. Paths are relative to the root, without a leading slash.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// A file of `mode` (permission bits only).
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, REGULAR | (mode & 0o7777), (0, 0), content)
    }

    /// A symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    /// A character device (major, minor) with mode 0600.
    pub(crate) fn device(&mut self, path: &str, number: (u32, u32)) -> io::Result<()> {
        self.entry(path, CHAR_DEVICE | 0o600, number, &[])
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, rdev: (u32, u32), data: &[u8]) -> io::Result<()> {
        let size = u32::try_from(data.len())
            .map_err(|_| io::Error::other(format!("{path}: larger than cpio can hold (4 GiB)")))?;
        let name_size = path.len() as u32 + 1;
        let (uid, gid, links, mtime, dev) = (0, 0, 1, 0, (0, 0));
        let fields = [
            self.next_inode,
            mode,
            uid,
            gid,
            links,
            mtime,
            size,
            dev.0,
            dev.1,
            rdev.0,
            rdev.1,
            name_size,
            0,
        ];
        self.next_inode += 1;
        self.put(b"070701")?;
        for field in fields {
            self.put(format!("{field:08x}").as_bytes())?;
        }
        self.put(path.as_bytes())?;
        self.put(&[0])?;
        self.align()?;
        self.put(data)?;
        self.align()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Header and data both start at multiples of four bytes.
    fn align(&mut self) -> io::Result<()> {
        let padding = (4 - self.position % 4) % 4;
        self.put(&[0; 3][..padding as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        writer.directory("d").expect("memory");
        writer.file("d/f", 0o755, b"hello").expect("memory");
        writer.symlink("l", "d/f").expect("memory");
        writer.device("c", (5, 1)).expect("memory");
        writer.finish().expect("memory")
    }

    /// Name, mode, device number and data of an entry.
    type Read = (String, u32, (u32, u32), Vec<u8>);

    /// Reads an archive back by the format's own rules.
    fn entries(mut bytes: &[u8]) -> Vec<Read> {
        let mut found = Vec::new();
        while bytes.len() >= 110 {
            assert_eq!(&bytes[..6], b"070701");
            let field = |index: usize| {
                let hex = std::str::from_utf8(&bytes[6 + index * 8..14 + index * 8]).expect("hex");
                u32::from_str_radix(hex, 16).expect("hex")
            };
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            let name = String::from_utf8_lossy(&bytes[110..110 + name_size - 1]).into_owned();
            let data = (110 + name_size).next_multiple_of(4);
            let entry = bytes[data..data + size].to_vec();
            found.push((name, field(1), (field(9), field(10)), entry));
            bytes = &bytes[(data + size).next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn every_kind_of_entry_reads_back() {
        let found = entries(&archive());
        let names: Vec<&str> = found.iter().map(|entry| entry.0.as_str()).collect();
        assert_eq!(names, ["d", "d/f", "l", "c", "TRAILER!!!"]);
        assert_eq!(found[0].1, 0o040_755);
        assert_eq!((found[1].1, found[1].3.as_slice()), (0o100_755, &b"hello"[..]));
        assert_eq!((found[2].1, found[2].3.as_slice()), (0o120_777, &b"d/f"[..]));
        assert_eq!((found[3].1, found[3].2), (0o020_600, (5, 1)));
    }

    #[test]
    fn length_is_a_multiple_of_four() {
        assert_eq!(archive().len() % 4, 0);
    }
}
