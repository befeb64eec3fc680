//! Any bytes as a request body: what it weighs is never less than its text, the bound of it is never
//! below a part of itself, and after the ceilings were set exactly one cap is left.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;
use weir::base::money::{NanoUsd, PicoUsdPerToken};
use weir::base::surface::Surface;
use weir::usage::bound::{self, Ask, Model};
use weir::usage::price::{Price, QuotedRates};
use weir::wire::ceiling::{self, CapField, MaxPrice};
use weir::wire::envelope::{self, Envelope};
use weir::wire::splice;
use weir::wire::weigh::{self, Weight};

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (field, cap, body) = input;
    let Ok(envelope) = envelope::scan(body) else { return };
    let weight = weigh::weigh(&envelope, body);
    assert!(weight.answers >= 1);
    assert!(weight.images > 0 || weight.text_bytes >= body.len() as u64);
    if let (0, Ok(tree)) = (weight.images, serde_json::from_slice::<Value>(body)) {
        assert!(weight.text_bytes >= normal_bytes(&tree));
    }
    bounds_hold(&weight, u64::from(cap));
    let field = CapField::ALL[usize::from(field) % CapField::ALL.len()];
    ceilings_hold(&envelope, &Bytes::copy_from_slice(body), field, u64::from(cap));
});

/// All text of a tree in its NFKC form.
fn normal_bytes(value: &Value) -> u64 {
    let of = |text: &str| text.nfkc().map(char::len_utf8).sum::<usize>() as u64;
    match value {
        Value::String(text) => of(text),
        Value::Array(items) => items.iter().map(normal_bytes).sum(),
        Value::Object(all) => all.iter().map(|(key, value)| of(key) + normal_bytes(value)).sum(),
        _ => 0,
    }
}

fn bounds_hold(weight: &Weight, cap: u64) {
    let rate = PicoUsdPerToken(3_000_000);
    let quoted = QuotedRates { input: rate, output: rate, ..QuotedRates::default() };
    let price = Price { base: quoted.rates(), ..Price::default() };
    let model = Model {
        price: &price,
        context_tokens: Some(200_000),
        output_tokens_max: None,
        image_tokens_max: 1_600,
        tool_run_fee: NanoUsd(10_000_000),
        proved: true,
    };
    let ask = Ask {
        weight,
        surface: Surface::Chat,
        output_cap: Some(cap),
        counted_input: None,
        rate_percent: bound::rate_percent(weight, false),
    };
    let Ok(found) = bound::bound(&ask, &model) else { return };
    assert!(found.input_tokens <= 200_000 && found.output_cap <= cap);
    assert!(found.total() >= NanoUsd::ZERO);
}

fn ceilings_hold(envelope: &Envelope, body: &Bytes, field: CapField, cap: u64) {
    let max = MaxPrice {
        prompt: PicoUsdPerToken(3_000_000),
        completion: PicoUsdPerToken(1),
        ..MaxPrice::default()
    };
    let mut edits = ceiling::set_output_cap(envelope, field, cap);
    edits.extend(ceiling::set_max_price(envelope, body, &max));
    let out = splice::splice(body, edits).expect("edits of one scan never overlap").contiguous();
    let again = envelope::scan(&out).expect("an edited body is a body");
    assert!(again.output_caps().eq([(field.slot(), cap)]));
    // What was set once stays as it is.
    let edits = ceiling::set_max_price(&again, &out, &max);
    assert_eq!(splice::splice(&out, edits).expect("no edits").contiguous(), out);
}
