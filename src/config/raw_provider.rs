//! The section `providers.<name>`.

use std::path::Path;

use http::header::{HeaderName, HeaderValue};

use crate::base::surface::Dialect;
use crate::config::Outside;
use crate::config::bound;
use crate::config::keys;
use crate::config::problem::{At, Problems};
use crate::config::raw::check_name;
use crate::config::section::{Section, header_value, shown, text};
use crate::config::yaml::{Node, Text};
use crate::upstream::authorities::Authorities;
use crate::upstream::provider::{Abilities, OutputCapField, Timeouts};
use crate::upstream::target::BaseUrl;

/// Most characters of a provider's name, which is a metric label.
const NAME_BYTES_MAX: usize = 64;

/// Most keys of one provider: more than anybody rotates among, and each makes a breaker for every model.
const API_KEYS_MAX: usize = 16;

/// Headers that the gateway writes itself: a fixed value would break the request or its metering.
pub const OWN_HEADERS: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// `OpenAI`-like hosts that refuse `stream_options`, and report usage without being asked.
const HOSTS_WITHOUT_ASKING: [&str; 2] = ["mistral.ai", "groq.com"];

/// The host that names each attempt, and tells later what it has cost.
const HOST_OF_OPENROUTER: &str = "openrouter.ai";

/// Hosts of `OpenAI` itself, whose newer models refuse `max_tokens`.
const HOSTS_OF_OPENAI: [&str; 2] = ["api.openai.com", "openai.azure.com"];

/// `providers.<name>`.
pub struct RawProvider {
    /// Its name.
    pub name: At<Text>,
    /// What it speaks, if that could be read.
    pub dialect: Option<Dialect>,
    /// Where it is, if that could be read.
    pub base: Option<BaseUrl>,
    /// The file of the certificates that it is verified with.
    pub ca: Option<At<Text>>,
    /// What stands in that file.
    pub authorities: Option<Authorities>,
    /// Header and value of our credential.
    pub auth: Option<(HeaderName, HeaderValue)>,
    /// The same header with each of the further keys of `api_keys`.
    pub more_auth: Vec<(HeaderName, HeaderValue)>,
    /// Whether a key was given, usable or not.
    pub has_key: bool,
    /// Fixed headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// What it can do.
    pub abilities: Abilities,
    /// Whether it is used.
    pub enabled: bool,
}

/// Reads one provider.
pub fn read(name: At<Text>, node: &Node, problems: &Problems) -> RawProvider {
    check_name(&name, NAME_BYTES_MAX, problems);
    let section = Section::open(node, name.place.clone(), &keys::PROVIDER, problems);
    let dialect = dialect(&section);
    let base = base(&section, dialect);
    let mut keys = keys(&section, dialect);
    let more_auth = keys.split_off(keys.len().min(1));
    RawProvider {
        ca: ca(&section, base.as_ref()),
        authorities: None,
        auth: keys.pop(),
        more_auth,
        has_key: section.is_given("api_key") || section.is_given("api_keys"),
        headers: headers(&section, problems),
        timeouts: Timeouts {
            connect_ms: section.number("connect_timeout_ms", &bound::CONNECT_MS),
            first_byte_ms: section.number("first_byte_timeout_ms", &bound::FIRST_BYTE_MS),
            idle_ms: section.number("idle_timeout_ms", &bound::IDLE_MS),
        },
        abilities: abilities(&section, dialect, base.as_ref()),
        enabled: section.flag_or("enabled", true),
        name,
        dialect,
        base,
    }
}

impl RawProvider {
    /// Reads the file of its certificates, if one is named.
    pub fn read_ca(&mut self, outside: &Outside<'_>, problems: &Problems) {
        let Some(At { value, place }) = &self.ca else { return };
        match (outside.certificates)(Path::new(&value.text)) {
            Ok(certificates) => self.authorities = Some(Authorities::new(certificates)),
            Err(message) => problems.add(place, message),
        }
    }
}

fn ca(section: &Section<'_>, base: Option<&BaseUrl>) -> Option<At<Text>> {
    let path = section.text("ca")?;
    if path.value.text.is_empty() {
        section.problem("ca", "is empty (the path of a PEM file)");
        return None;
    }
    if base.is_some_and(|base| !base.tls) {
        section.problem("ca", "has no meaning without TLS (an https:// base_url)");
        return None;
    }
    Some(path)
}

fn dialect(section: &Section<'_>) -> Option<Dialect> {
    section.require("dialect", "openai, anthropic");
    let words = [Dialect::OpenAi, Dialect::Anthropic].map(|dialect| (dialect.name(), dialect));
    section.choice("dialect", &words, &[])
}

fn base(section: &Section<'_>, dialect: Option<Dialect>) -> Option<BaseUrl> {
    let exact = section.flag_or("exact_url", false);
    section.require("base_url", "like https://api.openai.com/v1");
    let At { value, .. } = section.text("base_url")?;
    let base = BaseUrl::parse(value.text.trim(), exact);
    // The text itself is not shown: a URL with a password in it is one of the errors.
    let base = base.map_err(|error| section.problem("base_url", error.to_string())).ok()?;
    let other =
        base.named_surface().filter(|surface| dialect.is_some_and(|it| it != surface.dialect()));
    if let Some(surface) = other {
        let (ours, path) = (surface.dialect().name(), surface.name());
        section.problem("base_url", format!("ends like a path of the {ours} dialect ({path})"));
    }
    Some(base)
}

/// Our credentials as headers, in the order of the file.
fn keys(section: &Section<'_>, dialect: Option<Dialect>) -> Vec<(HeaderName, HeaderValue)> {
    let name = auth_header(section, dialect);
    let default_prefix = if name == http::header::AUTHORIZATION { "Bearer " } else { "" };
    let given_prefix = section.text("auth_prefix").map(|text| text.value.text);
    let prefix = given_prefix.as_deref().unwrap_or(default_prefix);
    if header_value(prefix).is_none() {
        section.problem("auth_prefix", "cannot stand in a header (visible ASCII and blanks only)");
        return Vec::new();
    }
    let one = section.text("api_key").map(|text| ("api_key", vec![text]));
    let all = section.texts("api_keys").map(|texts| ("api_keys", texts));
    if one.is_some() && all.is_some() {
        section.problem("api_keys", "excludes api_key (put all keys into api_keys)");
    }
    let Some((key, texts)) = all.or(one) else { return Vec::new() };
    if texts.is_empty() || texts.len() > API_KEYS_MAX {
        section.problem(key, format!("must list 1 to {API_KEYS_MAX} keys"));
    }
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for text in &texts {
        let Some(value) = key_value(section, key, (prefix, &text.value.text)) else { continue };
        if headers.iter().any(|(_, known)| *known == value) {
            section.problem(key, "holds the same key twice");
        }
        headers.push((name.clone(), value));
    }
    headers
}

fn auth_header(section: &Section<'_>, dialect: Option<Dialect>) -> HeaderName {
    let default_name = match dialect {
        Some(Dialect::Anthropic) => HeaderName::from_static("x-api-key"),
        Some(Dialect::OpenAi) | None => http::header::AUTHORIZATION,
    };
    let given_name = section.text("auth_header").and_then(|text| header_name(section, &text));
    given_name.unwrap_or(default_name)
}

fn key_value(section: &Section<'_>, at: &str, (prefix, key): (&str, &str)) -> Option<HeaderValue> {
    if key.trim().is_empty() {
        section.problem(at, "is empty (leave it out if the provider needs none)");
        return None;
    }
    let Some(mut value) = header_value(&format!("{prefix}{key}")) else {
        section.problem(at, "cannot stand in a header (visible ASCII only, no line breaks)");
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}

fn header_name(section: &Section<'_>, text: &At<Text>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.value.text.as_bytes()).ok();
    let usable = name.filter(|name| !OWN_HEADERS.contains(&name.as_str()));
    if usable.is_none() {
        let message = format!("{} is not a usable header name", shown(&text.value));
        section.problem("auth_header", format!("{message} (like authorization or x-api-key)"));
    }
    usable
}

fn headers(section: &Section<'_>, problems: &Problems) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (key, node) in section.map("headers") {
        let Some(header) = header(&key, node, problems) else {
            continue;
        };
        if headers.iter().any(|(name, _)| *name == header.0) {
            problems.add(&key.place, "is given twice (the case of letters does not matter)");
        }
        headers.push(header);
    }
    headers
}

fn header(key: &At<Text>, node: &Node, problems: &Problems) -> Option<(HeaderName, HeaderValue)> {
    let Ok(name) = HeaderName::from_bytes(key.value.text.as_bytes()) else {
        problems.add(&key.place, "is not a header name (letters, digits and -)");
        return None;
    };
    if OWN_HEADERS.contains(&name.as_str()) {
        problems.add(&key.place, "is written by the gateway itself (remove it)");
    }
    let value = text(node, key.place.clone(), problems)?.value.text;
    let Some(mut value) = header_value(&value) else {
        let message = "has a value that cannot stand in a header (visible ASCII, no line breaks)";
        problems.add(&key.place, message);
        return None;
    };
    value.set_sensitive(true);
    Some((name, value))
}

fn abilities(section: &Section<'_>, dialect: Option<Dialect>, base: Option<&BaseUrl>) -> Abilities {
    let openai = dialect == Some(Dialect::OpenAi);
    let ability = |key, default| {
        let on = section.flag_or(key, openai && default);
        if on && dialect == Some(Dialect::Anthropic) {
            section.problem(key, "is for the openai dialect only (remove it)");
        }
        on
    };
    let asks = base.is_some_and(takes_asking);
    let names = base.is_some_and(names_attempts);
    Abilities {
        native_fallback: ability("native_fallback", false),
        chat: ability("chat", true),
        responses: ability("responses", true),
        ask_usage: ability("ask_usage", asks),
        generation_lookup: ability("generation_lookup", names),
        output_cap_field: output_cap_field(section, dialect, base),
    }
}

fn output_cap_field(
    section: &Section<'_>,
    dialect: Option<Dialect>,
    base: Option<&BaseUrl>,
) -> OutputCapField {
    let (short, long) = (OutputCapField::MaxTokens, OutputCapField::MaxCompletionTokens);
    let words = [short, long].map(|field| (field.name(), field));
    let given = section.choice("output_cap_field", &words, &[]);
    let anthropic = dialect == Some(Dialect::Anthropic);
    if anthropic && given == Some(long) {
        section.problem("output_cap_field", "is max_tokens in the anthropic dialect (remove it)");
    }
    let is_openai = base.is_some_and(|base| HOSTS_OF_OPENAI.iter().any(|of| ends(&base.host, of)));
    let default = if is_openai && !anthropic { long } else { short };
    given.unwrap_or(default)
}

/// Whether the provider there takes `stream_options`.
pub fn takes_asking(base: &BaseUrl) -> bool {
    !HOSTS_WITHOUT_ASKING.iter().any(|of| ends(&base.host, of))
}

/// Whether the provider there names its attempts, and tells afterwards what one has cost.
pub fn names_attempts(base: &BaseUrl) -> bool {
    ends(&base.host, HOST_OF_OPENROUTER)
}

/// Whether a host is that domain or lies below it.
fn ends(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
