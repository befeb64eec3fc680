//! The keys of `profiles` and `audit`: where they may stand, what is wrong with them, and that none is shown.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::*;
use crate::config::snapshot::{Audit, Audited, Profiles};
use crate::config::{Outside, load_with};
use crate::identity::vault::Key;

const NEW: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLD: &str = "//////////////////////////////////////////8=";

/// What may be set beside the file; `/keys/NAME` are the files with keys in them.
fn with(rest: &str, set: &[(&str, &str)]) -> Result<Snapshot, Vec<Problem>> {
    let get = |name: &str| {
        let found = set.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let key_file = |path: &Path| match path.to_str() {
        Some("/keys/new") => Ok(Zeroizing::new(format!("{NEW}\n"))),
        Some("/keys/short") => Ok(Zeroizing::new("AAEC".to_owned())),
        _ => no_key_file(path),
    };
    let outside = Outside { key_file: &key_file, ..Outside::env_alone(&get) };
    load_with(&format!("{PROVIDERS}{MODELS}{rest}"), "weir.yaml", &outside)
}

fn ids(profiles: &Profiles) -> Vec<String> {
    profiles.keys.as_ref().map(|keys| keys.ids()).unwrap_or_default()
}

#[track_caller]
fn assert_keys(rest: &str, set: &[(&str, &str)], expected: &[&str]) {
    let expected: Vec<String> =
        expected.iter().map(|text| Key::from_base64(text).ok().unwrap().id()).collect();
    assert_eq!(ids(&with(rest, set).unwrap().profiles), expected, "{rest}");
}

#[test]
fn the_key_stands_in_the_file_or_beside_it() {
    assert_keys("", &[], &[]);
    assert_keys("profiles: {kms_key: ''}\n", &[], &[]);
    assert_keys(&format!("profiles: {{kms_key: '{NEW}'}}\n"), &[], &[NEW]);
    assert_keys("profiles: {kms_key_file: /keys/new}\n", &[], &[NEW]);
    assert_keys("profiles: {kms_key: '${K}'}\n", &[("K", OLD)], &[OLD]);
    let olds = format!("profiles: {{kms_key: '{OLD}', kms_keys_old: ['file:/keys/new', '']}}\n");
    assert_keys(&olds, &[], &[OLD, NEW]);
}

#[test]
fn the_environment_stands_in_where_the_file_is_silent() {
    let both = [("WEIR_KMS_KEY", NEW), ("ROUTER_KMS_KEY", OLD)];
    assert_keys("", &both, &[NEW]);
    assert_keys("", &both[1..], &[OLD]);
    assert_keys("profiles: {allow_private: true}\n", &both, &[NEW]);
    assert_keys("profiles: {kms_key: '${WEIR_KMS_KEY:-}'}\n", &both[1..], &[OLD]);
    assert_keys(&format!("profiles: {{kms_key: '{OLD}'}}\n"), &both[..1], &[OLD]);
    assert_keys("profiles: {kms_key_file: /keys/new}\n", &both[1..], &[NEW]);
    let told = with("", &both).unwrap().warnings;
    assert!(told.iter().any(|warning| warning.contains("environment variable WEIR_KMS_KEY")));
    let problems = with("", &[("ROUTER_KMS_KEY", "not a key")]).unwrap_err();
    assert_eq!(problems[0].path, "environment variable ROUTER_KMS_KEY");
    assert!(problems[0].message.contains("is not base64"), "{problems:?}");
}

#[test]
fn what_is_wrong_with_a_key_is_told_and_the_key_is_not() {
    let bad = |rest: &str, path: &str, fragment: &str| {
        let problems = with(rest, &[("K", "c2VjcmV0")]).expect_err(rest);
        assert_problem(&problems, path, fragment);
        assert!(!format!("{problems:?}").contains("c2VjcmV0"), "{problems:?}");
    };
    bad("profiles: {kms_key: c2VjcmV0}\n", "profiles.kms_key", "has 6 bytes");
    bad("profiles: {kms_key: '${K}'}\n", "profiles.kms_key", "has 6 bytes");
    bad("profiles: {kms_key: 'c2VjcmV0!'}\n", "profiles.kms_key", "is not base64");
    bad("profiles: {kms_key_file: /keys/gone}\n", "profiles.kms_key_file", "/keys/gone cannot be");
    bad("profiles: {kms_key_file: /keys/short}\n", "profiles.kms_key_file", "has 3 bytes");
    let both = format!("profiles: {{kms_key: '{NEW}', kms_key_file: /keys/new}}\n");
    bad(&both, "profiles.kms_key_file", "beside kms_key");
    let old = format!("profiles: {{kms_key: '{NEW}', kms_keys_old: ['{OLD}', c2VjcmV0]}}\n");
    bad(&old, "profiles.kms_keys_old[1]", "has 6 bytes");
    let lonely = format!("profiles: {{kms_keys_old: ['{OLD}']}}\n");
    bad(&lonely, "profiles.kms_keys_old[0]", "a key that seals is missing");
    let many = vec![format!("'{OLD}'"); 9].join(", ");
    let many = format!("profiles: {{kms_key: '{NEW}', kms_keys_old: [{many}]}}\n");
    bad(&many, "profiles.kms_keys_old", "too many");
    bad("profiles: {kms_keys: x}\n", "profiles.kms_keys", "did you mean");
}

#[test]
fn the_admin_key_makes_a_key_only_if_that_is_said() {
    let admin = "auth: {admin_keys: [an-admin-key-of-length]}\n";
    let derived = Key::derived_from_admin_key("an-admin-key-of-length").id();
    assert_eq!(ids(&with(admin, &[]).unwrap().profiles), Vec::<String>::new());
    let flag = format!("{admin}profiles: {{key_from_admin_key: true}}\n");
    let snapshot = with(&flag, &[]).unwrap();
    assert_eq!(ids(&snapshot.profiles), std::slice::from_ref(&derived));
    let warned = |text: &String| text.starts_with("profiles.key_from_admin_key: whoever knows");
    assert!(snapshot.warnings.iter().any(warned), "{:?}", snapshot.warnings);
    let new = Key::from_base64(NEW).ok().unwrap().id();
    let beside = format!("{admin}profiles: {{key_from_admin_key: true, kms_key: '{NEW}'}}\n");
    assert_eq!(ids(&with(&beside, &[]).unwrap().profiles), [new, derived]);
    let hashed = format!("auth: {{admin_keys: ['sha256:{}']}}\n", "0".repeat(64));
    for admin in ["", &hashed] {
        let rest = format!("{admin}profiles: {{key_from_admin_key: true}}\n");
        let problems = with(&rest, &[]).unwrap_err();
        assert_problem(&problems, "profiles.key_from_admin_key", "in clear text");
    }
}

#[test]
fn a_snapshot_shows_no_key() {
    let snapshot = with(&format!("profiles: {{kms_key: '{NEW}'}}\n"), &[]).unwrap();
    let shown = format!("{snapshot:?}");
    let id = Key::from_base64(NEW).ok().unwrap().id();
    assert!(shown.contains(&id) && !shown.contains(NEW) && !shown.contains("1, 2, 3, 4"));
}

#[test]
fn accounts_may_lead_where_it_is_said() {
    let admits = |rest: &str, host: &str| {
        let fence = with(rest, &[]).unwrap().profiles.fence;
        fence.admits(host, "10.1.2.3".parse::<IpAddr>().unwrap())
    };
    assert!(!admits("", "models.local"));
    assert!(admits("profiles: {allow_private: true}\n", "models.local"));
    assert!(admits("profiles: {allow: [models.local]}\n", "models.local"));
    assert!(!admits("profiles: {allow: [models.local]}\n", "other.local"));
    assert!(admits("profiles: {allow: 10.1.0.0/16}\n", "other.local"));
    let bad = "profiles: {allow: [a, 'http://x']}\n";
    refused(bad, "profiles.allow[1]", "neither a host");
}

#[test]
fn the_quarantine_and_infer_have_the_limits_of_the_seed() {
    let plain = with("", &[]).unwrap();
    assert_eq!(plain.quarantine, crate::guard::quarantine::Terms::default());
    let infer = plain.infer;
    assert_eq!(
        (infer.input_chars_max, infer.turns_max, infer.system_chars_max),
        (4_000, 50, 2_000)
    );
    let said =
        with("guard: {quarantine: {strikes: 5, window_s: 60, minutes: 2, enabled: false}}\n", &[]);
    let said = said.unwrap().quarantine;
    assert_eq!(
        (said.strikes, said.window_ms, said.rest_ms, said.enabled),
        (5, 60_000, 120_000, false)
    );
    let bad = "guard: {quarantine: {strikes: 5, permanent_strikes: 4}}\n";
    refused(bad, "guard.quarantine.permanent_strikes", "less than strikes");
    refused("guard: {quarantine: {strikes: 0}}\n", "guard.quarantine.strikes", "out of range");
    refused("infer: {turns_max: 0}\n", "infer.turns_max", "out of range");
    refused("infer: {screening: sanitize}\n", "infer.screening", "(off, observe, block)");
}

#[test]
fn the_audit_has_two_keys() {
    let audit = |rest: &str| with(rest, &[]).unwrap().audit;
    assert_eq!(audit(""), Audit { requests: Audited::All, retention_days: 30 });
    let said = audit("audit: {requests: manual, retention_days: 0}\n");
    assert_eq!(said, Audit { requests: Audited::Manual, retention_days: 0 });
    assert_eq!(audit("audit: {requests: off}\n").requests, Audited::Off);
    refused("audit: {requests: some}\n", "audit.requests", "(all, manual, off)");
    refused("audit: {retention_days: 40000}\n", "audit.retention_days", "out of range");
}

#[test]
fn one_word_says_what_is_done_about_all_texts() {
    use crate::config::guards::Actions;
    use crate::guard::verdict::Action::Sanitize;
    let said = with("guard: {input: sanitize}\n", &[]).unwrap().guarding;
    let all = Actions {
        user: Sanitize,
        tool: Sanitize,
        document: Sanitize,
        assistant: Sanitize,
        ..Actions::OBSERVE
    };
    assert_eq!(said.given_input().unwrap().actions, all);
    refused("guard: {input: redact}\n", "guard.input", "sanitize");
    refused("guard: {input: [user]}\n", "guard.input", "must be a mapping");
}

#[test]
fn a_guard_that_only_looks_on_stands_in_nobodys_way() {
    use crate::config::guards::OnFailure::{Block, Pass};
    let of = |yaml: &str| with(yaml, &[]).unwrap().guarding.of(0).unwrap().on_failure;
    assert_eq!((of(""), of("guard: {output: {ssn: observe}}\n")), (Pass, Pass));
    assert_eq!(of("guard: {on_failure: block}\n"), Block);
    for acts in ["input: {tool: sanitize}", "output: {ssn: redact}", "canary: block"] {
        assert_eq!(of(&format!("guard: {{{acts}}}\n")), Block, "{acts}");
        assert_eq!(of(&format!("guard: {{{acts}, on_failure: pass}}\n")), Pass, "{acts}");
    }
}

#[test]
fn what_is_off_for_all_is_off_for_an_agent_that_does_not_name_it() {
    use crate::config::guards::Actions;
    use crate::guard::detect::policy::Policy;
    use crate::guard::detect::{Action as Found, Detector};
    use crate::guard::verdict::Action::{Block, Off};
    let own =
        "agents:\n  default: {}\n  own: {guard: {input: {user: block}, output: {ssn: redact}}}\n";
    let output = ["secrets", "private_keys", "ssn", "cards", "iban", "prompt_leak"];
    let output = output.map(|key| format!("{key}: 'off'")).join(", ");
    let said = with(&format!("{own}guard: {{input: 'off', output: {{{output}}}}}\n"), &[]);
    let guarding = said.unwrap().guarding;
    assert!(guarding.of(0).is_none());
    let guards = guarding.of(1).unwrap();
    let off = Actions { user: Off, tool: Off, document: Off, assistant: Off, ..Actions::OBSERVE };
    let actions = guards.input.as_ref().unwrap().actions;
    assert_eq!(actions, Actions { user: Block, ..off });
    let policy = guards.output.as_ref().unwrap();
    let wanted = Policy::all(Found::Off).with(&[(Detector::Ssn, Found::Redact)]);
    for detector in Detector::ALL {
        assert_eq!(policy.action(detector), wanted.action(detector), "{detector:?}");
    }
}

#[test]
fn requests_are_observed_and_other_guards_are_off_unless_they_are_given() {
    use crate::config::guards::{Actions, Canary};
    use crate::guard::detect::{Action, Detector};
    use crate::guard::verdict;
    let unsaid = with("", &[]).unwrap().guarding;
    let guards = unsaid.of(0).unwrap();
    assert_eq!(guards.input.as_ref().unwrap().actions, Actions::OBSERVE);
    assert!(!guards.watches_answers() && unsaid.given_input().is_none());
    let off = with("guard: {input: 'off'}\n", &[]).unwrap().guarding;
    assert!(off.of(0).is_none());
    let said = with("guard: {input: {}, output: {ssn: redact}}\n", &[]).unwrap().guarding;
    let guards = said.of(0).unwrap();
    assert_eq!(said.given_input().unwrap().actions, Actions::OBSERVE);
    let output = guards.output.as_ref().unwrap();
    let actions = [Detector::Ssn, Detector::ApiKey, Detector::Email].map(|it| output.action(it));
    assert_eq!(actions, [Action::Redact, Action::Observe, Action::Off]);
    let agents =
        "agents:\n  default: {}\n  strict: {guard: {input: {user: block}, canary: observe}}\n";
    let said = with(&format!("{agents}guard: {{input: {{tool: 'off'}}}}\n"), &[]).unwrap();
    let actions = |at| said.guarding.of(at).unwrap().input.as_ref().unwrap().actions;
    assert_eq!(
        (actions(0).user, actions(0).tool),
        (verdict::Action::Observe, verdict::Action::Off)
    );
    assert_eq!((actions(1).user, actions(1).tool), (verdict::Action::Block, verdict::Action::Off));
    assert_eq!(said.guarding.of(1).unwrap().canary, Canary::Observe);
    refused(
        "guard: {input: {user: redact}}\n",
        "guard.input.user",
        "(off, observe, sanitize, block)",
    );
    refused(
        "guard: {output: {cards: sanitize}}\n",
        "guard.output.cards",
        "(off, observe, redact, block)",
    );
    refused("guard: {canary_secret: short}\n", "guard.canary_secret", "too short");
    refused("guard: {weights: /none}\n", "guard.weights", "/none");
}
