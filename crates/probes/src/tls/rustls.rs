//! rustls: which of its functions are seen where they have symbols.
//!
//! Their names are mangled (RFC 2603 and what was before), with each word's length
//! before it. What Rust hands over in registers is no promise of its compiler's: where
//! the beginning of a function does not read what it is thought to be given, it is left.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

/// A function of rustls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// `ConnectionCommon::complete_io(&mut self, io)`, which gives two numbers or an error:
    /// the place for these is its first argument.
    Io,
    /// `ConnectionCommon::write(&mut self, bytes)`.
    Write,
    /// `ConnectionCommon::write_vectored(&mut self, slices)`.
    WriteMany,
    /// `CommonState::take_received_plaintext(&mut self, payload)`.
    Decrypted,
}

/// Bytes of a function that are looked at.
pub(super) const MOST: usize = 256;

impl Function {
    /// What a mangled name stands for.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let has = |word: &[u8]| memchr::memmem::find(name, word).is_some();
        // Of closures in a function, and parts of it that were put elsewhere.
        if !has(b"rustls") || has(b"closure") || has(b".cold") || name.starts_with(b"_RNC") {
            return None;
        }
        if has(b"PlaintextSink") && has(b"ConnectionCommon") {
            let many = has(b"14write_vectored");
            return if many {
                Some(Self::WriteMany)
            } else {
                has(b"5write").then_some(Self::Write)
            };
        }
        if has(b"ConnectionCommon") && has(b"11complete_io") {
            return Some(Self::Io);
        }
        (has(b"11CommonState") && has(b"23take_received_plaintext")).then_some(Self::Decrypted)
    }

    /// Whether its code begins as that of a function that is given what this one is.
    pub(super) fn begins(self, code: &[u8]) -> bool {
        match self {
            // It is called through a table, so nobody may have changed how.
            Self::Write | Self::WriteMany => true,
            Self::Io => !uses(code).is_empty(),
            Self::Decrypted => {
                // Of its payload what kind it is, and its length.
                let used = uses(code);
                [0, 16].iter().all(|place| used.contains(&Some(*place)))
            }
        }
    }
}

/// What is done with the second argument before it is overwritten or a call is made: at
/// which offset it is read from, or that it is copied.
fn uses(code: &[u8]) -> Vec<Option<u64>> {
    let goes_on = |found: &Instruction| {
        let overwritten = found.op0_register().full_register() == Register::RSI;
        let on = matches!(found.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
        on && !overwritten
    };
    let mut out = Vec::new();
    for found in &mut Decoder::new(64, code, DecoderOptions::NONE) {
        let reads = (0..found.op_count()).any(|index| found.op_kind(index) == OpKind::Memory);
        if reads && found.memory_base() == Register::RSI {
            out.push(Some(found.memory_displacement64()));
        } else if found.op_count() == 2 && found.op1_register() == Register::RSI {
            out.push(None);
        }
        if !goes_on(&found) {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_by_their_mangled_names() {
        let named = |name: &str| Function::named(name.as_bytes());
        let common = "_ZN6rustls4conn28ConnectionCommon$LT$Data$GT$";
        assert_eq!(
            named(&format!("{common}11complete_io17h4379a878998960c2E")),
            Some(Function::Io)
        );
        let inner = "28_$u7b$$u7b$closure$u7d$$u7d$17h4379a878998960c2E";
        assert_eq!(named(&format!("{common}11complete_io{inner}")), None);
        let sink = "_ZN99_$LT$rustls..conn..ConnectionCommon$LT$T$GT$$u20$as$u20$rustls..conn..\
                    connection..PlaintextSink$GT$";
        assert_eq!(named(&format!("{sink}5write17h98093087483595f0E")), Some(Function::Write));
        assert_eq!(
            named(&format!("{sink}14write_vectored17h27d938d7cfe1bf93E")),
            Some(Function::WriteMany)
        );
        assert_eq!(named(&format!("{sink}5flush17ha81092b55c3267baE")), None);
        let state = "_ZN6rustls12common_state11CommonState";
        let takes = format!("{state}23take_received_plaintext17h0d07112152bf71c1E");
        assert_eq!(named(&takes), Some(Function::Decrypted));
        let v0 = "_RINvMs4_NtCsabc_6rustls4connINtB6_16ConnectionCommonNtB6_4DataE11complete_ioE";
        assert_eq!(named(v0), Some(Function::Io));
        assert_eq!(named("_ZN5other4conn28ConnectionCommon$LT$Data$GT$11complete_io17hE"), None);
    }

    /// The beginning of `take_received_plaintext` of rustls 0.23.46, compiled by Rust 1.95.
    const DECRYPTED: &[u8] = &[
        0x41, 0x57, // push r15
        0x49, 0x89, 0xff, // mov r15, rdi
        0xc6, 0x87, 0x2e, 0x03, 0, 0, 0x20, // mov byte [rdi+0x32e], 32
        0x4c, 0x8b, 0x26, // mov r12, [rsi]
        0x48, 0x8b, 0x5e, 0x08, // mov rbx, [rsi+8]
        0x4c, 0x89, 0xe0, // mov rax, r12
        0x48, 0xf7, 0xd8, // neg rax
        0x4c, 0x8b, 0x76, 0x10, // mov r14, [rsi+16]
        0xc3,
    ];

    #[test]
    fn a_function_that_is_given_something_else_is_left() {
        assert!(Function::Decrypted.begins(DECRYPTED));
        let mut other = DECRYPTED.to_vec();
        other[16..20].copy_from_slice(&[0x48, 0x8b, 0x76, 0x08]); // mov rsi, [rsi+8]
        assert!(!Function::Decrypted.begins(&other), "it is overwritten");
        assert!(!Function::Decrypted.begins(&DECRYPTED[..20]));
        assert!(Function::Io.begins(&[0x55, 0x49, 0x89, 0xf5, 0xc3]), "mov r13, rsi");
        assert!(!Function::Io.begins(&[0x55, 0x49, 0x89, 0xfd, 0xc3]), "mov r13, rdi");
    }
}
