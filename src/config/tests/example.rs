//! The example files are complete and true; and no text makes the reader panic.

use proptest::prelude::*;

use super::*;
use crate::config::keys;

const EXAMPLE: &str = include_str!("../../../conf/weir.yaml");

#[test]
fn the_example_files_load() {
    let nothing_set = |_: &str| None;
    let example = load(EXAMPLE, "conf/weir.yaml", &nothing_set).unwrap();
    assert!(example.warnings.is_empty(), "{:?}", example.warnings);
    assert_eq!((example.providers.len(), example.catalog.models().len()), (2, 4));
    let minimal = include_str!("../../../conf/minimal.yaml");
    assert!(minimal.lines().count() <= 12);
    let asked = |name: &str| minimal.contains(&format!("${{{name}}}"));
    let set = |name: &str| asked(name).then(|| format!("{name}-of-the-test"));
    let minimal_snapshot = load(minimal, "conf/minimal.yaml", &set).unwrap();
    assert!(minimal_snapshot.gate.require_agent_key);
    assert!(minimal_snapshot.warnings.is_empty(), "{:?}", minimal_snapshot.warnings);
    let problems = load(minimal, "conf/minimal.yaml", &nothing_set).unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["auth.agent_keys[0]", "providers.openai.api_key"]);
}

#[test]
fn the_example_shows_the_defaults() {
    let example = load(EXAMPLE, "conf/weir.yaml", &|_| None).unwrap();
    let plain = sound("");
    assert_eq!(example.server, plain.server);
    assert_eq!((&example.stream, &example.log), (&plain.stream, &plain.log));
    assert_eq!(example.routing.retry.statuses, plain.routing.retry.statuses);
    assert_eq!(example.routing.retry.attempts_max, plain.routing.retry.attempts_max);
    assert_eq!(example.routing.cooldown_ms, plain.routing.cooldown_ms);
    assert_eq!(example.catalog.auto_names(), plain.catalog.auto_names());
    assert_eq!((&example.store, &example.console), (&plain.store, &plain.console));
    assert_eq!((&example.audit, &example.profiles.fence), (&plain.audit, &plain.profiles.fence));
    assert_eq!(example.pinning, plain.pinning);
    assert!(example.profiles.keys.is_none() && plain.profiles.keys.is_none());
    assert_eq!(example.budgets.policy, plain.budgets.policy);
    let images = |snapshot: &Snapshot| snapshot.catalog.models()[0].image_tokens_max;
    assert_eq!(images(&example), images(&plain));
    assert_eq!(example.providers[0].timeouts, plain.providers[0].timeouts);
    assert_eq!(example.providers[0].abilities, plain.providers[0].abilities);
}

#[test]
fn the_example_mentions_every_key() {
    for table in keys::ALL {
        for key in table.known {
            let mentioned = EXAMPLE.lines().any(|line| {
                let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                line.contains(&format!("{key}:")) && words.clone().any(|word| word == *key)
            });
            assert!(mentioned, "{}.{key} is not in conf/weir.yaml", table.name);
        }
        for key in table.later {
            assert!(!EXAMPLE.contains(&format!("{key}:")), "{key} is not supported yet");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "[-a-c:?\\[\\]{},&*!|>'\"#%@` \\n\\t0-9.~$é]{0,120}") {
        let _ = read(&text);
        let _ = read(&format!("{PROVIDERS}{MODELS}{text}"));
    }

    #[test]
    fn any_words_in_any_place_are_answered(words in prop::collection::vec(word(), 0..60)) {
        let _ = read(&words.concat());
    }

    #[test]
    fn a_cut_example_is_answered(cut in 0..EXAMPLE.len()) {
        let _ = load(EXAMPLE.get(..cut).unwrap_or_default(), "cut", &env);
    }

    #[test]
    fn an_example_without_a_line_is_answered(line in 0..EXAMPLE.lines().count()) {
        let rest = EXAMPLE.lines().enumerate().filter(|(at, _)| *at != line);
        let text: String = rest.flat_map(|(_, line)| [line, "\n"]).collect();
        let _ = load(&text, "cut", &env);
    }
}

/// A word of the language of our files.
fn word() -> impl proptest::strategy::Strategy<Value = &'static str> {
    let known = keys::ALL.iter().flat_map(|table| table.known.iter().copied());
    let rest = [
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "*",
        "a",
        "p",
        "0",
        "-1",
        "3.5",
        "${X}",
        "${SECRET}",
        "~",
    ];
    prop::sample::select(known.chain(rest).collect::<Vec<_>>())
}
