//! The sums of a range as JSON: the seed's keys of `GET /api/stats` (S2-21), and ours behind them.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::base::limit::STATS_LABELS_SHOWN;
use crate::base::money::NanoUsd;
use crate::config::catalog::{Catalog, Choice, Tier};
use crate::stats::range::Range;
use crate::stats::rolling::{MINUTE_MS, Stats, Summed};
use crate::stats::row::{decimal, millis};
use crate::stats::table::{Name, Sum, Table};
use crate::stats::tally::{Share, Tally};
use crate::stats::yardstick::Yardstick;
use crate::wire::object::Object;

/// What is asked, and of what.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    /// The sums.
    pub stats: &'a Stats,
    /// Whose models have tiers.
    pub catalog: &'a Catalog,
    /// What savings are measured against.
    pub yardstick: Option<&'a Yardstick>,
    /// Which requests.
    pub range: Range,
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl Report<'_> {
    /// The whole body.
    pub fn json(&self) -> String {
        let recent = self.stats.recent_json(self.range);
        self.object().raw("recent_requests", &recent).end()
    }

    /// The same without the rows, for those who are told of each anyway.
    pub fn sums_json(&self) -> String {
        self.object().end()
    }

    fn object(&self) -> Object {
        let summed = self.stats.sum(self.range, self.now_ms);
        let object = self.seed(&summed);
        let object = money(object, &summed.tally, self.yardstick);
        self.more(object, &summed.tally)
    }

    /// The keys of the seed.
    fn seed(&self, Summed { tally, span_ms }: &Summed) -> Object {
        let number = |number: u64| number.to_string();
        let (all, errors) = (tally.requests, tally.requests - tally.ok);
        let models = tally.models.top(STATS_LABELS_SHOWN);
        let tried = tally.escalation.top(STATS_LABELS_SHOWN);
        let tried =
            tried.iter().map(|(id, _)| id).filter(|id| !models.iter().any(|(one, _)| one == *id));
        let tiers = models.iter().map(|(id, _)| id).chain(tried).filter_map(|id| {
            let tier = tier_of(self.catalog, id)?;
            Some((&**id, format!("\"{}\"", tier.name())))
        });
        let tokens = models.iter().map(|(id, share)| (&**id, tokens(share)));
        let counts = models.iter().map(|(id, share)| (&**id, number(share.requests)));
        Object::default()
            .raw("total_requests", &number(all))
            .raw("rpm", &per_minute(all, *span_ms))
            .raw("success_rate", &rate(tally.ok, all))
            .raw("success_count", &number(tally.ok))
            .raw("escalation_rate", &rate(tally.escalated, all))
            .raw("escalation_count", &number(tally.escalated))
            .raw("error_rate", &rate(errors, all))
            .raw("error_count", &number(errors))
            .text("router", self.stats.router())
            .raw("model_tiers", &members(tiers))
            .raw("model_tokens", &members(tokens))
            .raw("model_distribution", &members(counts))
            .raw("task_distribution", &counts_of(&tally.tasks))
            .raw(
                "latency_buckets",
                &members(tally.latency.buckets().map(|(name, n)| (name, number(n)))),
            )
            .raw("latency_stats", &latency(tally))
            .raw("escalation_flows", &self.flows(tally))
            .raw("escalation_reasons", &counts_of(&tally.reasons))
            .raw("cache_hit_rate", &rate(tally.cached, tally.prompt))
            .raw("cached_tokens", &number(tally.cached))
            .raw("prompt_tokens", &number(tally.prompt))
    }

    /// How often each model took part in an escalation, weak ones first.
    fn flows(&self, tally: &Tally) -> String {
        let mut models = tally.escalation.top(STATS_LABELS_SHOWN);
        models.sort_by_key(|(id, _)| tier_of(self.catalog, id).unwrap_or(Tier::Oracle));
        list(models.iter().map(|(id, count)| {
            Object::default().text("model", id).raw("count", &count.to_string()).end()
        }))
    }

    /// What the seed does not have.
    fn more(&self, object: Object, tally: &Tally) -> Object {
        let hops = tally.hops.top(STATS_LABELS_SHOWN);
        let hops = list(hops.iter().map(|((from, to), count)| {
            Object::default()
                .text("from", from)
                .text("to", to)
                .raw("count", &count.to_string())
                .end()
        }));
        let verdicts = tally.verdicts.top(STATS_LABELS_SHOWN);
        let verdicts = list(verdicts.iter().map(|((rule, action), count)| {
            let verdict = Object::default().text("rule", rule).text("action", action);
            verdict.raw("count", &count.to_string()).end()
        }));
        let outline = tally.latency.outline();
        let outline = list(outline.map(|(to_us, count)| format!("[{},{count}]", millis(to_us))));
        object
            .raw("completion_tokens", &tally.completion.to_string())
            .raw("saved_tokens", &tally.saved_tokens.to_string())
            .raw("escalation_hops", &hops)
            .raw("error_types", &counts_of(&tally.errors))
            .raw("strategies", &counts_of(&tally.strategies))
            .raw("guard_verdicts", &verdicts)
            .raw("pin_states", &counts_of(&tally.pins))
            .raw("agents", &shares(&tally.agents))
            .raw("providers", &shares(&tally.providers))
            .raw("latency_histogram", &outline)
            .raw("series", &self.stats.curve(self.range, self.now_ms).json())
            .text("range", &self.range.text())
            .time("since", self.stats.since_ms().and_then(|ms| i64::try_from(ms).ok()))
            .time("now", i64::try_from(self.now_ms).ok())
    }
}

fn money(object: Object, tally: &Tally, yardstick: Option<&Yardstick>) -> Object {
    let models = tally.models.top(STATS_LABELS_SHOWN);
    let costs = models.iter().map(|(id, share)| (&**id, share_json(share)));
    let object = object
        .usd("cost_usd", Some(tally.cost))
        .usd("baseline_usd", Some(tally.baseline))
        .usd("saved_usd", Some(less(tally.baseline, tally.cost)))
        .usd("pin_saved_usd", Some(tally.pin_saved));
    let object = match yardstick {
        Some(yardstick) => object.text("baseline_model", &yardstick.model),
        None => object.raw("baseline_model", "null"),
    };
    object.raw("model_costs", &members(costs))
}

fn less(left: NanoUsd, right: NanoUsd) -> NanoUsd {
    NanoUsd(left.0.saturating_sub(right.0))
}

fn tier_of(catalog: &Catalog, id: &str) -> Option<Tier> {
    match catalog.resolve(Some(id)) {
        Choice::Model { index, .. } => catalog.get(index).map(|model| model.tier),
        _ => None,
    }
}

fn tokens(share: &Share) -> String {
    Object::default()
        .raw("prompt", &share.prompt.to_string())
        .raw("completion", &share.completion.to_string())
        .raw("cached", &share.cached.to_string())
        .end()
}

fn latency(tally: &Tally) -> String {
    let at = |permille| millis(tally.latency.permille_us(permille));
    Object::default()
        .raw("p50", &at(500))
        .raw("p90", &at(900))
        .raw("p99", &at(990))
        .raw("avg", &millis(tally.latency.mean_us()))
        .end()
}

fn shares(table: &Table<Arc<str>, Share>) -> String {
    let lines = table.top(STATS_LABELS_SHOWN);
    members(lines.iter().map(|(name, share)| (&**name, share_json(share))))
}

fn share_json(share: &Share) -> String {
    let mean_us = share.time_us.checked_div(share.requests).unwrap_or(0);
    Object::default()
        .raw("requests", &share.requests.to_string())
        .raw("errors", &share.errors.to_string())
        .raw("tokens", &share.prompt.saturating_add(share.completion).to_string())
        .raw("avg_ms", &millis(mean_us))
        .usd("cost_usd", Some(share.cost))
        .usd("saved_usd", Some(less(share.baseline, share.cost)))
        .end()
}

fn counts_of<K: Name + AsRef<str>>(table: &Table<K, u64>) -> String
where
    u64: Sum,
{
    let lines = table.top(STATS_LABELS_SHOWN);
    members(lines.iter().map(|(name, count)| (name.as_ref(), count.to_string())))
}

/// An object with those members; names are anybody's, values are JSON.
fn members<'a>(members: impl Iterator<Item = (&'a str, String)>) -> String {
    members.fold(Object::default(), |object, (name, value)| object.raw(name, &value)).end()
}

fn list(items: impl Iterator<Item = String>) -> String {
    let mut out = String::from("[");
    for item in items {
        let comma = if out.len() > 1 { "," } else { "" };
        // Writing to memory cannot fail.
        let _ = write!(out, "{comma}{item}");
    }
    out.push(']');
    out
}

/// A part of a whole with four digits after the point; 0 of nothing.
fn rate(part: u64, whole: u64) -> String {
    let (part, whole) = (u128::from(part), u128::from(whole));
    let scaled = (part * 10_000 + whole / 2).checked_div(whole).unwrap_or(0);
    decimal(u64::try_from(scaled).unwrap_or(u64::MAX), 4)
}

/// Over the time that was seen, at least a whole minute: a few requests in the first seconds are no rate yet.
fn per_minute(count: u64, span_ms: u64) -> String {
    let scaled = u128::from(count) * 6_000_000 / u128::from(span_ms.max(MINUTE_MS));
    decimal(u64::try_from(scaled).unwrap_or(u64::MAX), 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ChoiceRecord;
    use crate::stats::sample;
    use serde_json::{Value, json};

    const NOW: u64 = 1_700_000_060_000;

    fn report(stats: &Stats, range: Option<&str>) -> Value {
        let (catalog, yardstick) = (Catalog::default(), Yardstick::sample());
        let report = Report {
            stats,
            catalog: &catalog,
            yardstick: Some(&yardstick),
            range: Range::read(range),
            now_ms: NOW,
        };
        serde_json::from_str(&report.json()).unwrap()
    }

    fn two() -> Stats {
        let mut stats = Stats::default();
        let mut failed = sample::record();
        failed.attempts.truncate(1);
        failed.choice =
            failed.choice.map(|choice| Box::new(ChoiceRecord { escalations: 0, ..*choice }));
        (failed.status, failed.served_model, failed.usage) = (429, None, None);
        (failed.duration_us, failed.cost) = (50_000, NanoUsd::ZERO);
        stats.observe(&failed, Some(&Yardstick::sample()), NOW - 30_000);
        stats.observe(&sample::record(), Some(&Yardstick::sample()), NOW);
        stats
    }

    #[test]
    fn the_seeds_keys_are_all_there() {
        let got = report(&two(), None);
        let expected = json!({
            "total_requests": 2, "rpm": 2.0, "success_rate": 0.5, "success_count": 1,
            "escalation_rate": 0.5, "escalation_count": 1, "error_rate": 0.5, "error_count": 1,
            "router": "rule_based", "model_tiers": {},
            "model_tokens": {
                "gpt": {"prompt": 0, "completion": 0, "cached": 0},
                "claude": {"prompt": 127, "completion": 50, "cached": 20},
            },
            "model_distribution": {"gpt": 1, "claude": 1}, "task_distribution": {"code": 2},
            "latency_buckets":
                {"lt100": 1, "lt500": 0, "lt1000": 0, "lt3000": 1, "lt10000": 0, "gt10000": 0},
            "escalation_flows": [{"model": "gpt", "count": 1}, {"model": "claude", "count": 1}],
            "escalation_reasons": {"429": 1}, "cache_hit_rate": 0.1575, "cached_tokens": 20,
            "prompt_tokens": 127, "cost_usd": 0.00057, "baseline_usd": 0.00352, "saved_usd": 0.00295,
            "baseline_model": "oracle", "completion_tokens": 50, "range": "200",
            "error_types": {"upstream_status": 1}, "pin_states": {"fresh": 2}, "guard_verdicts": [],
            "escalation_hops": [{"from": "gpt", "to": "claude", "count": 1}],
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(got[key], *value, "{key}");
        }
        assert_eq!(got["latency_stats"]["avg"], 1275.3);
        let recent = got["recent_requests"].as_array().unwrap();
        assert_eq!((recent.len(), &recent[0]["seq"]), (2, &json!(2)), "the newest first");
        assert_eq!(
            got["series"]["requests"].as_array().unwrap().iter().filter(|n| **n == 1).count(),
            2
        );
    }

    #[test]
    fn the_first_seconds_are_no_rate_yet() {
        let mut stats = two();
        stats.clear();
        for at in [NOW - 3, NOW - 2, NOW] {
            stats.observe(&sample::record(), None, at);
        }
        for range in ["1h", "all", "200"] {
            assert_eq!(report(&stats, Some(range))["rpm"], 3.0, "{range}");
        }
        stats.clear();
        for at in (NOW - 120_000..NOW).step_by(1_000) {
            stats.observe(&sample::record(), None, at);
        }
        assert_eq!(report(&stats, Some("1h"))["rpm"], 60.0, "from a minute on it is one");
    }

    #[test]
    fn nothing_yet_has_the_same_shape() {
        let (empty, full) = (report(&Stats::default(), Some("1h")), report(&two(), Some("1h")));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&empty), keys(&full));
        assert_eq!((&empty["success_rate"], &empty["rpm"]), (&json!(0.0), &json!(0.0)));
        assert_eq!((&empty["router"], &empty["recent_requests"]), (&json!("\u{2014}"), &json!([])));
    }

    #[test]
    fn names_from_outside_cannot_forge_members() {
        let mut stats = Stats::default();
        let mut record = sample::record();
        record.served_model = Some("\"x\":{},\n\u{202e}".into());
        stats.observe(&record, None, NOW);
        assert_eq!(report(&stats, Some("all"))["model_distribution"]["\"x\":{},\n\u{202e}"], 1);
    }
}
