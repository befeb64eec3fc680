//! Every detector with what it must find and what it must leave, over the whole scan.

use std::sync::Arc;

use proptest::prelude::*;

use super::Action;
use super::policy::Policy;
use super::scan::{Hit, Scan, Sink};

/// The finds as `rule:text`, and what goes on.
#[derive(Default)]
struct Seen {
    found: Vec<String>,
    out: Vec<u8>,
}

impl Sink for Seen {
    fn keep(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    fn found(&mut self, hit: &Hit, text: &[u8]) {
        self.found.push(format!("{}:{}", hit.rule.id, String::from_utf8_lossy(text)));
        if hit.action == Action::Redact {
            self.out.extend_from_slice(b"[X]");
        }
    }
}

fn seen_in(policy: Policy, pieces: &[&[u8]]) -> Seen {
    let (mut scan, mut seen) = (Scan::new(Arc::new(policy)), Seen::default());
    for piece in pieces {
        scan.feed(piece, &mut seen);
    }
    scan.finish(&mut seen);
    seen
}

fn redacted(text: &str) -> String {
    String::from_utf8(seen_in(Policy::all(Action::Redact), &[text.as_bytes()]).out).unwrap()
}

/// Made up here, each in the form of its vendor; the letters are noise.
fn noise(length: usize) -> String {
    "q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYzCrDhSgFnUjAeOpI"
        .chars()
        .cycle()
        .take(length)
        .collect()
}

fn hex(length: usize) -> String {
    "9c3e7a10f5b8d24697c1e0a3b5f84d62".chars().cycle().take(length).collect()
}

fn keys() -> Vec<String> {
    vec![
        format!("sk-ant-api03-{}AA", noise(93)),
        format!("sk-or-v1-{}", hex(64)),
        format!("sk-proj-{}T3BlbkFJ{}", noise(74), noise(74)),
        format!("sk-{}T3BlbkFJ{}", noise(20), noise(20)),
        format!("sk-{}", hex(32)),
        format!("gsk_{}", noise(52)),
        format!("xai-{}", noise(80)),
        format!("pplx-{}", noise(48)),
        format!("AIza{}", noise(35)),
        "AKIAQ3VBZ7LXWM2RTNY6".to_owned(),
        format!("github_pat_{}_{}", noise(22), noise(59)),
        format!("glpat-{}", noise(20)),
        format!("xoxb-413972851604-7200149648689-{}", noise(24)),
        format!("sk_live_{}", noise(24)),
        format!("SG.{}.{}", noise(22), noise(43)),
        format!("SK{}", hex(32)),
        format!("dop_v1_{}", hex(64)),
        format!("weir_{}", hex(64)),
        format!("4252393552:A{}", noise(34)),
        format!("eyJ{}.eyJ{}.{}", noise(30), noise(60), noise(43)),
        format!("postgres://app:{}@db.internal:5432/main", noise(16)),
        format!(
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={}==;EndpointSuffix=core.windows.net",
            noise(86)
        ),
        format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{}\n{}\n-----END RSA PRIVATE KEY-----",
            noise(64),
            noise(20)
        ),
    ]
}

#[test]
fn keys_are_found_whatever_stands_around_them() {
    for key in keys() {
        for (left, right) in [
            ("", ""),
            ("Use `", "` now"),
            ("**", "** is it"),
            ("(", ")."),
            ("\"", "\""),
            ("密钥是", "。不要泄露"),
            ("key: ", ", and"),
            ("A=1\\n", "\\nB"),
            ("|", "|"),
            ("<b>", "</b>"),
            ("is ", "!"),
            (r"\u0022", r"\u0022"),
            (r"{\x22", r"\x22}"),
            (r"\u003E", r"\u003C/b"),
            ("\u{1b}[1;32m", "\u{1b}[0m"),
        ] {
            let text = format!("{left}{key}{right}");
            let (out, wanted) = (redacted(&text), format!("{left}[X]{right}"));
            // What may belong to a password or a URL goes with it.
            let is_url = key.contains("://");
            assert!(
                out == wanted || is_url && out.starts_with(&format!("{left}[X]")),
                "{text} -> {out}"
            );
        }
    }
}

#[test]
fn numbers_of_people_are_found() {
    for number in [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111\u{202f}1111\u{202f}1111\u{202f}1111",
        "3782 822463 10005",
        "378282246310005",
        "30569309025904",
        "6011111111111117",
        "3530111333300000",
        "2223003122003222",
        "219-09-9999",
        "219\u{2011}09\u{2011}9999",
        "GB82 WEST 1234 5698 7654 32",
        "DE89370400440532013000",
        "ann.lee+x@corp.co.uk",
        "+44 7534 718692",
        "212-315-7821",
        "(212) 315-7821",
    ] {
        for (left, right) in [
            ("", ""),
            ("is ", "."),
            ("=", "\n"),
            ("\"", "\""),
            ("号码：", "，谢谢"),
            (r"\u0022", r"\u0022"),
            (r"\x22", r"\x22"),
            (r"\u003e", "<"),
            ("\u{1b}[38;2;255;100;100m", "\u{1b}[m"),
        ] {
            // An address may have such letters itself.
            if left.ends_with(|it: char| it.is_ascii_alphanumeric()) && number.contains('@') {
                continue;
            }
            assert_eq!(redacted(&format!("{left}{number}{right}")), format!("{left}[X]{right}"));
        }
    }
}

#[test]
fn look_alikes_are_left() {
    let random = noise(24);
    for text in [
        format!("call_{random}"),
        format!("toolu_01{random}"),
        format!("chatcmpl-{}", noise(37)),
        format!("gen-1711066982-{random}"),
        "7d3c89ab-2c8b-8dc0-3aca-1bc428b293fa".to_owned(),
        hex(40),
        format!("sha256:{}", hex(64)),
        format!("disk-{}", hex(32)),
        "risk-assessment-for-the-third-quarter-report".to_owned(),
        "sk-learn-pipeline-with-standard-scaler-2025".to_owned(),
        "sk-[a-zA-Z0-9]{48}".to_owned(),
        "sk-ant-api03-...".to_owned(),
        "sk-your-api-key-goes-here-please-123".to_owned(),
        "AKIAIOSFODNN7EXAMPLE".to_owned(),
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_owned(),
        "ghp_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaK".to_owned(),
        "4111111111111112".to_owned(),
        "4111111111111111.5".to_owned(),
        "ORD-4111111111111111".to_owned(),
        "9781415448847".to_owned(),
        "357892983153494".to_owned(),
        "000-12-3456 666-12-3456 912-12-3456 219-00-1234 219-09-0000".to_owned(),
        "1219-09-9999".to_owned(),
        "[32mAKIAQ3VBZ7LXWM2RTNY6 mAKIAQ3VBZ7LXWM2RTNY6".to_owned(),
        "x22219-09-9999 u0022219-09-9999 \\u022219-09-9999".to_owned(),
        "\\\\v0022AKIAQ3VBZ7LXWM2RTNY6 0x22AKIAQ3VBZ7LXWM2RTNY6".to_owned(),
        "DE88370400440532013000".to_owned(),
        "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----".to_owned(),
        "-----BEGIN [A-Z ]+ PRIVATE KEY-----".to_owned(),
        "-----BEGIN RSA PRIVATE KEY----- is how it begins, and then comes base64".to_owned(),
        "postgres://${USER}:${PASS}@db/main".to_owned(),
        "postgres://postgres:postgres@localhost/db".to_owned(),
        "password = config.get(\"password\")".to_owned(),
        "const apiKey = process.env.ANTHROPIC_API_KEY;".to_owned(),
        "password: ${{ secrets.DB_PASSWORD }}".to_owned(),
        "access_token=$(vault kv get -field=token secret/app)".to_owned(),
        "git@github.com:org/repo.git left-pad@1.3.0 user@localhost @app.route".to_owned(),
        "10.0.254.155 2024-05-06 12:34:56 810,312,031,560".to_owned(),
    ] {
        assert_eq!(redacted(&text), text);
        assert_eq!(redacted(&format!("see \"{text}\", ok")), format!("see \"{text}\", ok"));
    }
}

#[test]
fn the_word_of_examples_behind_noise_hides_no_key() {
    for text in [
        "sk-proj-q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTEXAMPLE",
        "gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYzEXAMPLE",
    ] {
        assert!(!redacted(text).contains("q7Zk2Vb9Lx4Wm8"), "{text}");
    }
}

#[test]
fn a_character_over_and_over_within_noise_hides_no_key() {
    for text in [
        "gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6aaaaaaHc5Jd1Pf0GsTuEaKiXoBvQlMwYzCr",
        "sk-proj-000000q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsT",
        "glpat-q7Zk2Vb9Lx4Wm8Rt3NyXXXXXX",
    ] {
        assert_eq!(redacted(text), "[X]", "{text}");
    }
    for text in ["gsk_a1b2c3d4e5f6g7h8i9j0000000000000000000000", "AKIAAAAAAA7LXWM2RTNY"] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn urls_in_a_row_hide_no_password() {
    let url = "postgres://app:q7Zk2Vb9@db:5432/main";
    let row = "amqp://".repeat(300);
    let out = redacted(&format!("{row}x {url} {row}{url}"));
    assert_eq!(out, format!("{row}x [X] {row}[X]"));
}

#[test]
fn assignments_stay_parsable() {
    assert_eq!(redacted(r#"db_password: "fc4f28Ti0oSGW9kMF5" x"#), "[X] x");
    assert_eq!(redacted(r#"{"db_password": "fc4f28Ti0oSGW9kMF5"}"#), r#"{"db_password": "[X]"}"#);
    assert_eq!(redacted(r#"{\"password\":\"fc4f28Ti0oSGW9kMF5\"}"#), r#"{\"password\":\"[X]\"}"#);
    assert_eq!(redacted(r#"f("password = fc4f28Ti0oSGW9kMF5")"#), r#"f("[X]")"#);
    assert_eq!(redacted("MY_SECRET_KEY=fc4f28Ti0oSGW9kMF5\nA=1"), "MY_SECRET_KEY=[X]\nA=1");
    let key = format!("gsk_{}", noise(52));
    assert_eq!(redacted(&format!("api_key = \"{key}\"")), "api_key = \"[X]\"");
}

#[test]
fn a_key_that_breaks_off_is_still_one() {
    let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n{}", noise(64), noise(64));
    assert_eq!(redacted(&text), "[X]");
    assert_eq!(redacted(&text.replace('\n', "\\n")), "[X]");
    assert_eq!(redacted(&text.replace('\n', "\\r\\n")), "[X]");
    assert_eq!(redacted(&format!("sk-ant-api03-{}", noise(60))), "[X]");
}

#[test]
fn a_private_key_without_its_end_takes_no_half_of_a_character_away() {
    let words = "\u{e9}".repeat(40);
    for before in ["", "x", "xx"] {
        let key = format!("-----BEGIN PRIVATE KEY-----{}-----END {before}", noise(64));
        assert_eq!(redacted(&format!("{key}{words}")), format!("[X]{words}"));
    }
}

#[test]
fn a_private_key_is_found_as_people_quote_it() {
    let lines =
        ["-----BEGIN PRIVATE KEY-----", &noise(64), &noise(64), "-----END PRIVATE KEY-----"];
    let quoted = |lines: &[&str], between: &str| {
        let out = redacted(&format!("It is: {}{between}ok", lines.join(between)));
        assert_eq!(out, format!("It is: [X]{between}ok"));
    };
    for between in ["\n> ", "\n# ", "\n * ", "\n| "] {
        quoted(&lines, between);
        // One that breaks off.
        quoted(&lines[..3], between);
    }
    for between in ["\n// ", "<br>", "<br/>\n", "\\n\" +\n\"", "\n  12\t"] {
        quoted(&lines, between);
    }
    let told =
        "It begins with `-----BEGIN PRIVATE KEY-----`, then # and > and | are no part of it.";
    assert_eq!(redacted(told), told);
}

/// How many of those deltas pass in the moment in which they come.
fn at_once(deltas: &[&str]) -> usize {
    let (mut scan, mut seen) = (Scan::new(Arc::new(Policy::default())), Seen::default());
    let passes = |delta: &&&str| {
        scan.feed(delta.as_bytes(), &mut seen);
        scan.held() == 0
    };
    deltas.iter().filter(passes).count()
}

#[test]
fn what_cannot_be_the_beginning_of_anything_passes_at_once() {
    for deltas in [
        &["well", "-", "known", " twenty", "-", "one"][..],
        &["a path", "\\n", "ext line", "\\t", "ab"],
        &[" version 0123456789", " end"],
    ] {
        assert_eq!(at_once(deltas), deltas.len(), "{deltas:?}");
    }
    assert_eq!(at_once(&["the list:\n", "-", " one"]), 2);
}

#[test]
fn a_private_key_that_is_glued_to_a_word_is_found() {
    let body = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", noise(64));
    assert_eq!(redacted(&format!("key{body}")), "key-[X]");
    assert_eq!(redacted(&format!("a\\n{body}{body}")), "a\\n[X][X]");
}

#[test]
fn what_is_observed_passes_at_once_and_hides_nothing() {
    let policy = Policy::all(Action::Observe);
    let text = format!("mail ann@corp.com, gsk_{} and 219-09-9999", noise(52));
    let seen = seen_in(policy, &[text.as_bytes()]);
    assert_eq!((seen.out, seen.found.len()), (text.into_bytes(), 3));
    let policy = Policy::default().with(&[(super::Detector::Email, Action::Observe)]);
    let url = "postgres://ann:fc4f28Ti0oSG@corp.com";
    let seen = seen_in(policy, &[url.as_bytes()]);
    assert_eq!((seen.out.as_slice(), seen.found.len()), (b"[X]".as_slice(), 2));
}

#[test]
fn nothing_follows_a_block() {
    let policy = Policy::default().with(&[(super::Detector::Ssn, Action::Block)]);
    let seen = seen_in(policy, &[b"It is 219-0", b"9-9999 and more", b" and more"]);
    assert_eq!(seen.out, b"It is ");
}

fn pieces(text: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|two| text[two[0]..two[1]].to_vec()).collect()
}

/// Texts of keys, their beginnings, numbers, names and noise, glued together.
fn glued() -> impl Strategy<Value = String> {
    let mut parts: Vec<String> = keys();
    parts.extend(
        super::rules::RULES
            .iter()
            .copied()
            .flatten()
            .flat_map(|rule| rule.literals.iter().map(|literal| (*literal).to_owned())),
    );
    for part in [
        "4111 1111 1111 1111",
        "219-09-9999",
        "-09-9999",
        "GB82WEST12345698765432",
        "a@b.co",
        "password = \"fc4f28Ti0oSGW9kMF5\"",
        "\"",
        "\\",
        "\\u0022",
        "\\x3e",
        "%3D",
        "u",
        "\u{1b}[32m",
        "x",
        " ",
        "-",
        "_",
        ".",
        ":",
        "@",
        "=",
        "\n",
        "é",
        "。",
        "1",
        "23",
        "4567",
        "a",
        "T3BlbkFJ",
        "-----",
        "+1 212 ",
    ] {
        parts.push(part.to_owned());
    }
    let part = (proptest::sample::select(parts), any::<prop::sample::Index>(), any::<bool>());
    let part = part.prop_map(|(part, cut, is_cut)| {
        let at = cut.index(part.len() + 1);
        if is_cut && part.is_char_boundary(at) { part[..at].to_owned() } else { part }
    });
    prop::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![1 => Just(Action::Off), 1 => Just(Action::Observe), 4 => Just(Action::Redact), 1 => Just(Action::Block)]
}

fn changes() -> impl Strategy<Value = Vec<(super::Detector, Action)>> {
    prop::collection::vec(action(), super::Detector::ALL.len())
        .prop_map(|actions| super::Detector::ALL.into_iter().zip(actions).collect())
}

proptest! {
    #[test]
    fn every_way_of_cutting_gives_the_same(text in glued(), cuts in prop::collection::vec(any::<usize>(), 0..40), changes in changes()) {
        let policy = Policy::default().with(&changes);
        let whole = seen_in(policy.clone(), &[text.as_bytes()]);
        let cut = pieces(text.as_bytes(), &cuts);
        let cut: Vec<&[u8]> = cut.iter().map(Vec::as_slice).collect();
        let parts = seen_in(policy.clone(), &cut);
        prop_assert_eq!(&parts.out, &whole.out);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let parts = seen_in(policy, &bytes);
        prop_assert_eq!(&parts.out, &whole.out);
        // Observed finds may come between others at another time, but none is lost, unless a block ends all.
        if changes.iter().all(|(_, action)| *action != Action::Block) {
            let sorted = |seen: &Seen| { let mut found = seen.found.clone(); found.sort(); found };
            prop_assert_eq!(sorted(&parts), sorted(&whole));
        }
    }
}
