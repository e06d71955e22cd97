//! The instructions of a program without symbols, told apart by function.
//!
//! Where functions begin and end is told by what every program carries for unwinding
//! its stack, `.eh_frame` (Linux Standard Base, "Exception Frames").

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::part::{Near, Part};

/// The instructions of a program.
pub(super) struct Code<'a> {
    code: Part<'a>,
    /// Beginning and end of every function, by address.
    functions: Vec<(u64, u64)>,
}

/// What is known of the first four arguments where a function hands them to another.
pub(super) type Arguments = [Option<u64>; 4];

/// The registers they are in (System V ABI, 3.2.3).
const REGISTERS: [Register; 4] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX];

impl<'a> Code<'a> {
    pub(super) fn new(code: Part<'a>, frames: Part<'_>) -> Self {
        Self { code, functions: functions(frames) }
    }

    /// The one function that points to one of the addresses, where it is called as one:
    /// a part of a function that was put elsewhere is only jumped to.
    pub(super) fn names(&self, addresses: &[u64]) -> Option<u64> {
        let [only] = self.pointing(addresses)[..] else { return None };
        self.is_called(only).then_some(only)
    }

    /// Every function that points to one of the addresses.
    pub(super) fn pointing(&self, addresses: &[u64]) -> Vec<u64> {
        let points = |here: u64, window: &[u8]| {
            let [first, second, third, rest @ ..] = window else { return None };
            let relative = i32::from_le_bytes(*rest.first_chunk()?);
            // `lea register, [rip + ...]`, and `mov register, ...` at fixed addresses.
            let target = match (first, second, third) {
                (0x48 | 0x4c, 0x8d, register) if register & 0xc7 == 0x05 => {
                    (here + 7).wrapping_add_signed(relative.into())
                }
                (0xb8..=0xbf, ..) => u32::from_le_bytes(*window[1..].first_chunk()?).into(),
                _ => return None,
            };
            addresses.contains(&target).then_some(here)
        };
        self.around(7, points)
    }

    /// Every function that puts one of the numbers where a second argument is.
    pub(super) fn naming(&self, numbers: &[u32]) -> Vec<u64> {
        let names = |here: u64, window: &[u8]| {
            let [0xbe, number @ ..] = window else { return None };
            let number = u32::from_le_bytes(*number.first_chunk()?);
            numbers.contains(&number).then_some(here)
        };
        self.around(5, names)
    }

    /// The functions around places that are chosen by address and bytes, each once.
    fn around(&self, width: usize, chosen: impl Fn(u64, &[u8]) -> Option<u64>) -> Vec<u64> {
        let mut places = Vec::new();
        self.code
            .windows(width, |at, window| places.extend(chosen(self.code.address + at, window)));
        let around = |at: u64| {
            let after = self.functions.partition_point(|(begin, _)| *begin <= at);
            let (begin, end) = *self.functions.get(after.checked_sub(1)?)?;
            (at < end).then_some(begin)
        };
        let mut found: Vec<u64> = places.into_iter().filter_map(around).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether somebody calls a function.
    pub(super) fn is_called(&self, function: u64) -> bool {
        let mut called = false;
        self.code.windows(5, |at, window| {
            let [0xe8, relative @ ..] = window else { return };
            let Some(relative) = relative.first_chunk() else { return };
            let after = self.code.address + at + 5;
            called |= after.wrapping_add_signed(i32::from_le_bytes(*relative).into()) == function;
        });
        called
    }

    /// The instructions of the function that begins there; none where it is not known.
    pub(super) fn instructions(&self, begin: u64) -> Vec<Instruction> {
        let known = self.functions.binary_search_by_key(&begin, |(begin, _)| *begin);
        let bytes = known.ok().and_then(|index| {
            let at = begin.checked_sub(self.code.address)?;
            self.code.read(at, self.functions[index].1.checked_sub(begin)?)
        });
        let bytes = bytes.unwrap_or_default();
        let mut decoder = Decoder::with_ip(64, &bytes, begin, DecoderOptions::NONE);
        decoder.iter().collect()
    }
}

/// Beginning and end of every function, by address.
fn functions(frames: Part<'_>) -> Vec<(u64, u64)> {
    let mut near = Near::of(frames);
    let mut word = |at: u64| near.number32(at);
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(length) = word(at) {
        // An entry of 64 bits has this instead of its length; no program has so many.
        if length == u32::MAX || length < 4 {
            break;
        }
        // Those that belong to no other describe no function.
        if word(at + 4).is_some_and(|parent| parent != 0) {
            let (begin, size) = (word(at + 8), word(at + 12));
            let Some((begin, size)) = begin.zip(size) else { break };
            let place = frames.address + at + 8;
            let begin = place.wrapping_add_signed(i64::from(begin.cast_signed()));
            out.push((begin, begin.saturating_add(size.into())));
        }
        at += 4 + u64::from(length);
    }
    out.sort_unstable();
    out
}

/// What is handed over at each call of a function, and at each jump to where another
/// path makes the same call.
pub(super) fn handed(instructions: &[Instruction]) -> Vec<Arguments> {
    let mut known = Arguments::default();
    let mut out = Vec::new();
    for found in instructions {
        match found.flow_control() {
            FlowControl::Next => learn(&mut known, found),
            FlowControl::ConditionalBranch => {}
            _ => out.push(std::mem::take(&mut known)),
        }
    }
    out
}

/// What is known of the arguments after an instruction.
fn learn(known: &mut Arguments, found: &Instruction) {
    let changed = found.op0_register().full_register();
    let place = REGISTERS.iter().position(|register| *register == changed);
    let Some(argument) = place.map(|index| &mut known[index]) else { return };
    let constant = matches!(found.op1_kind(), OpKind::Immediate32 | OpKind::Immediate32to64);
    match found.mnemonic() {
        Mnemonic::Test | Mnemonic::Cmp | Mnemonic::Push => {}
        Mnemonic::Mov if constant => *argument = Some(found.immediate(1)),
        Mnemonic::Lea if found.is_ip_rel_memory_operand() => {
            *argument = Some(found.ip_rel_memory_address());
        }
        Mnemonic::Xor if found.op1_register() == found.op0_register() => *argument = Some(0),
        _ => *argument = None,
    }
}

/// Whether it writes to memory that is not on the stack.
pub(super) fn stores(found: &Instruction) -> bool {
    let writes = matches!(
        found.mnemonic(),
        Mnemonic::Mov | Mnemonic::Add | Mnemonic::Sub | Mnemonic::Movups | Mnemonic::Movdqu
    );
    let base = found.memory_base().full_register();
    writes
        && found.op0_kind() == OpKind::Memory
        && !matches!(base, Register::RSP | Register::RBP | Register::None)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::part::tests::Bytes;
    use super::*;

    /// Functions at 0x1000, of these sizes: their entries lie at 0x2000.
    fn frames(sizes: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [12_u32, 0, 1, 2] {
            out.extend(word.to_le_bytes()); // belongs to no other
        }
        let mut begin = 0x1000_u32;
        for size in sizes {
            let place = 0x2000 + out.len() as u32 + 8;
            for word in [12, out.len() as u32 + 4, begin.wrapping_sub(place), *size] {
                out.extend(word.to_le_bytes());
            }
            begin += size;
        }
        out.extend([0; 4]);
        out
    }

    /// Code of these functions, one after the other from 0x1000 on.
    pub(in crate::tls) fn with_code<T>(
        functions: &[Vec<u8>],
        then: impl FnOnce(&Code<'_>) -> T,
    ) -> T {
        let sizes: Vec<u32> = functions.iter().map(|code| code.len() as u32).collect();
        let (frames, bytes) = (Bytes(frames(&sizes)), Bytes(functions.concat()));
        then(&Code::new(bytes.at(0x1000), frames.at(0x2000)))
    }

    /// The second function points to 0x3000, and is called or jumped to by the first.
    fn code(how: u8) -> Vec<u8> {
        let mut out = vec![0x90; 32];
        out[4] = how;
        out[5..9].copy_from_slice(&7_i32.to_le_bytes());
        out[20..23].copy_from_slice(&[0x48, 0x8d, 0x15]);
        out[23..27].copy_from_slice(&(0x3000_i32 - 0x101b).to_le_bytes());
        out
    }

    fn named(bytes: &[u8], address: u64) -> Option<u64> {
        let functions = [bytes[..16].to_vec(), bytes[16..].to_vec()];
        with_code(&functions, |code| {
            assert_eq!(code.functions, [(0x1000, 0x1010), (0x1010, 0x1020)]);
            code.names(&[address])
        })
    }

    #[test]
    fn a_function_is_known_by_the_text_it_points_to() {
        assert_eq!(named(&code(0xe8), 0x3000), Some(0x1010));
        assert_eq!(named(&code(0xe8), 0x3001), None);
        assert_eq!(named(&code(0xe9), 0x3000), None, "nobody calls it");
        let mut fixed = code(0xe8);
        fixed[20..27].copy_from_slice(&[0xba, 0, 0x30, 0, 0, 0x90, 0x90]);
        assert_eq!(named(&fixed, 0x3000), Some(0x1010), "of a program with fixed addresses");
        fixed[10..17].copy_from_slice(&[0xba, 0, 0x30, 0, 0, 0x90, 0x90]);
        assert_eq!(named(&fixed, 0x3000), None, "two point to it");
    }

    #[test]
    fn what_is_handed_over_is_what_is_certain() {
        let code = [
            0xbf, 20, 0, 0, 0, // mov edi, 20
            0xbe, 0xdf, 0, 0, 0, // mov esi, 223
            0x31, 0xd2, // xor edx, edx
            0x48, 0x8d, 0x0d, 0, 1, 0, 0, // lea rcx, [rip+0x100]
            0xe8, 0, 0, 0, 0, // call
            0xbf, 20, 0, 0, 0, // mov edi, 20
            0x74, 0, // je
            0x89, 0xc7, // mov edi, eax
            0xbe, 1, 0, 0, 0,    // mov esi, 1
            0xc3, // ret
        ];
        with_code(&[code.to_vec()], |code| {
            let all = handed(&code.instructions(0x1000));
            let address = 0x1000 + 19 + 0x100;
            assert_eq!(all[0], [Some(20), Some(223), Some(0), Some(address)]);
            assert_eq!(all[1], [None, Some(1), None, None], "what a call leaves is not known");
            assert_eq!(code.naming(&[223]), [0x1000]);
        });
    }
}
