//! What must stay as it came: texts in blocks that bear a signature, and whole requests with cache markers.

use crate::base::limit::JSON_DEPTH_MAX;
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// Keys of markers that tell the provider where its cache may end.
const MARKERS: [&[u8]; 2] = [b"\"cache_control\"", b"\"prompt_cache_breakpoint\""];
/// Keys of what a provider checks.
const SEALS: [&[u8]; 2] = [b"\"signature\"", b"\"encrypted_content\""];

/// Whether a request says itself where its cache may end. Texts cannot look so: their quotes are escaped.
pub fn has_cache_markers(body: &[u8]) -> bool {
    has_any(body, &MARKERS)
}

fn has_any(body: &[u8], keys: &[&[u8]]) -> bool {
    keys.iter().any(|key| memchr::memmem::find(body, key).is_some())
}

/// The objects of a request that bear a signature, in their order; of such objects in each other, the outermost.
pub fn sealed(body: &[u8]) -> Vec<Span> {
    if !has_any(body, &SEALS) {
        return Vec::new();
    }
    let mut walk = Walk { body, pull: Pull::new(body, Span::whole(body)), found: Vec::new() };
    walk.value(0);
    walk.found
}

struct Walk<'b> {
    body: &'b [u8],
    pull: Pull<'b>,
    found: Vec<Span>,
}

impl Walk<'_> {
    /// Steps over a value, and notes the objects in it.
    fn value(&mut self, depth: usize) {
        if depth > JSON_DEPTH_MAX {
            self.pull.skip();
            return;
        }
        match self.pull.peek() {
            b'{' => self.object(depth),
            b'[' => {
                self.pull.enter();
                while self.pull.item() {
                    self.value(depth + 1);
                }
            }
            _ => {
                self.pull.skip();
            }
        }
    }

    fn object(&mut self, depth: usize) {
        // `peek` has passed the blanks before it.
        let (start, within) = (self.pull.at(), self.found.len());
        self.pull.enter();
        let mut is_sealed = false;
        while let Some(key) = self.pull.key() {
            is_sealed |= SEALS.iter().any(|seal| key.of(self.body) == &seal[1..seal.len() - 1]);
            self.value(depth + 1);
        }
        if is_sealed {
            self.found.truncate(within);
            self.found.push(Span::new(start, self.pull.at()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_keys_and_never_text() {
        assert!(has_cache_markers(br#"{"a":{"cache_control":{"type":"ephemeral"}}}"#));
        assert!(!has_cache_markers(br#"{"a":"say \"cache_control\": 1"}"#));
    }

    #[test]
    fn of_sealed_objects_in_each_other_the_outermost_counts() {
        let body = br#"{"a":[ {"b":{"signature":"1","c":{"signature":"2"}},"signature":"3"} , {"signature":"4"}]}"#;
        let texts: Vec<&[u8]> = sealed(body).iter().map(|span| span.of(body)).collect();
        assert_eq!(
            texts,
            [
                &br#"{"b":{"signature":"1","c":{"signature":"2"}},"signature":"3"}"#[..],
                br#"{"signature":"4"}"#
            ]
        );
    }

    #[test]
    fn blocks_with_a_signature_are_found() {
        let body = br#"{"a":[{"t":"1"},{"b":{"c":1},"signature":"s","t":"2"}],"d":{"encrypted_content":"x"}}"#;
        let texts: Vec<&[u8]> = sealed(body).iter().map(|span| span.of(body)).collect();
        assert_eq!(
            texts,
            [&br#"{"b":{"c":1},"signature":"s","t":"2"}"#[..], br#"{"encrypted_content":"x"}"#]
        );
        assert!(sealed(br#"{"a":"\"signature\""}"#).is_empty());
    }
}
