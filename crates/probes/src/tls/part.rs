//! A part of a file, read piece by piece: programs are larger than what may be kept of
//! them, and of most nothing is wanted.

use std::os::unix::fs::FileExt;

/// Bytes that are read at a time where all are looked through.
const PIECE: usize = 256 << 10;
/// Bytes that are read at a time where small things near each other are.
const NEAR: usize = 8 << 10;

/// Some bytes of a file, which lie at an address when it runs.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    file: &'a dyn FileExt,
    offset: u64,
    /// Bytes.
    pub(super) size: u64,
    /// Where it begins, when it runs.
    pub(super) address: u64,
}

impl<'a> Part<'a> {
    pub(super) fn new(file: &'a dyn FileExt, (offset, size): (u64, u64), address: u64) -> Self {
        Self { file, offset, size, address }
    }

    /// The bytes from a place within on; `None` where there are fewer.
    pub(super) fn read(&self, at: u64, length: u64) -> Option<Vec<u8>> {
        if at.checked_add(length)? > self.size {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        (self.fill(at, &mut bytes) == bytes.len()).then_some(bytes)
    }

    /// Looks through it for things of a width, until something is found: each piece comes
    /// with the place within at which it begins, and what begins in it is whole in it.
    pub(super) fn look<T>(
        &self,
        width: usize,
        mut look: impl FnMut(u64, &[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut bytes = vec![0; PIECE + width.saturating_sub(1)];
        (0..self.size).step_by(PIECE).find_map(|at| {
            let read = self.fill(at, &mut bytes);
            look(at, &bytes[..read])
        })
    }

    /// Hands over every place of it with what is there, as wide as is wanted.
    pub(super) fn windows(&self, width: usize, mut each: impl FnMut(u64, &[u8])) {
        self.look(width, |at, piece| {
            let windows = piece.windows(width).enumerate();
            windows.for_each(|(within, window)| each(at + within as u64, window));
            None::<()>
        });
    }

    /// Reads as much as there is. What cannot be read is not there: the file may have been
    /// cut since its headers were read.
    fn fill(&self, at: u64, into: &mut [u8]) -> usize {
        let room = (self.size.saturating_sub(at)).min(into.len() as u64) as usize;
        let mut read = 0;
        while read < room {
            let place = self.offset.saturating_add(at).saturating_add(read as u64);
            match self.file.read_at(&mut into[read..room], place) {
                Ok(more @ 1..) => read += more,
                _ => break,
            }
        }
        read
    }
}

/// Reads small things, most of them near the one before.
pub(super) struct Near<'a> {
    part: Part<'a>,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Near<'a> {
    pub(super) fn of(part: Part<'a>) -> Self {
        Self { part, at: 0, bytes: Vec::new() }
    }

    /// Bytes from a place on: as many as are wanted, fewer at the end.
    pub(super) fn bytes(&mut self, at: u64, wanted: usize) -> &[u8] {
        let wanted = (self.part.size.saturating_sub(at)).min(wanted as u64) as usize;
        let within = |at: u64, from: u64| usize::try_from(at.checked_sub(from)?).ok();
        if within(at, self.at).is_none_or(|begin| begin + wanted > self.bytes.len()) {
            // A name that is a bit before the last one is not read again.
            self.at = at - at % (NEAR as u64 / 2);
            self.bytes.resize(NEAR.max(NEAR / 2 + wanted), 0);
            let read = self.part.fill(self.at, &mut self.bytes);
            self.bytes.truncate(read);
        }
        let begin = within(at, self.at).unwrap_or_default().min(self.bytes.len());
        &self.bytes[begin..self.bytes.len().min(begin + wanted)]
    }

    pub(super) fn number32(&mut self, at: u64) -> Option<u32> {
        self.bytes(at, 4).first_chunk().copied().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{self, Error, ErrorKind};

    use super::*;

    /// A file that is none.
    pub(in crate::tls) struct Bytes(pub(in crate::tls) Vec<u8>);

    impl Bytes {
        /// All of it, at an address.
        pub(in crate::tls) fn at(&self, address: u64) -> Part<'_> {
            Part::new(self, (0, self.0.len() as u64), address)
        }
    }

    impl FileExt for Bytes {
        fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            // As a file may, it gives less than was asked for.
            let read = rest.len().min(into.len()).min(100_000);
            into[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(Error::from(ErrorKind::Unsupported))
        }
    }

    fn counted(length: usize) -> Bytes {
        Bytes((0..length).map(|at| (at % 251) as u8).collect())
    }

    #[test]
    fn every_place_comes_once_and_whole() {
        for length in [0, 4, PIECE - 1, PIECE, PIECE + 4, 2 * PIECE + 5] {
            let file = counted(length);
            let mut next = 0;
            file.at(0).windows(5, |at, window| {
                assert_eq!(at, next);
                assert_eq!(window, &file.0[at as usize..at as usize + 5]);
                next += 1;
            });
            assert_eq!(next, length.saturating_sub(4) as u64, "of {length}");
        }
    }

    #[test]
    fn a_part_ends_where_it_ends() {
        let file = counted(1000);
        let part = Part::new(&file, (100, 50), 0);
        assert_eq!(part.read(40, 10).as_deref(), Some(&file.0[140..150]));
        assert_eq!(part.read(40, 11), None);
        assert_eq!(part.read(u64::MAX, 2), None);
        assert_eq!(Part::new(&file, (990, 50), 0).read(0, 20), None, "the file is shorter");
    }

    #[test]
    fn what_is_near_and_what_is_not_is_the_same() {
        let file = counted(5 * NEAR);
        let mut near = Near::of(file.at(0));
        for at in [0, 8, NEAR - 2, NEAR / 2 - 1, 4 * NEAR, 3, 5 * NEAR - 2, 5 * NEAR, 9 * NEAR] {
            let end = file.0.len().min(at + 4);
            assert_eq!(near.bytes(at as u64, 4), file.0.get(at..end).unwrap_or_default(), "{at}");
        }
        assert_eq!(near.bytes(1, 3 * NEAR), &file.0[1..=3 * NEAR]);
        assert_eq!(near.number32(5 * NEAR as u64 - 3), None);
        assert_eq!(near.number32(1), Some(0x0403_0201));
    }
}
