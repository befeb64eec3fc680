//! The strategy `learned`: predicted quality of each model for a prompt against what the request is expected to
//! cost there, in integers (`outlook`). Only the qualities are estimates.

use std::sync::Arc;

use crate::base::limit::{LEARNED_TOOLS_COUNTED_MAX, ROUTED_MODELS_MAX};
use crate::config::learned::Ready;
use crate::exchange::choose::{Choice, Chosen, Cold, Desk, told};
use crate::exchange::outlook::{self, Outlook};
use crate::learned::choose::{self, Preference};
use crate::learned::embedding::Scratch;
use crate::learned::file::Setting;
use crate::learned::heads::{Column, Judgement};
use crate::record::ChoiceRecord;
use crate::routing::features::{Features, Reading};
use crate::routing::strategy::Strategy;
use crate::wire::pull::Pull;

impl Desk<'_> {
    /// The order in which the learned router wants the models of `pool`; `None` without one, or without models.
    pub(super) fn learned(&self, pool: &[usize], reading: &Reading) -> Option<Chosen> {
        let learned = self.snapshot.routing.learned.as_ref()?.ready()?;
        let features = reading.features;
        let mut able = self.able(pool, &features);
        able.truncate(ROUTED_MODELS_MAX);
        let columns: Option<Vec<Column>> =
            able.iter().map(|&place| learned.column(place)).collect();
        let read = learned.router.read(&reading.text, &mut Scratch::default());
        let setting = Setting { tools: self.tools_offered() };
        let judgement = learned.router.judge(&read, setting, &columns?);
        let baseline = learned.baseline.and_then(|at| able.iter().position(|one| *one == at));
        let wish = Preference { baseline, ..learned.preference };
        let decide = |costs: &[i64]| {
            let choice = choose::choose(&judgement, costs, &wish)?;
            let order = in_order(&able, (choice.index, &judgement, costs), learned);
            let reason = format!("{}, task {}", choice.reason.name(), judgement.task);
            Some(Cold { order, reason: Arc::from(reason) })
        };
        let costs = self.costs(&able, &features, &judgement);
        let Cold { order, reason } = decide(&costs)?;
        let record = ChoiceRecord {
            task_type: Arc::from(judgement.task),
            model: self.id_of(order.first()),
            reason,
            confidence_ppm: ppm(judgement.confidence),
            ..told(Strategy::Learned, &features)
        };
        let ladder = Some(self.ladder(features));
        let pinned = self.session.filter(|leash| leash.pin.is_some());
        let cold =
            pinned.map(|_| Desk { session: None, ..*self }.costs(&able, &features, &judgement));
        let cold = cold.filter(|cold| *cold != costs).and_then(|cold| decide(&cold));
        let choice = Choice { record, thinks: false, ladder, session: None };
        Some(Chosen { order, choice, cold })
    }

    /// What the request is expected to cost at each of those models, in nano-dollars.
    fn costs(&self, able: &[usize], features: &Features, judgement: &Judgement<'_>) -> Vec<i64> {
        let input_tokens = self.input_tokens(features);
        let cap = self.asked.envelope.as_ref().and_then(|envelope| envelope.meant_output_cap());
        let cap = cap.filter(|cap| *cap > 0).unwrap_or(u64::MAX);
        let session = self.session.and_then(|leash| Some((leash, leash.next(self.asked)?)));
        let cost = |(&place, &tokens): (&usize, &u32)| {
            let Some(model) = self.model(place) else { return i64::MAX };
            let output_tokens = u64::from(tokens).min(cap);
            let warm = session.as_ref().map(|(leash, next)| leash.warm_tokens(model, next));
            let warm_tokens = warm.unwrap_or(0);
            let outlook = Outlook { input_tokens, warm_tokens, output_tokens };
            outlook.cost(&outlook::price_of(model, &self.snapshot.catalog)).0
        };
        able.iter().zip(judgement.output_tokens()).map(cost).collect()
    }

    /// How many tools are offered, up to where more make no difference.
    fn tools_offered(&self) -> u32 {
        let Some(span) = self.tools() else { return 0 };
        let mut pull = Pull::new(&self.asked.body, span);
        pull.enter();
        let mut count = 0;
        while count < LEARNED_TOOLS_COUNTED_MAX && pull.item() {
            pull.skip();
            count += 1;
        }
        count
    }
}

/// The chosen one, then always the best of the rest by the same measure.
fn in_order(
    able: &[usize],
    (chosen, judgement, costs): (usize, &Judgement<'_>, &[i64]),
    learned: &Ready,
) -> Vec<usize> {
    let facts = able.iter().zip(judgement.quality()).zip(costs);
    let mut rest: Vec<(usize, f32, i64)> =
        facts.map(|((place, quality), cost)| (*place, *quality, *cost)).collect();
    let mut order = Vec::with_capacity(rest.len());
    let mut next = Some(chosen);
    while let Some(at) = next.filter(|at| *at < rest.len()) {
        order.push(rest.remove(at).0);
        let quality: Vec<f32> = rest.iter().map(|(_, quality, _)| *quality).collect();
        let costs: Vec<i64> = rest.iter().map(|(_, _, cost)| *cost).collect();
        next = choose::weigh(&quality, &costs, &learned.preference).map(|choice| choice.index);
    }
    order
}

/// A share of one in millionths.
#[expect(
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a confidence for the log; casts saturate"
)]
fn ppm(share: f32) -> u32 {
    (share.clamp(0.0, 1.0) * 1_000_000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::surface::Surface;
    use crate::config::problem::Problem;
    use crate::config::raw_routing::RouterFile;
    use crate::config::snapshot::Snapshot;
    use crate::exchange::staged;
    use crate::learned::heads::Weights;

    /// A router that expects 0.6 of `cheap`, 0.9 of `good`, and 0.5, 0.7 and 0.8 of the tiers, whatever is asked.
    fn router() -> Vec<u8> {
        staged::router(Weights {
            tasks: vec!["chess".to_owned()],
            models: vec!["cheap".to_owned(), "good".to_owned()],
            quality: vec![0.6, 0.9, 0.5, 0.7, 0.8],
            ..Weights::default()
        })
    }

    fn load(learned: &str, bytes: &RouterFile) -> Result<Snapshot, Vec<Problem>> {
        let text = format!(
            "providers:\n  p: {{dialect: openai, base_url: http://127.0.0.1:9}}\nmodels:\n\
             \x20 - {{id: vendor/cheap, provider: p, tier: fast, price: {{input: 1, output: 1}}}}\n\
             \x20 - {{id: good, provider: p, tier: oracle, price: {{input: 10, output: 10}}}}\n\
             \x20 - {{id: other, provider: p, tier: fast, price: {{input: 2, output: 2}}}}\n\
             routing:\n  strategy: learned\n  learned: {{file: it.router{learned}}}\n"
        );
        staged::learned(&text, bytes)
    }

    /// The ids in the order wanted, and why.
    fn chosen(learned: &str) -> (Vec<String>, String) {
        chosen_for(learned, "\"Play e4\"")
    }

    fn chosen_for(learned: &str, content: &str) -> (Vec<String>, String) {
        let snapshot = load(learned, &Ok(router())).unwrap();
        let body = format!(
            "{{\"tools\": [{{}}, {{}}], \"messages\": [{{\"role\": \"user\", \"content\": {content}}}]}}"
        );
        let asked = staged::asked(&snapshot, Surface::Chat, &body);
        let desk = Desk { snapshot: &snapshot, asked: &asked, session: None };
        assert_eq!(desk.tools_offered(), 2);
        let chosen = desk.by_request(Strategy::Learned, &[0, 1, 2]);
        let id = |place: &usize| snapshot.catalog.get(*place).unwrap().id.to_string();
        let record = chosen.choice.record;
        assert_eq!((record.strategy, &*record.model), ("learned", &*id(&chosen.order[0])));
        (chosen.order.iter().map(id).collect(), record.reason.to_string())
    }

    #[test]
    fn quality_is_set_against_cost() {
        let (order, reason) = chosen(", alpha: 0");
        assert_eq!(order, ["good", "vendor/cheap", "other"], "quality at any price");
        assert_eq!(reason, "best_value, task chess");
        let (order, _) = chosen(", alpha: 1");
        assert_eq!(
            order,
            ["vendor/cheap", "other", "good"],
            "the dearest must bring a whole point"
        );
    }

    #[test]
    fn where_there_is_nothing_to_read_the_rules_decide() {
        let image = r#"[{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}]"#;
        for content in ["\"\"", "\" \\n\"", "[]", image] {
            let (order, reason) = chosen_for(", alpha: 0", content);
            assert_eq!(order[0], "vendor/cheap", "{content}");
            assert_eq!(reason, "default -> fast; there is no text to read", "{content}");
        }
    }

    #[test]
    fn guards_and_names_are_heard() {
        let (order, reason) = chosen(", alpha: 1, degradation_threshold: 0.1");
        assert_eq!((order[0].as_str(), reason.as_str()), ("good", "degradation_guard, task chess"));
        let (order, reason) = chosen(", alpha: 0, min_similarity: 0.9, baseline: other");
        assert_eq!(
            (order[0].as_str(), reason.as_str()),
            ("other", "below_min_similarity, task chess")
        );
        let (order, _) = chosen(", alpha: 0.1, models: {other: good}");
        assert_eq!(
            order[0], "other",
            "called so in the file, and cheaper than the one of that name"
        );
    }

    #[test]
    fn a_file_that_is_no_router_is_told_or_replaced_by_rules() {
        let whole = router();
        let mut newer = whole.clone();
        newer[8] = 9;
        let bad = [
            (Err("cannot be read: gone".to_owned()), "gone"),
            (Ok(Vec::new()), "is empty"),
            (Ok(whole[..whole.len() - 1].to_vec()), "cut"),
            (Ok(newer), "version 9"),
        ];
        for (bytes, why) in bad {
            let problems = load("", &bytes).unwrap_err();
            assert_eq!(problems[0].path, "routing.learned.file");
            assert!(problems[0].message.contains(why), "{problems:?}");
            let snapshot = load(", on_error: rule_based", &bytes).unwrap();
            assert!(snapshot.routing.learned.is_none());
            let warned =
                snapshot.warnings.iter().any(|it| it.contains(why) && it.contains("rule_based"));
            assert!(warned, "{:?}", snapshot.warnings);
        }
        for (keys, path) in [
            (", alpha: NaN", "routing.learned.alpha"),
            (", degradation_threshold: 2", "routing.learned.degradation_threshold"),
            (", baseline: nobody", "routing.learned.baseline"),
            (", models: {nobody: good}", "routing.learned.models.nobody"),
        ] {
            let problems = load(keys, &Ok(router())).unwrap_err();
            assert_eq!(problems[0].path, path, "{problems:?}");
        }
    }
}
