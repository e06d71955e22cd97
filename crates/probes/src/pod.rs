//! Kernel records are plain bytes; this is the one place that reads them as types.

use std::mem::{MaybeUninit, size_of};

/// A type every bit pattern of which is valid, without padding that matters.
///
/// # Safety
/// Implementors are `#[repr(C)]`, hold only integers and arrays of them, and are
/// valid for any content.
pub unsafe trait Pod: Copy + 'static {}

// SAFETY: integers are valid for any content.
unsafe impl Pod for u8 {}
// SAFETY: integers are valid for any content.
unsafe impl Pod for u32 {}
// SAFETY: integers are valid for any content.
unsafe impl Pod for u64 {}

/// Reads a `T` from the start of `bytes`; `None` when there are too few.
///
/// Copies, because records in a ring buffer and in map values are not
/// necessarily aligned for `T`.
pub fn from_bytes<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    let mut out = MaybeUninit::<T>::uninit();
    // SAFETY: the source holds at least size_of::<T>() bytes (checked above), the
    // destination is exactly that large, and T is valid for any content (Pod).
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.as_mut_ptr().cast(), size_of::<T>());
        Some(out.assume_init())
    }
}

/// The bytes of a `T`, for map keys and values.
pub fn as_bytes<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: T is Pod: plain memory of exactly size_of::<T>() bytes, borrowed for
    // as long as the value is.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_unaligned_and_refuses_short_input() {
        let bytes = [0, 1, 0, 0, 0, 9];
        assert_eq!(from_bytes::<u32>(&bytes[1..]), Some(1));
        assert_eq!(from_bytes::<u64>(&bytes), None);
    }
}
