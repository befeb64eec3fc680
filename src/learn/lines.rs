//! Labelled queries from lines of JSON. Two forms are read, and told apart by their fields: one line a query with a
//! list of qualities, after a line that names the models (`{"_meta": true, "models": [..]}`), and one line for each
//! answer (`{"query", "model", "score", "tokens", "cost", "task"}`). What is wrong is refused with line and field.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::dataset::{Outcome, Query, Suite};
use crate::base::hex::hex;
use crate::base::limit;

/// What is wrong with a line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {field}: {why}")]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// Which field.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

type Wrong = (String, String);

fn wrong<T>(field: impl Into<String>, why: impl Into<String>) -> Result<T, Wrong> {
    Err((field.into(), why.into()))
}

/// Reads line after line.
#[derive(Debug, Default)]
pub struct Lines {
    suite: Suite,
    digest: Sha256,
    line: usize,
    /// Places of models, by name, and whether the first line named all of them.
    models: HashMap<String, usize>,
    models_named: bool,
    /// Places of queries of the long form, by text.
    queries: HashMap<String, usize>,
}

impl Lines {
    /// Reads into a suite of this name.
    pub fn new(name: &str) -> Self {
        Self { suite: Suite { name: name.to_owned(), ..Suite::default() }, ..Self::default() }
    }

    /// One line. Empty ones are passed over.
    ///
    /// # Errors
    /// Which field of it is wrong.
    pub fn push(&mut self, line: &str) -> Result<(), LineError> {
        self.line += 1;
        self.digest.update(line.as_bytes());
        self.digest.update(b"\n");
        if line.trim().is_empty() {
            return Ok(());
        }
        let at = self.line;
        let told = |(field, why)| LineError { line: at, field, why };
        let value: Value = serde_json::from_str(line).map_err(|error| {
            told((
                "the line".into(),
                format!("not JSON ({error}); NaN and inf are no numbers there"),
            ))
        })?;
        self.take(&value).map_err(told)
    }

    fn take(&mut self, value: &Value) -> Result<(), Wrong> {
        if !value.is_object() {
            return wrong("the line", "not an object");
        }
        if value.get("_meta").is_some() {
            return self.head(value);
        }
        if self.suite.queries.len() >= limit::LEARN_QUERIES_MAX {
            return wrong("the file", format!("more than {} queries", limit::LEARN_QUERIES_MAX));
        }
        if value.get("q").is_some() { self.wide(value) } else { self.long(value) }
    }

    fn head(&mut self, value: &Value) -> Result<(), Wrong> {
        if !self.suite.queries.is_empty() || self.models_named {
            return wrong("_meta", "only the first line may say what follows");
        }
        let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        (self.suite.source, self.suite.licence) = (text("source"), text("licence"));
        let Some(models) = value.get("models") else { return Ok(()) };
        let Some(models) = models.as_array() else { return wrong("models", "not a list of names") };
        for (at, model) in models.iter().enumerate() {
            let Some(name) = model.as_str() else {
                return wrong(format!("models[{at}]"), "not a name");
            };
            let before = self.suite.models.len();
            if self.model(name)? < before {
                return wrong(format!("models[{at}]"), format!("{name} is there twice"));
            }
        }
        self.models_named = true;
        Ok(())
    }

    /// The place of a model; a new one if the first line has not named all.
    fn model(&mut self, name: &str) -> Result<usize, Wrong> {
        if let Some(at) = self.models.get(name) {
            return Ok(*at);
        }
        if self.models_named {
            return wrong("model", format!("{name} is not one of the models of the first line"));
        }
        if self.suite.models.len() >= limit::ROUTED_MODELS_MAX {
            return wrong("model", format!("{name} is one more than {}", limit::ROUTED_MODELS_MAX));
        }
        self.suite.models.push(name.to_owned());
        self.models.insert(name.to_owned(), self.suite.models.len() - 1);
        Ok(self.suite.models.len() - 1)
    }

    fn wide(&mut self, value: &Value) -> Result<(), Wrong> {
        if !self.models_named {
            return wrong("q", "no line before it has named the models");
        }
        let Some(text) = text_of(value, "text")? else {
            self.suite.without_text += 1;
            return Ok(());
        };
        let count = self.suite.models.len();
        let (qualities, costs) = (list(value, "q", count)?, list(value, "c", count)?);
        let tokens = list(value, "n", count)?;
        let mut outcomes = Vec::with_capacity(count);
        for at in 0..count {
            outcomes.push(Outcome {
                quality: score(qualities.get(at), &format!("q[{at}]"))?,
                cost: cost(costs.get(at), &format!("c[{at}]"))?,
                tokens: length(tokens.get(at), &format!("n[{at}]"))?,
            });
        }
        if outcomes.iter().all(|outcome| outcome.quality.is_none()) {
            return wrong("q", "no model has a score");
        }
        let (group, tools) = (group(value, "group")?, tools(value));
        let bytes = text.len() + tool_bytes(value);
        self.suite.queries.push(Query { text, group, tools, bytes, outcomes });
        Ok(())
    }

    fn long(&mut self, value: &Value) -> Result<(), Wrong> {
        let Some(text) = text_of(value, "query")? else {
            self.suite.without_text += 1;
            return Ok(());
        };
        let Some(name) = value.get("model").and_then(Value::as_str) else {
            return wrong("model", "missing, or not a name");
        };
        let outcome = Outcome {
            quality: score(value.get("score"), "score")?,
            cost: cost(value.get("cost"), "cost")?,
            tokens: length(value.get("tokens"), "tokens")?,
        };
        if outcome.quality.is_none() {
            return wrong("score", "missing");
        }
        let (group, tools) = (group(value, "task")?, tools(value));
        let model = self.model(name)?;
        let next = self.suite.queries.len();
        let at = *self.queries.entry(text.clone()).or_insert(next);
        if at == next {
            let bytes = text.len() + tool_bytes(value);
            self.suite.queries.push(Query { text, group, tools, bytes, outcomes: Vec::new() });
        }
        let outcomes = &mut self.suite.queries[at].outcomes;
        outcomes.resize(outcomes.len().max(model + 1), Outcome::default());
        if outcomes[model].quality.is_some() {
            return wrong("model", format!("{name} has a score for this query already"));
        }
        outcomes[model] = outcome;
        Ok(())
    }

    /// All that was read.
    ///
    /// # Errors
    /// There is nothing to learn from: no query with a text, or less than two models.
    pub fn finish(mut self) -> Result<Suite, LineError> {
        let models = self.suite.models.len();
        let nothing = |field: &str, why: &str| {
            Err(LineError { line: self.line, field: field.to_owned(), why: why.to_owned() })
        };
        if self.suite.queries.is_empty() {
            return nothing("the file", "no query with a text");
        }
        if models < 2 {
            return nothing("the file", "less than two models: there is nothing to choose");
        }
        for query in &mut self.suite.queries {
            query.outcomes.resize(models, Outcome::default());
        }
        self.suite.digest = hex(&self.digest.finalize());
        Ok(self.suite)
    }
}

/// The text of a query: a string, or the text parts of a list of parts. `None` if nothing is left of it.
fn text_of(value: &Value, field: &str) -> Result<Option<String>, Wrong> {
    let text = match value.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        Some(Value::Null) => String::new(),
        Some(_) => return wrong(field, "not a text"),
        None => return wrong(field, "missing"),
    };
    Ok((!text.trim().is_empty()).then_some(text))
}

fn group(value: &Value, field: &str) -> Result<Option<String>, Wrong> {
    match value.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if !name.trim().is_empty() => Ok(Some(name.trim().to_owned())),
        Some(_) => wrong(field, "not a name"),
    }
}

/// How many tools a query offers: given as a number, a list, or a list of objects in a string without brackets.
fn tools(value: &Value) -> u32 {
    let count = match value.get("tools") {
        Some(Value::Array(tools)) => tools.len(),
        Some(Value::Number(count)) => {
            count.as_u64().map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX))
        }
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Array(tools)) => tools.len(),
            Ok(_) => 1,
            Err(_) => serde_json::Deserializer::from_str(text)
                .into_iter::<Value>()
                .take_while(Result::is_ok)
                .count()
                .max(usize::from(!text.is_empty())),
        },
        _ => 0,
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn tool_bytes(value: &Value) -> usize {
    match value.get("tools") {
        Some(Value::String(text)) => text.len(),
        Some(tools @ Value::Array(_)) => tools.to_string().len(),
        _ => 0,
    }
}

fn list<'a>(value: &'a Value, field: &str, count: usize) -> Result<&'a [Value], Wrong> {
    match value.get(field) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(values)) if values.len() == count => Ok(values),
        Some(Value::Array(values)) => {
            wrong(field, format!("{} values for {count} models", values.len()))
        }
        Some(_) => wrong(field, "not a list"),
    }
}

/// A number, if there is one. A number in a string ("NaN") is none.
fn number(value: Option<&Value>, field: &str) -> Result<Option<f64>, Wrong> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) if number.is_finite() => Ok(Some(number)),
            _ => wrong(field, format!("{value} is not a finite number")),
        },
    }
}

fn score(value: Option<&Value>, field: &str) -> Result<Option<f64>, Wrong> {
    match number(value, field)? {
        Some(score) if !(0.0..=1.0).contains(&score) => {
            wrong(field, format!("{score} is not between 0 and 1"))
        }
        score => Ok(score),
    }
}

/// Micro-dollars to nano-dollars.
fn cost(value: Option<&Value>, field: &str) -> Result<Option<i64>, Wrong> {
    match number(value, field)? {
        Some(cost) if !(0.0..1e12).contains(&cost) => {
            wrong(field, format!("{cost} micro-dollars cannot be"))
        }
        cost => Ok(cost.map(|cost| (cost * 1_000.0).round() as i64)),
    }
}

fn length(value: Option<&Value>, field: &str) -> Result<Option<u32>, Wrong> {
    match number(value, field)? {
        Some(tokens) if !(0.0..1e9).contains(&tokens) => {
            wrong(field, format!("{tokens} tokens cannot be"))
        }
        tokens => Ok(tokens.map(|tokens| tokens.round() as u32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        r#"{"_meta": true, "models": ["a", "b"], "source": "made", "licence": "MIT"}"#;

    fn read(lines: &[&str]) -> Result<Suite, LineError> {
        let mut reader = Lines::new("made");
        lines.iter().try_for_each(|line| reader.push(line))?;
        reader.finish()
    }

    fn refused(lines: &[&str]) -> String {
        read(lines).unwrap_err().to_string()
    }

    #[test]
    fn both_forms_give_the_same_suite() {
        let wide = read(&[
            HEAD,
            r#"{"group": "sums", "text": "1+1?", "q": [1, 0.5], "c": [10.5, 2], "n": [7, 8], "tools": "{} {}"}"#,
        ])
        .unwrap();
        let long = read(&[
            r#"{"query": "1+1?", "task": "sums", "model": "a", "score": 1, "cost": 10.5, "tokens": 7, "tools": 2}"#,
            r#"{"query": "1+1?", "task": "sums", "model": "b", "score": 0.5, "cost": 2, "tokens": 8}"#,
        ])
        .unwrap();
        assert_eq!(wide.models, long.models);
        assert_eq!(wide.queries[0].outcomes, long.queries[0].outcomes);
        assert_eq!(wide.queries[0].outcomes[0].cost, Some(10_500));
        assert_eq!((wide.queries[0].tools, long.queries[0].tools), (2, 2));
        assert_eq!(wide.licence.as_deref(), Some("MIT"));
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_field() {
        let wide = |rest: &str| refused(&[HEAD, &format!(r#"{{"text": "x", {rest}}}"#)]);
        assert_eq!(wide(r#""q": [1]"#), "line 2: q: 1 values for 2 models");
        assert_eq!(wide(r#""q": [1, 1.5]"#), "line 2: q[1]: 1.5 is not between 0 and 1");
        assert!(wide(r#""q": [1, NaN]"#).starts_with("line 2: the line: not JSON"));
        assert_eq!(wide(r#""q": [1, "NaN"]"#), "line 2: q[1]: \"NaN\" is not a finite number");
        assert!(wide(r#""q": [1, 1e999]"#).starts_with("line 2: the line: not JSON"));
        assert_eq!(
            wide(r#""q": [1, 0], "c": [1, -3]"#),
            "line 2: c[1]: -3 micro-dollars cannot be"
        );
        assert_eq!(wide(r#""q": [null, null]"#), "line 2: q: no model has a score");
        assert_eq!(refused(&["[]"]), "line 1: the line: not an object");
        assert_eq!(
            refused(&[r#"{"text": "x", "q": [1]}"#]),
            "line 1: q: no line before it has named the models"
        );
        let long = |rest: &str| refused(&[HEAD, &format!(r#"{{"query": "x", {rest}}}"#)]);
        let unknown = "line 2: model: c is not one of the models of the first line";
        assert_eq!(long(r#""model": "c", "score": 1"#), unknown);
        assert_eq!(long(r#""model": "a""#), "line 2: score: missing");
        assert_eq!(long(r#""score": 1"#), "line 2: model: missing, or not a name");
        let twice = [
            HEAD,
            r#"{"query": "x", "model": "a", "score": 1}"#,
            r#"{"query": "x", "model": "a", "score": 0}"#,
        ];
        assert_eq!(refused(&twice), "line 3: model: a has a score for this query already");
        assert_eq!(refused(&[HEAD]), "line 1: the file: no query with a text");
        let one = [r#"{"query": "x", "model": "a", "score": 1}"#];
        assert_eq!(
            refused(&one),
            "line 1: the file: less than two models: there is nothing to choose"
        );
    }

    #[test]
    fn queries_without_a_text_are_left_out_and_counted() {
        let suite = read(&[
            HEAD,
            r#"{"text": "  ", "q": [1, 0]}"#,
            r#"{"text": [{"type": "image_url", "image_url": {"url": "data:"}}], "q": [1, 0]}"#,
            r#"{"text": [{"type": "text", "text": "what is this"}, {"type": "image_url"}], "q": [1, 0]}"#,
            "",
        ])
        .unwrap();
        assert_eq!((suite.queries.len(), suite.without_text), (1, 2));
        assert_eq!(suite.queries[0].text, "what is this");
    }
}
