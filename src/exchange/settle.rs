//! What one answer consumed and cost, reported or estimated.
//!
//! Pure arithmetic over what the meter read; nothing is stored here.

use std::sync::Arc;

use crate::base::money::{NanoUsd, PicoUsd};
use crate::base::surface::Surface;
use crate::config::budgets::UnknownPrice;
use crate::config::catalog::{Catalog, Model};
use crate::dialect::notice::NoticeMode;
use crate::exchange::mutation;
use crate::exchange::relay::{Kind, Relay};
use crate::exchange::{Exchange, Now};
use crate::ledger::account::AccountId;
use crate::ledger::entry::{Reason, Tokens};
use crate::ledger::hold::{Outcome as Settlement, SpendOrder};
use crate::record::{ChoiceRecord, End, Outcome, Record, UsageSource};
use crate::usage::answer::AnswerFacts;
use crate::usage::bound::Class;
use crate::usage::count::{Iteration, Remarks, Report, Usage};
use crate::usage::estimate;
use crate::usage::meter::MeterOutcome;
use crate::usage::price::{Price, SEARCH_FEE};
use crate::usage::served::ServedTier;

/// The price of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bill {
    /// What was consumed, as far as it is known.
    pub usage: Option<Usage>,
    /// Whether that is a report or a guess.
    pub source: UsageSource,
    /// What is booked: the provider's own figure where it gave one, else by our table.
    pub cost: NanoUsd,
    /// By our table.
    pub table_cost: NanoUsd,
    /// A part of it has no price in our table, and the provider names none: it cost more than this.
    pub unpriced: bool,
}

/// What an answer consumed, as it was reported.
struct Told<'a> {
    usage: &'a Usage,
    iterations: &'a [Iteration],
    tool_requests: u64,
    unpriced: bool,
    remarks: &'a Remarks,
    /// Bytes of the answer's text, and the events that brought them.
    output: (u64, u64),
}

impl Bill {
    /// Nothing consumed.
    pub const NONE: Self = Self {
        usage: None,
        source: UsageSource::None,
        cost: NanoUsd::ZERO,
        table_cost: NanoUsd::ZERO,
        unpriced: false,
    };
}

/// The price of a JSON answer.
pub fn of_answer(exchange: &Exchange, facts: &AnswerFacts) -> Bill {
    if facts.usage.is_none() && facts.has_error {
        // An error in the clothes of a 200: providers do not charge for it.
        return Bill::NONE;
    }
    match &facts.usage {
        Some(usage) => exchange.bill_for(&Told {
            usage,
            iterations: &facts.iterations,
            tool_requests: facts.server_tool_requests,
            unpriced: facts.unpriced,
            remarks: &facts.remarks,
            output: (facts.output_bytes, 0),
        }),
        None => exchange.estimate(None, facts.output_bytes, 0),
    }
}

/// The price of what a stream has reported so far.
pub fn of_report(exchange: &Exchange, report: &Report) -> Bill {
    exchange.bill_for(&Told {
        usage: &report.usage,
        iterations: &report.iterations,
        tool_requests: report.server_tool_requests,
        unpriced: report.unpriced,
        remarks: &report.remarks,
        output: (0, 0),
    })
}

/// The price of a stream that has ended, one way or another.
fn of_stream(exchange: &Exchange, outcome: &MeterOutcome) -> Bill {
    match outcome.usage {
        Some(usage) if outcome.usage_is_final => exchange.bill_for(&Told::of(&usage, outcome)),
        known => exchange.estimate(known, outcome.output_bytes, outcome.content_events),
    }
}

impl<'a> Told<'a> {
    const fn of(usage: &'a Usage, outcome: &'a MeterOutcome) -> Self {
        Self {
            usage,
            iterations: outcome.iterations.as_slice(),
            tool_requests: outcome.server_tool_requests,
            unpriced: outcome.unpriced,
            remarks: &outcome.remarks,
            output: (outcome.output_bytes, outcome.content_events),
        }
    }
}

impl Exchange {
    /// The bill for what the provider reported.
    fn bill_for(&self, told: &Told<'_>) -> Bill {
        let theirs = told.usage.provider_cost;
        let lost = told.remarks.input_lost || told.remarks.output_lost;
        if lost && theirs.is_none() {
            return self.bill_for_half(told);
        }
        let long = self.long_lived(told);
        let usage = long.as_ref().map_or(told.usage, |(usage, _)| usage);
        let iterations = long.as_ref().map_or(told.iterations, |(_, turns)| turns);
        let tokens = self.tokens_cost(usage, iterations);
        let table_cost = self.dearer(tokens, told);
        let unknown_tier = told.remarks.served.tier == Some(ServedTier::Unknown);
        let unpriced = told.unpriced
            || unknown_tier
            || told.iterations.iter().any(|turn| self.is_unpriced(turn));
        Bill {
            usage: Some(*usage),
            source: UsageSource::Exact,
            cost: theirs.unwrap_or(table_cost),
            table_cost,
            unpriced: unpriced && theirs.is_none(),
        }
    }

    /// The bill for a report of which one side cannot be read: that side is guessed, and never nothing.
    fn bill_for_half(&self, told: &Told<'_>) -> Bill {
        let mut usage = *told.usage;
        if told.remarks.input_lost {
            usage.input = usage.input.max(estimate::input_tokens(self.asked.wish.body_bytes));
        }
        if told.remarks.output_lost {
            let (bytes, events) = told.output;
            usage.output = usage.output.max(estimate::output_tokens(bytes, events));
        }
        let table_cost = self.dearer(self.tokens_cost(&usage, &[]), told);
        Bill {
            usage: Some(usage),
            source: UsageSource::Estimated,
            cost: table_cost,
            table_cost,
            unpriced: told.unpriced,
        }
    }

    /// What was told with the dearer life time for cache writes, where the client has asked for that and the
    /// report does not tell; `None` if it stays as it is.
    fn long_lived(&self, told: &Told<'_>) -> Option<(Usage, Vec<Iteration>)> {
        let unsplit = told.remarks.unsplit_writes;
        let any = unsplit > 0 || told.iterations.iter().any(|turn| turn.unsplit_writes > 0);
        if !any || !self.asks_long_cache() {
            return None;
        }
        let mut turns = told.iterations.to_vec();
        for turn in &mut turns {
            turn.usage = turn.usage.with_long_writes(turn.unsplit_writes);
        }
        let usage = if turns.is_empty() {
            told.usage.with_long_writes(unsplit)
        } else {
            turns.iter().fold(Usage::default(), |sum, turn| sum.plus(&turn.usage))
        };
        let provider_cost = told.usage.provider_cost;
        Some((Usage { provider_cost, ..usage }, turns))
    }

    /// Whether a turn is of another model than the one that answers, and we have no price of it.
    fn is_unpriced(&self, turn: &Iteration) -> bool {
        turn.is_other && self.price_of_turn(turn).is_none()
    }

    /// The bill for an answer whose usage is not, or only in part, known.
    fn estimate(&self, known: Option<Usage>, output_bytes: u64, events: u64) -> Bill {
        if !self.is_billed() && known.is_none() {
            return Bill::NONE;
        }
        let input = estimate::input_tokens(self.asked.wish.body_bytes);
        let output = if self.asked.surface == Surface::Embeddings {
            // Numbers are no output that anybody charges for.
            0
        } else {
            estimate::output_tokens(output_bytes, events)
        };
        let usage = estimate::fill(known, input, output);
        let table_cost =
            self.tokens_cost(&usage, &[]).round_up().saturating_add(self.request_fee());
        Bill {
            usage: Some(usage),
            source: UsageSource::Estimated,
            cost: table_cost,
            table_cost,
            unpriced: false,
        }
    }

    /// Whether answers on this surface cost money even if they do not say so.
    fn is_billed(&self) -> bool {
        !matches!(self.asked.surface, Surface::CountTokens | Surface::Other(_))
    }

    /// Every turn by the price of its own model, not yet rounded.
    fn tokens_cost(&self, usage: &Usage, iterations: &[Iteration]) -> PicoUsd {
        let Some(model) = self.current_model() else { return PicoUsd::default() };
        let price = self.price_of(model);
        if iterations.is_empty() {
            return price.exact(usage);
        }
        let exact =
            |turn: &Iteration| self.price_of_turn(turn).unwrap_or(&price).exact(&turn.usage).0;
        PicoUsd(iterations.iter().map(exact).sum())
    }

    /// The price of the model that a turn names, if it is one of ours at the same provider.
    fn price_of_turn(&self, turn: &Iteration) -> Option<&Price> {
        let named = model_by_upstream_id(&self.around.snapshot.catalog, turn.model.as_deref()?)?;
        let here = self.current_model()?.provider.index;
        (named.priced && named.provider.index == here).then_some(&named.price)
    }

    /// What the request costs beside its tokens.
    fn request_fee(&self) -> NanoUsd {
        self.current_model().map_or(NanoUsd::ZERO, |model| self.price_of(model).request)
    }
}

impl Exchange {
    /// The price that a model is held and settled at.
    pub(super) fn price_of(&self, model: &Model) -> Price {
        let snapshot = &self.around.snapshot;
        match snapshot.budgets.policy.unknown_price {
            UnknownPrice::AssumeMax if !model.priced => Price {
                base: snapshot.catalog.dearest,
                request: snapshot.catalog.dearest_request,
                ..Price::default()
            },
            _ => model.price,
        }
    }

    /// The factors by what the answer says of how it was served; where it says nothing, those that the worst
    /// case was held with, so that it is never booked too low.
    fn dearer(&self, tokens: PicoUsd, told: &Told<'_>) -> NanoUsd {
        let mut served = told.remarks.served;
        if self.heard().surface == Surface::Messages && served.tier == Some(ServedTier::Dear) {
            // Anthropic's priority is capacity that was bought before, not a dearer rate.
            served.tier = Some(ServedTier::Ordinary);
        }
        let percent = i128::from(self.served_percent(served).max(100));
        let fee =
            self.current_model().map_or(SEARCH_FEE, |model| self.price_of(model).search_fee());
        let fees = i128::from(fee.0).saturating_mul(i128::from(told.tool_requests));
        let fees = NanoUsd(i64::try_from(fees).unwrap_or(i64::MAX));
        let scaled = PicoUsd(tokens.0.saturating_mul(percent).saturating_add(99) / 100);
        scaled.round_up().saturating_add(fees).saturating_add(self.request_fee())
    }
}

fn model_by_upstream_id<'a>(catalog: &'a Catalog, name: &str) -> Option<&'a Model> {
    catalog.models().iter().find(|model| *model.upstream_id == *name || *model.id == *name)
}

/// What a failed answer reported as consumed, where it did: providers that answer with an error and a
/// usage report charge for it.
pub fn of_failed(exchange: &Exchange, relay: Relay) -> Option<Bill> {
    if relay.kind() != Kind::Stream {
        return None;
    }
    // An error event that reports usage reports all there was; otherwise only a complete report counts.
    let is_error = relay.is_error();
    let outcome = relay.into_outcome().filter(|outcome| is_error || outcome.usage_is_final)?;
    let usage = outcome.usage?;
    Some(exchange.bill_for(&Told::of(&usage, &outcome)))
}

/// What is owed for a stream that was kept back: by its report if that is complete and all of it has a price, else
/// by what came of it.
pub fn of_blocked(exchange: &Exchange, outcome: &MeterOutcome) -> Bill {
    let reported = outcome.usage.filter(|_| outcome.usage_is_final);
    let bill = reported.map(|usage| exchange.bill_for(&Told::of(&usage, outcome)));
    bill.filter(|bill| !bill.unpriced).unwrap_or_else(|| {
        exchange.estimate(outcome.usage, outcome.output_bytes, outcome.content_events)
    })
}

/// The same for a document of which so many bytes have come, and that nobody has read.
pub fn of_unread(exchange: &Exchange, bytes: u64) -> Bill {
    exchange.estimate(None, bytes, 0)
}

/// Fills in everything that the exchange knows about its request. The answer is what the ledger is told
/// of the last attempt.
pub fn complete(mut exchange: Exchange, record: &mut Record, now: Now) -> Settlement {
    exchange.close_attempt(record.end, now);
    record.choice = exchange.choice_record();
    let kind = exchange.relay.as_ref().map(Relay::kind);
    let shown = exchange.answer_is_shown();
    let bill = exchange.final_bill();
    record.attempts = std::mem::take(&mut exchange.attempts);
    record.decision = exchange.plan.decision;
    record.streaming = exchange.asked.wish.stream;
    let answered = record.attempts.last().is_some_and(|last| last.outcome == Outcome::Answered);
    record.provider = record.attempts.last().map(|last| Arc::clone(&last.provider));
    if answered {
        record.served_model = exchange.current_model().map(|model| Arc::clone(&model.id));
        record.switched = exchange.switched();
        let shown = exchange.around.snapshot.stream.notice != NoticeMode::Off;
        let readable = matches!(kind, Some(Kind::Stream | Kind::Json));
        record.notice = record.switched && shown && readable;
    }
    record.guard = exchange.found(record.guard.take());
    record.bound = exchange.grant.and(exchange.bound_class).map(Class::name);
    record.usage = bill.usage;
    record.usage_source = bill.source;
    record.cost = bill.cost;
    record.table_cost = bill.table_cost;
    record.unpriced = bill.unpriced;
    let thinks = exchange.current.as_ref().is_some_and(|current| current.thinks);
    let price = exchange.current_model().map(|model| exchange.price_of(model));
    mutation::complete(record, thinks, price.as_ref());
    // What was shown is booked by what it said of itself, also if it broke off or the client left.
    if answered || shown { exchange.settlement(&bill, record) } else { exchange.owed() }
}

impl Exchange {
    /// What the ledger is told of the answer that went to the client (budgets.md section 2.5).
    fn settlement(&self, bill: &Bill, record: &Record) -> Settlement {
        let status = record.attempts.last().map_or(0, |last| last.status);
        let cut = if record.end == End::ClientGone { Reason::ClientGone } else { Reason::Cut };
        match bill.source {
            // The hold was made for all that it could cost; what is known is only a part of that.
            UsageSource::Exact if bill.unpriced && self.is_strict() => {
                Settlement::Unknown { reason: Reason::Unpriced }
            }
            UsageSource::Exact => cost_of(bill, Reason::Exact),
            UsageSource::None if !(200..300).contains(&status) => self.refused(status),
            UsageSource::None if !self.is_billed() => {
                Settlement::Nothing { reason: Reason::Status }
            }
            UsageSource::None | UsageSource::Estimated if self.is_strict() => {
                Settlement::Unknown { reason: cut }
            }
            UsageSource::None | UsageSource::Estimated => cost_of(bill, Reason::Estimated),
        }
    }

    /// What the ledger is told of an attempt that has failed, before the next one begins or at the end.
    pub fn owed(&self) -> Settlement {
        match &self.failed_bill {
            Some(bill) if bill.source == UsageSource::Exact => return cost_of(bill, Reason::Exact),
            // A guess is booked where nothing was held for it; what was held decides else.
            Some(bill) if !self.is_strict() => return cost_of(bill, Reason::Estimated),
            Some(_) | None => {}
        }
        let reason = match self.attempts.last().map(|attempt| attempt.outcome) {
            Some(Outcome::ConnectFailed) => return Settlement::Nothing { reason: Reason::NotSent },
            Some(Outcome::RetryStatus | Outcome::AuthFailed) => {
                return self.refused(self.attempts.last().map_or(0, |last| last.status));
            }
            Some(Outcome::ErrorInside) => {
                return Settlement::Nothing { reason: Reason::ErrorInside };
            }
            Some(Outcome::ClientGone) => Reason::ClientGone,
            Some(Outcome::Answered | Outcome::TimedOut | Outcome::Broken | Outcome::Blocked)
            | None => Reason::Cut,
        };
        self.lost(reason)
    }

    /// What the ledger is told of an answer with such a status: providers do not charge for errors, unless the
    /// operator knows of one that does.
    fn refused(&self, status: u16) -> Settlement {
        let reason = Reason::Status;
        if (200..300).contains(&status) {
            // The operator has called a success retryable; the provider has worked all the same.
            return self.lost(Reason::Cut);
        }
        let is_charged = status >= 500 && self.around.snapshot.budgets.policy.charge_5xx;
        if is_charged && self.is_strict() {
            return Settlement::Unknown { reason };
        }
        Settlement::Nothing { reason }
    }

    /// What the ledger is told of an attempt that the provider may have got and never answered.
    pub fn lost(&self, reason: Reason) -> Settlement {
        if self.is_strict() {
            return Settlement::Unknown { reason };
        }
        cost_of(&self.estimate(None, 0, 0), Reason::Estimated)
    }

    /// What a whole JSON answer costs, as soon as it has been read: booked before the client sees its end,
    /// so that whoever asks for the spend next finds it there.
    pub fn known_cost(&self) -> Option<Settlement> {
        let bill = self.bill.as_ref()?;
        match bill.source {
            UsageSource::Exact if bill.unpriced => None,
            UsageSource::Exact => Some(cost_of(bill, Reason::Exact)),
            // It was read to its end, and is an error in the clothes of a 200.
            UsageSource::None => Some(Settlement::Nothing { reason: Reason::ErrorInside }),
            UsageSource::Estimated => None,
        }
    }

    /// What the whole answer comes to, reported or estimated; `None` before its end.
    pub fn billed(&self) -> Option<NanoUsd> {
        self.bill.as_ref().map(|bill| self.booked(bill))
    }

    /// What is booked for a whole answer with that bill: under a hard limit all that was held, until somebody
    /// knows better.
    pub(super) fn booked(&self, bill: &Bill) -> NanoUsd {
        let is_known = match bill.source {
            UsageSource::Exact => !bill.unpriced,
            UsageSource::None => true,
            UsageSource::Estimated => false,
        };
        let held = self.grant.as_ref().filter(|_| !is_known && self.is_strict());
        held.map_or(bill.cost, |grant| grant.amount)
    }

    fn is_strict(&self) -> bool {
        self.purse.as_ref().is_some_and(|purse| purse.strict)
    }
}

/// What is booked without a hold, where nobody limits the agent.
pub fn spend_order(
    record: &Record,
    settlement: &Settlement,
    leaf: AccountId,
    price_version: u64,
) -> SpendOrder {
    let (cost, tokens, reason) = match *settlement {
        Settlement::Cost { cost, tokens, reason } => (cost, tokens, reason),
        Settlement::Nothing { reason } | Settlement::Unknown { reason } => {
            (NanoUsd::ZERO, None, reason)
        }
    };
    SpendOrder {
        leaf,
        cost,
        request: record.request_id,
        attempt: u8::try_from(record.attempts.len()).unwrap_or(u8::MAX),
        model: record.served_model.clone().unwrap_or_else(|| Arc::clone(&record.requested_model)),
        price_version,
        tokens,
        reason,
    }
}

fn cost_of(bill: &Bill, reason: Reason) -> Settlement {
    let tokens = bill.usage.map(|usage| Tokens {
        input: usage.input,
        cache_read: usage.cache_read,
        cache_write: usage.cache_write,
        cache_write_1h: usage.cache_write_1h,
        output: usage.output,
        reasoning: usage.reasoning,
    });
    Settlement::Cost { cost: bill.cost, tokens, reason }
}

impl Exchange {
    /// How the strategy chose, with what became of it.
    fn choice_record(&mut self) -> Option<Box<ChoiceRecord>> {
        let choice = self.plan.choice.take()?;
        Some(Box::new(ChoiceRecord { escalations: self.escalations(), ..choice.record }))
    }

    /// Notes how the last attempt ended, if that is not known yet.
    fn close_attempt(&mut self, end: End, now: Now) {
        let outcome = match end {
            _ if self.answer_is_shown() => Outcome::Answered,
            End::ClientGone => Outcome::ClientGone,
            _ => Outcome::Broken,
        };
        self.record_attempt(outcome, now, 502);
    }

    /// Whether the provider called the current attempt a success.
    fn is_success(&self) -> bool {
        self.current.as_ref().is_some_and(|current| (200..300).contains(&current.status))
    }

    fn final_bill(&mut self) -> Bill {
        if let Some(bill) = self.bill.take() {
            return bill;
        }
        let Some(relay) = self.relay.take() else { return Bill::NONE };
        match relay.kind() {
            Kind::Stream => {
                let shown = relay.is_open();
                let outcome = relay.into_outcome();
                outcome.filter(|_| shown).map_or(Bill::NONE, |outcome| of_stream(self, &outcome))
            }
            Kind::Unread => match relay.unread_facts() {
                Some(facts) => of_answer(self, &facts),
                None => self.estimate(None, relay.bytes_seen(), 0),
            },
            // A document that never became whole.
            Kind::Json => self.estimate(None, relay.bytes_seen(), 0),
            // A success in a form that nobody reads: the provider has worked all the same.
            Kind::Opaque if self.is_success() => self.estimate(None, relay.bytes_seen(), 0),
            Kind::Opaque | Kind::Failed => Bill::NONE,
        }
    }
}
