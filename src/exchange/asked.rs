//! What a client asked for, read from its request and checked.
//!
//! Everything that is wrong with the request on its own is found here; whether the model exists and
//! who may serve it is `route`'s business.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::fault::{Code, Fault};
use crate::base::limit::{ID_HEADER_BYTES_MAX, MODEL_NAME_BYTES_MAX};
use crate::base::surface::Surface;
use crate::identity::principal::{Presented, Principal};
use crate::wire::envelope::{self, Envelope};
use crate::wire::form::{self, Found};
use crate::wire::splice::{self, Edit};
use crate::wire::syntax::Span;
use crate::wire::texts::{self, Texts};

/// One request to a provider, as the client meant it.
#[derive(Debug)]
pub struct Asked {
    /// Which API it speaks.
    pub surface: Surface,
    /// On whose behalf.
    pub principal: Principal,
    /// Path and query for the upstream, without our own prefixes.
    pub target: String,
    /// The decoded body, held once and shared by all attempts; gone once no other can follow.
    pub body: Bytes,
    /// Where its fields lie; `None` for bodies that are no JSON object (files, nothing at all), and
    /// once the body is gone.
    pub envelope: Option<Box<Envelope>>,
    /// What a body that is no JSON says of its model.
    pub form: Form,
    /// What the body said, as far as it is needed to the end.
    pub wish: Wish,
    /// A strategy asked for by name, for this request only.
    pub route: Option<String>,
    /// Whether the answer shall say why it came from where it did.
    pub explain: bool,
    /// The client's session, where it named one.
    pub session: Option<Arc<str>>,
    /// Whether it asks Anthropic for a window of a million tokens.
    pub wide_context: bool,
    /// Where the texts of the body lie, once somebody has asked.
    pub texts: OnceLock<Texts>,
}

/// What a body that is no JSON says of its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Nothing, or the body is JSON, or there is none.
    #[default]
    Nothing,
    /// A form whose field lies there.
    Model(Span),
    /// It cannot be read, so it may name any model.
    Unread,
}

/// Whether those headers ask Anthropic for a window of a million tokens.
pub fn asks_wide_context(headers: &HeaderMap) -> bool {
    let betas = headers.get_all("anthropic-beta");
    betas.iter().any(|value| memchr::memmem::find(value.as_bytes(), b"context-1m").is_some())
}

/// What a body asks for, as far as the gateway has to know it after the body is gone.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The model named; cut to a bounded length.
    pub model: Option<Arc<str>>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether the client asked for the usage chunk itself.
    pub usage: bool,
    /// Bytes of the body.
    pub body_bytes: u64,
}

impl Wish {
    /// What that body says.
    pub fn of(envelope: Option<&Envelope>, body: &[u8]) -> Self {
        Self {
            model: envelope.and_then(|envelope| envelope.model(body)).map(bounded_name),
            stream: envelope.is_some_and(Envelope::wants_stream),
            usage: envelope.is_some_and(Envelope::wants_usage),
            body_bytes: body.len() as u64,
        }
    }
}

impl Asked {
    /// What that body asks for, with `target` as path and query, and without anything that only headers say.
    pub fn new(
        surface: Surface,
        principal: Principal,
        target: String,
        (body, envelope): (Bytes, Option<Box<Envelope>>),
    ) -> Self {
        Self {
            wish: Wish::of(envelope.as_deref(), &body),
            surface,
            principal,
            target,
            body,
            envelope,
            form: Form::Nothing,
            route: None,
            explain: false,
            session: None,
            wide_context: false,
            texts: OnceLock::new(),
        }
    }

    /// The same with what a body that is no JSON says of its model, by its content
    /// type.
    #[must_use]
    pub fn with_form(mut self, headers: &HeaderMap) -> Self {
        if self.envelope.is_some() || self.body.is_empty() {
            return self;
        }
        let mut kinds = headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
        let kind = kinds.next().filter(|_| kinds.next().is_none()).unwrap_or_default();
        self.form = match form::model(kind, &self.body) {
            Some(Found::Nothing) => Form::Nothing,
            Some(Found::Model(span)) => Form::Model(span),
            Some(Found::Unclear) | None => Form::Unread,
        };
        if let Form::Model(span) = self.form {
            self.wish.model = std::str::from_utf8(span.of(&self.body)).ok().map(bounded_name);
        }
        self
    }

    /// Another body in the place of this one, for all attempts. What the client wished stays as it said it.
    pub fn set_body(&mut self, body: Bytes, envelope: Option<Box<Envelope>>) {
        self.wish.body_bytes = body.len() as u64;
        (self.body, self.envelope, self.form) = (body, envelope, Form::Nothing);
        self.texts = OnceLock::new();
    }

    /// The model named in the body.
    pub fn model(&self) -> Option<&str> {
        self.wish.model.as_deref()
    }

    /// Where the texts of the body lie: found once, for whoever asks first.
    pub fn texts(&self) -> &Texts {
        self.texts.get_or_init(|| texts::texts(&self.body))
    }

    /// Makes those changes of the body for all attempts, as if the client had sent it so.
    ///
    /// # Errors
    /// `internal`, where the edits do not fit the body.
    pub fn amend(&mut self, edits: Vec<Edit>) -> Result<(), Fault> {
        if edits.is_empty() {
            return Ok(());
        }
        let misfit = |why: String| Fault::new(Code::Internal, format!("a changed body: {why}"));
        let changed = splice::splice(&self.body, edits).map_err(|it| misfit(it.to_string()))?;
        let body = changed.contiguous();
        let envelope = envelope::scan(&body).map_err(|error| misfit(error.to_string()))?;
        self.set_body(body, Some(Box::new(envelope)));
        Ok(())
    }

    /// Lets go of what only further attempts would need. An agent's request is often half a megabyte,
    /// and its stream may run for an hour.
    pub fn let_go(&mut self) {
        self.body = Bytes::new();
        self.envelope = None;
        self.form = Form::Nothing;
        self.texts = OnceLock::new();
    }
}

/// The headers that speak about identity, each present at most once.
///
/// # Errors
/// `invalid_request` naming a header that came twice: two readers could take different ones.
pub fn presented(headers: &HeaderMap) -> Result<Presented<'_>, Fault> {
    let once = |name: &'static str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => {
                Err(Fault::new(Code::InvalidRequest, "this header is given more than once")
                    .param(name))
            }
        }
    };
    Ok(Presented {
        authorization: once("authorization")?,
        x_api_key: once("x-api-key")?,
        agent_id: once("x-agent-id")?,
    })
}

/// Scans the body where the surface needs one, or where it says that it is JSON.
///
/// # Errors
/// `invalid_json` or `invalid_request` as the scan finds them.
pub fn scan(
    surface: Surface,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Option<Box<Envelope>>, Fault> {
    if matches!(surface, Surface::Other(_)) && (body.is_empty() || !says_json(headers)) {
        // Providers read an object as one whatever it is called; what only begins like one is a file.
        let is_object = body.trim_ascii_start().first() == Some(&b'{');
        return Ok(is_object.then(|| envelope::scan(body).ok().map(Box::new)).flatten());
    }
    envelope::scan(body).map(|found| Some(Box::new(found))).map_err(|error| error.fault())
}

/// The value of a short text header.
///
/// # Errors
/// `invalid_request` naming the header, when it is too long or not plain text.
pub fn short_header<'a>(
    headers: &'a HeaderMap,
    name: &'static HeaderName,
) -> Result<Option<&'a str>, Fault> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.len() <= ID_HEADER_BYTES_MAX => {
            Ok(Some(text.trim()).filter(|text| !text.is_empty()))
        }
        _ => {
            let message = format!("must be plain text of at most {ID_HEADER_BYTES_MAX} characters");
            Err(Fault::new(Code::InvalidRequest, message).param(name.as_str()))
        }
    }
}

/// A name from a client, cut to a length that is safe to log.
pub fn bounded_name(name: &str) -> Arc<str> {
    let mut end = name.len().min(MODEL_NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Arc::from(&name[..end])
}

fn says_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes()))
}

/// Whether a content type is JSON: `application/json`, with or without parameters, or `+json`.
pub fn is_json(content_type: &[u8]) -> bool {
    let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"application/json")
        || kind.len() > 5 && kind[kind.len() - 5..].eq_ignore_ascii_case(b"+json")
}

/// Whether a content type is an event stream.
pub fn is_event_stream(content_type: &[u8]) -> bool {
    let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"text/event-stream")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::surface::Dialect;
    use http::HeaderValue;

    #[test]
    fn two_of_one_identity_header_are_refused_by_name() {
        for name in ["authorization", "x-api-key", "x-agent-id"] {
            let mut headers = HeaderMap::new();
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("a"));
            assert!(presented(&headers).is_ok());
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("a"));
            let fault = presented(&headers).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), (Code::InvalidRequest, Some(name)));
        }
    }

    #[test]
    fn only_bodies_that_are_meant_to_be_json_are_scanned() {
        let other = Surface::Other(Dialect::OpenAi);
        let mut headers = HeaderMap::new();
        let form = Bytes::from_static(b"--boundary");
        assert!(scan(other, &headers, &form).unwrap().is_none());
        assert_eq!(scan(Surface::Chat, &headers, &form).unwrap_err().code, Code::InvalidJson);
        headers.insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
        assert_eq!(scan(other, &headers, &form).unwrap_err().code, Code::InvalidJson);
        let json = Bytes::from_static(b"{\"model\":\"m\"}");
        let envelope = scan(other, &headers, &json).unwrap().unwrap();
        assert_eq!(envelope.model(&json), Some("m"));
    }

    #[test]
    fn content_types() {
        assert!(is_json(b"application/json") && is_json(b"application/problem+JSON; a=b"));
        assert!(!is_json(b"text/event-stream") && !is_json(b"") && !is_json(b"+json"));
        assert!(is_event_stream(b"text/event-stream; charset=utf-8"));
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(&*bounded_name("abc"), "abc");
        assert!(bounded_name(&"é".repeat(500)).len() <= MODEL_NAME_BYTES_MAX);
    }
}
