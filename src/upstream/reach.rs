//! Whether the gateway may reach an address for an account that was made through the API: whoever may
//! make accounts must not be able to have the gateway ask its own network, or the metadata service of
//! its cloud, in their place.
//!
//! Pure: names are looked up elsewhere, and every address found is judged here, when an account is made
//! and again for every connection. Providers of the configuration file are the operator's own word and
//! are not judged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an entry of the list of exceptions makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither a host, nor an address, nor a range like 10.0.0.0/8")]
pub struct BadException;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: IpAddr,
    bits: u8,
}

/// Where accounts that were made through the API may lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    open: bool,
    hosts: Vec<Box<str>>,
    ranges: Vec<Range>,
}

impl Fence {
    /// A fence around everything that is not public, but for those exceptions: hosts by name, addresses,
    /// ranges. With `open` there is none.
    ///
    /// # Errors
    /// The place of an exception that makes no sense.
    pub fn new<'a>(
        open: bool,
        exceptions: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, (usize, BadException)> {
        let mut fence = Self { open, ..Self::default() };
        for (at, text) in exceptions.into_iter().enumerate() {
            fence.add(text.trim()).map_err(|bad| (at, bad))?;
        }
        Ok(fence)
    }

    fn add(&mut self, text: &str) -> Result<(), BadException> {
        if let Some(range) = Range::parse(text) {
            self.ranges.push(range);
            return Ok(());
        }
        let host = text.to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if host.is_empty() || !host.bytes().all(plain) || is_odd_number(&host) {
            return Err(BadException);
        }
        self.hosts.push(host.into_boxed_str());
        Ok(())
    }

    /// Whether it does not matter where that host lies.
    pub fn is_open_to(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.open || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    /// Whether that address may be connected to for that host of a base URL.
    pub fn admits(&self, host: &str, address: IpAddr) -> bool {
        self.is_open_to(host)
            || is_public(address)
            || self.ranges.iter().any(|range| range.holds(address.to_canonical()))
    }
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let first = address.trim_matches(['[', ']']).parse::<IpAddr>().ok()?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some(Self { first, bits })
    }

    fn holds(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(other)) => {
                let differs = first.to_bits() ^ other.to_bits();
                differs.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(other)) => {
                let differs = first.to_bits() ^ other.to_bits();
                differs.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Whether a host is a number in a form that only old resolvers take for an address: `2130706433`,
/// `0177.0.0.1`, `0x7f.1`. Readers disagree about what such a host means.
pub fn is_odd_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    is_number && host.parse::<Ipv4Addr>().is_err()
}

/// Whether an address is one of the public network, as far as can be known without asking it.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = match a {
        // This network, private, loopback, multicast and everything above it.
        0 | 10 | 127 | 224.. => true,
        // Shared by carriers; the metadata of one cloud lies here.
        100 => b & 0xc0 == 64,
        // Link-local, and the metadata of most clouds.
        169 => b == 254,
        172 => b & 0xf0 == 16,
        192 => match (b, c) {
            // Private; protocol assignments; documentation; the old relays of 6to4.
            (168, _) | (0, 0 | 2) | (88, 99) => true,
            _ => false,
        },
        // Benchmarks, documentation.
        198 => b & 0xfe == 18 || (b, c) == (51, 100),
        203 => (b, c) == (0, 113),
        // Answers of one cloud's own services on a public-looking address.
        168 => address == Ipv4Addr::new(168, 63, 129, 16),
        _ => false,
    };
    !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match segments {
        // Mapped, and the well-known prefix of NAT64: as public as what they lead to.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo and other assignments to protocols (but for 2001:200::/23 and above), documentation.
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        [0x3fff, second, ..] => second > 0x0fff,
        // Nothing but 2000::/3 has been given out: unspecified, loopback, compatible, local NAT64,
        // discard-only, unique local, link-local, site-local and multicast are all outside of it.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn private_and_special_addresses_are_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "64:ff9b::a00:1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn ordinary_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "104.18.6.192",
            "128.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "203.0.112.1",
            "223.255.255.255",
            "2606:4700::6812:7c0",
            "2001:4860:4860::8888",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(public(text), "{text}");
        }
    }

    #[test]
    fn numbers_that_only_old_resolvers_read_are_told_apart() {
        for host in
            ["2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001", "127.1", "127.0.0.01", "1.2.3.4.5"]
        {
            assert!(is_odd_number(host), "{host}");
        }
        for host in [
            "127.0.0.1",
            "api.openai.com",
            "1.example",
            "0x.example",
            "::1",
            "example.",
            "10.0.0.1.",
        ] {
            assert!(!is_odd_number(host), "{host}");
        }
    }

    #[test]
    fn exceptions_are_hosts_addresses_and_ranges() {
        let list = ["ollama.lan", "10.1.0.0/16", "::1", "fd00::/8", "192.168.7.7"];
        let fence = Fence::new(false, list).unwrap();
        let admits = |host: &str, address: &str| fence.admits(host, address.parse().unwrap());
        assert!(admits("OLLAMA.lan.", "127.0.0.1"));
        assert!(admits("x", "10.1.255.255") && !admits("x", "10.2.0.0"));
        assert!(admits("x", "::ffff:10.1.2.3"));
        assert!(admits("x", "::1") && !admits("x", "::2"));
        assert!(admits("x", "fd12::1") && !admits("x", "fc12::1"));
        assert!(admits("x", "192.168.7.7") && !admits("x", "192.168.7.8"));
        assert!(admits("x", "8.8.8.8") && !admits("localhost", "127.0.0.1"));
        assert!(Fence::new(true, []).unwrap().admits("x", Ipv4Addr::LOCALHOST.into()));
        for bad in ["", "10.0.0.0/33", "10.0.0.0/x", "a b", "2130706433", "http://x", "::1/129"] {
            assert_eq!(Fence::new(false, ["ok", bad]), Err((1, BadException)), "{bad}");
        }
        assert!(Fence::new(false, ["0.0.0.0/0"]).unwrap().admits("x", Ipv4Addr::LOCALHOST.into()));
    }

    proptest! {
        #[test]
        fn an_embedded_address_is_as_public_as_itself(bits: u32) {
            let inner = Ipv4Addr::from_bits(bits);
            let mapped = inner.to_ipv6_mapped();
            prop_assert_eq!(is_public(mapped.into()), is_public(inner.into()));
            let nat64 = Ipv6Addr::from_bits(0x64_ff9b_u128 << 96 | u128::from(bits));
            prop_assert_eq!(is_public(nat64.into()), is_public(inner.into()));
            prop_assert!(!is_public(Ipv6Addr::from_bits(u128::from(bits)).into()), "compatible");
        }

        #[test]
        fn a_range_holds_what_shares_its_bits(bits: u32, width in 0_u8..=32, flip in 0_u32..32) {
            let range = Range { first: Ipv4Addr::from_bits(bits).into(), bits: width };
            let other = Ipv4Addr::from_bits(bits ^ 1 << flip);
            prop_assert_eq!(range.holds(other.into()), flip < 32 - u32::from(width));
        }
    }
}
