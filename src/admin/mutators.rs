//! The switches of the mutators that can be turned at run time (S2-11).

use serde_json::{Value, json};

use crate::admin::handlers::Refusal;
use crate::base::fault::Code;
use crate::config::current::Current;

/// `POST /api/mutators/tool-results/{on|off}`, and the same at its seed's path: from the next request on, until
/// the process ends. `key_id` names who asks, for the log.
///
/// # Errors
/// A word that is neither.
pub fn switch(current: &Current, word: &str, key_id: &str) -> Result<Value, Refusal> {
    current.controls.set_tool_results(is_on(word)?);
    tracing::info!(switch = word, by = key_id, "the shortening of tool results was switched");
    Ok(json!({"ok": true, "compressor": word}))
}

/// `POST /api/mutators/thinking/{on|off}`: whether strategies have models told to think, from the next request
/// on, until the process ends. `key_id` names who asks, for the log.
///
/// # Errors
/// A word that is neither.
pub fn switch_thinking(current: &Current, word: &str, key_id: &str) -> Result<Value, Refusal> {
    current.controls.set_thinking(is_on(word)?);
    tracing::info!(switch = word, by = key_id, "the telling of models to think was switched");
    Ok(json!({"ok": true, "thinking": word}))
}

fn is_on(word: &str) -> Result<bool, Refusal> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Refusal::new(Code::InvalidRequest, "the switch must be `on` or `off`")),
    }
}
