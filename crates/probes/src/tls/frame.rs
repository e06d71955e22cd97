//! Where in a function a probe costs one trap.
//!
//! A probe replaces an instruction by a breakpoint. What stood there is done by the
//! kernel where it is simple enough: a push, a near call, a jump (`arch/x86/kernel/
//! uprobes.c`). Anything else is run elsewhere, step by step, which traps once more; so
//! it is with `sub rsp, 24`, the first of `SSL_read`'s. And a probe on the return traps
//! at the beginning too, and changes the return address.
//!
//! Functions whose stack is guarded pass one jump on their way out, and most do their
//! work in one call. There all that is wanted still lies in registers.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

/// Bytes of a function that are looked at.
pub(super) const MOST: usize = 512;
/// Where the guard of the stack lies, from `fs`.
const GUARD: u64 = 0x28;

/// Places within a function, as offsets from its beginning. The stack pointer is the
/// same at both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Its first call, where session and buffer are still in their registers.
    pub(super) call: usize,
    /// The jump that every way from there leads to, with the result in `rax`.
    pub(super) end: usize,
}

/// Finds the places in a function, which may be followed by others.
pub(super) fn places(code: &[u8]) -> Option<Places> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut all = Vec::new();
    while decoder.can_decode() {
        let at = decoder.position();
        let found = decoder.decode();
        if found.is_invalid() {
            return None;
        }
        all.push((at, found));
        if found.flow_control() == FlowControl::Return {
            break;
        }
    }
    let ends = all.last().is_some_and(|(_, last)| last.flow_control() == FlowControl::Return);
    let call = all.iter().position(|(_, found)| found.mnemonic() == Mnemonic::Call)?;
    let end = all.len().checked_sub(1)? - all.iter().rev().position(is_guard)?;
    let before = all.get(..call)?;
    let between = all.get(call + 1..end)?;
    let sound = ends
        && all[call].1.is_call_near()
        && before.iter().all(|(_, found)| keeps_arguments(found))
        && is_guard_read(&between.last()?.1)
        && between.iter().all(|(_, found)| stays(found, all[call].0, all[end - 1].0))
        && all[end + 1..].iter().all(|(_, found)| !is_jump(found));
    sound.then(|| Places { call: all[call].0, end: all[end].0 })
}

fn is_guard((_, found): &(usize, Instruction)) -> bool {
    found.mnemonic() == Mnemonic::Jne
}

/// `sub rdx, fs:[28h]`, or `xor`, or `cmp`.
fn is_guard_read(found: &Instruction) -> bool {
    matches!(found.mnemonic(), Mnemonic::Sub | Mnemonic::Xor | Mnemonic::Cmp)
        && found.memory_segment() == Register::FS
        && found.memory_base() == Register::None
        && found.memory_displacement64() == GUARD
}

fn is_jump(found: &Instruction) -> bool {
    !matches!(found.flow_control(), FlowControl::Next | FlowControl::Return)
}

/// Whether session and buffer are in their registers after it, if it goes on.
fn keeps_arguments(found: &Instruction) -> bool {
    let only_looks = matches!(found.mnemonic(), Mnemonic::Test | Mnemonic::Cmp);
    let changed = found.op0_register().full_register();
    let kept = only_looks || !matches!(changed, Register::RDI | Register::RSI);
    kept && matches!(found.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch)
}

/// Whether it leaves the stack pointer alone, and goes nowhere but to what lies between.
fn stays(found: &Instruction, from: usize, to: usize) -> bool {
    let moves = matches!(found.mnemonic(), Mnemonic::Push | Mnemonic::Pop)
        || found.op0_register().full_register() == Register::RSP;
    let goes = match found.flow_control() {
        FlowControl::Next | FlowControl::Call => true,
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
            let target = found.near_branch_target();
            found.is_jcc_short_or_near() | found.is_jmp_short_or_near()
                && target > from as u64
                && target <= to as u64
        }
        _ => false,
    };
    !moves && goes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SSL_read` of Debian's OpenSSL 3.0.19.
    const SSL_READ: &[u8] = &[
        0x48, 0x83, 0xec, 0x18, // sub rsp, 24
        0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, // mov rax, fs:[40]
        0x48, 0x89, 0x44, 0x24, 0x08, // mov [rsp+8], rax
        0x31, 0xc0, // xor eax, eax
        0x85, 0xd2, // test edx, edx
        0x78, 0x2f, // js: an error
        0x48, 0x89, 0xe1, // mov rcx, rsp
        0x48, 0x63, 0xd2, // movsxd rdx, edx
        0xe8, 0x3d, 0xfe, 0xff, 0xff, // call
        0x85, 0xc0, // test eax, eax
        0x7e, 0x03, // jle
        0x8b, 0x04, 0x24, // mov eax, [rsp]
        0x48, 0x8b, 0x54, 0x24, 0x08, // mov rdx, [rsp+8]
        0x64, 0x48, 0x2b, 0x14, 0x25, 0x28, 0, 0, 0, // sub rdx, fs:[40]
        0x75, 0x44, // jne: the stack was overwritten
        0x48, 0x83, 0xc4, 0x18, // add rsp, 24
        0x31, 0xd2, 0x31, 0xc9, 0x31, 0xf6, 0x31, 0xff, // xor edx, edx; ecx; esi; edi
        0xc3, // ret
        0xe8, 0, 0, 0, 0, // the error
    ];

    fn changed(at: usize, bytes: &[u8]) -> Option<Places> {
        let mut code = SSL_READ.to_vec();
        code[at..at + bytes.len()].copy_from_slice(bytes);
        places(&code)
    }

    #[test]
    fn the_call_and_the_jump_before_the_return() {
        assert_eq!(places(SSL_READ), Some(Places { call: 30, end: 56 }));
    }

    #[test]
    fn where_something_is_otherwise_there_are_none() {
        assert_eq!(changed(24, &[0x48, 0x89, 0xe7]), None, "the session is overwritten: mov rdi");
        assert_eq!(changed(37, &[0x7e, 0x40]), None, "a way leads past the end");
        assert_eq!(changed(39, &[0x58, 0x90, 0x90]), None, "the stack pointer moves: pop");
        assert_eq!(changed(52, &[0x30]), None, "it is no guard");
        assert_eq!(changed(30, &[0xff, 0xd0, 0x90, 0x90, 0x90]), None, "a call that is stepped");
        assert_eq!(changed(62, &[0x75, 0]), None, "the guard is not the last");
        for length in 0..=70 {
            assert_eq!(places(&SSL_READ[..length]), None, "{length} bytes");
        }
    }
}
