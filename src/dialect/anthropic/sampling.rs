//! How the next token is chosen: which of the request's wishes are sent to Anthropic.
//!
//! Thinking rules most of them out, and the newest version of the API knows none.

use std::borrow::Cow;

use crate::dialect::anthropic::think;
use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::request::Request;
use crate::dialect::canonical::text::Raw;

/// The version of the API without sampling fields.
const NEWEST: &str = "2026-10-21";

/// The last version of the API with them.
const WITH_SAMPLING: &str = "2023-06-01";

/// With thinking, Anthropic takes no `top_p` below this.
const TOP_P_MIN_THINKING: f64 = 0.95;

/// The version of the API (`anthropic-version`) that the request as written by `ask` needs.
pub fn version(request: &Request<'_>) -> &'static str {
    if Sampling::of(request).is_empty() { NEWEST } else { WITH_SAMPLING }
}

/// The wishes that are sent, as JSON numbers.
struct Sampling<'a> {
    temperature: Option<Cow<'a, [u8]>>,
    top_p: Option<&'a [u8]>,
    top_k: Option<&'a [u8]>,
}

impl<'a> Sampling<'a> {
    fn of(request: &Request<'a>) -> Self {
        let thinks = think::is_on(request);
        let clamped = |raw: Raw<'a>| match value(raw) {
            above if above > 1.0 => Cow::Borrowed(&b"1"[..]),
            _ => Cow::Borrowed(raw.0),
        };
        let temperature = request.temperature.filter(|_| !thinks);
        // The newest models take one of the two only, and 1 is no wish.
        let wanted = |raw: &Raw<'_>| {
            let fits = !thinks || value(*raw) >= TOP_P_MIN_THINKING;
            fits && (temperature.is_none() || value(*raw) < 1.0)
        };
        Self {
            temperature: temperature.map(clamped),
            top_p: request.top_p.filter(wanted).map(|raw| raw.0),
            top_k: request.top_k.filter(|_| !thinks).map(|raw| raw.0),
        }
    }

    const fn is_empty(&self) -> bool {
        self.temperature.is_none() && self.top_p.is_none() && self.top_k.is_none()
    }
}

/// Writes the wishes, as members that follow others, and lists those that cannot be sent.
pub fn write(request: &Request<'_>, losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Refused> {
    let sent = Sampling::of(request);
    let fields = [
        ("temperature", request.temperature, sent.temperature.as_deref()),
        ("top_p", request.top_p, sent.top_p),
        ("top_k", request.top_k, sent.top_k),
    ];
    for (name, wish, sent) in fields {
        match (wish, sent) {
            (wish, Some(sent)) => {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                out.extend_from_slice(sent);
                if wish.is_some_and(|wish| wish.0 != sent) {
                    losses.drop_field(name)?;
                }
            }
            (Some(wish), None) if name == "top_k" || value(wish) < 1.0 || value(wish) > 1.0 => {
                losses.drop_field(name)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A number's value; one that is none of a float is as good as 1, the default.
fn value(raw: Raw<'_>) -> f64 {
    let text = std::str::from_utf8(raw.0).unwrap_or_default();
    text.parse().unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::request::Reasoning;

    fn written(request: &Request<'_>) -> (String, Vec<String>, &'static str) {
        let mut losses = Losses::new(false);
        let mut out = Vec::new();
        write(request, &mut losses, &mut out).expect("lenient");
        let dropped = losses.dropped().to_vec();
        (String::from_utf8(out).expect("text"), dropped, version(request))
    }

    #[test]
    fn the_version_follows_from_what_is_sent() {
        let mut request = Request::default();
        assert_eq!(written(&request), (String::new(), vec![], "2026-10-21"));
        request.temperature = Some(Raw(b"1.7"));
        request.top_p = Some(Raw(b"1"));
        let clamped = vec!["temperature".to_owned()];
        assert_eq!(written(&request), (",\"temperature\":1".into(), clamped, "2023-06-01"));
        request.temperature = Some(Raw(b"0.20"));
        request.top_p = Some(Raw(b"0.9"));
        request.top_k = Some(Raw(b"40"));
        let all = r#","temperature":0.20,"top_p":0.9,"top_k":40"#;
        assert_eq!(written(&request), (all.into(), vec![], "2023-06-01"));
    }

    #[test]
    fn thinking_rules_sampling_out() {
        let mut request = Request {
            reasoning: Some(Reasoning { adaptive: true, ..Reasoning::default() }),
            temperature: Some(Raw(b"0.5")),
            top_p: Some(Raw(b"0.97")),
            top_k: Some(Raw(b"1")),
            ..Request::default()
        };
        let dropped = vec!["temperature".to_owned(), "top_k".to_owned()];
        assert_eq!(written(&request), (",\"top_p\":0.97".into(), dropped, "2023-06-01"));
        request.temperature = Some(Raw(b"1.0"));
        (request.top_p, request.top_k) = (Some(Raw(b"1")), None);
        assert_eq!(written(&request).1, Vec::<String>::new());
    }
}
