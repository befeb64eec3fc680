//! Tests of the whole way from text to snapshot.

mod accepted;
mod example;
mod money;
mod money_refused;
mod overlay;
mod profiles;
mod refused;
mod seed_env;

use std::path::Path;

use crate::config::problem::Problem;
use crate::config::snapshot::Snapshot;
use crate::config::{KeyFile, load};

pub const PROVIDERS: &str = "providers:\n  p: {dialect: openai, base_url: http://127.0.0.1:9000/v1}\n  q: \
                         {dialect: anthropic, base_url: http://127.0.0.1:9001}\n";
pub const MODELS: &str = "models:\n  - {id: a, provider: p, price: {input: 1, output: 2}, output_tokens_max: 9}\n  - {id: b, \
                      provider: q, price: {input: 1, output: 2}, output_tokens_max: 9}\n";

pub fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("super-secret-value".to_owned()),
        "BAD_SECRET" => Some("super-secret\nvalue".to_owned()),
        "DIGITS" => Some("8123".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

pub fn read(text: &str) -> Result<Snapshot, Vec<Problem>> {
    load(text, "weir.yaml", &env)
}

/// No file with a key in it can be read.
pub fn no_key_file(_: &Path) -> KeyFile {
    Err("cannot be read: gone".to_owned())
}

/// The snapshot of a sound file with these lines added.
pub fn sound(rest: &str) -> Snapshot {
    read(&format!("{PROVIDERS}{MODELS}{rest}")).unwrap()
}

/// The problems of a sound file with these lines added.
pub fn unsound(rest: &str) -> Vec<Problem> {
    read(&format!("{PROVIDERS}{MODELS}{rest}")).expect_err(rest)
}

/// Whether exactly one problem is reported, at that path and with that fragment.
#[track_caller]
pub fn assert_problem(problems: &[Problem], path: &str, fragment: &str) {
    let found: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(problems.len(), 1, "{found:#?}");
    assert_eq!(problems[0].path, path, "{found:#?}");
    assert!(problems[0].message.contains(fragment), "{found:#?}");
    assert!(problems[0].line.is_some(), "{found:#?}");
}

#[track_caller]
pub fn refused(rest: &str, path: &str, fragment: &str) {
    assert_problem(&unsound(rest), path, fragment);
}

/// The same for keys of a model, which take the place of the first model's price.
#[track_caller]
pub fn model_refused(keys: &str, path: &str, fragment: &str) {
    let text = format!("{PROVIDERS}models:\n  - {{id: a, provider: p, {keys}}}\n");
    assert_problem(&read(&text).expect_err(keys), path, fragment);
}

/// The same for keys of a provider.
#[track_caller]
pub fn provider_refused(keys: &str, path: &str, fragment: &str) {
    let text = format!("providers:\n  p: {{{keys}}}\nmodels: [{{id: a, provider: p}}]\n");
    assert_problem(&read(&text).expect_err(keys), path, fragment);
}

pub const KEY: &str = "auth: {agent_keys: [sixteen-letters-x]}\n";
