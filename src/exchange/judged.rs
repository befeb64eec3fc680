//! The strategy `learned`: predicted quality of each model for a prompt against what the request is expected to
//! cost there, in integers (`outlook`). Only the qualities are estimates.

use std::sync::Arc;

use crate::base::limit::{LEARNED_TOOLS_COUNTED_MAX, ROUTED_MODELS_MAX};
use crate::config::learned::Learned;
use crate::exchange::choose::{Choice, Chosen, Desk, told};
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
        let learned = self.snapshot.routing.learned.as_ref()?;
        let features = reading.features;
        let mut able = self.able(pool, &features);
        able.truncate(ROUTED_MODELS_MAX);
        let columns: Option<Vec<Column>> =
            able.iter().map(|&place| learned.column(place)).collect();
        let read = learned.router.read(&reading.text, &mut Scratch::default());
        let setting = Setting { tools: self.tools_offered() };
        let judgement = learned.router.judge(&read, setting, &columns?);
        let costs = self.costs(&able, &features, &judgement);
        let baseline = learned.baseline.and_then(|at| able.iter().position(|one| *one == at));
        let wish = Preference { baseline, ..learned.preference };
        let choice = choose::choose(&judgement, &costs, &wish)?;
        let order = in_order(&able, (choice.index, &judgement, &costs), learned);
        let record = ChoiceRecord {
            task_type: Arc::from(judgement.task),
            model: self.id_of(order.first()),
            reason: Arc::from(format!("{}, task {}", choice.reason.name(), judgement.task)),
            confidence_ppm: ppm(judgement.confidence),
            ..told(Strategy::Learned, &features)
        };
        let ladder = Some(self.ladder(features));
        Some(Chosen { order, choice: Choice { record, thinks: false, ladder, session: None } })
    }

    /// What the request is expected to cost at each of those models, in nano-dollars.
    fn costs(&self, able: &[usize], features: &Features, judgement: &Judgement<'_>) -> Vec<i64> {
        let input_tokens = self.input_tokens(features);
        let cap = self.asked.envelope.as_ref().and_then(|envelope| envelope.meant_output_cap());
        let cap = cap.filter(|cap| *cap > 0).unwrap_or(u64::MAX);
        let cost = |(&place, &tokens): (&usize, &u32)| {
            let Some(model) = self.model(place) else { return i64::MAX };
            let output_tokens = u64::from(tokens).min(cap);
            let outlook = Outlook { input_tokens, warm_tokens: 0, output_tokens };
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
    learned: &Learned,
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
