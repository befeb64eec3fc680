//! How an answer says that it was served: by which tier, how fast and where. Each changes the price of all
//! its tokens; by how much is said in `usage::bound`.

use crate::usage::scan::unquoted;

/// What an answer says of the way it was served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The service tier that was billed.
    pub tier: Option<ServedTier>,
    /// Whether it was served in the fast and dear way (`speed`).
    pub fast: Option<bool>,
    /// Whether it was bound to a region (`inference_geo`).
    pub region: Option<bool>,
}

/// A service tier by its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedTier {
    /// The ordinary one, or one with a discount, which is not a given.
    Ordinary,
    /// Faster and dearer.
    Dear,
    /// One whose price nobody here knows.
    Unknown,
}

impl ServedTier {
    /// The tier of that name; `None` if it is no answer to the question.
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"" | b"auto" => return None,
            b"default" | b"standard" | b"standard_only" | b"on_demand" | b"flex" | b"batch"
            | b"scale" => Self::Ordinary,
            b"priority" | b"fast" => Self::Dear,
            _ => Self::Unknown,
        })
    }
}

impl Served {
    /// Reads a member of a usage report or of the answer's top level, if it is one of ours.
    pub(crate) fn member(&mut self, key: &[u8], value: &[u8]) {
        let Some(value) = unquoted(value) else { return };
        match key {
            b"service_tier" => self.tier = ServedTier::of(value).or(self.tier),
            b"speed" => self.fast = Some(value == b"fast"),
            b"inference_geo" => {
                self.region = Some(!matches!(value, b"" | b"global" | b"not_available"));
            }
            _ => {}
        }
    }

    /// What a later report says, where it says something.
    pub(crate) fn overlay(&mut self, later: Self) {
        self.tier = later.tier.or(self.tier);
        self.fast = later.fast.or(self.fast);
        self.region = later.region.or(self.region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::surface::Surface;
    use crate::usage::answer::read_answer;
    use crate::usage::count::{Remarks, Report};

    fn remarks(usage: &str) -> Remarks {
        Report::read(usage.as_bytes()).unwrap().remarks
    }

    #[test]
    fn an_answer_tells_how_it_was_served() {
        let usage = r#"{"input_tokens":1,"output_tokens":1,"service_tier":"priority","speed":"fast",
            "inference_geo":"us"}"#;
        let dear = Served { tier: Some(ServedTier::Dear), fast: Some(true), region: Some(true) };
        assert_eq!(remarks(usage).served, dear);
        let plain = r#"{"input_tokens":1,"service_tier":"standard","speed":"standard",
            "inference_geo":"global"}"#;
        let tier = Some(ServedTier::Ordinary);
        let expected = Served { tier, fast: Some(false), region: Some(false) };
        assert_eq!(remarks(plain).served, expected);
        let silent = r#"{"input_tokens":1,"service_tier":"auto","speed":null,"inference_geo":7}"#;
        assert_eq!(remarks(silent).served, Served::default());
        let beside = br#"{"usage":{"prompt_tokens":1},"service_tier":"turbo"}"#;
        let facts = read_answer(Surface::Chat, beside);
        assert_eq!(facts.remarks.served.tier, Some(ServedTier::Unknown));
    }

    #[test]
    fn a_report_tells_what_of_it_is_open() {
        let lost = |usage| (remarks(usage).input_lost, remarks(usage).output_lost);
        assert_eq!(lost(r#"{"prompt_tokens":7,"completion_tokens":5}"#), (false, false));
        assert_eq!(lost(r#"{"prompt_tokens":"7","completion_tokens":5.5}"#), (false, false));
        assert_eq!(lost(r#"{"prompt_tokens":"ten","completion_tokens":5}"#), (true, false));
        assert_eq!(lost(r#"{"prompt_tokens":true,"completion_tokens":5}"#), (true, false));
        assert_eq!(lost(r#"{"input_tokens":-3,"output_tokens":"-5"}"#), (true, true));
        assert_eq!(lost(r#"{"prompt_tokens":null,"completion_tokens":5}"#), (false, false));
        let half = br#"{"choices":[{"message":{"content":"words"}}],"usage":{"prompt_tokens":7,"completion_tokens":"many"}}"#;
        let facts = read_answer(Surface::Chat, half);
        assert_eq!((facts.remarks.output_lost, facts.output_bytes), (true, 5));
        let unsplit = |usage| remarks(usage).unsplit_writes;
        assert_eq!(unsplit(r#"{"input_tokens":1,"cache_creation_input_tokens":50}"#), 50);
        let split = r#"{"input_tokens":1,"cache_creation_input_tokens":50,"cache_creation":
            {"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":25}}"#;
        assert_eq!(unsplit(split), 5);
    }
}
