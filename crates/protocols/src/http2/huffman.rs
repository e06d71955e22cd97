//! The Huffman code of HPACK (RFC 7541, appendix B).
//!
//! The code is canonical: within a length, codes follow each other in the order
//! of the bytes. So the lengths say it all, and no tree is needed.

/// All codes of one length.
struct Row {
    /// In bits.
    length: u32,
    /// The first code.
    first: u32,
    count: u32,
    /// Where its bytes begin in [`BYTES`].
    index: u32,
}

/// Decodes into `out`, which takes at most its capacity; the rest is left out.
/// `None` where the bits are no code.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>, most: usize) -> Option<()> {
    let (mut bits, mut held) = (0_u64, 0_u32);
    let mut rest = bytes.iter();
    loop {
        while held <= 56 {
            let Some(byte) = rest.next() else { break };
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        if out.len() >= most {
            return Some(());
        }
        match symbol((bits >> 32) as u32, held) {
            Some((byte, length)) => {
                out.push(byte);
                bits <<= length;
                held -= length;
            }
            // Padding: up to seven bits of the code for the end, all ones.
            None if held < 8 => {
                let ones = bits == !(u64::MAX.checked_shr(held).unwrap_or(0));
                return ones.then_some(());
            }
            None => return None,
        }
    }
}

/// The byte whose code is at the top of 32 bits, of which `held` count.
fn symbol(top: u32, held: u32) -> Option<(u8, u32)> {
    let row =
        ROWS.iter().find(|row| (top >> (32 - row.length)).wrapping_sub(row.first) < row.count)?;
    let at = (top >> (32 - row.length)) - row.first + row.index;
    let byte = BYTES.get(at as usize)?;
    (row.length <= held).then_some((*byte, row.length))
}

/// By length.
const ROWS: &[Row] = &[
    Row { length: 5, first: 0x0, count: 10, index: 0 },
    Row { length: 6, first: 0x14, count: 26, index: 10 },
    Row { length: 7, first: 0x5c, count: 32, index: 36 },
    Row { length: 8, first: 0xf8, count: 6, index: 68 },
    Row { length: 10, first: 0x3f8, count: 5, index: 74 },
    Row { length: 11, first: 0x7fa, count: 3, index: 79 },
    Row { length: 12, first: 0xffa, count: 2, index: 82 },
    Row { length: 13, first: 0x1ff8, count: 6, index: 84 },
    Row { length: 14, first: 0x3ffc, count: 2, index: 90 },
    Row { length: 15, first: 0x7ffc, count: 3, index: 92 },
    Row { length: 19, first: 0x0007_fff0, count: 3, index: 95 },
    Row { length: 20, first: 0x000f_ffe6, count: 8, index: 98 },
    Row { length: 21, first: 0x001f_ffdc, count: 13, index: 106 },
    Row { length: 22, first: 0x003f_ffd2, count: 26, index: 119 },
    Row { length: 23, first: 0x007f_ffd8, count: 29, index: 145 },
    Row { length: 24, first: 0x00ff_ffea, count: 12, index: 174 },
    Row { length: 25, first: 0x01ff_ffec, count: 4, index: 186 },
    Row { length: 26, first: 0x03ff_ffe0, count: 15, index: 190 },
    Row { length: 27, first: 0x07ff_ffde, count: 19, index: 205 },
    Row { length: 28, first: 0x0fff_ffe2, count: 29, index: 224 },
    Row { length: 30, first: 0x3fff_fffc, count: 4, index: 253 },
];

/// The bytes in the order of their codes.
const BYTES: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57,
    61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71,
    72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119,
    120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91,
    93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161,
    167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156,
    160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1,
    135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174,
    175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206, 215, 225,
    236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252,
    253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28,
    29, 30, 31, 127, 220, 249, 10, 13, 22,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        decode(bytes, &mut out, 1000)?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn the_examples_of_the_standard() {
        let www = b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(text(www).as_deref(), Some("www.example.com"));
        assert_eq!(text(b"\xa8\xeb\x10\x64\x9c\xbf").as_deref(), Some("no-cache"));
        assert_eq!(text(b"").as_deref(), Some(""));
    }

    #[test]
    fn bad_padding_and_the_end_code_are_refused() {
        assert_eq!(text(b"\xa8\xeb\x10\x64\x9c\xbe"), None);
        assert_eq!(text(b"\xff\xff\xff\xff"), None);
    }
}
