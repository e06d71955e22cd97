//! A strict reader of pcapng (draft-ietf-opsawg-pcapng) for big-endian files with
//! one section: everything that the format demands is checked, nothing is skipped.

use std::collections::BTreeMap;

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    /// Comment of the section.
    pub(crate) about: String,
    /// Names of the interfaces, by number.
    pub(crate) interfaces: Vec<String>,
    /// Packets in the order of the file.
    pub(crate) packets: Vec<Packet>,
}

/// One packet.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Its interface.
    pub(crate) interface: usize,
    /// Nanoseconds since the epoch.
    pub(crate) at: u64,
    /// What was captured of it.
    pub(crate) data: Vec<u8>,
    /// Its comment.
    pub(crate) comment: String,
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Option of every block.
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
/// Raw IP, as tcpdump.org lists link types.
const RAW_IP: u16 = 101;

/// Reads a whole file.
///
/// # Panics
/// Where it is not as the format demands.
pub(crate) fn read(mut file: &[u8]) -> Capture {
    let mut capture = Capture::default();
    let mut sections = 0;
    while !file.is_empty() {
        let (kind, length) = (u32_at(file, 0), u32_at(file, 4) as usize);
        assert!(length >= 12 && length.is_multiple_of(4), "a block of {length} bytes");
        assert_eq!(u32_at(file, length - 4) as usize, length, "both lengths of a block");
        let body = &file[8..length - 4];
        assert_eq!(kind == SECTION, sections == 0, "a section begins the file, and only it");
        match kind {
            SECTION => {
                sections += 1;
                section(body, &mut capture);
            }
            INTERFACE => interface(body, &mut capture),
            ENHANCED_PACKET => packet(body, &mut capture),
            other => panic!("block {other:#x} is not expected"),
        }
        file = &file[length..];
    }
    capture
}

fn section(body: &[u8], capture: &mut Capture) {
    assert_eq!(u32_at(body, 0), 0x1a2b_3c4d, "byte order");
    assert_eq!((u16_at(body, 4), u16_at(body, 6)), (1, 0), "version");
    assert_eq!(body[8..16], [0xff; 8], "length not known in advance");
    capture.about = text(&options(&body[16..])[&COMMENT]);
}

fn interface(body: &[u8], capture: &mut Capture) {
    assert_eq!((u16_at(body, 0), u16_at(body, 2)), (RAW_IP, 0), "link type, reserved");
    let options = options(&body[8..]);
    assert_eq!(options[&RESOLUTION], [9], "nanoseconds");
    capture.interfaces.push(text(&options[&NAME]));
}

fn packet(body: &[u8], capture: &mut Capture) {
    let interface = u32_at(body, 0) as usize;
    assert!(interface < capture.interfaces.len(), "an interface that was described before");
    let at = u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8));
    let (captured, original) = (u32_at(body, 12) as usize, u32_at(body, 16) as usize);
    assert!(captured <= original, "{captured} bytes of {original}");
    let data = body[20..20 + captured].to_vec();
    let padded = captured.next_multiple_of(4);
    assert!(body[20 + captured..20 + padded].iter().all(|byte| *byte == 0), "padding");
    let comment = text(&options(&body[20 + padded..])[&COMMENT]);
    capture.packets.push(Packet { interface, at, data, comment });
}

/// Options by code, to the end mark, behind which nothing may be.
fn options(mut bytes: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    let mut found = BTreeMap::new();
    loop {
        let (code, length) = (u16_at(bytes, 0), usize::from(u16_at(bytes, 2)));
        if code == 0 {
            assert_eq!((length, bytes.len()), (0, 4), "the end mark comes last");
            return found;
        }
        let value = bytes[4..4 + length].to_vec();
        assert!(found.insert(code, value).is_none(), "option {code} twice");
        bytes = &bytes[4 + length.next_multiple_of(4)..];
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("options are UTF-8")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}
