//! The elements of a JSON array from the last to the first, for fields where the newest stands last.
//!
//! Only for text that a scan has found to be JSON: nothing is checked here, and of other text the spans
//! mean nothing. Hot path: `benches/envelope.rs`.

use memchr::memrchr;

use crate::wire::syntax::Span;

/// The elements of the array that lies at `within`, the last one first; none if no array lies there.
pub fn elements(text: &[u8], within: Span) -> impl Iterator<Item = Span> {
    let token = within.of(text);
    let is_array = token.starts_with(b"[") && token.ends_with(b"]") && token.len() > 1;
    // What is left to walk: between the opening bracket and the end of the elements not yet given out.
    let mut left = is_array.then(|| Span::new(within.start + 1, within.end - 1));
    std::iter::from_fn(move || {
        let before = left?;
        let end = before.start + before.of(text).trim_ascii_end().len();
        let comma = comma_before(text, Span::new(before.start, end));
        left = comma.map(|comma| Span::new(before.start, comma));
        let start = comma.map_or(before.start, |comma| comma + 1);
        let element = Span::new(start, end).of(text).trim_ascii_start();
        (!element.is_empty()).then(|| Span::new(end - element.len(), end))
    })
}

/// The last comma that stands there in no string and no container.
fn comma_before(text: &[u8], within: Span) -> Option<usize> {
    let mut depth = 0_usize;
    let mut end = within.end;
    while let Some((&byte, before)) = Span::new(within.start, end).of(text).split_last() {
        end = within.start + before.len();
        match byte {
            b'"' => end = within.start + string_start(before)?,
            b'}' | b']' => depth += 1,
            b'{' | b'[' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => return Some(end),
            _ => {}
        }
    }
    None
}

/// Where the string starts whose closing quote stands behind `before`. A quote within a string always
/// has a backslash in front of it, and the one that opens a string never has.
fn string_start(before: &[u8]) -> Option<usize> {
    let mut end = before.len();
    loop {
        let quote = memrchr(b'"', before.get(..end)?)?;
        match quote.checked_sub(1).and_then(|at| before.get(at)) {
            Some(b'\\') => end = quote,
            _ => return Some(quote),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn reversed(text: &str) -> Vec<&str> {
        let spans = elements(text.as_bytes(), Span::whole(text.as_bytes()));
        spans.map(|span| &text[span.start..span.end]).collect()
    }

    #[test]
    fn elements_come_from_the_rear() {
        assert_eq!(reversed("[]"), [""; 0]);
        assert_eq!(reversed("[ \n ]"), [""; 0]);
        assert_eq!(reversed("[ 1 ]"), ["1"]);
        assert_eq!(
            reversed(r#"[null ,{"a":[1,"]"]}, "x\\" , "\",[" ,-1e5]"#),
            ["-1e5", r#""\",[""#, r#""x\\""#, r#"{"a":[1,"]"]}"#, "null"]
        );
    }

    #[test]
    fn other_values_have_no_elements() {
        for text in ["", "[", "]", "{}", "null", "\"[1]\"", "{\"a\":[1]}"] {
            assert_eq!(reversed(text), [""; 0], "{text}");
        }
        assert_eq!(elements(b"[1]", Span::new(2, 99)).count(), 0);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            r#"[\[\]{}",\\a\n]{0,6}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((r#"[{\["\\,]{0,3}"#, inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn all_elements_are_found(values in prop::collection::vec(any_json(), 0..8)) {
            for text in [
                serde_json::to_string(&values).unwrap(),
                serde_json::to_string_pretty(&values).unwrap(),
            ] {
                let found = reversed(&text).into_iter().rev();
                let read: Vec<Value> = found.map(|it| serde_json::from_str(it).unwrap()).collect();
                prop_assert_eq!(&read, &values);
            }
        }

        #[test]
        fn soup_ends(text in r#"\[[\[\]{}",\\ 1]{0,40}\]"#) {
            prop_assert!(reversed(&text).len() <= text.len());
        }
    }
}
