//! The switch of the mutators that can be turned at run time (S2-11).

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
    let is_on = match word {
        "on" => true,
        "off" => false,
        _ => return Err(Refusal::new(Code::InvalidRequest, "the switch must be `on` or `off`")),
    };
    current.controls.set_tool_results(is_on);
    tracing::info!(switch = word, by = key_id, "the shortening of tool results was switched");
    Ok(json!({"ok": true, "compressor": word}))
}
