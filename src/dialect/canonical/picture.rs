//! Pictures and files that come inside of a request: data URLs, and the kinds of pictures.
//!
//! Which providers take which documents is for the writer of their dialect to know; kinds of pictures are the same
//! everywhere.

use crate::dialect::canonical::request::Source;
use crate::dialect::canonical::text::Text;

/// The kinds of pictures that providers take.
pub const KINDS: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Whether it is a kind of picture that providers take.
pub fn is_known(media_type: &Text<'_>) -> bool {
    KINDS.iter().any(|kind| media_type.is(kind))
}

/// What a data URL holds, given what stands behind its `data:`; `None` if it does not name its kind, or is not
/// base64.
pub fn in_data_url(rest: &[u8]) -> Option<Source<'_>> {
    let (head, data) = rest.split_at_checked(memchr::memchr(b',', rest)?)?;
    let head = head.strip_suffix(b";base64")?;
    let kind = head.split(|byte| *byte == b';').next().filter(|kind| !kind.is_empty())?;
    let kind = Text::written(kind);
    // A name that does not exist but is in wide use.
    let media_type = if kind.is("image/jpg") { Text::written(b"image/jpeg") } else { kind };
    Some(Source::Base64 { media_type, data: Text::written(data.get(1..).unwrap_or_default()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_names_its_kind_and_is_base64() {
        let held = |url: &'static str| match in_data_url(url.as_bytes()) {
            Some(Source::Base64 { media_type, data }) => Some((media_type, data)),
            _ => None,
        };
        let of = |kind, data| Some((Text::of(kind), Text::of(data)));
        assert_eq!(held("image/png;base64,aGk="), of("image/png", "aGk="));
        assert_eq!(held("image/jpg;x=1;base64,"), of("image/jpeg", ""));
        for bad in ["", "image/png", "image/png,aGk=", ";base64,aGk=", "image/png;base64"] {
            assert_eq!(held(bad), None, "{bad}");
        }
        assert!(is_known(&Text::of("image/webp")) && !is_known(&Text::of("image/tiff")));
    }
}
