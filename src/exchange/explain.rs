//! Why a request goes where it goes, in one line for the header `x-gateway-explain`: names of models and rules
//! only, bounded, and made only for those who ask for it.

use std::fmt::Write;

use crate::base::limit::EXPLAIN_BYTES_MAX;
use crate::exchange::choose::{Choice, Desk};
use crate::exchange::route::{Candidate, Plan, Scene};

/// The line for that plan: mode, who decided, tier, pin, rule, candidates in order, and who was rejected for what.
pub fn line(scene: &Scene<'_>, desk: &Desk<'_>, plan: &Plan) -> String {
    let agent = &desk.asked.principal.agent;
    let mut line = format!("mode={}; decision={}", agent.mode.name(), plan.decision);
    if let Some(tier) = plan.tier {
        push(&mut line, "tier", &tier.to_string());
    }
    if let Some(choice) = &plan.choice {
        tell(&mut line, choice);
    }
    let catalog = &desk.snapshot.catalog;
    let places = plan.candidates.iter().filter_map(Candidate::place);
    let places: Vec<usize> = places.map(|place| catalog.listed(place)).collect();
    let mut names: Vec<&str> =
        places.iter().filter_map(|&place| catalog.get(place)).map(|model| &*model.id).collect();
    names.dedup();
    push(&mut line, "order", &names.join(","));
    let rejected = rejected(scene, desk, (plan, &places));
    if !rejected.is_empty() {
        push(&mut line, "rejected", &rejected.join(","));
    }
    line.retain(|letter| letter == ' ' || letter.is_ascii_graphic());
    line.truncate(EXPLAIN_BYTES_MAX);
    line
}

fn tell(line: &mut String, choice: &Choice) {
    let record = &choice.record;
    push(line, "strategy", record.strategy);
    push(line, "rule", &record.reason);
    push(line, "confidence_ppm", &record.confidence_ppm.to_string());
    push(line, "chosen", &record.model);
    if let Some(ladder) = &choice.ladder {
        let features = &ladder.features;
        let _ = write!(
            line,
            "; task={}; difficulty={}; tokens={}; language={}",
            record.task_type,
            features.difficulty.name(),
            features.token_count,
            features.language.name()
        );
    }
    let pin = if record.pin_state.is_empty() { "none" } else { record.pin_state };
    push(line, "pin", pin);
}

fn push(line: &mut String, key: &str, value: &str) {
    // Writing to memory cannot fail.
    let _ = write!(line, "; {key}={value}");
}

/// The models of the configuration that are not in the plan though a strategy chose, each with the reason; and
/// those that stand behind because they rest.
fn rejected(scene: &Scene<'_>, desk: &Desk<'_>, (plan, places): (&Plan, &[usize])) -> Vec<String> {
    let Some(choice) = &plan.choice else { return Vec::new() };
    let agent = &desk.asked.principal.agent;
    let mut all = Vec::new();
    for (place, model) in desk.snapshot.catalog.models().iter().enumerate() {
        // Who may not use a model is not told of it either.
        if model.is_wildcard() || model.provider.fence.is_some() || !agent.allows(place) {
            continue;
        }
        let lacks = choice.ladder.and_then(|ladder| desk.lacks(place, &ladder.features));
        let why = if places.contains(&place) {
            if !scene.current.endpoints.is_resting(place, scene.now_ms) {
                continue;
            }
            "resting"
        } else if !model.enabled {
            "disabled"
        } else if model.provider.surface_for(desk.asked.surface).is_none() {
            "dialect"
        } else if let Some(lacks) = lacks {
            lacks
        } else if plan.tier.is_some() {
            "budget tier"
        } else {
            "not needed"
        };
        all.push(format!("{}:{why}", model.id));
    }
    all
}
