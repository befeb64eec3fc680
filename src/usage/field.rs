//! The fields of usage reports under all their names, as read from JSON and before any formula.
//!
//! Every provider's names sit in one table: no two give one name two meanings at the same place,
//! save `input_tokens`, which `usage::count` tells apart by its company.
//!
//! Hot path: `benches/sse.rs` (providers that report usage on every chunk).

use crate::base::money::NanoUsd;
use crate::usage::count::Iteration;
use crate::usage::scan::{count, elements, members, unquoted, usd};
use crate::usage::served::Served;

/// Turns of one answer that are kept apart. An answer has a handful; whatever comes beyond joins
/// the last one.
const ITERATIONS_MAX: usize = 64;

/// Bytes of a model's name kept; names in the field have up to 120.
const MODEL_BYTES_MAX: usize = 256;

/// One count of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Input with all that the cache did.
    Prompt,
    Completion,
    /// Input, with the cache's part (Responses) or without (Anthropic).
    Input,
    Output,
    Total,
    /// Cache reads as a part of the prompt.
    Cached,
    /// Cache reads as `DeepSeek` counts them, and the rest of the prompt.
    Hit,
    Miss,
    /// Cache reads and writes beside the input (Anthropic).
    CacheRead,
    CacheCreated,
    /// Cache writes as a part of the prompt.
    Written,
    WrittenShort,
    WrittenLong,
    Reasoning,
    GeminiPrompt,
    GeminiCandidates,
    GeminiThoughts,
    GeminiCached,
    GeminiToolPrompt,
    /// The timings of llama.cpp.
    TimedPrompt,
    TimedCached,
    TimedPredicted,
}

const FIELDS: usize = Field::TimedPredicted as usize + 1;

/// The counts of one report.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one report")]
pub(crate) struct Counts {
    /// One bit per field that was there.
    seen: u32,
    value: [u64; FIELDS],
    /// What the provider says it charged.
    pub(crate) cost: Option<NanoUsd>,
    /// What the provider behind a broker charged.
    pub(crate) upstream_cost: Option<NanoUsd>,
    pub(crate) is_byok: bool,
    pub(crate) server_tool_requests: u64,
    /// Something was consumed that has a price of its own, which we do not know.
    pub(crate) unpriced: bool,
    /// The writes were told apart by life time.
    pub(crate) split_by_ttl: bool,
    pub(crate) iterations: Vec<Iteration>,
    /// Some number was not a count.
    pub(crate) flawed: bool,
    /// One bit per field that was there and could not be read at all, or was below 0.
    lost: u32,
    /// How the answer was served.
    pub(crate) served: Served,
}

impl Counts {
    /// Reads a usage object. `None` if `object` is none, or holds nothing that we know.
    pub(crate) fn read(object: &[u8]) -> Option<Self> {
        let mut counts = Self::default();
        members(object, |key, value| counts.member(key, value))?;
        let known = counts.seen != 0 || counts.cost.is_some() || !counts.iterations.is_empty();
        known.then_some(counts)
    }

    /// The count in that field, 0 if there was none.
    pub(crate) fn get(&self, field: Field) -> u64 {
        self.value[field as usize]
    }

    /// Whether any of these fields was there.
    pub(crate) fn has_any(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.seen & (1 << *field as u32) != 0)
    }

    /// Whether any of these fields was there and cannot be relied on.
    pub(crate) fn has_lost(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.lost & (1 << *field as u32) != 0)
    }

    /// Puts a later report over this one: its fields replace ours, those it lacks stay (the rule
    /// for Anthropic's `message_delta`).
    pub(crate) fn overlay(&mut self, later: Self) {
        for (at, value) in later.value.iter().enumerate() {
            if later.seen & (1 << at) != 0 {
                self.value[at] = *value;
            }
        }
        self.lost = self.lost & !later.seen | later.lost;
        self.served.overlay(later.served);
        self.seen |= later.seen;
        self.cost = later.cost.or(self.cost);
        self.upstream_cost = later.upstream_cost.or(self.upstream_cost);
        self.is_byok |= later.is_byok;
        self.server_tool_requests = self.server_tool_requests.max(later.server_tool_requests);
        self.unpriced |= later.unpriced;
        self.split_by_ttl |= later.split_by_ttl;
        self.flawed |= later.flawed;
        if !later.iterations.is_empty() {
            self.iterations = later.iterations;
        }
    }

    fn member(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"prompt_tokens_details" | b"input_tokens_details" => {
                members(value, |key, value| self.input_detail(key, value));
            }
            b"completion_tokens_details" | b"output_tokens_details" => {
                members(value, |key, value| self.set(output_detail(key), value));
            }
            b"cache_creation" => {
                members(value, |key, value| self.ttl_detail(key, value));
            }
            b"cost_details" => {
                members(value, |key, value| self.cost_detail(key, value));
            }
            b"server_tool_use" | b"server_side_tool_usage" => {
                members(value, |_, value| self.server_tool(value));
            }
            // xAI charges its live search by the source.
            b"num_sources_used" => self.server_tool(value),
            b"cost" => self.cost = self.money(value).or(self.cost),
            b"cost_in_usd_ticks" => self.ticks(value),
            b"service_tier" | b"speed" | b"inference_geo" => self.served.member(key, value),
            b"is_byok" => self.is_byok = value == b"true",
            b"iterations" => {
                elements(value, |turn| self.iteration(turn));
            }
            _ => self.set(top_field(key), value),
        }
    }

    fn input_detail(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"cache_write_tokens_details" => {
                members(value, |key, value| self.ttl_detail(key, value));
            }
            b"cached_tokens" => self.set(Some(Field::Cached), value),
            b"cache_write_tokens" => self.set(Some(Field::Written), value),
            _ => {}
        }
    }

    fn ttl_detail(&mut self, key: &[u8], value: &[u8]) {
        let field = match key {
            b"ephemeral_5m_input_tokens" | b"ttl_30m_tokens" => Field::WrittenShort,
            b"ephemeral_1h_input_tokens" | b"ttl_12h_tokens" => Field::WrittenLong,
            _ => return,
        };
        self.split_by_ttl = true;
        self.set(Some(field), value);
    }

    fn cost_detail(&mut self, key: &[u8], value: &[u8]) {
        if key == b"upstream_inference_cost" {
            self.upstream_cost = self.money(value).or(self.upstream_cost);
        }
    }

    fn server_tool(&mut self, value: &[u8]) {
        let requests = count(value).0.unwrap_or(0);
        self.server_tool_requests = self.server_tool_requests.saturating_add(requests);
    }

    /// What the tools of a Responses answer consumed beside `usage`: runs, which have a fee, and tokens
    /// of other models, whose price is not known.
    pub(crate) fn tool_usage(&mut self, tools: &[u8]) {
        members(tools, |_, tool| {
            members(tool, |key, value| {
                if key.ends_with(b"requests") || key.ends_with(b"calls") {
                    self.server_tool(value);
                } else if key.ends_with(b"_tokens") {
                    self.unpriced |= count(value).0.unwrap_or(0) > 0;
                }
            });
        });
    }

    /// The models that Groq's compound ones have asked, each with its own usage; they add up to the
    /// whole.
    pub(crate) fn breakdown(&mut self, breakdown: &[u8]) {
        if !self.iterations.is_empty() {
            return;
        }
        members(breakdown, |key, list| {
            if key == b"models" {
                elements(list, |one| self.part(one));
            }
        });
    }

    /// One model of a breakdown.
    fn part(&mut self, one: &[u8]) {
        let (mut model, mut counts) = (None, None);
        members(one, |key, value| match key {
            b"model" => model = text(value),
            b"usage" => counts = Self::read(value),
            _ => {}
        });
        if let Some(counts) = counts {
            self.turn(model, counts, true);
        }
    }

    fn money(&mut self, value: &[u8]) -> Option<NanoUsd> {
        // Perplexity has an object under this name; that is not a flaw, only not ours.
        if value.starts_with(b"{") {
            return None;
        }
        usd(value).unwrap_or_else(|_| {
            self.flawed = true;
            None
        })
    }

    /// xAI counts its charge in ticks of 1e-10 USD, ten to the nano-dollar.
    fn ticks(&mut self, value: &[u8]) {
        if value == b"null" {
            return;
        }
        let text = std::str::from_utf8(value).unwrap_or_default();
        match text.parse::<u64>().map(|ticks| i64::try_from(ticks.div_ceil(10))) {
            Ok(Ok(nano)) => self.cost = self.cost.max(Some(NanoUsd(nano))),
            _ => self.flawed = true,
        }
    }

    fn iteration(&mut self, turn: &[u8]) {
        let mut counts = Self::default();
        let mut model = None;
        members(turn, |key, value| match key {
            b"model" => model = text(value),
            // A turn has no turns: the depth of this reading is fixed.
            b"iterations" => {}
            _ => counts.member(key, value),
        });
        self.turn(model, counts, false);
    }

    fn turn(&mut self, model: Option<Box<str>>, counts: Self, is_other: bool) {
        self.flawed |= counts.flawed;
        self.lost |= counts.lost;
        let Some(report) = counts.into_report() else {
            return;
        };
        self.flawed |= report.inconsistent;
        if self.iterations.len() < ITERATIONS_MAX {
            let unsplit_writes = report.remarks.unsplit_writes;
            self.iterations.push(Iteration {
                model,
                is_other,
                usage: report.usage,
                unsplit_writes,
            });
        } else if let Some(last) = self.iterations.last_mut() {
            last.usage = last.usage.plus(&report.usage);
            last.unsplit_writes += report.remarks.unsplit_writes;
            self.flawed = true;
        }
    }

    fn set(&mut self, field: Option<Field>, value: &[u8]) {
        let Some(field) = field else {
            return;
        };
        let (number, sound) = count(value);
        self.flawed |= !sound;
        let bit = 1 << field as u32;
        let is_negative = unquoted(value).unwrap_or(value).starts_with(b"-");
        if !sound && (number.is_none() || is_negative && number == Some(0)) {
            self.lost |= bit;
        }
        if let Some(number) = number {
            self.seen |= bit;
            self.value[field as usize] = number;
        }
    }
}

fn output_detail(key: &[u8]) -> Option<Field> {
    matches!(key, b"reasoning_tokens" | b"thinking_tokens").then_some(Field::Reasoning)
}

fn top_field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"prompt_tokens" | b"prompt_eval_count" => Field::Prompt,
        b"completion_tokens" | b"eval_count" => Field::Completion,
        b"input_tokens" => Field::Input,
        b"output_tokens" => Field::Output,
        b"total_tokens" | b"totalTokenCount" => Field::Total,
        b"cached_tokens" => Field::Cached,
        b"reasoning_tokens" => Field::Reasoning,
        b"prompt_cache_hit_tokens" => Field::Hit,
        b"prompt_cache_miss_tokens" => Field::Miss,
        b"cache_read_input_tokens" => Field::CacheRead,
        b"cache_creation_input_tokens" => Field::CacheCreated,
        b"promptTokenCount" => Field::GeminiPrompt,
        b"candidatesTokenCount" => Field::GeminiCandidates,
        b"thoughtsTokenCount" => Field::GeminiThoughts,
        b"cachedContentTokenCount" => Field::GeminiCached,
        b"toolUsePromptTokenCount" => Field::GeminiToolPrompt,
        b"prompt_n" => Field::TimedPrompt,
        b"cache_n" => Field::TimedCached,
        b"predicted_n" => Field::TimedPredicted,
        _ => return None,
    })
}

/// A short string value as text of our own.
pub(crate) fn text(value: &[u8]) -> Option<Box<str>> {
    let text = unquoted(value).filter(|text| (1..=MODEL_BYTES_MAX).contains(&text.len()))?;
    std::str::from_utf8(text).ok().map(Box::from)
}
