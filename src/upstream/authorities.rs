//! The certificates that can vouch for a provider whose authority the system does not know.
//!
//! Only carried here: they are read in `engine::trust` and put to use in `proxy::peer`.

use std::fmt;

use sha2::{Digest, Sha256};

/// A set of certificates.
pub struct Authorities {
    /// In DER form, at least one.
    pub certificates: Vec<Vec<u8>>,
    /// Tells this set from others, and from none, which is 0.
    pub id: u64,
}

impl Authorities {
    /// The set of those certificates.
    pub fn new(certificates: Vec<Vec<u8>>) -> Self {
        let mut hash = Sha256::new();
        for certificate in &certificates {
            hash.update(certificate.len().to_le_bytes());
            hash.update(certificate);
        }
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        Self { certificates, id: u64::from_be_bytes(id).max(1) }
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates, {:016x}", self.certificates.len(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_told_apart() {
        let id = |set: &[&str]| {
            Authorities::new(set.iter().map(|text| text.as_bytes().to_vec()).collect()).id
        };
        assert_eq!(id(&["ab", "c"]), id(&["ab", "c"]));
        let others = [id(&["ab", "c"]), id(&["a", "bc"]), id(&["c", "ab"]), id(&["abc"])];
        assert!((0..others.len()).all(|at| !others[..at].contains(&others[at])));
        assert!(others.iter().all(|id| *id != 0));
    }
}
