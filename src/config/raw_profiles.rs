//! `profiles`, accounts that are made through the API and the keys that seal their credentials; and `audit`,
//! what is kept of switches and requests.
//!
//! Keys are parsed here, and no problem ever shows one. Whether they open what is stored is asked at the start,
//! by whoever has the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::base::limit::KEYS_OLD_MAX;
use crate::config::Outside;
use crate::config::bound;
use crate::config::problem::{At, Place, Problems};
use crate::config::section::Section;
use crate::config::snapshot::{Audit, Audited, Profiles};
use crate::config::yaml::{Text, Value};
use crate::identity::vault::{Key, Keys};
use crate::upstream::reach::Fence;

/// How a file is named where a key could stand.
const FILE_PREFIX: &str = "file:";
/// How a hash of a key begins.
const HASH_PREFIX: &str = "sha256:";

/// `profiles`.
pub struct RawProfiles {
    /// The key that seals, or where it stands.
    pub key: Option<At<KeyText>>,
    /// Keys that may still open what they sealed, or where they stand.
    pub keys_old: Vec<At<KeyText>>,
    /// Where it says that a key is made of the admin key.
    pub from_admin_key: Option<Place>,
    /// Where accounts may lead.
    pub fence: Fence,
}

/// A key that is given.
pub enum KeyText {
    /// The key in base64.
    Inline(Zeroizing<String>),
    /// The file that it stands in.
    File(PathBuf),
}

/// Reads `profiles`.
pub fn profiles(section: &Section<'_>, problems: &Problems) -> RawProfiles {
    let inline = section.text("kms_key").filter(is_given).map(inline);
    let file = section.text("kms_key_file").filter(is_given).map(file);
    if let (Some(_), Some(file)) = (&inline, &file) {
        problems.add(&file.place, "is given beside kms_key (one of both)");
    }
    let old = section.texts("kms_keys_old").unwrap_or_default();
    if old.len() > KEYS_OLD_MAX {
        section.problem("kms_keys_old", format!("has too many keys (at most {KEYS_OLD_MAX})"));
    }
    let from_admin_key = section.flag("key_from_admin_key").filter(|flag| flag.value);
    RawProfiles {
        key: inline.or(file),
        keys_old: old.into_iter().filter(is_given).map(inline_or_file).collect(),
        from_admin_key: from_admin_key.map(|flag| flag.place),
        fence: fence(section, problems),
    }
}

/// An empty text is what an unset variable with an empty default looks like.
fn is_given(text: &At<Text>) -> bool {
    !text.value.text.trim().is_empty()
}

fn inline(At { value, place }: At<Text>) -> At<KeyText> {
    At { value: KeyText::Inline(Zeroizing::new(value.text)), place }
}

fn file(At { value, place }: At<Text>) -> At<KeyText> {
    At { value: KeyText::File(PathBuf::from(value.text.trim())), place }
}

fn inline_or_file(At { value, place }: At<Text>) -> At<KeyText> {
    match value.text.trim().strip_prefix(FILE_PREFIX) {
        Some(path) => At { value: KeyText::File(PathBuf::from(path)), place },
        None => inline(At { value, place }),
    }
}

fn fence(section: &Section<'_>, problems: &Problems) -> Fence {
    let open = section.flag_or("allow_private", false);
    let allow = section.texts("allow").unwrap_or_default();
    match Fence::new(open, allow.iter().map(|entry| entry.value.text.as_str())) {
        Ok(fence) => fence,
        Err((at, bad)) => {
            if let Some(entry) = allow.get(at) {
                problems.add(&entry.place, bad.to_string());
            }
            Fence::default()
        }
    }
}

impl RawProfiles {
    /// The parsed section. `admin_key` is the first admin key, as it was given.
    pub fn read(
        &self,
        admin_key: Option<&str>,
        outside: &Outside<'_>,
        problems: &Problems,
    ) -> (Profiles, Vec<String>) {
        let mut warnings = Vec::new();
        let given = self.key.is_some();
        let mut keys: Vec<Key> =
            self.key.iter().filter_map(|key| read_key(key, outside, problems)).collect();
        if let Some(place) = &self.from_admin_key
            && let Some(key) = derived(admin_key, place, problems)
        {
            keys.push(key);
            warnings.push(format!(
                "{place}: whoever knows the first admin key, or its hash, can open every credential, and with \
                 another admin key none of them opens (set profiles.kms_key)"
            ));
        }
        if let Some(first) = self.keys_old.first().filter(|_| !given && keys.is_empty()) {
            problems.add(&first.place, "may only open; a key that seals is missing (kms_key)");
        }
        keys.extend(self.keys_old.iter().filter_map(|key| read_key(key, outside, problems)));
        let mut keys = keys.into_iter();
        let keys = keys.next().map(|current| Arc::new(Keys::new(current, keys.collect())));
        (Profiles { keys, fence: Arc::new(self.fence.clone()) }, warnings)
    }
}

fn read_key(key: &At<KeyText>, outside: &Outside<'_>, problems: &Problems) -> Option<Key> {
    let bad = |message: String| problems.add(&key.place, message);
    let parsed = match &key.value {
        KeyText::Inline(text) => Key::from_base64(text).map_err(|error| error.to_string()),
        KeyText::File(path) => key_of_file(path, outside),
    };
    parsed.map_err(bad).ok()
}

fn key_of_file(path: &Path, outside: &Outside<'_>) -> Result<Key, String> {
    let named = |what: String| format!("{} {what}", path.display());
    let text = (outside.key_file)(path).map_err(named)?;
    Key::from_base64(&text).map_err(|error| named(error.to_string()))
}

fn derived(admin_key: Option<&str>, place: &Place, problems: &Problems) -> Option<Key> {
    match admin_key {
        Some(text) if !text.starts_with(HASH_PREFIX) && !text.is_empty() => {
            Some(Key::derived_from_admin_key(text))
        }
        _ => {
            let message = "needs the first of auth.admin_keys in clear text, not as a hash";
            problems.add(place, message);
            None
        }
    }
}

/// The first admin key as it was given. What is wrong with it, `auth` tells.
pub fn admin_key(auth: &Section<'_>) -> Option<Zeroizing<String>> {
    let (first, _) = auth.items("admin_keys")?.into_iter().next()?;
    match &first.value {
        Value::Text(text) => Some(Zeroizing::new(text.text.clone())),
        _ => None,
    }
}

/// Reads `audit`.
pub fn audit(section: &Section<'_>) -> Audit {
    let words = [Audited::All, Audited::Manual, Audited::Off].map(|what| (what.name(), what));
    Audit {
        requests: section.choice("requests", &words, &[]).unwrap_or_default(),
        retention_days: section.number("retention_days", &bound::RETENTION_DAYS),
    }
}
