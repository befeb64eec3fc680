//! How much a model is to think: `thinking` and `output_config.effort` of Messages.
//!
//! Budgets of tokens are also given a word (`Effort::of_budget`), because no other dialect has them.

use crate::dialect::anthropic::offer;
use crate::dialect::canonical::fields::{count, pick, refused, text};
use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::request::{Effort, Reasoning, Request};
use crate::dialect::canonical::text::Raw;
use crate::wire::json;

/// Reads `thinking` and `output_config.effort`. An effort alone is read as thinking that is left to
/// the model, which is what it means to all others.
pub fn read<'a>(
    thinking: Option<&'a [u8]>,
    effort: Option<&'a [u8]>,
) -> Result<Option<Reasoning<'a>>, Refused> {
    let effort = effort.map(read_effort).transpose()?;
    let Some(thinking) = thinking else {
        let alone =
            |effort| Reasoning { effort: Some(effort), adaptive: true, ..Reasoning::default() };
        return Ok(effort.map(alone));
    };
    let [kind, budget, display] = pick(thinking, ["type", "budget_tokens", "display"]);
    if let Some(display) = display {
        text(display, "thinking.display")?;
    }
    let mut reasoning = Reasoning { effort, summary: display.map(Raw), ..Reasoning::default() };
    match kind.unwrap_or_default() {
        b"\"disabled\"" => reasoning.effort = Some(Effort::Off),
        b"\"adaptive\"" | b"\"between_tools\"" => reasoning.adaptive = true,
        b"\"enabled\"" => {
            let budget = count(budget.unwrap_or_default(), "thinking.budget_tokens")?;
            reasoning.budget_tokens = Some(budget);
            reasoning.effort = effort.or(Some(Effort::of_budget(budget)));
        }
        _ => {
            let why = "must be `enabled`, `adaptive`, `between_tools` or `disabled`";
            return Err(refused("thinking.type", why));
        }
    }
    Ok(Some(reasoning))
}

fn read_effort(value: &[u8]) -> Result<Effort, Refused> {
    let named = json::string(value).and_then(|name| Effort::from_name(&name));
    named.filter(|effort| *effort >= Effort::Low).ok_or_else(|| {
        let why = "must be `low`, `medium`, `high`, `xhigh` or `max`";
        refused("output_config.effort", why)
    })
}

/// Whether the request turns thinking on. Anthropic takes no forced tool beside it.
pub fn is_on(request: &Request<'_>) -> bool {
    let wanted = |reasoning: &Reasoning<'_>| {
        reasoning.adaptive
            || reasoning.budget_tokens.is_some()
            || reasoning.effort.is_some_and(|effort| effort != Effort::Off)
    };
    request.reasoning.as_ref().is_some_and(wanted) && !offer::is_forced(request)
}

/// Writes `thinking`, as a member that follows others.
pub fn write(request: &Request<'_>, losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Refused> {
    let Some(reasoning) = &request.reasoning else { return Ok(()) };
    if reasoning.effort == Some(Effort::Off) {
        out.extend_from_slice(b",\"thinking\":{\"type\":\"disabled\"}");
        return Ok(());
    }
    if !is_on(request) {
        // A forced tool rules thinking out; how thoughts are shown means nothing without any.
        let asks_nothing = *reasoning == Reasoning::default();
        return if asks_nothing { Ok(()) } else { losses.drop_field(name(reasoning, losses)) };
    }
    match reasoning.budget_tokens {
        Some(budget) => {
            out.extend_from_slice(b",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":");
            out.extend_from_slice(budget.to_string().as_bytes());
        }
        None => out.extend_from_slice(b",\"thinking\":{\"type\":\"adaptive\""),
    }
    match reasoning.summary.map_or(&b""[..], |summary| summary.0) {
        b"\"summarized\"" | b"\"auto\"" | b"\"concise\"" | b"\"detailed\"" => {
            out.extend_from_slice(b",\"display\":\"summarized\"");
        }
        b"\"omitted\"" => out.extend_from_slice(b",\"display\":\"omitted\""),
        _ => {}
    }
    out.push(b'}');
    Ok(())
}

/// What the client calls it: most of those that speak Chat say it in a word.
fn name(reasoning: &Reasoning<'_>, losses: &Losses) -> &'static str {
    let is_word = reasoning.effort.is_some()
        && *reasoning == Reasoning { effort: reasoning.effort, ..Reasoning::default() };
    if is_word && !losses.has_items { "reasoning_effort" } else { "reasoning" }
}

/// The word for `output_config.effort`, if one is to be sent. There is none for no thinking, and none
/// where a budget says the same.
pub fn effort(request: &Request<'_>) -> Option<&'static str> {
    let reasoning = request.reasoning.as_ref()?;
    let effort = reasoning.effort.filter(|effort| *effort != Effort::Off)?;
    if reasoning.budget_tokens.is_some_and(|budget| Effort::of_budget(budget) == effort) {
        return None;
    }
    Some(effort.max(Effort::Low).name())
}
