//! Any text as a configuration, as that of another system and as what a console says; and the shipped example with
//! lines of it changed. Nothing panics, problems have their places, and what was imported is a configuration.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::config::{self, import};
use weir::ledger::directive;

const EXAMPLES: [&str; 5] = [
    include_str!("../../../conf/minimal.yaml"),
    include_str!("../../fixtures/seeds/config.yaml"),
    include_str!("../../fixtures/seeds/policy.yaml"),
    include_str!("../../fixtures/seeds/routes.yml"),
    include_str!("../../../conf/weir.yaml"),
];

fuzz_target!(|input: (u8, Vec<(u16, u8, &str)>, &str)| {
    let (example, changes, text) = input;
    read(text);
    read(&changed(EXAMPLES[usize::from(example) % EXAMPLES.len()], &changes));
    if let Ok(limits) = directive::read(text.as_bytes()) {
        assert!(limits.values().flatten().all(|usd| usd.0 >= 0));
    }
});

fn read(text: &str) {
    let env = |name: &str| (name.len() % 2 == 0).then(|| "a-value-of-the-environment".to_owned());
    if let Err(problems) = config::load(text, "file", &env) {
        assert!(!problems.is_empty());
        // A carriage return alone ends a line in YAML.
        let lines = text.replace("\r\n", "\n").replace('\r', "\n").lines().count() + 1;
        assert!(problems.iter().all(|it| it.line.is_none_or(|line| (1..=lines).contains(&line))));
    }
    match import::import(text, "file") {
        Ok(imported) => assert!(imported.yaml.contains("providers:")),
        Err(problems) => assert!(!problems.is_empty()),
    }
}

/// The example with other values, keys or lines in the places of some.
fn changed(example: &str, changes: &[(u16, u8, &str)]) -> String {
    // What is only told may be meant as well.
    let lines = example.lines().filter(|line| !line.trim().is_empty());
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    for (place, how, text) in changes {
        let place = usize::from(*place) % lines.len();
        let line = &mut lines[place];
        let indent = line.len() - line.trim_start().len();
        match (how % 5, line.split_once(':')) {
            (0, Some((key, _))) => *line = format!("{key}: {text}"),
            (1, Some((_, value))) => *line = format!("{}{text}:{value}", " ".repeat(indent)),
            (2, _) => *line = line.replacen("# ", "", 1),
            (3, _) => line.push_str(text),
            _ => {
                lines.remove(place);
                if lines.is_empty() {
                    return String::new();
                }
            }
        }
    }
    lines.join("\n")
}
