//! What a call of the control API brings along: a JSON body and a query, read strictly, so that what is
//! wrong is told by the name of its field.
//!
//! What it shows of a value is never the value itself: one of the fields is a credential.

use std::collections::HashMap;

use axum::extract::Query;
use axum::http::Uri;
use serde_json::{Map, Value};

use crate::admin::handlers::Refusal;
use crate::base::fault::Code;

/// The fields of a JSON body.
pub struct Fields(Map<String, Value>);

/// A refusal that names a field.
pub fn bad(field: &str, why: &str) -> Refusal {
    Refusal::new(Code::InvalidRequest, format!("{field}: {why}"))
}

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// `invalid_json`, `invalid_request` if it is no object.
    pub fn read(body: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Refusal::new(Code::InvalidRequest, "the body must be a JSON object")),
            Err(error) => {
                // The text of an error could show a piece of the body; its place cannot.
                let (line, column) = (error.line(), error.column());
                let message = format!("the body is no JSON (line {line}, column {column})");
                Err(Refusal::new(Code::InvalidJson, message))
            }
        }
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A text that may be missing.
    ///
    /// # Errors
    /// It is no text.
    pub fn text(&self, field: &str) -> Result<Option<&str>, Refusal> {
        let text = |value: &'_ Value| matches!(value, Value::String(_));
        match self.get(field) {
            None => Ok(None),
            Some(value) if text(value) => Ok(value.as_str()),
            Some(_) => Err(bad(field, "must be a text")),
        }
    }

    /// A text that must be there and not be blank.
    ///
    /// # Errors
    /// It is not.
    pub fn needed(&self, field: &str) -> Result<&str, Refusal> {
        let text = self.text(field)?.map(str::trim).filter(|text| !text.is_empty());
        text.ok_or_else(|| bad(field, "is missing or empty"))
    }

    /// An object that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn object(&self, field: &str) -> Result<Self, Refusal> {
        match self.get(field) {
            Some(Value::Object(fields)) => Ok(Self(fields.clone())),
            Some(_) => Err(bad(field, "must be an object")),
            None => Err(bad(field, "is missing")),
        }
    }

    /// Yes or no, or `default` if it is missing.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&self, field: &str, default: bool) -> Result<bool, Refusal> {
        self.get(field).map_or(Ok(default), |value| {
            value.as_bool().ok_or_else(|| bad(field, "must be true or false"))
        })
    }

    /// A whole number above zero that may be missing.
    ///
    /// # Errors
    /// It is no such number.
    pub fn count(&self, field: &str, max: u64) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let count = value.as_u64().filter(|count| (1..=max).contains(count));
        count.map(Some).ok_or_else(|| bad(field, &format!("must be a number from 1 to {max}")))
    }

    /// Texts that may be missing.
    ///
    /// # Errors
    /// They are no list of texts.
    pub fn texts(&self, field: &str) -> Result<Vec<String>, Refusal> {
        let refuse = || bad(field, "must be a list of texts");
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(refuse)?;
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(refuse)).collect()
    }
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub struct Params(HashMap<String, String>);

impl Params {
    /// Those of that address.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn of(uri: &Uri) -> Result<Self, Refusal> {
        let read = Query::<HashMap<String, String>>::try_from_uri(uri);
        let refuse = |_| Refusal::new(Code::InvalidRequest, "the query cannot be read");
        read.map(|Query(params)| Self(params)).map_err(refuse)
    }

    /// One of them, if it is there and not blank.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// A whole number, or `default` if it is missing.
    ///
    /// # Errors
    /// It is none, or outside of its range.
    pub fn number(&self, name: &str, (min, default, max): (i64, i64, i64)) -> Result<i64, Refusal> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| bad(name, &format!("must be a number from {min} to {max}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(result: Result<T, Refusal>) -> String {
        result.err().map_or_else(String::new, |refusal| refusal.message.into_owned())
    }

    #[test]
    fn fields_are_named_and_values_are_not_shown() {
        let body = br#"{"a": 5, "b": " x ", "c": [1], "d": {"e": "f"}, "n": null, "t": true}"#;
        let fields = Fields::read(body).unwrap();
        assert_eq!((fields.needed("b").unwrap(), fields.text("b").unwrap()), ("x", Some(" x ")));
        assert_eq!(message(fields.needed("a")), "a: must be a text");
        assert_eq!(message(fields.needed("n")), "n: is missing or empty");
        assert_eq!(message(fields.texts("c")), "c: must be a list of texts");
        assert_eq!(message(fields.object("b")), "b: must be an object");
        assert_eq!(message(fields.flag("a", true)), "a: must be true or false");
        assert_eq!(fields.object("d").unwrap().needed("e").unwrap(), "f");
        assert_eq!((fields.flag("t", false), fields.flag("n", true)), (Ok(true), Ok(true)));
        assert_eq!((fields.count("a", 5), fields.count("z", 5)), (Ok(Some(5)), Ok(None)));
        assert_eq!(message(fields.count("a", 4)), "a: must be a number from 1 to 4");
        let broken = message(Fields::read(br#"{"api_key": "sk-MARKER"#));
        assert!(broken.contains("no JSON (line 1") && !broken.contains("MARKER"), "{broken}");
        assert!(message(Fields::read(b"[]")).contains("object"));
    }

    #[test]
    fn queries_are_decoded() {
        let uri: Uri = "/x?agent_id=a%2Fb+c&limit=5&none=".parse().unwrap();
        let params = Params::of(&uri).unwrap();
        assert_eq!(params.text("agent_id"), Some("a/b c"));
        assert_eq!((params.text("none"), params.text("other")), (None, None));
        assert_eq!(params.number("limit", (1, 2, 9)), Ok(5));
        assert_eq!(params.number("after", (0, 2, 9)), Ok(2));
        assert_eq!(
            message(params.number("limit", (1, 2, 4))),
            "limit: must be a number from 1 to 4"
        );
    }
}
