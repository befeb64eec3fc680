//! Pins of sessions beside the ledger: they outlive a restart, and the nodes of one store learn of each other's.
//!
//! What a pin means is `pinning`'s business. A row that cannot be read is passed over: a session without a pin is
//! only dearer.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::limit::PIN_FORMER_MAX;
use crate::pinning::cache::Trail;
use crate::pinning::pin::{Pin, SessionKey};
use crate::store::registry::RegistryError;

/// A session whose pin has changed; without one it has none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The session.
    pub key: SessionKey,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Its new pin.
    pub pin: Option<Pin>,
}

/// Some changes, and the number to go on behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes, in the order in which they were kept.
    pub changes: Vec<Change>,
    /// The number of the last one; as it was asked for, if there was none.
    pub last: i64,
    /// How many rows were looked at.
    pub rows: usize,
}

/// Keeps pins. All calls block.
pub trait PinStore: Send + Sync {
    /// Keeps changes in one transaction, unless something newer is kept of the session. Not durable against a loss
    /// of power.
    fn keep_pins(&self, changes: &[Change]) -> Result<(), RegistryError>;

    /// What was kept behind that number, at most so many.
    fn pins_after(&self, seq: i64, most: usize) -> Result<Batch, RegistryError>;

    /// Forgets sessions that have not changed since that time, at most so many; says how many went.
    fn forget_pins(&self, before_ms: u64, most: usize) -> Result<usize, RegistryError>;
}

/// A pin in words, but for its model and its time.
pub fn detail(pin: &Pin) -> String {
    let former = pin.former.iter().flatten();
    let former: Vec<Value> = former
        .map(|(model, trail)| json!({"model": &**model, "trail": trail_json(trail)}))
        .collect();
    let Pin { turns, trail, body_bytes, growth_tokens, output_tokens, .. } = pin;
    json!({
        "turns": turns,
        "trail": trail_json(trail),
        "former": former,
        "body_bytes": body_bytes,
        "growth_tokens": growth_tokens,
        "output_tokens": output_tokens,
    })
    .to_string()
}

/// The pin of those words; `None` if they are none.
pub fn pin(model: &str, used_ms: u64, detail: &str) -> Option<Pin> {
    let detail: Value = serde_json::from_str(detail).ok()?;
    let number = |key: &str| detail[key].as_u64();
    let listed = detail["former"].as_array()?.iter().take(PIN_FORMER_MAX);
    let mut former = listed.filter_map(|one| {
        Some((Arc::<str>::from(one["model"].as_str()?), trail_of(&one["trail"])?))
    });
    Some(Pin {
        model: Arc::from(model),
        used_ms,
        turns: u32::try_from(number("turns")?).ok()?,
        trail: trail_of(&detail["trail"])?,
        former: std::array::from_fn(|_| former.next()),
        body_bytes: number("body_bytes")?,
        growth_tokens: number("growth_tokens")?,
        output_tokens: number("output_tokens")?,
    })
}

fn trail_json(trail: &Trail) -> Value {
    let Trail { used_ms, prefix_tokens, hits_ppm, is_long } = trail;
    json!({"used_ms": used_ms, "prefix": prefix_tokens, "hits_ppm": hits_ppm, "long": is_long})
}

fn trail_of(json: &Value) -> Option<Trail> {
    let hits_ppm = match &json["hits_ppm"] {
        Value::Null => None,
        hits => Some(u32::try_from(hits.as_u64()?).ok()?),
    };
    Some(Trail {
        used_ms: json["used_ms"].as_u64()?,
        prefix_tokens: json["prefix"].as_u64()?,
        hits_ppm,
        is_long: json["long"].as_bool()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_it_was_written() {
        let trail = Trail { used_ms: 7, prefix_tokens: 9, hits_ppm: Some(5), is_long: true };
        let whole = Pin {
            model: Arc::from("m"),
            used_ms: 8,
            turns: 3,
            trail,
            former: [Some((Arc::from("o\"ld"), Trail { hits_ppm: None, ..trail })), None, None],
            body_bytes: 4,
            growth_tokens: 5,
            output_tokens: 6,
        };
        assert_eq!(pin("m", 8, &detail(&whole)), Some(whole));
        for odd in ["", "{}", "[]", r#"{"turns":-1,"former":[],"trail":{}}"#] {
            assert_eq!(pin("m", 8, odd), None, "{odd}");
        }
    }
}
