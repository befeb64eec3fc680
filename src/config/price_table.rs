//! The prices of all models as one thing: the version that entries of the ledger name, and the dearest
//! rates, which stand in for prices that nobody knows.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::base::money::{NanoUsd, PicoUsdPerToken};
use crate::config::catalog::Model;
use crate::usage::price::Rates;

/// The first 8 bytes of the SHA-256 over one line per model, sorted, so that the order of the file does
/// not matter.
pub fn version(models: &[Model]) -> u64 {
    let mut lines: Vec<String> = models.iter().map(line).collect();
    lines.sort_unstable();
    let digest = Sha256::digest(lines.concat());
    digest.iter().take(8).fold(0, |version, &byte| version << 8 | u64::from(byte))
}

/// `id dialect rates...`, in pico-dollars per token. Ids hold no blanks, and only wildcards need the
/// dialect to be told apart.
fn line(model: &Model) -> String {
    let mut line = format!("{} {}", model.id, model.dialect().name());
    if model.priced {
        push(&mut line, &model.price.base);
    }
    // Writing to a string cannot fail.
    if model.price.request > NanoUsd::ZERO {
        let _ = write!(line, " request {}", model.price.request.0);
    }
    if let Some(search) = model.price.search {
        let _ = write!(line, " search {}", search.0);
    }
    if let Some(step) = &model.price.long_context {
        let _ = write!(line, " above {}", step.above_input_tokens);
        push(&mut line, &step.rates);
    }
    line.push('\n');
    line
}

fn push(line: &mut String, rates: &Rates) {
    for rate in all(rates) {
        let _ = write!(line, " {}", rate.0);
    }
}

fn all(rates: &Rates) -> [PicoUsdPerToken; 5] {
    // Named one by one, so that a new kind of token cannot be forgotten here.
    let Rates { input, output, cache_read, cache_write, cache_write_1h } = *rates;
    [input, output, cache_read, cache_write, cache_write_1h]
}

/// The dearest fee for one request.
pub fn dearest_request(models: &[Model]) -> NanoUsd {
    models.iter().map(|model| model.price.request).max().unwrap_or_default()
}

/// Of each kind of token the dearest rate of all models.
pub fn dearest(models: &[Model]) -> Rates {
    let steps = models.iter().filter_map(|model| model.price.long_context.map(|step| step.rates));
    let base = models.iter().map(|model| model.price.base);
    base.chain(steps).fold(Rates::default(), |one, other| Rates {
        input: one.input.max(other.input),
        output: one.output.max(other.output),
        cache_read: one.cache_read.max(other.cache_read),
        cache_write: one.cache_write.max(other.cache_write),
        cache_write_1h: one.cache_write_1h.max(other.cache_write_1h),
    })
}
