//! What the file says, typed: every leaf is parsed and within its range, names are not yet looked up.
//!
//! The order of the functions is the order of the file. What two keys mean together is `check`'s
//! business, except where they stand side by side in one mapping.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::base::limit::MODEL_NAME_BYTES_MAX;
use crate::config::bound;
use crate::config::catalog::Translation;
use crate::config::keys;
use crate::config::mutators::Mutators;
use crate::config::problem::{At, Place, Problems};
use crate::config::raw_agent::{self, RawAgent};
use crate::config::raw_budget::{self, RawFleet, RawPolicy, RawTeam};
use crate::config::raw_guard::{self, RawGuard};
use crate::config::raw_infer::{self, Infer};
use crate::config::raw_model::{self, RawModel};
use crate::config::raw_mutators;
use crate::config::raw_pinning::{self, Pinning};
use crate::config::raw_profiles::{self, RawProfiles};
use crate::config::raw_provider::{self, RawProvider};
use crate::config::raw_routing::{self, RawStrategies};
use crate::config::raw_server::{self, RawAuth, RawServer};
use crate::config::raw_store::{self, RawConsole};
use crate::config::section::{Section, number, shown, text};
use crate::config::snapshot::{AccessLog, Audit, Log, Store, Stream};
use crate::config::yaml::{Node, Text, Value};
use crate::dialect::notice::NoticeMode;
use crate::upstream::retry::RETRY_STATUSES;

/// The names that leave the choice of a model to the strategy, unless configured otherwise (C-03).
pub const AUTO_NAMES: [&str; 5] = ["auto", "weir", "optmod", "optmod-router", "openrouter/auto"];

/// Keys of answers that a field of ours must not replace.
const ANSWER_KEYS: [&str; 12] = [
    "id", "object", "created", "model", "choices", "usage", "error", "type", "role", "content",
    "output", "data",
];

/// The whole file.
pub struct Raw {
    /// `server`.
    pub server: RawServer,
    /// `auth`.
    pub auth: RawAuth,
    /// `providers` in the order of the file.
    pub providers: Vec<RawProvider>,
    /// `models` in the order of the file.
    pub models: Vec<RawModel>,
    /// `aliases`: the name and the id that it stands for.
    pub aliases: Vec<(At<Text>, At<Text>)>,
    /// `routing`.
    pub routing: RawRouting,
    /// `stream`.
    pub stream: Stream,
    /// `mutators`.
    pub mutators: Mutators,
    /// `budget`.
    pub budget: RawPolicy,
    /// `fleet`, if given.
    pub fleet: Option<RawFleet>,
    /// `teams` in the order of the file.
    pub teams: Vec<RawTeam>,
    /// `agents` in the order of the file.
    pub agents: Vec<RawAgent>,
    /// `guard`.
    pub guard: RawGuard,
    /// `store`.
    pub store: Store,
    /// `console`.
    pub console: RawConsole,
    /// `profiles`, without the files that it names.
    pub profiles: RawProfiles,
    /// The first admin key as it was given.
    pub admin_key: Option<Zeroizing<String>>,
    /// `audit`.
    pub audit: Audit,
    /// `pinning`.
    pub pinning: Pinning,
    /// `infer`.
    pub infer: Infer,
    /// `log`.
    pub log: Log,
}

/// `routing`.
pub struct RawRouting {
    /// Names that leave the choice to the strategy.
    pub auto_names: Vec<At<Text>>,
    /// Who chooses.
    pub strategies: RawStrategies,
    /// Codes that call for the next candidate.
    pub retry_statuses: Vec<At<u16>>,
    /// Most attempts for one request.
    pub attempts_max: usize,
    /// Whether a timeout calls for the next candidate.
    pub retry_on_timeout: bool,
    /// A model and its chain.
    pub fallbacks: Vec<(At<Text>, Vec<At<Text>>)>,
    /// The chain of every other model.
    pub fallback_default: Vec<At<Text>>,
    /// Rest of an endpoint after a failure, in milliseconds.
    pub cooldown_ms: u64,
    /// What happens to fields that a provider's dialect cannot say.
    pub translation: Translation,
}

/// Reads the whole tree.
pub fn read(node: &Node, problems: &Problems) -> Raw {
    let top = Section::open(node, Place::top(), &keys::TOP, problems);
    let auth = top.section("auth", &keys::AUTH);
    Raw {
        server: raw_server::server(&top.section("server", &keys::SERVER), problems),
        auth: raw_server::auth(&auth, problems),
        providers: providers(&top, problems),
        models: models(&top, problems),
        aliases: aliases(&top, problems),
        routing: routing(&top.section("routing", &keys::ROUTING), problems),
        stream: stream(&top.section("stream", &keys::STREAM)),
        mutators: raw_mutators::mutators(&top.section("mutators", &keys::MUTATORS)),
        budget: raw_budget::policy(&top.section("budget", &keys::POLICY)),
        fleet: fleet(&top, problems),
        teams: teams(&top, problems),
        agents: agents(&top, problems),
        guard: raw_guard::read(&top),
        store: raw_store::store(&top),
        console: raw_store::console(&top.section("console", &keys::CONSOLE)),
        profiles: raw_profiles::profiles(&top.section("profiles", &keys::PROFILES), problems),
        admin_key: raw_profiles::admin_key(&auth),
        audit: raw_profiles::audit(&top.section("audit", &keys::AUDIT)),
        pinning: raw_pinning::pinning(&top),
        infer: raw_infer::infer(&top.section("infer", &keys::INFER)),
        log: Log { access: access_log(&top.section("log", &keys::LOG)) },
    }
}

fn providers(top: &Section<'_>, problems: &Problems) -> Vec<RawProvider> {
    let entries = top.map("providers");
    if entries.is_empty() {
        top.problem("providers", "is missing (at least one provider)");
    }
    let provider = |(name, node): (At<Text>, &Node)| raw_provider::read(name, node, problems);
    entries.into_iter().map(provider).collect()
}

fn models(top: &Section<'_>, problems: &Problems) -> Vec<RawModel> {
    let items = top.items("models").unwrap_or_default();
    if items.is_empty() {
        top.problem("models", "is missing (at least one model)");
    }
    items.into_iter().filter_map(|(node, place)| raw_model::read(node, place, problems)).collect()
}

fn aliases(top: &Section<'_>, problems: &Problems) -> Vec<(At<Text>, At<Text>)> {
    let alias = |(name, node): (At<Text>, &Node)| {
        check_name(&name, MODEL_NAME_BYTES_MAX, problems);
        Some((name.clone(), text(node, name.place, problems)?))
    };
    top.map("aliases").into_iter().filter_map(alias).collect()
}

fn routing(section: &Section<'_>, problems: &Problems) -> RawRouting {
    let default_names = || {
        let name = |name: &&str| At { value: Text::plain(*name), place: section.place.clone() };
        AUTO_NAMES.iter().map(name).collect()
    };
    let auto_names: Vec<At<Text>> = section.texts("auto_names").unwrap_or_else(default_names);
    for name in &auto_names {
        check_name(name, MODEL_NAME_BYTES_MAX, problems);
    }
    RawRouting {
        auto_names,
        strategies: raw_routing::read(section, problems),
        retry_statuses: retry_statuses(section, problems),
        attempts_max: section.count("attempts_max", &bound::ATTEMPTS),
        retry_on_timeout: section.flag_or("retry_on_timeout", true),
        fallbacks: fallbacks(section, problems),
        fallback_default: section.texts("fallback_default").unwrap_or_default(),
        cooldown_ms: section.number("cooldown_ms", &bound::COOLDOWN_MS),
        translation: section.choice("translation", &Translation::WORDS, &[]).unwrap_or_default(),
    }
}

fn retry_statuses(section: &Section<'_>, problems: &Problems) -> Vec<At<u16>> {
    let Some(texts) = section.texts("retry_statuses") else {
        let place = &section.place;
        return RETRY_STATUSES.map(|value| At { value, place: place.clone() }).into();
    };
    if section.items("retry_statuses").is_none_or(|items| items.is_empty()) {
        section.problem("retry_statuses", "is empty (at least one status, 100 to 999)");
    }
    let status = |text: At<Text>| {
        let code = number(&text, &bound::RETRY_STATUS, problems)?;
        Some(At { value: u16::try_from(code).ok()?, place: text.place })
    };
    texts.into_iter().filter_map(status).collect()
}

fn fallbacks(section: &Section<'_>, problems: &Problems) -> Vec<(At<Text>, Vec<At<Text>>)> {
    let chain = |(name, node): (At<Text>, &Node)| {
        // A chain is read like a key of a section that has only this one key.
        let texts = match &node.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .filter_map(|(at, item)| text(item, name.place.item(at, item.line), problems))
                .collect(),
            _ => text(node, name.place.clone(), problems).into_iter().collect::<Vec<_>>(),
        };
        (name, texts)
    };
    section.map("fallbacks").into_iter().map(chain).collect()
}

fn stream(section: &Section<'_>) -> Stream {
    let words = [
        ("chunk", NoticeMode::Chunk),
        ("event", NoticeMode::Event),
        ("comment", NoticeMode::Comment),
        ("off", NoticeMode::Off),
    ];
    let notice = section.choice("notice", &words, &[]);
    Stream { notice: notice.unwrap_or_default(), metadata_field: metadata_field(section) }
}

fn metadata_field(section: &Section<'_>) -> String {
    const DEFAULT: &str = "_weir";
    const CHARS_MAX: usize = 64;
    let Some(At { value, .. }) = section.text("metadata_field") else {
        return DEFAULT.to_owned();
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if value.text.len() > CHARS_MAX || !value.text.bytes().all(plain) {
        let allowed = "(letters, digits, _ and -, at most 64 of them; \"\" for none)";
        section.problem("metadata_field", format!("{} is not allowed {allowed}", shown(&value)));
    } else if ANSWER_KEYS.contains(&value.text.as_str()) {
        let message =
            format!("{} is a key that providers use (write it like _weir)", shown(&value));
        section.problem("metadata_field", message);
    } else if value.text == "gateway_notice" {
        let message = "is the key of the gateway's own notices (write it like _weir)";
        section.problem("metadata_field", message);
    }
    value.text
}

fn fleet(top: &Section<'_>, problems: &Problems) -> Option<RawFleet> {
    let section = top.section_if_given("fleet", &keys::FLEET)?;
    Some(raw_budget::fleet(&section, problems))
}

fn teams(top: &Section<'_>, problems: &Problems) -> Vec<RawTeam> {
    let entries = top.map("teams");
    entries.into_iter().map(|(name, node)| raw_budget::team(name, node, problems)).collect()
}

fn agents(top: &Section<'_>, problems: &Problems) -> Vec<RawAgent> {
    let entries = top.map("agents");
    entries.into_iter().map(|(id, node)| raw_agent::read(id, node, problems)).collect()
}

fn access_log(section: &Section<'_>) -> AccessLog {
    let Some(At { value, .. }) = section.text("access") else {
        return AccessLog::default();
    };
    match value.text.as_str() {
        "stdout" => AccessLog::Stdout,
        "stderr" => AccessLog::Stderr,
        "off" => AccessLog::Off,
        // Without a slash it is more likely a misspelt word than a file.
        path if path.contains('/') && !path.contains('\0') => AccessLog::File(PathBuf::from(path)),
        _ => {
            let allowed = "(stdout, stderr, off, or a path with a / in it)";
            section.problem("access", format!("{} is not allowed {allowed}", shown(&value)));
            AccessLog::default()
        }
    }
}

/// Names go into headers, logs and metrics, so only visible ASCII can be one.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Looks at a name.
pub fn check_name(name: &At<Text>, bytes_max: usize, problems: &Problems) {
    let text = name.value.text.as_str();
    if text.is_empty() {
        problems.add(&name.place, "is empty (a name is needed)");
    } else if text.len() > bytes_max {
        problems.add(&name.place, format!("is too long (at most {bytes_max} characters)"));
    } else if !is_name(text) {
        problems.add(&name.place, "is not a usable name (visible ASCII characters, no blanks)");
    }
}
