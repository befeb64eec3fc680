//! The lists of models that clients ask for, in their dialect.

use serde_json::{Value, json};

use crate::base::fault::{Code, Fault};
use crate::base::surface::Dialect;
use crate::config::catalog::{Catalog, Model};
use crate::exchange::asked::bounded_name;

/// `GET /v1/models`: every enabled model, every alias of one, and every auto name.
pub fn list(catalog: &Catalog, dialect: Dialect) -> Vec<u8> {
    let models = catalog.models().iter().filter(|model| is_listed(model));
    let mut data: Vec<Value> = models.map(|model| entry(model, dialect)).collect();
    let aliases = catalog.aliases().filter(|(_, model)| is_listed(model));
    data.extend(aliases.map(|(alias, model)| alias_entry(alias, model, dialect)));
    data.extend(catalog.auto_names().iter().map(|name| auto_entry(name, dialect)));
    let list = match dialect {
        Dialect::OpenAi => json!({"object": "list", "data": data}),
        Dialect::Anthropic => {
            let id = |entry: Option<&Value>| entry.map_or(Value::Null, |entry| entry["id"].clone());
            let (first, last) = (id(data.first()), id(data.last()));
            json!({"data": data, "has_more": false, "first_id": first, "last_id": last})
        }
    };
    list.to_string().into_bytes()
}

/// `GET /v1/models/{id}`, the id still percent-encoded.
///
/// # Errors
/// `model_not_found`.
pub fn one(catalog: &Catalog, dialect: Dialect, encoded_id: &str) -> Result<Vec<u8>, Fault> {
    let id = percent_decoded(encoded_id);
    let model = catalog.models().iter().find(|model| is_listed(model) && *model.id == *id);
    let alias = catalog.aliases().find(|(alias, model)| is_listed(model) && *alias == id);
    let entry = match (model, alias) {
        (Some(model), _) => entry(model, dialect),
        (None, Some((alias, model))) => alias_entry(alias, model, dialect),
        (None, None) if catalog.is_auto_name(&id) => auto_entry(&id, dialect),
        (None, None) => {
            let message = format!("no model `{}` is configured", bounded_name(&id));
            return Err(Fault::new(Code::ModelNotFound, message).param("model"));
        }
    };
    Ok(entry.to_string().into_bytes())
}

fn is_listed(model: &Model) -> bool {
    model.enabled && !model.is_wildcard()
}

/// An alias is listed as its model under another name; which one, `alias_of` says.
fn alias_entry(alias: &str, model: &Model, dialect: Dialect) -> Value {
    let mut entry = entry(model, dialect);
    entry["id"] = alias.into();
    entry["alias_of"] = (*model.id).into();
    if dialect == Dialect::Anthropic {
        entry["display_name"] = alias.into();
    }
    entry
}

fn entry(model: &Model, dialect: Dialect) -> Value {
    match dialect {
        Dialect::OpenAi => json!({
            "id": &*model.id, "object": "model", "created": 0, "owned_by": &*model.provider.name,
            "context_length": model.context_tokens, "max_output_tokens": model.output_tokens_max,
        }),
        Dialect::Anthropic => json!({
            "id": &*model.id, "type": "model", "display_name": &*model.id,
            "created_at": "1970-01-01T00:00:00Z", "max_input_tokens": model.context_tokens,
            "max_tokens": model.output_tokens_max,
        }),
    }
}

fn auto_entry(name: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::OpenAi => json!({"id": name, "object": "model", "created": 0, "owned_by": "weir"}),
        Dialect::Anthropic => json!({
            "id": name, "type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z",
        }),
    }
}

pub(super) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(hex_pair);
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(pair).ok().filter(|text| !text.starts_with('+'))?;
    u8::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decoded_once() {
        assert_eq!(percent_decoded("openai%2Fgpt-4o"), "openai/gpt-4o");
        assert_eq!(percent_decoded("a%2"), "a%2");
        assert_eq!(percent_decoded("a%zz%252F"), "a%zz%2F");
    }
}
