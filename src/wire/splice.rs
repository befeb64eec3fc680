//! Changes a few places of a held body and leaves every other byte where it is.
//!
//! The result is a list of pieces: slices of the body, which share its memory, and the small new
//! ones between them. Each attempt splices anew from the same body. What to change is decided by
//! the caller; the edits that nearly every attempt needs are built here.

use bytes::Bytes;

use crate::wire::envelope::Envelope;
use crate::wire::json;
use crate::wire::slot::Slot;
use crate::wire::syntax::{Member, Span};

/// One change of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit(Action);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// Put `with` in the place of `span`.
    Replace { span: Span, with: Bytes },
    /// Take a member away, with one of the commas beside it.
    Remove(Member),
    /// Put a member behind the brace at `open`. `piece` ends in a comma, which is left out if
    /// nothing follows it in the object.
    Insert { open: usize, piece: Bytes },
}

/// Edits that cannot be applied: always a mistake of the caller, never of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// Two edits want the same bytes.
    #[error("two edits overlap at byte {0}")]
    Overlap(usize),
    /// An edit does not fit the body: it was made for another one.
    #[error("an edit at byte {0} does not fit the body")]
    Misfit(usize),
}

/// A body with its edits, ready to be sent.
#[derive(Clone, Debug)]
pub struct Spliced {
    body: Bytes,
    cuts: Vec<Cut>,
    len: usize,
}

/// Bytes of the body that give way to others. In order, and free of overlaps.
#[derive(Clone, Debug)]
struct Cut {
    span: Span,
    with: Bytes,
}

impl Edit {
    /// Puts `with` in the place of `span`, most often a member's value by other JSON.
    pub const fn replace(span: Span, with: Bytes) -> Self {
        Self(Action::Replace { span, with })
    }

    /// Takes the member away. Neighbours may be taken away too, even all of them.
    pub const fn remove(member: &Member) -> Self {
        Self(Action::Remove(*member))
    }

    /// Puts a new first member into the object whose brace is at `open`; `value` must be JSON.
    pub fn insert(open: usize, key: &str, value: &[u8]) -> Self {
        let mut piece = Vec::with_capacity(key.len() + value.len() + 4);
        json::quote_into(key, &mut piece);
        piece.push(b':');
        piece.extend_from_slice(value);
        piece.push(b',');
        Self(Action::Insert { open, piece: piece.into() })
    }

    /// Where it starts; an insertion goes before anything else at its place.
    const fn order(&self) -> (usize, bool) {
        match &self.0 {
            Action::Replace { span, .. } => (span.start, true),
            Action::Remove(member) => (member.span().start, true),
            Action::Insert { open, .. } => (open.saturating_add(1), false),
        }
    }
}

/// Makes the body name that model. `quoted` is its name as a JSON string, made once per model.
pub fn set_model(envelope: &Envelope, quoted: &Bytes) -> Edit {
    match envelope.slot(Slot::Model) {
        Some(member) => Edit::replace(member.value, quoted.clone()),
        None => Edit::insert(envelope.open_brace(), Slot::Model.name(), quoted),
    }
}

/// Makes a stream report its usage at the end; `None` if the body asks for that itself.
pub fn ask_for_usage(envelope: &Envelope, body: &[u8]) -> Option<Edit> {
    if envelope.wants_usage() {
        return None;
    }
    if let Some(member) = envelope.include_usage() {
        return Some(Edit::replace(member.value, Bytes::from_static(b"true")));
    }
    let insert = |open, piece| Edit(Action::Insert { open, piece: Bytes::from_static(piece) });
    let Some(options) = envelope.slot(Slot::StreamOptions) else {
        let piece = b"\"stream_options\":{\"include_usage\":true},";
        return Some(insert(envelope.open_brace(), piece));
    };
    if options.value.of(body).starts_with(b"{") {
        return Some(insert(options.value.start, b"\"include_usage\":true,"));
    }
    let object = Bytes::from_static(b"{\"include_usage\":true}");
    Some(Edit::replace(options.value, object))
}

/// Applies `edits`, in any order, to `body`. They must have been made for this body and must not
/// overlap.
pub fn splice(body: &Bytes, mut edits: Vec<Edit>) -> Result<Spliced, SpliceError> {
    edits.sort_by_key(Edit::order);
    let mut cuts = Vec::with_capacity(edits.len());
    let mut rest = edits.as_slice();
    while let [first, behind @ ..] = rest {
        rest = match &first.0 {
            Action::Replace { span, with } => {
                cuts.push(Cut { span: *span, with: with.clone() });
                behind
            }
            Action::Remove(_) => {
                let (run, behind) = split_run(rest);
                cuts.extend(run.map(|run| run.cut(body)));
                behind
            }
            Action::Insert { open, piece } => {
                let with = insertion(body, *open, piece, behind)?;
                cuts.push(Cut { span: Span::new(open + 1, open + 1), with });
                behind
            }
        };
    }
    let len = spliced_len(body, &cuts)?;
    Ok(Spliced { body: body.clone(), cuts, len })
}

/// Members to be removed that stand side by side: their commas must be counted together.
#[derive(Clone, Copy)]
struct Run {
    first: Member,
    last: Member,
}

impl Run {
    /// Takes the comma behind the run, or else the one before it, or none if the object had no
    /// other members.
    fn cut(self, body: &[u8]) -> Cut {
        let mut span = Span::new(self.first.span().start, self.last.span().end);
        if body.get(self.last.after) == Some(&b',') {
            span.end = self.last.after + 1;
        } else if body.get(self.first.before) == Some(&b',') {
            span.start = self.first.before;
        }
        Cut { span, with: Bytes::new() }
    }

    /// Whether nothing is left of the object whose brace is at `open`.
    fn empties(self, body: &[u8], open: usize) -> bool {
        self.first.before == open && body.get(self.last.after) == Some(&b'}')
    }
}

/// Splits the removals off the front that stand side by side.
fn split_run(edits: &[Edit]) -> (Option<Run>, &[Edit]) {
    let mut run: Option<Run> = None;
    let mut rest = edits;
    while let [Edit(Action::Remove(member)), behind @ ..] = rest {
        match &mut run {
            None => run = Some(Run { first: *member, last: *member }),
            Some(run) if run.last.after == member.before => run.last = *member,
            Some(_) => break,
        }
        rest = behind;
    }
    (run, rest)
}

/// The bytes of one insertion, with its comma only if something follows in the object.
fn insertion(
    body: &[u8],
    open: usize,
    piece: &Bytes,
    behind: &[Edit],
) -> Result<Bytes, SpliceError> {
    let Some((b'{', inner)) = body.get(open..).and_then(<[u8]>::split_first) else {
        return Err(SpliceError::Misfit(open));
    };
    let another = matches!(behind, [Edit(Action::Insert { open: o, .. }), ..] if *o == open);
    let empty = inner.trim_ascii_start().starts_with(b"}")
        || split_run(behind).0.is_some_and(|run| run.empties(body, open));
    let end = if empty && !another { piece.len().saturating_sub(1) } else { piece.len() };
    Ok(piece.slice(..end))
}

/// Length of the body after the cuts, which are checked on the way.
fn spliced_len(body: &[u8], cuts: &[Cut]) -> Result<usize, SpliceError> {
    let mut len = body.len();
    let mut end = 0;
    for Cut { span, with } in cuts {
        if span.start < end {
            return Err(SpliceError::Overlap(span.start));
        }
        if span.end < span.start || body.len() < span.end {
            return Err(SpliceError::Misfit(span.start));
        }
        end = span.end;
        len = len - span.len() + with.len();
    }
    Ok(len)
}

impl Spliced {
    /// How many bytes it has, as `content-length` counts them.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order, none of them empty. Nothing is copied.
    pub fn segments(&self) -> Vec<Bytes> {
        let mut segments = Vec::with_capacity(2 * self.cuts.len() + 1);
        let mut at = 0;
        for cut in &self.cuts {
            segments.push(self.body.slice(at..cut.span.start));
            segments.push(cut.with.clone());
            at = cut.span.end;
        }
        segments.push(self.body.slice(at..));
        segments.retain(|segment| !segment.is_empty());
        segments
    }

    /// All of it in one piece: copied once, or the body itself if there was nothing to change.
    pub fn contiguous(&self) -> Bytes {
        if self.cuts.is_empty() {
            return self.body.clone();
        }
        let mut whole = Vec::with_capacity(self.len);
        let mut rest = 0;
        for cut in &self.cuts {
            whole.extend_from_slice(Span::new(rest, cut.span.start).of(&self.body));
            whole.extend_from_slice(&cut.with);
            rest = cut.span.end;
        }
        whole.extend_from_slice(Span::new(rest, self.body.len()).of(&self.body));
        debug_assert_eq!(whole.len(), self.len);
        Bytes::from(whole)
    }

    /// One piece if it has at most `copied_bytes_max` bytes, so that a small body costs one write;
    /// else the pieces without a copy.
    pub fn pieces(&self, copied_bytes_max: usize) -> Vec<Bytes> {
        if self.len <= copied_bytes_max { vec![self.contiguous()] } else { self.segments() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn scanned(body: &Bytes) -> Envelope {
        envelope::scan(body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
    }

    /// The body after `edits`, checked to be the same in one piece and in many.
    fn applied(body: &Bytes, edits: Vec<Edit>) -> String {
        let spliced = splice(body, edits).unwrap();
        let whole = spliced.contiguous();
        assert_eq!(spliced.segments().concat(), whole);
        assert_eq!((spliced.len(), spliced.is_empty()), (whole.len(), whole.is_empty()));
        assert_eq!(spliced.pieces(whole.len()), std::slice::from_ref(&whole));
        assert_eq!(spliced.pieces(0), spliced.segments());
        String::from_utf8(whole.to_vec()).unwrap()
    }

    fn with_usage(text: &'static str) -> String {
        let body = Bytes::from_static(text.as_bytes());
        applied(&body, ask_for_usage(&scanned(&body), &body).into_iter().collect())
    }

    fn with_model(text: &'static str) -> String {
        let body = Bytes::from_static(text.as_bytes());
        applied(&body, vec![set_model(&scanned(&body), &Bytes::from_static(b"\"new\""))])
    }

    /// The body without the members of those keys.
    fn without(text: &'static str, keys: &[&str]) -> String {
        applied(&Bytes::from_static(text.as_bytes()), removals(text.as_bytes(), keys))
    }

    fn removals(body: &[u8], keys: &[&str]) -> Vec<Edit> {
        json::members(body, Span::whole(body))
            .filter(|member| keys.iter().any(|key| json::key_is(member.key.of(body), key)))
            .map(|member| Edit::remove(&member))
            .collect()
    }

    #[test]
    fn the_model_is_set_in_place() {
        assert_eq!(with_model(r#"{ "model" : "old" , "x":1}"#), r#"{ "model" : "new" , "x":1}"#);
        assert_eq!(
            with_model(r#"{"\u006dodel":"\n"}"#.replace("\\n", "a").leak()),
            r#"{"\u006dodel":"new"}"#
        );
        assert_eq!(with_model(r#"{"x":1}"#), r#"{"model":"new","x":1}"#);
        assert_eq!(with_model(" { } "), " {\"model\":\"new\" } ");
    }

    #[test]
    fn usage_is_asked_for_in_every_case() {
        for (body, expected) in [
            (r#"{"a":1}"#, r#"{"stream_options":{"include_usage":true},"a":1}"#),
            ("{}", r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options": null }"#, r#"{"stream_options": {"include_usage":true} }"#),
            (r#"{"stream_options":{ }}"#, r#"{"stream_options":{"include_usage":true }}"#),
            (r#"{"stream_options":{"o":1}}"#, r#"{"stream_options":{"include_usage":true,"o":1}}"#),
            (
                r#"{"stream_options":{"include_usage":false}}"#,
                r#"{"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage" :null}}"#,
                r#"{"stream_options":{"include_usage" :true}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":true}}"#,
                r#"{"stream_options":{"include_usage":true}}"#,
            ),
        ] {
            assert_eq!(with_usage(body), expected);
        }
    }

    #[test]
    fn members_leave_with_the_right_comma() {
        let text = r#"{ "a":1 , "b":2,"c":3 }"#;
        assert_eq!(without(text, &["a"]), r#"{  "b":2,"c":3 }"#);
        assert_eq!(without(text, &["b"]), r#"{ "a":1 , "c":3 }"#);
        assert_eq!(without(text, &["c"]), r#"{ "a":1 , "b":2 }"#);
        assert_eq!(without(text, &["a", "b"]), r#"{ "c":3 }"#);
        assert_eq!(without(text, &["b", "c"]), r#"{ "a":1  }"#);
        assert_eq!(without(text, &["a", "c"]), r#"{  "b":2 }"#);
        assert_eq!(without(text, &["a", "b", "c"]), "{  }");
    }

    #[test]
    fn what_is_put_in_knows_what_is_taken_out() {
        let body = Bytes::from_static(br#"{"a":1,"b":2}"#);
        let put = |key| Edit::insert(0, key, b"0");
        let mut edits = removals(&body, &["a", "b"]);
        edits.push(put("x"));
        edits.push(put("y"));
        assert_eq!(applied(&body, edits), r#"{"x":0,"y":0}"#);
        let mut edits = removals(&body, &["a"]);
        edits.push(put("x"));
        assert_eq!(applied(&body, edits), r#"{"x":0,"b":2}"#);
        let empty = Bytes::from_static(b"{}");
        assert_eq!(applied(&empty, vec![put("x"), put("y")]), r#"{"x":0,"y":0}"#);
    }

    #[test]
    fn nothing_is_copied_without_need() {
        let body = Bytes::from(vec![b'x'; 99]);
        let untouched = splice(&body, Vec::new()).unwrap();
        assert_eq!(untouched.contiguous().as_ptr(), body.as_ptr());
        let edit = Edit::replace(Span::new(10, 20), Bytes::from_static(b"-"));
        let segments = splice(&body, vec![edit]).unwrap().segments();
        assert_eq!(segments.iter().map(Bytes::len).collect::<Vec<_>>(), [10, 1, 79]);
        assert_eq!(segments[2].as_ptr(), body[20..].as_ptr());
    }

    #[test]
    fn edits_that_do_not_fit_are_refused() {
        let body = Bytes::from_static(br#"{"a":{"b":1},"c":2}"#);
        let member = json::members(&body, Span::whole(&body)).next().unwrap();
        let with = Bytes::from_static(b"0");
        let over = |start, end| Edit::replace(Span::new(start, end), with.clone());
        let refused = |edits: Vec<Edit>| splice(&body, edits).unwrap_err();
        assert_eq!(refused(vec![over(3, 6), over(1, 4)]), SpliceError::Overlap(3));
        assert_eq!(refused(vec![Edit::remove(&member), over(10, 11)]), SpliceError::Overlap(10));
        let twice = vec![Edit::remove(&member), Edit::remove(&member)];
        assert_eq!(refused(twice), SpliceError::Overlap(1));
        let inner = vec![Edit::insert(5, "x", b"1"), over(5, 12)];
        assert_eq!(refused(inner), SpliceError::Overlap(6));
        assert_eq!(refused(vec![over(18, 20)]), SpliceError::Misfit(18));
        assert_eq!(refused(vec![over(4, 3)]), SpliceError::Misfit(4));
        assert_eq!(refused(vec![Edit::insert(1, "x", b"1")]), SpliceError::Misfit(1));
        assert_eq!(
            refused(vec![Edit::insert(usize::MAX, "x", b"1")]),
            SpliceError::Misfit(usize::MAX)
        );
        let elsewhere = Span::new(90, 99);
        let strange = Member { key: elsewhere, value: elsewhere, before: 80, after: 99 };
        assert_eq!(refused(vec![Edit::remove(&strange)]), SpliceError::Misfit(89));
    }

    fn space() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", "", "", " ", "\n\t", "\r\n  "])
    }

    fn string() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "a", "model", "é漢", "\\n", "\\\"", "\\u00e9", "\\\\", "}", ",",
        ]);
        prop::collection::vec(part, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
    }

    /// JSON text with all its freedoms of writing.
    fn value() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec!["null", "true", "-0.5e+3", "12", "[]", "{ }"]);
        let leaf = prop_oneof![string(), word.prop_map(String::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let item = (space(), inner.clone(), space()).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
            let member = (space(), string(), space(), inner)
                .prop_map(|(a, k, b, v)| format!("{a}{k}{b}:{v}"));
            prop_oneof![
                prop::collection::vec(item, 1..4).prop_map(|all| format!("[{}]", all.join(","))),
                prop::collection::vec(member, 1..4)
                    .prop_map(|all| format!("{{{}}}", all.join(","))),
            ]
        })
    }

    /// `key` as a string, some of its letters escaped.
    fn written(key: &str, escapes: u32) -> String {
        let letter = |(n, c): (usize, char)| {
            if escapes & 1 << n == 0 { c.to_string() } else { format!("\\u{:04x}", c as u32) }
        };
        format!("\"{}\"", key.chars().enumerate().map(letter).collect::<String>())
    }

    /// Keys and values of a body, in which no key is twice and the watched ones make sense.
    fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
        let options = prop::sample::select(vec![
            "null",
            "{}",
            "{ }",
            "{\"other\":1}",
            "{\"include_usage\" : false}",
            "{\"o\":{},\"include_usage\":null,\"p\":1}",
            "{\"include_\\u0075sage\":true}",
        ]);
        let model = prop::sample::select(vec!["\"gpt\"", "\"\\u0067pt\"", "\"a/é\""]);
        let watched = (
            prop::option::of(model.prop_map(|v| ("model".into(), v.into()))),
            prop::option::of(options.prop_map(|v| ("stream_options".into(), v.into()))),
            prop::option::of(value().prop_map(|v| ("metadata".into(), v))),
        );
        let others = prop::collection::btree_map("[a-z]_[a-z]", value(), 0..5);
        (watched, others)
            .prop_map(|((a, b, c), others)| [a, b, c].into_iter().flatten().chain(others).collect())
            .prop_shuffle()
    }

    prop_compose! {
        fn bodies()(
            fields in fields(),
            spaces in prop::collection::vec((space(), space(), space(), space(), 0..8u32), 8),
            outer in (space(), space()),
        ) -> String {
            let members = fields.iter().zip(&spaces).map(|((key, value), (a, b, c, d, escapes))| {
                format!("{a}{}{b}:{c}{value}{d}", written(key, *escapes))
            });
            let members: Vec<_> = members.collect();
            format!("{}{{{}}}{}", outer.0, members.join(","), outer.1)
        }
    }

    proptest! {
        #[test]
        fn edits_do_what_a_tree_would(
            body in bodies(),
            drop_mask in any::<u8>(),
            (model, usage, put) in any::<(bool, bool, bool)>(),
        ) {
            let mut tree: Value = serde_json::from_str(&body).unwrap();
            let body = Bytes::from(body);
            let envelope = scanned(&body);
            let object = tree.as_object_mut().unwrap();
            let members: Vec<_> = json::members(&body, Span::whole(&body)).collect();
            prop_assert_eq!(members.len(), object.len());
            let mut edits = Vec::new();
            for (n, member) in members.iter().enumerate() {
                let key = json::unescape(member.key.of(&body)).unwrap();
                let kept = key == "model" && model || key == "stream_options" && usage;
                if drop_mask >> n & 1 == 1 && !kept {
                    object.remove(key.as_ref());
                    edits.push(Edit::remove(member));
                }
            }
            if model {
                object.insert("model".into(), json!("new/\"é\""));
                edits.push(set_model(&envelope, &Bytes::from("\"new/\\\"é\\\"\"")));
            }
            if usage {
                let options = object.entry("stream_options").or_insert(json!({}));
                if options.is_null() {
                    *options = json!({});
                }
                options["include_usage"] = json!(true);
                edits.extend(ask_for_usage(&envelope, &body));
            }
            if put {
                object.insert("put".into(), json!([1]));
                edits.push(Edit::insert(envelope.open_brace(), "put", b"[1]"));
            }
            let out = applied(&body, edits);
            prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), tree, "{}", out);
            let again = envelope::scan(out.as_bytes()).unwrap();
            prop_assert!(!usage || again.wants_usage());
        }

        #[test]
        fn all_other_bytes_stay(body in bodies()) {
            let body = Bytes::from(body);
            let envelope = scanned(&body);
            let out = applied(&body, vec![set_model(&envelope, &Bytes::from_static(b"\"new\""))]);
            let (cut, piece): (_, &[u8]) = if let Some(member) = envelope.slot(Slot::Model) {
                (member.value, b"\"new\"")
            } else {
                let behind = envelope.open_brace() + 1;
                let empty = body[behind..].trim_ascii_start().starts_with(b"}");
                let piece: &[u8] = if empty { b"\"model\":\"new\"" } else { b"\"model\":\"new\"," };
                (Span::new(behind, behind), piece)
            };
            let expected = [&body[..cut.start], piece, &body[cut.end..]].concat();
            prop_assert_eq!(out.as_bytes(), expected);
        }

        #[test]
        fn any_edits_are_answered(
            spans in prop::collection::vec((0..30usize, 0..30usize, 0..4u8), 0..5)
        ) {
            let body = Bytes::from_static(br#"{"a":{"b":1},"c":[2]}"#);
            let edits = spans.iter().map(|&(a, b, kind)| match kind {
                0 => Edit::insert(a, "k", b"1"),
                1 => {
                    let (key, value) = (Span::new(a, b), Span::new(b, a));
                    Edit::remove(&Member { key, value, before: b, after: a })
                }
                _ => Edit::replace(Span::new(a, b), Bytes::from_static(b"?")),
            });
            if let Ok(spliced) = splice(&body, edits.collect()) {
                prop_assert_eq!(spliced.contiguous(), spliced.segments().concat());
            }
        }
    }
}
