//! Files that are none of the three.

use super::fault;
use crate::config::import::import;
use proptest::prelude::*;

#[test]
fn unknown_files_are_told_what_the_three_look_like() {
    for text in ["", "word", "a: 1", "providers: {}"] {
        let said = fault(text);
        assert!(
            ["cost_routing", "routes", "config.yaml"].iter().all(|it| said.contains(it)),
            "{said}"
        );
        assert!(said.starts_with("file.yaml: "), "{said}");
    }
    assert!(fault("providers: {}\nmodels: []\n").contains("of Weir already"));
    assert!(fault("a: [1").contains("not valid YAML"));
}

proptest! {
    #[test]
    fn any_value_anywhere_is_answered(
        at in 0_usize..200,
        value in "(\\[\\]|\\{\\}|-1|true|x y|''|\\$\\{V\\}|\\[a, b\\]|\\{a: b\\}|~|9{20}|\\\"\\$\\\")",
        file in 0_usize..3,
    ) {
        let text = [
            include_str!("../../../../tests/fixtures/seeds/policy.yaml"),
            include_str!("../../../../tests/fixtures/seeds/routes.yml"),
            include_str!("../../../../tests/fixtures/seeds/config.yaml"),
        ][file];
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = at % lines.len();
        if let Some((key, _)) = lines[at].clone().split_once(": ") {
            lines[at] = format!("{key}: {value}");
        }
        // Either it is refused with a path of this file, or what is written has been read back.
        if let Err(problems) = import(&lines.join("\n"), "f") {
            prop_assert!(!problems.is_empty());
        }
    }
}
