//! All keys of the gateway, by hash, and what each of them grants.
//!
//! Hot path: one SHA-256 and one binary search per presented credential.

use crate::identity::key::{KEY_CHARS_MAX, KeyHash};

/// What a key entitles to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The control API, and speaking for any agent.
    Admin,
    /// Speaking for any agent (`auth.agent_keys`).
    AnyAgent,
    /// Speaking for one agent only (`agents.<id>.keys`): its place in `Agents`.
    Agent(usize),
}

/// The keys, sorted by the prefix of their hash.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    prefix: u64,
    hash: KeyHash,
    grant: Grant,
}

impl Keyring {
    /// A keyring of those keys. That no key occurs twice was checked with the configuration.
    pub fn new(keys: impl IntoIterator<Item = (KeyHash, Grant)>) -> Self {
        let mut entries: Vec<Entry> = keys
            .into_iter()
            .map(|(hash, grant)| Entry { prefix: hash.prefix(), hash, grant })
            .collect();
        entries.sort_by_key(|entry| entry.prefix);
        Self { entries }
    }

    /// What a presented key grants. The prefix of a SHA-256 leads to the place, which tells an
    /// attacker nothing about any key; the whole digest is then compared in constant time.
    pub fn find(&self, presented: &[u8]) -> Option<&Grant> {
        if presented.is_empty() || presented.len() > KEY_CHARS_MAX {
            return None;
        }
        let hash = KeyHash::of(presented);
        let prefix = hash.prefix();
        let start = self.entries.partition_point(|entry| entry.prefix < prefix);
        self.entries[start..]
            .iter()
            .take_while(|entry| entry.prefix == prefix)
            .find(|entry| entry.hash.same_as(&hash))
            .map(|entry| &entry.grant)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_finds_its_own_grant() {
        let keys: Vec<String> = (0..200).map(|n| format!("key-number-{n:08}")).collect();
        let ring = Keyring::new(
            keys.iter().enumerate().map(|(n, key)| (KeyHash::of(key.as_bytes()), Grant::Agent(n))),
        );
        assert_eq!(ring.len(), 200);
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(ring.find(key.as_bytes()), Some(&Grant::Agent(n)));
        }
        assert_eq!(ring.find(b"key-number-00000200"), None);
        assert_eq!(ring.find(b""), None);
        assert!(!ring.is_empty());
    }

    #[test]
    fn an_empty_ring_knows_nobody() {
        assert_eq!(Keyring::default().find(b"anything"), None);
        assert!(Keyring::default().is_empty());
    }
}
