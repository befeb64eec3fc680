//! Which session a request belongs to (C-07): the client's own word for it, else a hash of who asks, the system
//! prompt and the first thing that a user said. Whoever asks with a credential of its own shares no session. It is for pins; sessions with a budget are named by their header
//! alone (`Asked::session`).
//!
//! Texts are hashed as they are written. Whatever a client may move from turn to turn (cache markers, later
//! messages) is not part of it.

use sha2::{Digest, Sha256};

use crate::base::limit::{SESSION_TEXT_BYTES_MAX, SESSION_TEXTS_MAX};
use crate::exchange::asked::Asked;
use crate::pinning::pin::SessionKey;
use crate::wire::json;
use crate::wire::pull::Pull;
use crate::wire::slot::Slot;
use crate::wire::syntax::Span;
use crate::wire::texts::{Piece, Source};

/// A field of a body, beside the slot `session_id`, whose value is a session's name.
const NAME: &str = "sessionId";
/// A field that tells conversations apart for one client and is a constant of another, so that it names none alone.
const CACHE_KEY: &str = "prompt_cache_key";
/// The same within `metadata`.
const NAMES_IN_METADATA: [&str; 2] = ["session_id", "sessionId"];
/// What a user's id within `metadata` holds if it names a session as well: Claude Code does so.
const SESSION_WITHIN: &[u8] = b"session";

/// The session that a request belongs to; `None` where it says nothing by which it could be known again.
pub fn key(asked: &Asked) -> Option<SessionKey> {
    let agent = &*asked.principal.agent.id;
    let alias = asked.principal.alias.as_deref().unwrap_or_default();
    let mut hash = Parts::default();
    hash.add(agent.as_bytes());
    hash.add(alias.as_bytes());
    // All that come with a credential of their own are one agent, and strangers to each other.
    let own = asked.principal.client_credential.as_ref();
    hash.add(own.map_or(&[], |own| own.value.as_bytes()));
    if let Some(session) = &asked.session {
        hash.add(b"named");
        hash.add(session.as_bytes());
        return Some(hash.end());
    }
    if let Some(name) = named(asked) {
        hash.add(b"named");
        hash.add(name);
        return Some(hash.end());
    }
    let first = first_words(asked)?;
    hash.add(b"derived");
    hash.add(end_user(asked).unwrap_or_default());
    hash.add(field(asked, CACHE_KEY).unwrap_or_default());
    let system = asked.texts().pieces.iter().filter(|piece| piece.source == Source::System);
    // A developer's message in the middle of the conversation is not what it began with.
    let system = system.filter(|piece| piece.turn.is_none_or(|turn| turn <= first.turn));
    system.take(SESSION_TEXTS_MAX).for_each(|piece| hash.add_text(piece.span.of(&asked.body)));
    hash.add(b"user");
    first.texts.iter().for_each(|span| hash.add_text(span.of(&asked.body)));
    Some(hash.end())
}

/// Whether a request ends with the result of a tool: the model that called it waits for it.
pub fn answers_tool(asked: &Asked) -> bool {
    let pieces = &asked.texts().pieces;
    let Some(last) = pieces.iter().filter_map(|piece| piece.turn).max() else { return false };
    pieces.iter().any(|piece| piece.turn == Some(last) && piece.source == Source::Tool)
}

/// The session's name in the body, as it is written.
fn named(asked: &Asked) -> Option<&[u8]> {
    let (envelope, body) = (asked.envelope.as_ref()?, &asked.body[..]);
    let text = |span: Span| string(span.of(body));
    let slot = |slot: Slot| envelope.slot(slot).map(|member| member.value);
    let within = |within: Option<Span>, name: &str| text(json::find(body, within?, name)?);
    let metadata = slot(Slot::Metadata).filter(|span| span.of(body).starts_with(b"{"));
    slot(Slot::SessionId)
        .and_then(text)
        .or_else(|| NAMES_IN_METADATA.iter().find_map(|name| within(metadata, name)))
        .or_else(|| {
            let user = within(metadata, "user_id")?;
            memchr::memmem::find(user, SESSION_WITHIN).map(|_| user)
        })
        .or_else(|| field(asked, NAME))
}

/// A text of the body by its name, as it is written.
fn field<'a>(asked: &'a Asked, name: &str) -> Option<&'a [u8]> {
    let body = &asked.body[..];
    // Most bodies hold it nowhere, which is found out far faster than where a field lies.
    memchr::memmem::find(body, name.as_bytes())?;
    asked.envelope.as_ref()?;
    string(json::find(body, Span::whole(body), name)?.of(body))
}

/// Whom the client serves, where it says so: two of its users may begin with the same words.
fn end_user(asked: &Asked) -> Option<&[u8]> {
    let (envelope, body) = (asked.envelope.as_ref()?, &asked.body[..]);
    let user = envelope.slot(Slot::User).and_then(|member| string(member.value.of(body)));
    user.or_else(|| {
        let metadata = envelope.slot(Slot::Metadata)?.value;
        let is_object = metadata.of(body).starts_with(b"{");
        string(json::find(body, metadata, "user_id").filter(|_| is_object)?.of(body))
    })
}

/// The inside of a JSON string that is not empty.
fn string(token: &[u8]) -> Option<&[u8]> {
    let inside = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!inside.is_empty()).then_some(inside)
}

/// What a user said first.
struct First {
    turn: u32,
    texts: Vec<Span>,
}

/// The texts of the first message of a user; where it has none (an image alone), the message as it is written.
fn first_words(asked: &Asked) -> Option<First> {
    let (envelope, body) = (asked.envelope.as_ref()?, &asked.body[..]);
    let pieces = &asked.texts().pieces;
    let by_user = |piece: &&Piece| piece.source == Source::User;
    let list = [Slot::Messages, Slot::Input].into_iter().find_map(|slot| envelope.slot(slot));
    let first = list.and_then(|member| first_message(body, member.value));
    let Some((turn, message)) = first else {
        // A prompt that is one text.
        let text = pieces.iter().filter(|piece| piece.turn.is_none()).find(by_user)?;
        return Some(First { turn: 0, texts: vec![text.span] });
    };
    let own = pieces.iter().filter(by_user).filter(|piece| piece.turn == Some(turn));
    let texts: Vec<Span> = own.map(|piece| piece.span).take(SESSION_TEXTS_MAX).collect();
    Some(First { turn, texts: if texts.is_empty() { vec![message] } else { texts } })
}

/// The first message of a user in a list, and its place.
fn first_message(body: &[u8], list: Span) -> Option<(u32, Span)> {
    let mut pull = Pull::new(body, list);
    if pull.peek() != b'[' {
        return None;
    }
    pull.enter();
    let mut turn = 0;
    while pull.item() {
        let message = pull.skip();
        let is_object = message.of(body).starts_with(b"{");
        let role = json::find(body, message, "role").filter(|_| is_object);
        if role.is_some_and(|role| role.of(body) == b"\"user\"") {
            return Some((turn, message));
        }
        turn += 1;
    }
    None
}

/// One hash over parts, each with its length, so that no text can move from one into the next.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// A text that may be long: its beginning and its length.
    fn add_text(&mut self, text: &[u8]) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(&text[..text.len().min(SESSION_TEXT_BYTES_MAX)]);
    }

    fn end(self) -> SessionKey {
        let hash: [u8; 32] = self.0.finalize().into();
        hash.first_chunk().copied().map_or(0, SessionKey::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    use crate::base::surface::Surface;
    use crate::exchange::staged;
    use crate::identity::principal::{ClientCredential, CredentialHeader};

    fn asked(body: &str) -> Asked {
        staged::asked_by_a(Surface::Chat, body)
    }

    fn key_of(body: &str) -> Option<SessionKey> {
        key(&asked(body))
    }

    fn same(bodies: &[&str]) {
        let keys: Vec<_> = bodies.iter().map(|body| key_of(body)).collect();
        assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{bodies:?}");
    }

    fn different(bodies: &[&str]) {
        let keys: Vec<_> = bodies.iter().map(|body| key_of(body)).collect();
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{}", bodies[at]);
        }
    }

    #[test]
    fn the_clients_own_word_goes_first() {
        same(&[
            r#"{"session_id":"s","messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":"b"}],"metadata":{"session_id":"s"}}"#,
            r#"{"sessionId":"s","messages":[{"role":"user","content":"c"}]}"#,
        ]);
        let claude = |user: &str, text: &str| {
            let content = format!(r#"[{{"role":"user","content":"{text}"}}]"#);
            key_of(&format!(r#"{{"metadata":{{"user_id":"{user}"}},"messages":{content}}}"#))
        };
        assert_eq!(claude("user_1_session_2", "a"), claude("user_1_session_2", "b"));
        assert_ne!(claude("alice", "a"), claude("alice", "b"), "a person is no session");
        assert_ne!(claude("alice", "a"), claude("bob", "a"));
        let mut asked = asked(r#"{"session_id":"other"}"#);
        asked.session = Some(Arc::from("s"));
        assert_eq!(key(&asked), key_of(r#"{"session_id":"s"}"#));
    }

    #[test]
    fn a_conversation_keeps_its_key_as_it_grows() {
        same(&[
            r#"{"messages":[{"role":"system","content":"be"},{"role":"user","content":"a"}]}"#,
            r#"{"model":"auto","messages":[{"role":"system","content":"be"},
                {"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},
                {"role":"assistant","content":"x"},{"role":"user","content":"b"},
                {"role":"system","content":"later"}],"stream":true}"#,
        ]);
        same(&[
            r#"{"system":"be","messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"content":[{"text":"a","type":"text"}],"role":"user"},
                {"role":"assistant","content":"x"}],"system":[{"type":"text","text":"be"}]}"#,
        ]);
        same(&[r#"{"input":"a"}"#, r#"{"input":"a","instructions":""}"#]);
        different(&[
            r#"{"messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":"b"}]}"#,
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"user":"u"}"#,
            r#"{"session_id":"a"}"#,
        ]);
    }

    #[test]
    fn images_first_have_a_key_that_stays() {
        let image = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#;
        let first = format!(
            r#"{{"role":"user","content":[{image},{{"type":"text","text":"what is it"}}]}}"#
        );
        let more = r#"{"role":"assistant","content":"x"},{"role":"user","content":"and now"}"#;
        let list = |inner: &str| format!(r#"{{"messages":[{inner}]}}"#);
        same(&[&list(&first), &list(&format!("{first},{more}"))]);
        let alone = format!(r#"{{"role":"user","content":[{image}]}}"#);
        same(&[&list(&alone), &list(&format!("{alone},{more}"))]);
        different(&[&list(&alone), &list(&alone.replace("AAAA", "BBBB")), &list(&first)]);
        assert_eq!(key_of(r#"{"messages":[]}"#), None);
        assert_eq!(key_of(r#"{"messages":[{"role":"assistant","content":"x"}]}"#), None);
    }

    #[test]
    fn agents_never_share_a_session() {
        let body = r#"{"session_id":"s"}"#;
        let mut other = asked(body);
        other.principal.alias = Some(Arc::from("someone"));
        assert_ne!(key(&other), key_of(body));
    }

    #[test]
    fn a_cache_key_alone_is_no_session() {
        let of = |key: &str, text: &str| {
            let list = format!(r#"[{{"role":"user","content":"{text}"}}]"#);
            key_of(&format!(r#"{{"prompt_cache_key":"{key}","messages":{list}}}"#))
        };
        assert_ne!(of("app", "a"), of("app", "b"), "one constant of an app");
        assert_ne!(of("one", "a"), of("two", "a"), "conversations that begin alike");
        assert!(of("app", "a").is_some() && of("app", "a") == of("app", "a"));
        assert_eq!(key_of(r#"{"prompt_cache_key":"app","messages":[]}"#), None);
    }

    #[test]
    fn clients_with_credentials_of_their_own_share_no_session() {
        let with = |value: &'static str| {
            let mut asked = asked(r#"{"messages":[{"role":"user","content":"a"}]}"#);
            asked.principal.client_credential = Some(ClientCredential {
                header: CredentialHeader::XApiKey,
                value: http::HeaderValue::from_static(value),
            });
            asked
        };
        assert_ne!(key(&with("sk-one")), key(&with("sk-two")));
        assert_eq!(key(&with("sk-one")), key(&with("sk-one")));
        let named = |value| Asked { session: Some(Arc::from("s")), ..with(value) };
        assert_ne!(key(&named("sk-one")), key(&named("sk-two")), "named the same");
    }

    #[test]
    fn a_request_that_answers_a_tool_is_seen() {
        let answers = |body: &str| answers_tool(&asked(body));
        assert!(answers(
            r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"x"},
                {"role":"tool","tool_call_id":"t","content":"r"}],"tools":[]}"#
        ));
        assert!(answers(
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t",
                "content":"r"},{"type":"text","text":"reminder"}]}],"system":"s"}"#
        ));
        assert!(!answers(
            r#"{"messages":[{"role":"tool","tool_call_id":"t","content":"r"},
                {"role":"assistant","content":"x"},{"role":"user","content":"a"}]}"#
        ));
        assert!(!answers(r#"{"messages":[]}"#));
    }

    proptest! {
        #[test]
        fn any_json_is_safe(body in r#"\{("(messages|input|metadata|session_id|user)":("a"|1|\[\{"role":"user"\}\]|\{"user_id":"session"\}),?){0,4}"#) {
            let body = format!("{}}}", body.trim_end_matches(','));
            if crate::wire::envelope::scan(body.as_bytes()).is_ok() {
                let _ = (key_of(&body), answers_tool(&asked(&body)));
            }
        }
    }
}
