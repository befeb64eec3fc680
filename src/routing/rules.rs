//! The nine rules of the strategy `rule_based` (S2-08), in their order; the first that fits decides.
//!
//! Pure: what a request is about is read by `features`.

use crate::routing::decision::{Aim, Decision, Tried};
use crate::routing::features::{Difficulty, Features, Language, Task};

/// Tokens of a prompt from which on only the best tier will do.
const LONG_TOKENS: u64 = 8_000;
/// Tokens below which extracting and summarizing is easy work.
const SHORT_TOKENS: u64 = 3_000;
/// How sure every rule but the last is, in millionths.
const SURE_PPM: u32 = 900_000;
/// How sure the last one is.
const UNSURE_PPM: u32 = 700_000;

/// One rule: when it holds, and what it wants.
struct Rule {
    name: &'static str,
    aim: Aim,
    thinks: bool,
    confidence_ppm: u32,
    holds: fn(&Features, Tried) -> bool,
}

const fn rule(name: &'static str, aim: Aim, holds: fn(&Features, Tried) -> bool) -> Rule {
    Rule { name, aim, thinks: false, confidence_ppm: SURE_PPM, holds }
}

const RULES: [Rule; 8] = [
    rule("all_tried", Aim::Oracle, |_, tried| tried.all),
    Rule {
        thinks: true,
        ..rule("oracle_rate_limited", Aim::Reasoning, |_, tried| tried.oracle_rate_limited)
    },
    rule("hard_or_long", Aim::Oracle, |of, _| {
        of.difficulty == Difficulty::Hard || of.token_count > LONG_TOKENS
    }),
    Rule {
        thinks: true,
        ..rule("reasoning", Aim::Reasoning, |of, _| {
            of.task == Task::Reason && of.difficulty != Difficulty::Easy
        })
    },
    // The third rule takes all of these; it stands here because it is one of the nine.
    rule("hard_code", Aim::Oracle, |of, _| {
        of.task == Task::Code && of.difficulty == Difficulty::Hard
    }),
    rule("short_extract", Aim::Fast, |of, _| {
        matches!(of.task, Task::Extract | Task::Summarize) && of.token_count < SHORT_TOKENS
    }),
    rule("tool_call", Aim::Reasoning, |of, _| of.has_tools && of.task == Task::ToolCall),
    rule("hebrew", Aim::Reasoning, |of, _| of.language == Language::Hebrew),
];

/// What the rules want for such a request.
pub fn decide(features: &Features, tried: Tried) -> Decision {
    let default = Rule { confidence_ppm: UNSURE_PPM, ..rule("default", Aim::Fast, |_, _| true) };
    let rule = RULES.iter().find(|rule| (rule.holds)(features, tried)).unwrap_or(&default);
    let Rule { name, aim, thinks, confidence_ppm, .. } = *rule;
    Decision { aim, thinks, rule: name, confidence_ppm }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Features = Features {
        task: Task::General,
        difficulty: Difficulty::Easy,
        token_count: 100,
        has_tools: false,
        has_images: false,
        language: Language::English,
    };
    const NOT_YET: Tried = Tried { all: false, oracle_rate_limited: false };

    /// Who is asked, for what, and what comes out.
    type Case = (Features, Tried, (&'static str, Aim, bool, u32));

    fn cases() -> Vec<Case> {
        let hard = Features { difficulty: Difficulty::Hard, ..PLAIN };
        let medium = Features { difficulty: Difficulty::Medium, ..PLAIN };
        let hebrew = Features { language: Language::Hebrew, ..PLAIN };
        let all = Tried { all: true, oracle_rate_limited: true };
        let limited = Tried { all: false, oracle_rate_limited: true };
        let of = |task, from| Features { task, ..from };
        let long = |token_count, from| Features { token_count, ..from };
        let tools = |from| Features { has_tools: true, ..from };
        vec![
            (PLAIN, all, ("all_tried", Aim::Oracle, false, 900_000)),
            (hard, limited, ("oracle_rate_limited", Aim::Reasoning, true, 900_000)),
            (hard, NOT_YET, ("hard_or_long", Aim::Oracle, false, 900_000)),
            (long(8_001, PLAIN), NOT_YET, ("hard_or_long", Aim::Oracle, false, 900_000)),
            (long(8_000, PLAIN), NOT_YET, ("default", Aim::Fast, false, 700_000)),
            (of(Task::Reason, medium), NOT_YET, ("reasoning", Aim::Reasoning, true, 900_000)),
            (of(Task::Reason, PLAIN), NOT_YET, ("default", Aim::Fast, false, 700_000)),
            (of(Task::Code, hard), NOT_YET, ("hard_or_long", Aim::Oracle, false, 900_000)),
            (of(Task::Code, medium), NOT_YET, ("default", Aim::Fast, false, 700_000)),
            (
                long(2_999, of(Task::Extract, PLAIN)),
                NOT_YET,
                ("short_extract", Aim::Fast, false, 900_000),
            ),
            (of(Task::Summarize, hebrew), NOT_YET, ("short_extract", Aim::Fast, false, 900_000)),
            (
                long(3_000, of(Task::Summarize, PLAIN)),
                NOT_YET,
                ("default", Aim::Fast, false, 700_000),
            ),
            (
                tools(of(Task::ToolCall, PLAIN)),
                NOT_YET,
                ("tool_call", Aim::Reasoning, false, 900_000),
            ),
            (of(Task::ToolCall, PLAIN), NOT_YET, ("default", Aim::Fast, false, 700_000)),
            (tools(PLAIN), NOT_YET, ("default", Aim::Fast, false, 700_000)),
            (hebrew, NOT_YET, ("hebrew", Aim::Reasoning, false, 900_000)),
            (PLAIN, NOT_YET, ("default", Aim::Fast, false, 700_000)),
        ]
    }

    #[test]
    fn the_nine_rules_in_their_order() {
        for (features, tried, (rule, aim, thinks, confidence_ppm)) in cases() {
            let expected = Decision { aim, thinks, rule, confidence_ppm };
            assert_eq!(decide(&features, tried), expected, "{features:?} {tried:?}");
        }
        // The fifth is hidden by the third, and still says what it should.
        let hard_code = Features { task: Task::Code, difficulty: Difficulty::Hard, ..PLAIN };
        let fifth = &RULES[4];
        assert!((fifth.holds)(&hard_code, NOT_YET));
        assert_eq!((fifth.name, fifth.aim), ("hard_code", Aim::Oracle));
    }
}
