//! The envelope of a request: where in the body the fields lie that the gateway reads or changes.
//!
//! Hot path: `benches/envelope.rs`. One pass checks the whole body and notes byte ranges; no tree is
//! built, and only a model name with escapes in it is copied. What the fields mean for routing and
//! money is decided elsewhere; `splice` changes them.

use crate::base::fault::{Code, Fault};
use crate::base::limit;
use crate::wire::cursor::{Cursor, Walk};
use crate::wire::json;
use crate::wire::slot::Slot;
use crate::wire::syntax::{Member, Problem, Span, SyntaxError};

/// Key within `stream_options`.
const INCLUDE_USAGE: &str = "include_usage";
/// Its name in errors.
const INCLUDE_USAGE_PATH: &str = "stream_options.include_usage";

/// Where the fields of one body lie, and what the small ones say. Holds offsets only, so it can be
/// kept beside the body for as long as attempts are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    open_brace: usize,
    slots: [Option<Member>; Slot::COUNT],
    /// The model's name, if it was written with escapes.
    unescaped_model: Option<Box<str>>,
    include_usage: Option<Member>,
    wants_stream: bool,
    wants_usage: bool,
    caps: [Option<u64>; Slot::CAPS.len()],
    answers: Option<u64>,
    wide: bool,
}

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It is not one JSON object in UTF-8.
    #[error("the body is not valid JSON: {0}")]
    Syntax(SyntaxError),
    /// It is, but one of the watched fields makes no sense.
    #[error("{0}")]
    Field(FieldError),
}

/// A watched field that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` (byte {offset}) {problem}")]
pub struct FieldError {
    /// Its name, of a fixed list; nested ones with dots.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: FieldProblem,
    /// Offset in bytes of the value, or of the second key of a duplicate.
    pub offset: usize,
}

/// What can be wrong with a watched field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// It is there twice.
    #[error("is given more than once")]
    Duplicate,
    /// A string was needed.
    #[error("must be a string")]
    NotString,
    /// The string is empty.
    #[error("must not be empty")]
    Empty,
    /// Longer than `limit::MODEL_NAME_BYTES_MAX`.
    #[error("must not be longer than {max} bytes", max = limit::MODEL_NAME_BYTES_MAX)]
    TooLong,
    /// Line breaks and their like could forge headers and log lines.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// Half a surrogate pair.
    #[error("contains an escape that is not a character")]
    NotText,
    /// `true`, `false` or `null` was needed.
    #[error("must be true, false or null")]
    NotBool,
    /// An object or `null` was needed.
    #[error("must be an object or null")]
    NotObject,
    /// A whole number was needed that fits 64 bits.
    #[error("must be a whole number of zero or more, or null")]
    NotCount,
}

impl ScanError {
    /// The code that the client sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::Syntax(_) => Code::InvalidJson,
            Self::Field(_) => Code::InvalidRequest,
        }
    }

    /// The field at fault, where there is one.
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            Self::Syntax(_) => None,
            Self::Field(error) => Some(error.field),
        }
    }

    /// Offset in bytes of what is wrong.
    pub const fn offset(&self) -> usize {
        match self {
            Self::Syntax(error) => error.offset,
            Self::Field(error) => error.offset,
        }
    }

    /// The refusal to answer with.
    pub fn fault(&self) -> Fault {
        let fault = Fault::new(self.code(), self.to_string());
        match self.param() {
            Some(param) => fault.param(param),
            None => fault,
        }
    }
}

impl From<SyntaxError> for ScanError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

/// Checks the whole of `body` and finds the watched fields of its one object. Errors of syntax go
/// before errors of a field, wherever they stand.
pub fn scan(body: &[u8]) -> Result<Envelope, ScanError> {
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(SyntaxError::at(Problem::ByteOrderMark, body, 0).into());
    }
    let mut walk = Walk::enter(Cursor::new(body, Span::whole(body)))?;
    let mut slots = [None; Slot::COUNT];
    let mut duplicate = None;
    while let Some(member) = walk.next_member()? {
        let Some(slot) = slot_of(body, &member) else { continue };
        if let Some(place) = slots.get_mut(slot as usize)
            && place.replace(member).is_some()
        {
            duplicate = duplicate.or(Some((slot, member)));
        }
    }
    let open_brace = walk.open_brace();
    let cursor = walk.into_cursor();
    let wide = cursor.is_wide();
    json::finish(body, cursor)?;
    if let Some((slot, member)) = duplicate {
        return Err(refuse(slot.name(), FieldProblem::Duplicate, member.span()));
    }
    Reader { body, slots, wide }.envelope(open_brace)
}

fn slot_of(body: &[u8], member: &Member) -> Option<Slot> {
    let key = member.key.of(body);
    if key.contains(&b'\\') {
        return Slot::from_name(json::unescape(key)?.as_bytes());
    }
    Slot::from_name(key)
}

#[cold]
fn refuse(field: &'static str, problem: FieldProblem, at: Span) -> ScanError {
    ScanError::Field(FieldError { field, problem, offset: at.start })
}

/// Reads the small fields of a body that is known to be JSON.
struct Reader<'b> {
    body: &'b [u8],
    slots: [Option<Member>; Slot::COUNT],
    wide: bool,
}

impl Reader<'_> {
    fn envelope(self, open_brace: usize) -> Result<Envelope, ScanError> {
        let unescaped_model = self.model()?;
        let include_usage = self.include_usage()?;
        let mut caps = [None; Slot::CAPS.len()];
        for (cap, slot) in caps.iter_mut().zip(Slot::CAPS) {
            *cap = self.count(slot)?;
        }
        Ok(Envelope {
            open_brace,
            unescaped_model,
            wants_stream: self.flag(Slot::Stream.name(), self.value(Slot::Stream))?,
            wants_usage: self.flag(INCLUDE_USAGE_PATH, include_usage.map(|found| found.value))?,
            include_usage,
            caps,
            answers: self.count(Slot::N)?,
            wide: self.wide,
            slots: self.slots,
        })
    }

    fn value(&self, slot: Slot) -> Option<Span> {
        self.slots.get(slot as usize).copied().flatten().map(|member| member.value)
    }

    /// Checks the model's name; returns it if it is written with escapes.
    fn model(&self) -> Result<Option<Box<str>>, ScanError> {
        let Some(value) = self.value(Slot::Model) else { return Ok(None) };
        let wrong = |problem| refuse(Slot::Model.name(), problem, value);
        let token = value.of(self.body);
        if !token.starts_with(b"\"") {
            return Err(wrong(FieldProblem::NotString));
        }
        // No escape is longer than six times its text: a bound before anything is copied.
        if token.len() > 6 * limit::MODEL_NAME_BYTES_MAX + 2 {
            return Err(wrong(FieldProblem::TooLong));
        }
        let name = json::string(token).ok_or_else(|| wrong(FieldProblem::NotText))?;
        if name.is_empty() {
            return Err(wrong(FieldProblem::Empty));
        }
        if name.len() > limit::MODEL_NAME_BYTES_MAX {
            return Err(wrong(FieldProblem::TooLong));
        }
        if name.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(wrong(FieldProblem::ControlCharacter));
        }
        let escaped = token.len() != name.len() + 2;
        Ok(escaped.then(|| name.into_owned().into_boxed_str()))
    }

    /// Finds `include_usage` in `stream_options`.
    fn include_usage(&self) -> Result<Option<Member>, ScanError> {
        let Some(options) = self.value(Slot::StreamOptions) else { return Ok(None) };
        match options.of(self.body) {
            b"null" => return Ok(None),
            [b'{', ..] => {}
            _ => {
                return Err(refuse(Slot::StreamOptions.name(), FieldProblem::NotObject, options));
            }
        }
        let mut found = None;
        for member in json::members(self.body, options) {
            if !json::key_is(member.key.of(self.body), INCLUDE_USAGE) {
                continue;
            }
            if found.replace(member).is_some() {
                return Err(refuse(INCLUDE_USAGE_PATH, FieldProblem::Duplicate, member.span()));
            }
        }
        Ok(found)
    }

    /// A boolean; `null` and absence are false.
    fn flag(&self, field: &'static str, value: Option<Span>) -> Result<bool, ScanError> {
        let Some(value) = value else { return Ok(false) };
        match value.of(self.body) {
            b"true" => Ok(true),
            b"false" | b"null" => Ok(false),
            _ => Err(refuse(field, FieldProblem::NotBool, value)),
        }
    }

    /// A whole number of zero or more; `null` is as good as absence.
    fn count(&self, slot: Slot) -> Result<Option<u64>, ScanError> {
        let Some(value) = self.value(slot) else { return Ok(None) };
        let token = value.of(self.body);
        if token == b"null" {
            return Ok(None);
        }
        let digits = std::str::from_utf8(token).unwrap_or_default();
        let wrong = |_| refuse(slot.name(), FieldProblem::NotCount, value);
        // JSON numbers carry no plus sign, which `parse` would take.
        digits.parse().map(Some).map_err(wrong)
    }
}

impl Envelope {
    /// Where that field lies, if the body has it.
    pub fn slot(&self, slot: Slot) -> Option<&Member> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The model asked for, without escapes. `body` is the one that was scanned.
    pub fn model<'a>(&'a self, body: &'a [u8]) -> Option<&'a str> {
        if let Some(name) = &self.unescaped_model {
            return Some(name);
        }
        let token = self.slot(Slot::Model)?.value.of(body);
        std::str::from_utf8(token.strip_prefix(b"\"")?.strip_suffix(b"\"")?).ok()
    }

    /// Whether `stream` is true.
    pub const fn wants_stream(&self) -> bool {
        self.wants_stream
    }

    /// Whether `stream_options.include_usage` is true.
    pub const fn wants_usage(&self) -> bool {
        self.wants_usage
    }

    /// Where `include_usage` lies in `stream_options`, if it is there.
    pub const fn include_usage(&self) -> Option<&Member> {
        self.include_usage.as_ref()
    }

    /// The caps of the output that are set: which field, and how many tokens.
    pub fn output_caps(&self) -> impl Iterator<Item = (Slot, u64)> {
        Slot::CAPS.into_iter().zip(self.caps).filter_map(|(slot, cap)| Some((slot, cap?)))
    }

    /// The cap of the output by that field, in tokens, if the body sets it.
    pub fn output_cap(&self, slot: Slot) -> Option<u64> {
        self.output_caps().find(|(set, _)| *set == slot).map(|(_, cap)| cap)
    }

    /// The cap of the output that the client means. Of several the newer field holds, as at `OpenAI`;
    /// since the gateway writes this number into the one field that the provider reads, and takes the
    /// others out, no other can take effect.
    pub fn meant_output_cap(&self) -> Option<u64> {
        [Slot::MaxCompletionTokens, Slot::MaxTokens, Slot::MaxOutputTokens, Slot::MaxTokensToSample]
            .into_iter()
            .find_map(|slot| self.output_cap(slot))
    }

    /// Whether the body may hold bytes beyond ASCII; never false if it does.
    pub const fn is_wide(&self) -> bool {
        self.wide
    }

    /// How many answers are asked for (`n`), if the body says so.
    pub const fn answers(&self) -> Option<u64> {
        self.answers
    }

    /// Offset of the opening brace: new members are put behind it.
    pub const fn open_brace(&self) -> usize {
        self.open_brace
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scanned(body: &str) -> Envelope {
        scan(body.as_bytes()).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Code, field and offset of the refusal of `body`.
    fn refused(body: impl AsRef<[u8]>) -> (&'static str, Option<&'static str>, usize) {
        let error = scan(body.as_ref()).unwrap_err();
        (error.code().name(), error.param(), error.offset())
    }

    #[test]
    fn fields_are_found_whatever_surrounds_them() {
        let body = r#" {"x":{"model":"inner","stream":true},"messages":[{"role":"user"}],
            "model" : "a/b-é" ,"stream":true,"max_tokens":12,"n":2,"max_output_tokens":null,
            "user":"u","tools":[],"stream_options":{"a":[1],"include_usage":true}} "#;
        let found = scanned(body);
        let raw = body.as_bytes();
        assert_eq!(found.model(raw), Some("a/b-é"));
        assert!(found.wants_stream() && found.wants_usage());
        assert_eq!(found.output_caps().collect::<Vec<_>>(), [(Slot::MaxTokens, 12)]);
        assert_eq!(found.answers(), Some(2));
        assert_eq!(found.open_brace(), 1);
        let at = |slot| found.slot(slot).unwrap().value.of(raw);
        assert_eq!(at(Slot::Messages), br#"[{"role":"user"}]"#);
        assert_eq!(at(Slot::MaxOutputTokens), b"null");
        assert_eq!(at(Slot::Model), "\"a/b-é\"".as_bytes());
        assert!(found.slot(Slot::System).is_none());
    }

    #[test]
    fn an_empty_object_has_an_envelope() {
        let found = scanned("{}");
        assert_eq!(found.model(b"{}"), None);
        assert!(!found.wants_stream() && !found.wants_usage());
        assert_eq!((found.output_caps().count(), found.answers()), (0, None));
    }

    #[test]
    fn escapes_hide_neither_keys_nor_names() {
        let body = r#"{"\u006dodel":"\u0067pt\/4","str\u0065am":true}"#;
        let found = scanned(body);
        assert_eq!(found.model(body.as_bytes()), Some("gpt/4"));
        assert!(found.wants_stream());
        let twice = r#"{"model":"a","\u006dodel":"b"}"#;
        assert_eq!(refused(twice), ("invalid_request", Some("model"), 13));
        let options = r#"{"stream_options":{"include_usage":false,"include\u005fusage":true}}"#;
        assert_eq!(refused(options), ("invalid_request", Some(INCLUDE_USAGE_PATH), 41));
    }

    #[test]
    fn every_watched_field_is_refused_twice_and_others_are_not() {
        for slot in Slot::ALL {
            let name = slot.name();
            let body = format!(r#"{{"{name}":null,"x":1,"{name}":null}}"#);
            assert_eq!(refused(body).1, Some(name));
        }
        scanned(
            r#"{"x":1,"x":2,"messages":[{"model":1,"model":2}],"stream_options":{"y":1,"y":2}}"#,
        );
    }

    #[test]
    fn a_model_is_a_short_line_of_text() {
        let long = "a".repeat(limit::MODEL_NAME_BYTES_MAX);
        scanned(&format!(r#"{{"model":"{long}"}}"#));
        scanned(&format!(r#"{{"model":"{}"}}"#, r"\u0061".repeat(limit::MODEL_NAME_BYTES_MAX)));
        for (value, problem) in [
            ("null".into(), FieldProblem::NotString),
            ("1".into(), FieldProblem::NotString),
            ("[\"a\"]".into(), FieldProblem::NotString),
            ("{}".into(), FieldProblem::NotString),
            ("\"\"".into(), FieldProblem::Empty),
            (format!("\"{long}b\""), FieldProblem::TooLong),
            (format!("\"{}\"", r"\u0061".repeat(257)), FieldProblem::TooLong),
            (r#""a\r\nx-evil: 1""#.into(), FieldProblem::ControlCharacter),
            (r#""a\u0000""#.into(), FieldProblem::ControlCharacter),
            (r#""a\u007f""#.into(), FieldProblem::ControlCharacter),
            ("\"a\u{7f}\"".into(), FieldProblem::ControlCharacter),
            (r#""\ud800""#.into(), FieldProblem::NotText),
            (r#""\udc00\ud800""#.into(), FieldProblem::NotText),
        ] {
            let body = format!("{{\"model\": {value}}}");
            let field = FieldError { field: "model", problem, offset: 10 };
            assert_eq!(scan(body.as_bytes()), Err(ScanError::Field(field)), "{body}");
        }
    }

    #[test]
    fn small_fields_have_their_kind() {
        for (body, field) in [
            (r#"{"stream":"true"}"#, "stream"),
            (r#"{"stream":1}"#, "stream"),
            (r#"{"stream_options":[]}"#, "stream_options"),
            (r#"{"stream_options":true}"#, "stream_options"),
            (r#"{"stream_options":{"include_usage":"yes"}}"#, INCLUDE_USAGE_PATH),
            (r#"{"n":-1}"#, "n"),
            (r#"{"n":1.0}"#, "n"),
            (r#"{"max_tokens":-0}"#, "max_tokens"),
            (r#"{"max_tokens":1e3}"#, "max_tokens"),
            (r#"{"max_tokens":"9"}"#, "max_tokens"),
            (r#"{"max_completion_tokens":18446744073709551616}"#, "max_completion_tokens"),
            (r#"{"max_output_tokens":{}}"#, "max_output_tokens"),
            (r#"{"max_tokens_to_sample":true}"#, "max_tokens_to_sample"),
        ] {
            let (code, param, _) = refused(body);
            assert_eq!((code, param), ("invalid_request", Some(field)), "{body}");
        }
        let body = r#"{"stream":null,"n":null,"max_tokens":18446744073709551615,
            "stream_options":{"include_usage":null}}"#;
        let found = scanned(body);
        assert!(!found.wants_stream() && !found.wants_usage() && found.include_usage().is_some());
        assert_eq!(found.output_caps().collect::<Vec<_>>(), [(Slot::MaxTokens, u64::MAX)]);
    }

    #[test]
    fn what_is_no_object_in_utf8_is_no_body() {
        for (body, offset) in [
            (b"".as_slice(), 0),
            (b"  ", 2),
            (b"[]", 0),
            (b"null", 0),
            (b"\"model\"", 0),
            (b"\xef\xbb\xbf{}", 0),
            (b"\xff\xfe{\0}\0", 0),
            (b"{\"a\":\"\xff\"}", 6),
            (b"{} {}", 3),
            (b"{}\0", 2),
            (b"{\"a\":\"\n\"}", 6),
            (b"{\"model\":1", 10),
        ] {
            assert_eq!(refused(body), ("invalid_json", None, offset), "{body:?}");
        }
    }

    #[test]
    fn depth_is_counted_from_the_body() {
        let nested = |depth: usize| {
            let inner = depth - 1;
            format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
        };
        scanned(&nested(limit::JSON_DEPTH_MAX));
        let error = scan(nested(limit::JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err();
        assert!(matches!(error, ScanError::Syntax(SyntaxError { problem: Problem::TooDeep, .. })));
    }

    #[test]
    fn refusals_name_the_place_and_never_the_text() {
        let fault = scan(br#"{"model":"sesame\n"}"#).unwrap_err().fault();
        assert_eq!(fault.message, "`model` (byte 9) must not contain control characters");
        assert_eq!(fault.param.as_deref(), Some("model"));
        let fault = scan(br#"{"sesame":open}"#).unwrap_err().fault();
        assert_eq!(fault.message, "the body is not valid JSON: at byte 10: expected a JSON value");
        assert_eq!(fault.param, None);
        let mark = scan(b"\xef\xbb\xbf{}").unwrap_err().to_string();
        assert!(mark.contains("byte order mark"), "{mark}");
    }

    /// Whether a body is one JSON object in UTF-8, by `serde_json`, which bounds no depth here.
    fn is_object(body: &[u8]) -> bool {
        let first = body.iter().find(|byte| !b" \t\r\n".contains(byte));
        std::str::from_utf8(body).is_ok()
            && first == Some(&b'{')
            && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
    }

    fn accepted(body: &[u8]) -> bool {
        !matches!(scan(body), Err(ScanError::Syntax(_)))
    }

    const SAMPLE: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"say \"hi\"\n\u00e9 — 漢字 \\"},
        {"role":"tool","content":null,"n":[1,-2.5e-3,true,false,{}]}],"stream":true,
        "stream_options":{"include_usage":false},"max_tokens":100}"#;

    #[test]
    fn every_truncation_is_answered_as_serde_does() {
        for end in 0..=SAMPLE.len() {
            let body = &SAMPLE.as_bytes()[..end];
            assert_eq!(accepted(body), is_object(body), "{end}");
            if let Err(error) = scan(body) {
                assert!(error.offset() <= end);
            }
        }
    }

    #[test]
    fn every_byte_replaced_is_judged_as_serde_does() {
        for at in 0..SAMPLE.len() {
            for byte in *b"\"\\{}[],:0a \n\x00\x1f\x7f\x80\xff-.eu" {
                let mut body = SAMPLE.as_bytes().to_vec();
                body[at] = byte;
                assert_eq!(accepted(&body), is_object(&body), "{at} {byte:#x}");
            }
        }
    }

    #[test]
    fn of_several_caps_the_newer_one_is_meant() {
        let both =
            scanned(r#"{"max_tokens":9,"max_completion_tokens":5,"max_output_tokens":null}"#);
        assert_eq!(both.output_cap(Slot::MaxTokens), Some(9));
        assert_eq!(both.output_cap(Slot::MaxOutputTokens), None);
        assert_eq!(both.output_cap(Slot::N), None);
        assert_eq!(both.meant_output_cap(), Some(5));
        let none = scanned("{}");
        assert_eq!(none.meant_output_cap(), None);
        assert!(!none.is_wide() && scanned(r#"{"a":"é"}"#).is_wide());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(accepted(&body), is_object(&body));
            let object = [b"{\"model\":\"".as_slice(), &body, b"\"}"].concat();
            prop_assert_eq!(accepted(&object), is_object(&object));
        }

        #[test]
        fn several_mutations_are_judged_as_serde_does(
            changes in prop::collection::vec((0..SAMPLE.len(), any::<u8>(), 0..3u8), 1..5)
        ) {
            let mut body = SAMPLE.as_bytes().to_vec();
            for (at, byte, kind) in changes {
                let at = at.min(body.len() - 1);
                match kind {
                    0 => body[at] = byte,
                    1 => body.insert(at, byte),
                    _ => drop(body.remove(at)),
                }
            }
            prop_assert_eq!(accepted(&body), is_object(&body));
        }
    }
}
