//! Functions that are known by the numbers in their errors.
//!
//! Before its version 3, OpenSSL tells with each error which function raised it, and it
//! does so by a number that is that function's alone. `BoringSSL`, which came of it, has
//! no such numbers any more; but it names the file, and its few functions in there that
//! read and write raise errors that no other one raises together.

use super::code::{Code, handed, stores};
use super::targets::Operation;

/// Numbers of the library and of its functions (`include/openssl/sslerr.h` of 1.1.1).
const SSL: u64 = 20;
const READ: u32 = 223;
const READ_INTERNAL: u32 = 523;
const READ_EARLY: u32 = 529;
const WRITE: u32 = 208;
const WRITE_INTERNAL: u32 = 524;
const WRITE_EARLY: u32 = 526;
const DO_HANDSHAKE: u32 = 180;
const SHUTDOWN: u32 = 224;

/// Where a function of a kind begins, by address.
pub(super) type Found = Vec<(u64, Operation)>;

/// One way: `SSL_read` or `SSL_write`, and where their work is done for both of their
/// forms, which a compiler may have copied into each of them.
struct Way {
    plain: u32,
    inner: u32,
    early: u32,
    operations: [Operation; 2],
}

const WAYS: [Way; 2] = [
    Way {
        plain: READ,
        inner: READ_INTERNAL,
        early: READ_EARLY,
        operations: [Operation::Read, Operation::ReadEx],
    },
    Way {
        plain: WRITE,
        inner: WRITE_INTERNAL,
        early: WRITE_EARLY,
        operations: [Operation::Write, Operation::WriteEx],
    },
];

/// The functions of OpenSSL 1.1.1.
pub(super) fn openssl(code: &Code<'_>) -> Option<Found> {
    let numbers = [
        READ,
        READ_INTERNAL,
        READ_EARLY,
        WRITE,
        WRITE_INTERNAL,
        WRITE_EARLY,
        DO_HANDSHAKE,
        SHUTDOWN,
    ];
    let raised = |function: u64| {
        let all = handed(&code.instructions(function)).into_iter();
        let numbers: Vec<u64> = all.filter(|a| a[0] == Some(SSL)).filter_map(|a| a[1]).collect();
        (function, numbers)
    };
    let all: Vec<_> = code.naming(&numbers).into_iter().map(raised).collect();
    let raises = |number: u32| {
        let who = all.iter().filter(move |(_, raised)| raised.contains(&number.into()));
        who.map(|(function, _)| *function).collect::<Vec<u64>>()
    };
    let mut found = Found::new();
    for way in &WAYS {
        let [plain, inner, early] = [way.plain, way.inner, way.early].map(raises);
        let [whole, counted] = way.operations;
        match (&plain[..], &inner[..]) {
            ([plain], [inner]) if inner != plain => found.push((*inner, counted)),
            ([plain], inner) if inner.contains(plain) => {
                found.push((*plain, whole));
                // Its other form, and what may be left of the function that was copied: both
                // are called alike, if they are called.
                let other = |at: &&u64| *at != plain && !early.contains(at);
                let others: Vec<u64> = inner.iter().filter(other).copied().collect();
                if !matches!(others.len(), 1 | 2) {
                    return None;
                }
                found.extend(
                    others.into_iter().filter(|at| code.is_called(*at)).map(|at| (at, counted)),
                );
            }
            _ => return None,
        }
    }
    if !found.iter().all(|(function, _)| code.is_called(*function)) {
        return None;
    }
    for number in [DO_HANDSHAKE, SHUTDOWN] {
        if let [one] = raises(number)[..] {
            found.push((one, Operation::Other));
        }
    }
    Some(found)
}

/// Of `BoringSSL`: its library's number, and reasons (`include/openssl/ssl.h`, `err.h`).
const BORING: u64 = 16;
const NOT_TO_BE_CALLED: u64 = 66;
const CONNECTION_TYPE_NOT_SET: u64 = 134;
const HANDSHAKE_FAILURE: u64 = 215;
const UNINITIALIZED: u64 = 226;

/// The functions of `BoringSSL`, whose file `ssl_lib.cc` has its name at these addresses.
///
/// `SSL_write` may find that it must not be called, that the session was never set up,
/// and that its handshake failed. What `SSL_read` and `SSL_peek` share finds the latter
/// two, and these two themselves the first. `SSL_read` takes from the session what it gives,
/// and so writes to it.
pub(super) fn boringssl(code: &Code<'_>, file: &[u64]) -> Option<Found> {
    let raised = |function: u64| {
        let instructions = code.instructions(function);
        let ours = handed(&instructions).into_iter().filter(|arguments| {
            let [library, unused, _, named] = *arguments;
            library == Some(BORING)
                && unused == Some(0)
                && named.is_some_and(|at| file.contains(&at))
        });
        let reasons: Vec<u64> = ours.filter_map(|arguments| arguments[2]).collect();
        (function, instructions, reasons)
    };
    let all: Vec<_> = code.pointing(file).into_iter().map(raised).collect();
    let only = |has: &[u64], lacks: &[u64]| {
        let mut those = all.iter().filter(|(_, _, reasons)| {
            has.iter().all(|reason| reasons.contains(reason))
                && !lacks.iter().any(|reason| reasons.contains(reason))
        });
        those.next().filter(|_| those.next().is_none()).map(|(function, ..)| *function)
    };
    let write = only(&[NOT_TO_BE_CALLED, UNINITIALIZED, HANDSHAKE_FAILURE], &[])?;
    let shared = only(&[UNINITIALIZED, HANDSHAKE_FAILURE], &[NOT_TO_BE_CALLED])?;
    let mut readers = all.iter().filter(|(_, instructions, reasons)| {
        reasons[..] == [NOT_TO_BE_CALLED]
            && instructions.iter().any(|i| i.is_call_near() && i.near_branch_target() == shared)
            && instructions.iter().any(stores)
    });
    let (read, ..) = readers.next().filter(|_| readers.next().is_none())?;
    if !code.is_called(*read) || !code.is_called(write) {
        return None;
    }
    let handshake = only(&[CONNECTION_TYPE_NOT_SET], &[]);
    let others = handshake.map(|function| (function, Operation::Other));
    Some([(*read, Operation::Read), (write, Operation::Write)].into_iter().chain(others).collect())
}

#[cfg(test)]
mod tests {
    use super::super::code::tests::with_code;
    use super::*;

    /// A function that raises errors of these functions.
    fn raising(numbers: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        for number in numbers {
            out.extend([0xbe]); // mov esi, number
            out.extend(number.to_le_bytes());
            out.extend([0xbf, 20, 0, 0, 0, 0xe8, 0, 0, 0, 0]); // mov edi, 20; call
        }
        out.push(0xc3);
        out
    }

    /// A function that calls all others, and is the last.
    fn calling(functions: &[Vec<u8>]) -> Vec<u8> {
        let mut at = 0x1000 + functions.concat().len() as u32;
        let (mut out, mut begin) = (Vec::new(), 0x1000_u32);
        for function in functions {
            at += 5;
            out.push(0xe8);
            out.extend(begin.wrapping_sub(at).to_le_bytes());
            begin += function.len() as u32;
        }
        out.push(0xc3);
        out
    }

    fn found(raised: &[&[u32]]) -> Option<Vec<(usize, Operation)>> {
        let mut functions: Vec<Vec<u8>> = raised.iter().map(|numbers| raising(numbers)).collect();
        functions.push(calling(&functions));
        let begins = functions.iter().scan(0x1000, |at, function| {
            *at += function.len() as u64;
            Some(*at - function.len() as u64)
        });
        let begins: Vec<u64> = begins.collect();
        let index = |at: u64| begins.iter().position(|begin| *begin == at).unwrap();
        let found = with_code(&functions, openssl)?;
        Some(found.into_iter().map(|(at, operation)| (index(at), operation)).collect())
    }

    use Operation::{Other, Read, ReadEx, Write, WriteEx};

    #[test]
    fn openssl_with_its_work_in_functions_of_their_own() {
        let functions: [&[u32]; 6] = [&[223], &[523], &[529], &[208], &[524], &[180]];
        assert_eq!(found(&functions).unwrap(), [(1, ReadEx), (4, WriteEx), (5, Other)]);
    }

    #[test]
    fn openssl_with_its_work_copied_into_each() {
        let functions: [&[u32]; 7] =
            [&[223, 523], &[523], &[529, 523], &[208, 524], &[524], &[524, 526], &[524]];
        let expected = [(0, Read), (1, ReadEx), (3, Write), (4, WriteEx), (6, WriteEx)];
        assert_eq!(found(&functions).unwrap(), expected);
    }

    #[test]
    fn where_it_is_ambiguous_nothing_is_found() {
        assert_eq!(found(&[&[223], &[523], &[208], &[524], &[524]]), None, "who writes?");
        assert_eq!(found(&[&[223], &[523], &[523], &[208], &[524]]), None, "who reads?");
        let many: [&[u32]; 6] = [&[223, 523], &[523], &[523], &[523], &[208], &[524]];
        assert_eq!(found(&many), None, "who are they?");
        assert_eq!(found(&[&[223], &[208]]), None, "OpenSSL 1.1.0 and before");
    }

    /// A function that raises errors of a file at 0x4000 for these reasons, calls
    /// another, and writes to the session or not.
    fn boring(at: u64, reasons: &[u32], calls: Option<u64>, stores: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for reason in reasons {
            out.extend([0xb9, 0, 0x40, 0, 0]); // mov ecx, 0x4000
            out.extend([0xbf, 16, 0, 0, 0, 0x31, 0xf6, 0xba]); // edi, 16; esi, 0; edx, reason
            out.extend(reason.to_le_bytes());
            out.extend([0xe8, 0, 0, 0, 0]);
        }
        if let Some(target) = calls {
            out.push(0xe8);
            let after = at + out.len() as u64 + 4;
            out.extend((target.wrapping_sub(after) as u32).to_le_bytes());
        }
        if stores {
            out.extend([0x48, 0x89, 0x48, 0x08]); // mov [rax+8], rcx
        }
        out.push(0xc3);
        out
    }

    #[test]
    fn boringssl_by_what_its_functions_raise_together() {
        let build = |peek_stores| {
            let mut functions = vec![boring(0x1000, &[226, 215], None, true)];
            let mut add = |reasons: &[u32], calls, stores| {
                let at = 0x1000 + functions.concat().len() as u64;
                functions.push(boring(at, reasons, calls, stores));
                at
            };
            let read = add(&[66], Some(0x1000), true);
            add(&[66], Some(0x1000), peek_stores);
            let write = add(&[66, 226, 215], None, true);
            add(&[66, 226, 284], None, true);
            functions.push(calling(&functions));
            (with_code(&functions, |code| boringssl(code, &[0x4000])), read, write)
        };
        let (found, read, write) = build(false);
        assert_eq!(found.unwrap(), [(read, Read), (write, Write)]);
        assert_eq!(build(true).0, None, "which of the two takes?");
    }
}
