//! Heads opened to their plain header map, and closed again.
//!
//! Hot path: `loadtest/scenarios/unary_1k.sh`. Pingora keeps each name twice, once as it was spelled: every
//! change of a head through its own methods reads the name anew and goes through two maps, and half a dozen
//! changes cost more than reading the whole answer. Opened, a head is one map, and our own names are
//! constants. The price: names that Pingora does not know by heart go out in lower case, as over HTTP/2.
//! What is changed is not decided here.

use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;

/// Headers that are put into a head at most: there is room for them at once.
const OWN_HEADERS_MAX: usize = 8;

/// Changes the headers of an answer.
///
/// # Errors
/// None that can be told from a defect: an empty head is always made.
pub fn of_answer(head: &mut ResponseHeader, change: impl FnOnce(&mut HeaderMap)) -> Result<()> {
    let usual = head.status.canonical_reason();
    let reason = head.get_reason_phrase().filter(|reason| Some(*reason) != usual);
    let reason = reason.map(str::to_owned);
    let empty = ResponseHeader::build_no_case(head.status, Some(0))?;
    let mut parts = http::response::Parts::from(std::mem::replace(head, empty));
    parts.headers.reserve(OWN_HEADERS_MAX);
    change(&mut parts.headers);
    *head = ResponseHeader::from(parts);
    if reason.is_some() {
        head.set_reason_phrase(reason.as_deref())?;
    }
    Ok(())
}

/// Changes the headers of a request, and its target.
///
/// # Errors
/// The target is none.
pub fn of_request(
    head: &mut RequestHeader,
    target: &[u8],
    change: impl FnOnce(&mut HeaderMap),
) -> Result<()> {
    let fresh = RequestHeader::build_no_case(head.method.clone(), target, Some(0))?;
    let mut parts = http::request::Parts::from(std::mem::replace(head, fresh));
    parts.headers.reserve(OWN_HEADERS_MAX);
    change(&mut parts.headers);
    parts.uri = head.uri.clone();
    *head = RequestHeader::from(parts);
    // A target that its URI does not give back is kept beside it.
    if head.raw_path() == target { Ok(()) } else { head.set_raw_path(target) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderName, HeaderValue, SERVER};

    #[test]
    fn an_answer_keeps_its_status_version_reason_and_other_headers() {
        let mut head = ResponseHeader::build(299, None).unwrap();
        head.set_version(http::Version::HTTP_10);
        head.set_reason_phrase(Some("Almost")).unwrap();
        head.append_header("Set-Cookie", "a").unwrap();
        head.append_header("Set-Cookie", "b").unwrap();
        head.append_header("Server", "x").unwrap();
        of_answer(&mut head, |headers| {
            headers.remove(SERVER);
            headers.insert(HeaderName::from_static("x-own"), HeaderValue::from_static("1"));
        })
        .unwrap();
        assert_eq!((head.status.as_u16(), head.version), (299, http::Version::HTTP_10));
        assert_eq!(head.get_reason_phrase(), Some("Almost"));
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        assert_eq!(
            String::from_utf8(wire).unwrap(),
            "Set-Cookie: a\r\nSet-Cookie: b\r\nx-own: 1\r\n"
        );
    }

    #[test]
    fn a_request_keeps_its_method_and_gets_its_target() {
        let mut head = RequestHeader::build("PATCH", b"/old?q", None).unwrap();
        head.set_version(http::Version::HTTP_11);
        head.append_header("Authorization", "mine").unwrap();
        head.append_header("Host", "here").unwrap();
        of_request(&mut head, b"/new/%7E?x=1", |headers| {
            headers.remove("authorization");
        })
        .unwrap();
        assert_eq!((head.method.as_str(), head.raw_path()), ("PATCH", &b"/new/%7E?x=1"[..]));
        assert_eq!((head.version, head.headers.len()), (http::Version::HTTP_11, 1));
        assert_eq!(head.uri.path(), "/new/%7E");
    }
}
