//! Variables in values: `${VAR}`, `${VAR:-default}`, and `$$` for a dollar sign.
//!
//! Keys are not expanded, nor are variables inside defaults or inside what a variable holds.

use crate::config::problem::{Place, Problems};
use crate::config::yaml::{Node, Text, Value};

/// Answers for a variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Fills in the variables of every value below `node`.
pub fn expand(node: &mut Node, place: &Place, env: Env<'_>, problems: &Problems) {
    match &mut node.value {
        Value::Text(text) => match filled(&text.text, env) {
            Ok(filled) => *text = filled,
            Err(message) => {
                problems.add(place, message);
                node.value = Value::Broken;
            }
        },
        Value::List(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                let place = place.item(at, item.line);
                expand(item, &place, env, problems);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                let place = place.key(&entry.key, entry.line);
                expand(&mut entry.node, &place, env, problems);
            }
        }
        Value::Null | Value::Broken => {}
    }
}

fn filled(text: &str, env: Env<'_>) -> Result<Text, String> {
    let mut out = String::with_capacity(text.len());
    let mut secret = false;
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (inside, after) = after
                .split_once('}')
                .ok_or("has a `${` without `}` (write `$$` for a dollar sign)")?;
            let (value, from_env) = variable(inside, env)?;
            out.push_str(&value);
            secret |= from_env;
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(Text { text: out, secret })
}

/// The value of `NAME` or `NAME:-default`, and whether it came from the environment. As in a shell,
/// the default also stands in for an empty variable.
fn variable(inside: &str, env: Env<'_>) -> Result<(String, bool), String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let is_name = name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b.is_ascii_digit());
    if !is_name {
        return Err("has a `${...}` that names no variable (letters, digits and _, as in \
                    ${OPENAI_API_KEY} or ${PORT:-8080})"
            .to_owned());
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(format!(
            "has a `${{` inside of the default of {name}: variables are not filled in there"
        ));
    }
    match (env(name), default) {
        (Some(value), None) => Ok((value, true)),
        (Some(value), Some(_)) if !value.is_empty() => Ok((value, true)),
        (_, Some(default)) => Ok((default.to_owned(), false)),
        (None, None) => Err(format!(
            "needs the environment variable {name}, which is not set (set it, or write \
             ${{{name}:-default}})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("s3cret".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("${KEY}".to_owned()),
            _ => None,
        }
    }

    fn fill(text: &str) -> Result<(String, bool), String> {
        filled(text, &env).map(|text| (text.text, text.secret))
    }

    #[test]
    fn variables_are_filled_in() {
        assert_eq!(fill("plain"), Ok(("plain".to_owned(), false)));
        assert_eq!(fill("${KEY}"), Ok(("s3cret".to_owned(), true)));
        assert_eq!(fill("a${KEY}b${KEY}"), Ok(("as3cretbs3cret".to_owned(), true)));
        assert_eq!(fill("${NONE:-x y}"), Ok(("x y".to_owned(), false)));
        assert_eq!(fill("${NONE:-}"), Ok((String::new(), false)));
        assert_eq!(fill("${EMPTY:-x}"), Ok(("x".to_owned(), false)));
        assert_eq!(fill("${EMPTY}"), Ok((String::new(), true)));
        assert_eq!(fill("${KEY:-x}"), Ok(("s3cret".to_owned(), true)));
        assert_eq!(fill("${DOLLAR}"), Ok(("${KEY}".to_owned(), true)));
    }

    #[test]
    fn dollars_can_be_written() {
        assert_eq!(fill("$$"), Ok(("$".to_owned(), false)));
        assert_eq!(fill("$${KEY}"), Ok(("${KEY}".to_owned(), false)));
        assert_eq!(fill("5$ $x $"), Ok(("5$ $x $".to_owned(), false)));
    }

    #[test]
    fn missing_and_malformed_variables_are_named() {
        let message = fill("${NONE}").unwrap_err();
        assert!(message.contains("NONE") && message.contains("not set"), "{message}");
        assert!(fill("${KEY").unwrap_err().contains("without `}`"));
        // Also where the default is not needed: it will be some day.
        for nested in ["${NONE:-${KEY}}", "${KEY:-${NONE}}", "Bearer ${NONE:-a${KEY}b}"] {
            assert!(fill(nested).unwrap_err().contains("inside of the default"), "{nested}");
        }
        for bad in ["${}", "${1A}", "${A B}", "${:-x}", "${A-b}"] {
            assert!(fill(bad).unwrap_err().contains("names no variable"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[${}:a-cK\\-é]{0,40}") {
            let _ = fill(&text);
        }
    }
}
