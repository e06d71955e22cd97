//! A subnet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// How many of its leading bits count.
    pub length: u8,
}

impl Prefix {
    /// The all-zero address of a family with a length.
    pub(crate) fn any(v6: bool, length: u8) -> Self {
        let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { address: if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { v4 }, length }
    }

    /// Whether an address is of this subnet; one of the other family never is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.length.min(32));
                let cut = |a: Ipv4Addr| u64::from(a.to_bits()) >> shift;
                cut(own) == cut(other)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.length.min(128));
                let cut = |a: Ipv6Addr| a.to_bits().checked_shr(shift).unwrap_or(0);
                cut(own) == cut(other)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// No address with an optional length.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no address and no subnet")]
pub struct NotAPrefix(String);

impl FromStr for Prefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAPrefix(text.to_owned());
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv6() { 128 } else { 32 };
        let length = match length {
            None => all,
            Some(length) => length.parse().ok().filter(|l| *l <= all).ok_or_else(wrong)?,
        };
        Ok(Self { address, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_knows_its_own() {
        let subnet: Prefix = "10.244.1.0/24".parse().expect("a subnet");
        assert!(subnet.contains("10.244.1.255".parse().expect("an address")));
        assert!(!subnet.contains("10.244.2.0".parse().expect("an address")));
        assert!(!subnet.contains("::1".parse().expect("an address")));
        let all: Prefix = "::/0".parse().expect("a subnet");
        assert!(all.contains("fd00::1".parse().expect("an address")));
        let everything: Prefix = "0.0.0.0/0".parse().expect("a subnet");
        assert!(everything.contains("255.1.2.3".parse().expect("an address")));
    }

    #[test]
    fn what_is_no_subnet_is_refused() {
        for text in ["10.0.0.0/33", "ten", "::/129", "10.0.0.1/-1", ""] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
