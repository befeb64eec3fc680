//! Our `WordPiece` against the crate `tokenizers`: over every character, over texts in many languages and over
//! random ones, the tokens have to be the same.

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::learned::wordpiece::{Pieces, Vocabulary};
use crate::learned::{letters, table};

const TABLE: &[u8] = include_bytes!("../../conf/router/embedding.bin");

struct Both {
    judge: Tokenizer,
    ours: Vocabulary,
}

impl Both {
    fn new() -> Self {
        let texts = table::texts(TABLE).unwrap();
        let ids: serde_json::Map<String, Value> =
            texts.iter().zip(0..).map(|(text, id)| ((*text).to_owned(), json!(id))).collect();
        // The encoder's own `tokenizer.json`, but for the special tokens: prompts have none.
        let judge = json!({
            "version": "1.0",
            "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": null,
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": ids,
            },
        });
        let judge = Tokenizer::from_bytes(judge.to_string()).unwrap();
        Self { judge, ours: Vocabulary::new(&texts).unwrap() }
    }

    fn of_judge(&self, text: &str) -> Vec<u16> {
        let encoding = self.judge.encode_fast(text, false).unwrap();
        encoding.get_ids().iter().map(|id| u16::try_from(*id).unwrap()).collect()
    }

    fn ours(&self, text: &str) -> Vec<u16> {
        let mut pieces = Pieces::default();
        assert_eq!(self.ours.tokenise(text, usize::MAX, &mut pieces), text.len());
        pieces.tokens
    }

    fn agree(&self, text: &str) {
        assert_eq!(self.ours(text), self.of_judge(text), "{text:?}");
    }
}

/// Asks both about characters: in a word, between spaces, before an accent, and beside an ideograph.
fn agree_on(both: &Both, characters: impl Iterator<Item = char>) {
    let around = |it: char| format!("ab{it}cd {it} e{it}\u{301} 漢{it}.");
    let all: Vec<char> = characters.collect();
    let mut wrong: Vec<char> = Vec::new();
    for characters in all.chunks(64) {
        let text: String = characters.iter().map(|character| around(*character)).collect();
        if both.ours(&text) != both.of_judge(&text) {
            let is_wrong = |it: &&char| both.ours(&around(**it)) != both.of_judge(&around(**it));
            wrong.extend(characters.iter().filter(is_wrong).copied());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn characters_are_read_as_the_judge_reads_them() {
    let both = Both::new();
    agree_on(&both, '\0'..='\u{33ff}');
    agree_on(&both, '\u{a000}'..='\u{abff}');
    agree_on(&both, '\u{f900}'..='\u{ffff}');
    // Ideographs, syllables, and what is rare.
    agree_on(&both, ('\u{3400}'..=char::MAX).step_by(61));
    agree_on(&both, letters::edges());
}

#[test]
#[ignore = "takes minutes unoptimised; for when a table of characters changes"]
fn every_character_is_read_as_the_judge_reads_it() {
    agree_on(&Both::new(), '\0'..=char::MAX);
}

#[test]
fn texts_of_many_kinds_are_read_as_the_judge_reads_them() {
    let both = Both::new();
    for text in [
        "",
        "How many prime numbers are there below 1,000,000? Show your work.",
        "Le garçon naïf a mangé une crème brûlée à l'Élysée; ÇA VA?",
        "Zażółć gęślą jaźń, Straße, ΑΒΓ ὀδύσσεια, İstanbul ı, ŁÓDŹ",
        "深層学習とは何ですか。请用中文解释一下！ 한국어로 설명해 주세요.",
        "שלום עולם, בְּרֵאשִׁית بسم الله الرَّحْمٰن हिन्दी में बताइए ไทยแลนด์",
        "def f(x_1: int) -> list[str]:\n\treturn [f\"{x}\" for x in range(10**6)]  # ok?\r\n",
        "\\frac{\\partial f}{\\partial x} = \\sum_{i=0}^{n} a_i x^i \u{2264} \u{221e} \u{bd} \u{2460}",
        "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 5\u{fe0f}\u{20e3} \u{1f1e9}\u{1f1ea} done",
        "a\u{0}b\u{1}c\u{7f}d\u{ad}e\u{200b}f\u{feff}g\u{fffd}h\u{85}i\u{a0}j\u{2028}k\u{3000}l",
        "pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism",
        "Qwertzuiopasdfghjklyxcvbnm1234567890ZZZZzzzzqqqq xqzjkvwpx x\u{301}\u{302}y",
        "[MASK] [CLS] [SEP] [PAD] [UNK] [unused5] ##ing # # #",
        "don't can't we'll o'clock e.g. U.S.A. 3.14 $5.00 50% a/b C++ C# .NET",
    ] {
        both.agree(text);
    }
    for length in [14, 15, 16, 17, 18, 30, 31, 99, 100, 101, 300] {
        both.agree(&"a".repeat(length));
        both.agree(&"é".repeat(length));
        both.agree(&format!(
            "{} {}b",
            "telecommunications".repeat(length / 15),
            "7".repeat(length)
        ));
    }
}

#[test]
fn what_this_project_is_written_in_is_read_as_the_judge_reads_it() {
    let both = Both::new();
    for text in [
        include_str!("../../README.md"),
        include_str!("../../conf/weir.yaml"),
        include_str!("../../Cargo.lock"),
        include_str!("../wire/envelope.rs"),
        include_str!("../../tests/clients/openai_checks.py"),
        include_str!("../../tests/fixtures/anthropic_stream_tools.sse"),
    ] {
        both.agree(text);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_as_the_judge_reads_it(text in ".{0,80}", words in "([a-zA-Z0-9éÀñ .,'\u{301}\u{1}-]|ing|tion){0,80}") {
        let both = BOTH.with(std::clone::Clone::clone);
        both.agree(&text);
        both.agree(&words);
    }
}

thread_local! {
    static BOTH: std::rc::Rc<Both> = std::rc::Rc::new(Both::new());
}
