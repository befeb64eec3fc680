//! A first configuration, made of the answers to a few questions: the text of `weir.yaml` and of the `.env`
//! beside it.
//!
//! Which questions are asked, and how, is not known here; random bytes come as parameters.

use std::fmt::Write as _;

use crate::base::limit::ID_HEADER_BYTES_MAX;
use crate::base::money::NanoUsd;
use crate::config::import::draft::quoted;
use crate::ledger::account::Cadence;
use crate::upstream::target::BaseUrl;

/// Where a provider of one's own is looked for, unless said otherwise: Ollama's place.
pub const LOCAL_URL: &str = "http://127.0.0.1:11434/v1";
/// A model that it may have.
pub const LOCAL_MODEL: &str = "llama3.2";
/// The agent that comes first.
pub const FIRST_AGENT: &str = "agent-1";

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `OpenAI`.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// `OpenRouter`.
    OpenRouter,
    /// Anything that speaks `OpenAI`'s dialect.
    Compatible,
}

impl Choice {
    /// All of them, in the order in which they are offered and looked for.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::OpenRouter, Self::Compatible];

    /// The name of the provider in the file, and what is typed to choose it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::OpenRouter => "openrouter",
            Self::Compatible => "compatible",
        }
    }

    /// The variable that holds its key.
    pub const fn key_variable(self) -> &'static str {
        match self {
            Self::OpenAi => "OPENAI_API_KEY",
            Self::Anthropic => "ANTHROPIC_API_KEY",
            Self::OpenRouter => "OPENROUTER_API_KEY",
            Self::Compatible => "PROVIDER_API_KEY",
        }
    }

    /// What is known of it beforehand: its address, and its models in the form of the file.
    const fn known(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi => ("https://api.openai.com/v1", MODELS_OF_OPENAI),
            Self::Anthropic => ("https://api.anthropic.com", MODELS_OF_ANTHROPIC),
            Self::OpenRouter => ("https://openrouter.ai/api/v1", MODELS_OF_OPENROUTER),
            Self::Compatible => (LOCAL_URL, ""),
        }
    }

    /// The model that an example asks for.
    const fn example(self) -> &'static str {
        match self {
            Self::OpenAi => "gpt-4o-mini",
            Self::Anthropic => "claude-sonnet-4-6",
            Self::OpenRouter => "openai/gpt-4o-mini",
            Self::Compatible => LOCAL_MODEL,
        }
    }
}

const MODELS_OF_OPENAI: &str = "\
\x20 - {id: gpt-4o-mini, provider: openai, tier: fast, price: {input: 0.15, output: 0.60, cache_read: 0.075}, context_tokens: 128000, output_tokens_max: 16384, vision: true}
\x20 - {id: gpt-4o, provider: openai, tier: oracle, price: {input: 2.50, output: 10.00, cache_read: 1.25}, context_tokens: 128000, output_tokens_max: 16384, vision: true}
";
const MODELS_OF_ANTHROPIC: &str = "\
\x20 - {id: claude-sonnet-4-6, provider: anthropic, tier: oracle, price: {input: 3.00, output: 15.00, cache_read: 0.30}, context_tokens: 200000, output_tokens_max: 64000, vision: true}
";
const MODELS_OF_OPENROUTER: &str = "\
\x20 - {id: openai/gpt-4o-mini, provider: openrouter, tier: fast, price: {input: 0.15, output: 0.60}, context_tokens: 128000, output_tokens_max: 16384, vision: true}
\x20 - {id: anthropic/claude-sonnet-4.6, provider: openrouter, tier: oracle, price: {input: 3.00, output: 15.00, cache_read: 0.30}, context_tokens: 200000, output_tokens_max: 64000, vision: true}
";

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Who answers.
    pub choice: Choice,
    /// Its address and a model of it, for one that is not known beforehand.
    pub own: Option<Own>,
    /// Its key; none for a provider that needs none.
    pub key: Option<String>,
    /// The id of the first agent.
    pub agent: String,
    /// What it may spend.
    pub budget: Option<Budget>,
}

/// A provider that is not known beforehand.
#[derive(Clone, Debug)]
pub struct Own {
    /// Its address.
    pub base_url: String,
    /// A model of it.
    pub model: String,
}

/// What an agent may spend.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// In one period.
    pub limit: NanoUsd,
    /// The period.
    pub period: Cadence,
}

/// Fresh secrets.
pub struct Secrets {
    /// For the control API.
    pub admin_key: String,
    /// Of the first agent.
    pub agent_key: String,
    /// Seals the credentials of accounts that are made through the API.
    pub kms_key: [u8; 32],
}

/// What is to be written.
pub struct Files {
    /// `weir.yaml`.
    pub yaml: String,
    /// `.env`, which holds secrets.
    pub env: String,
}

impl Answers {
    /// The model that an example asks for.
    pub fn example_model(&self) -> &str {
        self.own.as_ref().map_or(self.choice.example(), |own| &own.model)
    }
}

/// The two files.
pub fn files(answers: &Answers, secrets: &Secrets) -> Files {
    Files { yaml: yaml(answers), env: env(answers, secrets) }
}

fn yaml(answers: &Answers) -> String {
    let choice = answers.choice;
    let dialect = if choice == Choice::Anthropic { "anthropic" } else { "openai" };
    let (known_url, known_models) = choice.known();
    let url = answers.own.as_ref().map_or(known_url, |own| &own.base_url);
    let mut out = String::from(HEAD);
    // Writing to a string cannot fail, here and below.
    let _ = write!(out, "\nproviders:\n  {}:\n    dialect: {dialect}\n", choice.name());
    let _ = writeln!(out, "    base_url: {}", quoted(&escaped(url)));
    if answers.key.is_some() {
        let _ = writeln!(out, "    api_key: \"${{{}}}\"", choice.key_variable());
    }
    out.push_str("\n# What clients may ask for; prices in USD per million tokens: see whether they are right.\nmodels:\n");
    out.push_str(known_models);
    if let Some(own) = &answers.own {
        models_of_own(&mut out, own, answers);
    }
    let agent = &answers.agent;
    let _ = write!(out, "\nagents:\n  {}:\n    keys: [\"${{WEIR_AGENT_KEY}}\"]\n", quoted(agent));
    if let Some(Budget { limit, period }) = &answers.budget {
        let period = period.name();
        out.push_str("    # With nothing left, requests are answered with 402.\n");
        let _ =
            writeln!(out, "    budget: {{limit_usd: {limit}, period: {period}, hard_cap: true}}");
    }
    out.push_str(TAIL);
    out
}

/// A model that was named, and every other name. Only a hard budget needs to know how long an answer may be.
fn models_of_own(out: &mut String, own: &Own, answers: &Answers) {
    let provider = answers.choice.name();
    let most = if answers.budget.is_some() { OWN_OUTPUT } else { "" };
    let price = format!("price: {{input: 0, output: 0}}{most}}}");
    let model = quoted(&escaped(&own.model));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "  - {{id: {model}, provider: {provider}, {price}");
    let _ = writeln!(out, "  # Every other name, as it comes.");
    let _ = writeln!(out, "  - {{id: \"*\", provider: {provider}, {price}");
    if answers.budget.is_some() {
        out.push_str("\nbudget:\n  unknown_price: free   # a hard cap would else refuse the names that `*` takes\n");
    }
}

/// What nearly every model can do, for a budget to hold.
const OWN_OUTPUT: &str = ", output_tokens_max: 4096";

const HEAD: &str = "\
# A first configuration of Weir. conf/weir.yaml documents every key; `weir check -c FILE` checks this file.
# The variables are in `.env` beside it, and in the environment, which goes first.
server:
  listen: [\"127.0.0.1:8080\"]
  admin: \"127.0.0.1:9090\"

auth:
  admin_keys: [\"${WEIR_ADMIN_KEY}\"]
";

const TAIL: &str = "
# The ledger.
store: \"sqlite:weir.db\"

# Accounts that are made through the API, with their credentials sealed by this key:
profiles: {kms_key: \"${WEIR_KMS_KEY}\"}
";

fn env(answers: &Answers, secrets: &Secrets) -> String {
    let mut out = String::from("# Secrets of weir.yaml. Keep them out of version control.\n");
    let mut line = |name: &str, value: &str| {
        // What stands in single quotes is taken as it is; keys with one in them are refused before.
        let _ = writeln!(out, "{name}='{value}'");
    };
    if let Some(key) = &answers.key {
        line(answers.choice.key_variable(), key);
    }
    line("WEIR_ADMIN_KEY", &secrets.admin_key);
    line("WEIR_AGENT_KEY", &secrets.agent_key);
    line("WEIR_KMS_KEY", &base64(&secrets.kms_key));
    out
}

/// A dollar sign begins a variable in the file.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// Checks what was typed for a provider.
///
/// # Errors
/// Why it is none.
pub fn choice(text: &str) -> Result<Choice, String> {
    let mut all = Choice::ALL.into_iter().enumerate();
    let found = all.find(|(at, choice)| {
        text.eq_ignore_ascii_case(choice.name()) || text == (at + 1).to_string()
    });
    let names = Choice::ALL.map(Choice::name).join(", ");
    found.map(|(_, choice)| choice).ok_or_else(|| format!("{text:?} is not one of {names}"))
}

/// Checks what was typed for an address.
///
/// # Errors
/// Why it is none.
pub fn base_url(text: &str) -> Result<String, String> {
    // The text is not shown: a URL with a password in it is one of the errors.
    BaseUrl::parse(text, false).map(|_| text.to_owned()).map_err(|error| format!("that {error}"))
}

/// Checks what was typed for a key. It is never shown.
///
/// # Errors
/// Why it cannot be one.
pub fn key(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a key is needed".to_owned());
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'\'') {
        return Err("a key has visible ASCII characters only, and no quotes".to_owned());
    }
    Ok(text.to_owned())
}

/// Checks what was typed for a name: of an agent, of a model.
///
/// # Errors
/// Why it cannot be one.
pub fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > ID_HEADER_BYTES_MAX {
        return Err(format!("a name has 1 to {ID_HEADER_BYTES_MAX} characters"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text == "*" {
        return Err("a name has visible ASCII characters only, no blanks".to_owned());
    }
    Ok(text.to_owned())
}

/// Checks what was typed for an amount.
///
/// # Errors
/// Why it is none.
pub fn limit(text: &str) -> Result<Option<NanoUsd>, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let text = text.strip_prefix('$').unwrap_or(text);
    NanoUsd::parse_usd(text).map(Some).map_err(|error| format!("{text:?} {error}, or none"))
}

/// Checks what was typed for a period.
///
/// # Errors
/// Why it is none.
pub fn period(text: &str) -> Result<Cadence, String> {
    let found = Cadence::ALL.into_iter().find(|period| text.eq_ignore_ascii_case(period.name()));
    let names = Cadence::ALL.map(Cadence::name).join(", ");
    found.ok_or_else(|| format!("{text:?} is not one of {names}"))
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            let is_padding = digit > chunk.len();
            out.push(if is_padding { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn secrets() -> Secrets {
        let key = |with: &str| format!("weir-{with}-0123456789abcdef");
        Secrets { admin_key: key("admin"), agent_key: key("agent"), kms_key: [0xff; 32] }
    }

    fn answers(choice: Choice) -> Answers {
        let own = Own { base_url: LOCAL_URL.to_owned(), model: LOCAL_MODEL.to_owned() };
        let budget = Budget { limit: NanoUsd::parse_usd("12.50").unwrap(), period: Cadence::Daily };
        Answers {
            choice,
            own: (choice == Choice::Compatible).then_some(own),
            key: (choice != Choice::Compatible).then(|| "sk-it-is-secret#$\"".to_owned()),
            agent: FIRST_AGENT.to_owned(),
            budget: Some(budget),
        }
    }

    /// What `.env` says, read in the plainest way.
    fn said(env: &str, name: &str) -> Option<String> {
        let line = env.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("='"));
        Some(line?.strip_suffix('\'')?.to_owned())
    }

    #[test]
    fn each_choice_makes_a_file_that_loads_without_a_warning() {
        for choice in Choice::ALL {
            for budget in [answers(choice).budget, None] {
                let answers = Answers { budget, ..answers(choice) };
                let Files { yaml, env } = files(&answers, &secrets());
                let snapshot = load(&yaml, "weir.yaml", &|name| said(&env, name));
                let snapshot = snapshot.unwrap_or_else(|problems| panic!("{problems:?}\n{yaml}"));
                assert!(snapshot.warnings.is_empty(), "{choice:?}: {:?}", snapshot.warnings);
                assert!(yaml.contains(answers.example_model()), "{yaml}");
            }
        }
    }

    #[test]
    fn secrets_are_in_the_environment_only() {
        let answers = answers(Choice::OpenRouter);
        let Files { yaml, env } = files(&answers, &secrets());
        for secret in ["sk-it-is-secret", "weir-admin-", "weir-agent-"] {
            assert!(!yaml.contains(secret) && env.contains(secret), "{secret}");
        }
        assert!(yaml.contains("${WEIR_KMS_KEY}"), "{yaml}");
        assert_eq!(said(&env, "OPENROUTER_API_KEY"), answers.key);
        assert_eq!(said(&env, "WEIR_KMS_KEY").unwrap(), format!("{}8=", "/".repeat(42)));
    }

    #[test]
    fn odd_names_and_addresses_are_kept() {
        for (agent, model) in [("true", "a:b"), ("x#y", "$HOME"), ("{", "${X}"), ("\"'", "null")] {
            let own = Own { base_url: "http://h/$a".to_owned(), model: model.to_owned() };
            let answers =
                Answers { own: Some(own), agent: agent.to_owned(), ..answers(Choice::Compatible) };
            let Files { yaml, env } = files(&answers, &secrets());
            let snapshot = load(&yaml, "weir.yaml", &|name| said(&env, name)).unwrap();
            assert_eq!(&*snapshot.catalog.models()[0].id, model);
        }
    }

    #[test]
    fn answers_are_checked() {
        assert_eq!(choice("Anthropic"), Ok(Choice::Anthropic));
        assert_eq!(choice("4"), Ok(Choice::Compatible));
        assert!(choice("5").unwrap_err().contains("openrouter"));
        assert!(
            key("").is_err() && key("a b").is_err() && key("a'b").is_err() && key("sk-1").is_ok()
        );
        assert!(base_url("localhost:1").is_err() && base_url(LOCAL_URL).is_ok());
        assert!(!base_url("http://u:secret@h").unwrap_err().contains("secret"));
        assert!(
            name("").is_err() && name("a b").is_err() && name("*").is_err() && name("a").is_ok()
        );
        assert_eq!(limit("none"), Ok(None));
        assert_eq!(limit("$2.5"), Ok(Some(NanoUsd(2_500_000_000))));
        assert!(limit("much").unwrap_err().contains("much") && limit("-1").is_err());
        assert_eq!(period("Daily"), Ok(Cadence::Daily));
        assert!(period("yearly").unwrap_err().contains("monthly"));
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in pairs {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
