//! The normal form of a usage report, and the formulas by which each provider's report becomes it.
//!
//! The formulas are those of `wire.md` section 2. Where a report contradicts itself the larger
//! reading counts and the result is flagged; nothing here can go below zero or wrap. How the fields
//! are found in JSON is the business of `usage::field`, prices that of `usage::price`.

use crate::base::money::NanoUsd;
use crate::usage::field::{Counts, Field};
use crate::usage::served::Served;

/// The fields that carry the input, and those that carry the output.
const INPUT: [Field; 11] = [
    Field::Prompt,
    Field::Input,
    Field::Hit,
    Field::Miss,
    Field::CacheRead,
    Field::CacheCreated,
    Field::Written,
    Field::GeminiPrompt,
    Field::GeminiToolPrompt,
    Field::TimedPrompt,
    Field::TimedCached,
];
const OUTPUT: [Field; 5] = [
    Field::Completion,
    Field::Output,
    Field::GeminiCandidates,
    Field::GeminiThoughts,
    Field::TimedPredicted,
];

/// Tokens of one answer, in the normal form of `wire.md` section 2: the input kinds are disjoint and
/// add up to all input; `output` holds everything billed as output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input that touched no prompt cache.
    pub input: u64,
    /// Input read from a prompt cache.
    pub cache_read: u64,
    /// Input written to a prompt cache, short life time (5 or 30 minutes, or of unknown length).
    pub cache_write: u64,
    /// Input written to a prompt cache, long life time (1 or 12 hours).
    pub cache_write_1h: u64,
    /// All billed output.
    pub output: u64,
    /// The part of `output` that was hidden reasoning.
    pub reasoning: u64,
    /// The provider's own figure of what it charged, where it reports one.
    pub provider_cost: Option<NanoUsd>,
}

impl Usage {
    /// All input, whatever the cache did with it.
    pub const fn input_total(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_1h)
    }

    /// All input and output.
    pub const fn total(&self) -> u64 {
        self.input_total().saturating_add(self.output)
    }

    /// With so many of the short cache writes as long ones.
    #[must_use]
    pub fn with_long_writes(self, tokens: u64) -> Self {
        let tokens = tokens.min(self.cache_write);
        Self {
            cache_write: self.cache_write - tokens,
            cache_write_1h: self.cache_write_1h.saturating_add(tokens),
            ..self
        }
    }

    /// Field by field the sum; a provider's cost of either side is kept.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let cost = match (self.provider_cost, other.provider_cost) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        Self {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            provider_cost: cost,
        }
    }
}

/// One turn of an answer that took several (`usage.iterations`, Anthropic beta).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iteration {
    /// The model of this turn; the answer's own where it names none.
    pub model: Option<Box<str>>,
    /// It is of a model that the answering one has asked itself: at another price than its own.
    pub is_other: bool,
    /// What this turn used.
    pub usage: Usage,
    /// The part of its cache writes whose life time is not told.
    pub unsplit_writes: u64,
}

/// What a report says beside its counts, and what it leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// How the answer was served.
    pub served: Served,
    /// The part of `cache_write` whose life time is not told.
    pub unsplit_writes: u64,
    /// A count of the input could not be read, or was below 0.
    pub input_lost: bool,
    /// A count of the output could not be read, or was below 0.
    pub output_lost: bool,
}

/// A usage report in the normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All of it, turns that the provider's top-level fields leave out included.
    pub usage: Usage,
    /// The turns, where the provider lists them: they add up to `usage`, and each has to be priced
    /// by its own model. Usually empty.
    pub iterations: Vec<Iteration>,
    /// The report contradicts itself or holds a number that is no count; the larger reading was
    /// taken.
    pub inconsistent: bool,
    /// Web searches and fetches that the provider ran and charges beside the tokens.
    pub server_tool_requests: u64,
    /// Something was consumed that has a price of its own, which no table of ours has.
    pub unpriced: bool,
    /// What it says beside its counts.
    pub remarks: Remarks,
}

impl Report {
    /// Reads a usage object: the value of `usage`, `usageMetadata`, `timings` or `x_groq.usage` of
    /// any provider. `None` if it holds no field that we know.
    pub fn read(object: &[u8]) -> Option<Self> {
        Counts::read(object).and_then(Counts::into_report)
    }
}

impl Counts {
    /// The normal form of what was read; `None` if there is nothing that counts.
    pub(crate) fn into_report(mut self) -> Option<Report> {
        let iterations = std::mem::take(&mut self.iterations);
        let own_report = self.own_report();
        if iterations.is_empty() {
            return own_report;
        }
        let mut report = own_report.unwrap_or_default();
        let sum =
            iterations.iter().fold(Usage::default(), |sum, iteration| sum.plus(&iteration.usage));
        if sum.total() < report.usage.total() {
            // The top level leaves turns out, so it cannot be larger. It is what the ordinary
            // invoice goes by, so it stands, and the turns are not used.
            report.inconsistent = true;
            return Some(report);
        }
        let provider_cost = report.usage.provider_cost.or(sum.provider_cost);
        report.usage = Usage { provider_cost, ..sum };
        report.iterations = iterations;
        Some(report)
    }

    /// The normal form of the top-level fields.
    fn own_report(&self) -> Option<Report> {
        let mut sheet = Sheet { inconsistent: self.flawed, usage: Usage::default() };
        if self.has_any(&[Field::GeminiPrompt, Field::GeminiCandidates, Field::GeminiThoughts]) {
            sheet.gemini(self);
        } else if self.has_any(&[Field::Prompt, Field::Completion, Field::Hit, Field::Miss]) {
            sheet.inclusive(self);
        } else if self.has_any(&[Field::CacheRead, Field::CacheCreated]) || self.split_by_ttl {
            sheet.anthropic(self);
        } else if self.has_any(&[Field::Input, Field::Output, Field::Total]) {
            sheet.inclusive(self);
        } else if self.has_any(&[Field::TimedPrompt, Field::TimedPredicted]) {
            sheet.timings(self);
        } else {
            // Nothing but a cost is a report too: it is all that a budget needs.
            self.cost()?;
        }
        sheet.usage.provider_cost = self.cost();
        let told = self.get(Field::WrittenShort);
        let remarks = Remarks {
            served: self.served,
            unsplit_writes: sheet.usage.cache_write.saturating_sub(told),
            input_lost: self.has_lost(&INPUT),
            output_lost: self.has_lost(&OUTPUT),
        };
        Some(Report {
            remarks,
            usage: sheet.usage,
            iterations: Vec::new(),
            inconsistent: sheet.inconsistent,
            server_tool_requests: self.server_tool_requests,
            unpriced: self.unpriced,
        })
    }

    /// The provider's own figure. With a key of the customer's own (`is_byok`) the cost covers only
    /// the broker's part, and the inference was charged by the provider behind it.
    fn cost(&self) -> Option<NanoUsd> {
        let behind = self.upstream_cost.filter(|_| self.is_byok);
        match (self.cost, behind) {
            (Some(cost), Some(behind)) => Some(cost.saturating_add(behind)),
            (cost, behind) => cost.or(behind),
        }
    }
}

/// A usage being worked out.
struct Sheet {
    usage: Usage,
    inconsistent: bool,
}

impl Sheet {
    /// Reports whose input figure includes what the cache did: `OpenAI` in both its APIs and all
    /// that copy it. The total decides about the output, because xAI and Gemini leave hidden
    /// reasoning out of `completion_tokens`.
    fn inclusive(&mut self, counts: &Counts) {
        let (hit, miss) = (counts.get(Field::Hit), counts.get(Field::Miss));
        let prompt = self.either(counts.get(Field::Prompt), counts.get(Field::Input));
        let completion = self.either(counts.get(Field::Completion), counts.get(Field::Output));
        self.usage.cache_read =
            counts.get(Field::Cached).max(hit).max(counts.get(Field::CacheRead));
        self.written(counts, counts.get(Field::Written).max(counts.get(Field::CacheCreated)));
        self.inconsistent |= prompt > 0 && counts.has_any(&[Field::Miss]) && prompt != hit + miss;
        self.usage.input = self.left(prompt.max(hit + miss), self.usage.input_total());
        if miss > self.usage.input {
            self.inconsistent = true;
            self.usage.input = miss;
        }
        let total = counts.get(Field::Total);
        self.output(completion, counts.get(Field::Reasoning), total);
    }

    /// Anthropic: the three kinds of input are disjoint from the start.
    fn anthropic(&mut self, counts: &Counts) {
        self.usage.input = counts.get(Field::Input);
        self.usage.cache_read = counts.get(Field::CacheRead);
        self.written(counts, counts.get(Field::CacheCreated));
        self.output(counts.get(Field::Output), counts.get(Field::Reasoning), 0);
    }

    /// Gemini's own format: the prompt includes the cached part but not what tools brought in, the
    /// candidates leave the thoughts out.
    fn gemini(&mut self, counts: &Counts) {
        self.usage.cache_read = counts.get(Field::GeminiCached);
        let plain = self.left(counts.get(Field::GeminiPrompt), self.usage.cache_read);
        self.usage.input = plain + counts.get(Field::GeminiToolPrompt);
        let thoughts = counts.get(Field::GeminiThoughts);
        let output = counts.get(Field::GeminiCandidates) + thoughts;
        self.output(output, thoughts, counts.get(Field::Total));
    }

    /// The timings of llama.cpp: `prompt_n` counts what was evaluated, `cache_n` what was not.
    fn timings(&mut self, counts: &Counts) {
        self.usage.input = counts.get(Field::TimedPrompt);
        self.usage.cache_read = counts.get(Field::TimedCached);
        self.usage.output = counts.get(Field::TimedPredicted);
    }

    /// Cache writes, split by life time. What the split does not cover has an unknown one.
    fn written(&mut self, counts: &Counts, total: u64) {
        let (short, long) = (counts.get(Field::WrittenShort), counts.get(Field::WrittenLong));
        self.usage.cache_write_1h = long;
        self.usage.cache_write = total.max(short + long) - long;
        let whole = counts.has_any(&[Field::Written, Field::CacheCreated]);
        self.inconsistent |= whole && counts.split_by_ttl && short + long != total;
    }

    /// The output, once the input is known: never less than what the total leaves for it.
    fn output(&mut self, reported: u64, reasoning: u64, total: u64) {
        let input = self.usage.input_total();
        let mut output = reported.max(total.saturating_sub(input));
        if total > 0 && total < input + reported {
            self.inconsistent = true;
        }
        if reasoning > output {
            // It cannot be a part of less, so it has to come on top.
            self.inconsistent = true;
            output += reasoning;
        }
        self.usage.output = output;
        self.usage.reasoning = reasoning;
    }

    /// What is left of `whole` without `part`, which should not be larger.
    fn left(&mut self, whole: u64, part: u64) -> u64 {
        self.inconsistent |= part > whole;
        whole.saturating_sub(part)
    }

    /// One count under two names. Some providers fill in both, one of them with 0.
    fn either(&mut self, a: u64, b: u64) -> u64 {
        self.inconsistent |= a != b && a.min(b) > 0;
        a.max(b)
    }
}
