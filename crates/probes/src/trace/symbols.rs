//! Names of kernel addresses.

use std::fs::File;
use std::io::{BufRead, BufReader};

use taproot_model::{Name, NetfilterHook};

/// The kernel's functions by address, read when first asked.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// Start and name, sorted.
    known: Option<Vec<(u64, Box<str>)>>,
}

impl Symbols {
    /// The function around an address; empty where none is known.
    pub(super) fn name(&mut self, address: u64) -> Name {
        let known = self.known.get_or_insert_with(read);
        let at = known.partition_point(|(start, _)| *start <= address);
        at.checked_sub(1).map_or_else(Name::default, |i| Name::from(&*known[i].1))
    }
}

/// Text symbols of `/proc/kallsyms`. Without the right to see addresses all are
/// zero; then nothing is known.
fn read() -> Vec<(u64, Box<str>)> {
    let Ok(file) = File::open("/proc/kallsyms") else { return Vec::new() };
    let lines = BufReader::with_capacity(1 << 16, file).lines().map_while(Result::ok);
    let mut known: Vec<_> = lines.filter_map(|line| text_symbol(&line)).collect();
    known.sort_unstable_by_key(|(start, _)| *start);
    known
}

/// `ffffffff81234560 T ip_forward [module]`.
fn text_symbol(line: &str) -> Option<(u64, Box<str>)> {
    let mut words = line.split_ascii_whitespace();
    let start = u64::from_str_radix(words.next()?, 16).ok().filter(|start| *start != 0)?;
    let kind = words.next()?;
    let name = words.next()?;
    // Padding before a function is not that function.
    let is_code = matches!(kind, "t" | "T" | "w" | "W") && !name.starts_with("__pfx_");
    is_code.then(|| (start, plain(name).into()))
}

/// Without the compiler's additions (`.isra.0`, `.cold`).
fn plain(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The netfilter hook that was passing the packet: who called `nf_hook_slow`.
pub(super) fn netfilter_hook(stack: &[Name]) -> Option<NetfilterHook> {
    let at = stack.iter().position(|name| name.starts_with("nf_hook_slow"))?;
    stack[at + 1..].iter().find_map(|caller| {
        Some(match caller.as_str() {
            "ip_rcv" | "ipv6_rcv" | "ip_sublist_rcv" | "ip_list_rcv" | "ipv6_list_rcv" => {
                NetfilterHook::Prerouting
            }
            "ip_local_deliver" | "ip6_input" => NetfilterHook::Input,
            "ip_forward" | "ip6_forward" => NetfilterHook::Forward,
            "__ip_local_out" | "__ip6_local_out" | "ip6_xmit" | "raw_sendmsg" => {
                NetfilterHook::Output
            }
            "ip_output" | "ip_mc_output" | "ip6_output" => NetfilterHook::Postrouting,
            _ => return None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_a_name() {
        let found = text_symbol("ffffffff81000010 t ip_rcv_finish.isra.0\t[nf]").unwrap();
        assert_eq!(found, (0xffff_ffff_8100_0010, "ip_rcv_finish".into()));
        assert_eq!(text_symbol("ffffffff81000010 D jiffies"), None);
        assert_eq!(text_symbol("ffffffff81000000 t __pfx_ip_rcv"), None);
        assert_eq!(text_symbol("0000000000000000 T hidden"), None);
        assert_eq!(text_symbol("junk"), None);
    }

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let known = vec![(0x100, "first".into()), (0x200, "second".into())];
        let mut symbols = Symbols { known: Some(known) };
        assert_eq!(symbols.name(0x1ff).as_str(), "first");
        assert_eq!(symbols.name(0x200).as_str(), "second");
        assert_eq!(symbols.name(0x20).as_str(), "");
    }

    #[test]
    fn the_caller_of_the_hook_tells_which_one() {
        let stack = |names: &[&str]| names.iter().map(Name::from).collect::<Vec<_>>();
        let hook = |names: &[&str]| netfilter_hook(&stack(names));
        assert_eq!(
            hook(&["nf_hook_slow", "ip_forward", "ip_rcv"]),
            Some(NetfilterHook::Forward),
            "the nearest caller counts"
        );
        assert_eq!(hook(&["sk_skb_reason_drop", "nf_hook_slow", "ip_local_deliver"]), {
            Some(NetfilterHook::Input)
        });
        assert_eq!(hook(&["tcp_v4_rcv", "ip_rcv"]), None);
        assert_eq!(hook(&["nf_hook_slow"]), None);
    }
}
