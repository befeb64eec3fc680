//! openclaw-autoproxy's `routes.yml` (S4-02 to S4-08).
//!
//! A client's own credential goes to routes without a key and to no others, however many are tried (D-07).

use crate::base::surface::Dialect;
use crate::config::bound;
use crate::config::catalog::WILDCARD;
use crate::config::import::draft::{Draft, Model, Provider};
use crate::config::import::reader::Reader;
use crate::config::problem::{At, Place};
use crate::config::raw_provider::OWN_HEADERS;
use crate::config::section::{Section, shown};
use crate::config::yaml::{Node, Text, Value};
use crate::upstream::target::BaseUrl;

/// Where clients look for it (C-01); its own variable for the port stays in force.
const LISTEN: &str = "127.0.0.1:${PORT:-8787}";
/// Where it sends what no route takes.
const UPSTREAM: &str = "${UPSTREAM_BASE_URL:-https://api.openai.com}";
const AUTH_HEADER: &str = "authorization";
const AUTH_PREFIX: &str = "Bearer ";
const DEFAULTS: [&str; 3] = ["defaults", "global", "auth"];
const OF_ALL: [&str; 7] =
    ["authHeader", "authPrefix", "apiKey", "apiKeyEnv", "headers", "isBaseUrl", "enabled"];

/// A route, and what holds where it is silent.
struct Route<'a> {
    own: Section<'a>,
    defaults: Option<Section<'a>>,
    at: usize,
}

/// Gathers what the file says.
pub(super) fn draft<'a>(node: &'a Node, reader: &Reader<'a>) -> Draft {
    let mut draft =
        Draft { listen: Some(LISTEN.to_owned()), pass_through: true, ..Draft::default() };
    let routes = routes(node, reader, &mut draft);
    // A model may stand in one enabled route and in others that are not, which come after it here.
    let (enabled, disabled): (Vec<_>, Vec<_>) = routes.into_iter().partition(Route::is_enabled);
    for route in &enabled {
        route.gather(reader, &mut draft, true);
    }
    for route in &disabled {
        route.gather(reader, &mut draft, false);
    }
    attempts(reader, &mut draft);
    upstream(&mut draft);
    draft
}

fn routes<'a>(node: &'a Node, reader: &Reader<'a>, draft: &mut Draft) -> Vec<Route<'a>> {
    let (defaults, items) = if let Value::List(items) = &node.value {
        let place = |at: usize, item: &Node| Place::top().item(at, item.line);
        let items = items.iter().enumerate();
        (None, items.map(|(at, item)| (item, place(at, item))).collect())
    } else {
        let top = super::top(node, reader);
        let known = ["defaults", "global", "auth", "routes", "retryStatusCodes"];
        reader.leave_strangers(&top, &known);
        retry_statuses(&top, reader, draft);
        (defaults(&top, reader), top.items("routes").unwrap_or_default())
    };
    if items.is_empty() {
        reader.faults.add(&Place::top().key("routes", node.line), "is empty (at least one route)");
    }
    let mut known = vec!["name", "url", "model", "models"];
    known.extend(OF_ALL);
    let route = |(at, (node, place)): (usize, (&'a Node, Place))| Route {
        own: reader.open(node, place, &known),
        defaults: defaults.clone(),
        at,
    };
    items.into_iter().enumerate().map(route).collect()
}

/// The first of the three that is given; the others are passed over, as they were.
fn defaults<'a>(top: &Section<'a>, reader: &Reader<'a>) -> Option<Section<'a>> {
    let mut given = DEFAULTS.iter().filter(|key| top.is_given(key));
    let first = given.next().and_then(|key| top.child(key));
    for other in given {
        let why = "is passed over: there are defaults under another name";
        reader.losses.add(&top.place_of(other), why);
    }
    first.inspect(|section| reader.leave_strangers(section, &OF_ALL))
}

fn retry_statuses(top: &Section<'_>, reader: &Reader<'_>, draft: &mut Draft) {
    let Some(texts) = top.texts("retryStatusCodes") else { return };
    if texts.is_empty() {
        top.problem("retryStatusCodes", "is empty (at least one code)");
        return;
    }
    let range = bound::RETRY_STATUS;
    let mut codes: Vec<String> = Vec::new();
    for at in texts {
        match at.value.text.trim().parse::<u64>() {
            Ok(code) if (range.min..=range.max).contains(&code) => codes.push(code.to_string()),
            Ok(code) if (range.min..=9_999).contains(&code) => {
                let why = format!("codes above {} are not looked for in answers", range.max);
                reader.losses.add(&at.place, why);
            }
            _ => reader.refuse(&at, "is not a code (100 to 9999)"),
        }
    }
    codes.dedup();
    if !codes.is_empty() {
        draft.routing.push(format!("retry_statuses: [{}]", codes.join(", ")));
    }
}

impl<'a> Route<'a> {
    /// The section that answers for a key: the route's own, else the defaults.
    fn says(&self, key: &str) -> Option<&Section<'a>> {
        let defaults = self.defaults.as_ref().filter(|defaults| defaults.is_given(key));
        if self.own.is_given(key) { Some(&self.own) } else { defaults }
    }

    fn text(&self, key: &str) -> Option<At<Text>> {
        self.says(key)?.text(key)
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.says(key).map_or(default, |section| section.flag_or(key, default))
    }

    fn is_enabled(&self) -> bool {
        self.flag("enabled", true)
    }

    fn gather(&self, reader: &Reader<'_>, draft: &mut Draft, enabled: bool) {
        self.own.require("url", "like https://api.openai.com");
        let exact = !self.flag("isBaseUrl", false);
        let models = self.models();
        let Some(url) = reader.url(&self.own, "url", exact) else { return };
        let dialect = dialect(&url.value.text, exact);
        let given = self.own.text("name").map(|at| at.value.text).unwrap_or_default();
        let wish = if given.trim().is_empty() { format!("route-{}", self.at + 1) } else { given };
        let name = draft.provider_name(&wish);
        let base = draft.address(&url.value.text);
        let mut provider = Provider::new(name.clone(), base);
        provider.dialect = dialect;
        provider.exact = exact;
        provider.enabled = enabled;
        provider.key = self.key(reader, draft, (&name, enabled));
        provider.headers = self.headers(reader, draft, &name);
        let header = self.text("authHeader").map(|at| at.value.text.trim().to_ascii_lowercase());
        let header = header.filter(|it| !it.is_empty()).unwrap_or_else(|| AUTH_HEADER.to_owned());
        let prefix =
            self.text("authPrefix").map_or_else(|| AUTH_PREFIX.to_owned(), |at| at.value.text);
        let usual = (header.as_str(), prefix.as_str()) == (AUTH_HEADER, AUTH_PREFIX);
        if provider.key.is_some() && !(usual && dialect == Dialect::OpenAi) {
            provider.auth = Some((header, draft.carried(&prefix)));
        }
        draft.providers.push(provider);
        for model in models {
            add(&model, reader, draft, (&name, enabled, dialect));
        }
    }

    /// The names of its models, as one text or a list, under one of two keys.
    fn models(&self) -> Vec<At<Text>> {
        let key = if self.own.is_given("model") { "model" } else { "models" };
        let given = self.own.items(key).map_or(0, |items| items.len());
        let mut models = self.own.texts(key).unwrap_or_default();
        // About items that are no text something has been said.
        let all_read = models.len() == given;
        models.retain(|at| !at.value.text.trim().is_empty());
        if models.is_empty() && all_read {
            self.own.problem("model", "is missing (the name of a model, or a list of them)");
        }
        models
    }

    /// The route's own key before its variable before those of the defaults.
    fn key(
        &self,
        reader: &Reader<'_>,
        draft: &mut Draft,
        (name, enabled): (&str, bool),
    ) -> Option<String> {
        let sections = [Some((&self.own, name)), self.defaults.as_ref().map(|it| (it, "default"))];
        for (section, name) in sections.into_iter().flatten() {
            let in_clear = section.text("apiKey").filter(|at| !at.value.text.trim().is_empty());
            if let Some(at) = in_clear {
                return Some(draft.secret(at.value.text.trim(), &key_name(name), &at.place));
            }
            if let Some(variable) = reader.variable_name(section, "apiKeyEnv") {
                // A route that is out of use must not make its variable needed.
                let unused = format!("${{{variable}:-not-set}}");
                return Some(if enabled { draft.reference(&variable) } else { unused });
            }
        }
        if enabled {
            let why = "has no key of its own: UPSTREAM_API_KEY is not sent there any more (name it in \
                       api_key if it is meant for this address)";
            reader.losses.add(&self.own.place_of("apiKeyEnv"), why);
        }
        None
    }

    /// Those of the defaults, and over them those of the route.
    fn headers(&self, reader: &Reader<'_>, draft: &mut Draft, name: &str) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> = Vec::new();
        let sections = [Some(&self.own), self.defaults.as_ref()];
        for (key, node) in sections.into_iter().flatten().flat_map(|it| it.map("headers")) {
            let header = key.value.text.trim().to_ascii_lowercase();
            if OWN_HEADERS.contains(&header.as_str()) {
                let why = "is written by the gateway itself for every attempt";
                reader.losses.add(&key.place, why);
                continue;
            }
            let value = crate::config::section::text(node, key.place.clone(), reader.faults);
            let Some(At { value, place }) = value else { continue };
            if headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(&header)) {
                continue;
            }
            let value = if is_secret(&header) {
                draft.secret(value.text.trim(), &key_name(&format!("{name}_{header}")), &place)
            } else {
                draft.carried(value.text.trim())
            };
            headers.push((key.value.text.trim().to_owned(), value));
        }
        headers
    }
}

/// Makes one of ours of a model of a route, unless it is one already.
fn add(
    at: &At<Text>,
    reader: &Reader<'_>,
    draft: &mut Draft,
    (provider, enabled, dialect): (&str, bool, Dialect),
) {
    if !reader.has_name(at) {
        return;
    }
    let id = draft.carried(at.value.text.trim());
    if id == WILDCARD && !enabled {
        let why = "takes no names, as the route is not enabled, and is left out";
        reader.losses.add(&at.place, why);
        return;
    }
    let same_dialect = |model: &&Model| {
        let of = draft.providers.iter().find(|known| known.name == model.provider);
        id != WILDCARD || of.is_some_and(|of| of.dialect == dialect)
    };
    let taken = draft.models.iter().filter(|model| model.id == id).find(same_dialect);
    match taken {
        None => {
            let model = Model { enabled, ..Model::new(&id, provider) };
            draft.models.push(model);
        }
        Some(other) if other.provider == provider => {
            reader.losses.add(&at.place, format!("{} stands there twice", shown(&at.value)));
        }
        Some(other) if enabled => {
            let other = format!("is in the enabled route {:?} already", other.provider);
            reader.refuse(at, &format!("{other} (a model has one enabled route)"));
        }
        Some(_) => {
            let why =
                format!("{} is a model of another route, and here out of use", shown(&at.value));
            reader.losses.add(&at.place, why);
        }
    }
}

/// What an address speaks: everything is taken for `OpenAI`'s dialect but what can only be Anthropic's.
fn dialect(url: &str, exact: bool) -> Dialect {
    let base = BaseUrl::parse(url, exact).ok();
    if let Some(surface) = base.as_ref().and_then(BaseUrl::named_surface) {
        return surface.dialect();
    }
    let host = base.map(|base| base.host).unwrap_or_default();
    let path = url.trim_end_matches('/');
    let is_theirs = host == "anthropic.com" || host.ends_with(".anthropic.com");
    if is_theirs || path.ends_with("/messages") || path.ends_with("/anthropic") {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    }
}

/// `MY_ROUTE_API_KEY`.
fn key_name(of: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = of.chars().map(upper).collect();
    let name =
        if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name };
    let has_end = ["KEY", "TOKEN", "AUTHORIZATION"].iter().any(|end| name.ends_with(end));
    if has_end { name } else { format!("{name}_API_KEY") }
}

/// Whether what stands in that header is likely a credential.
fn is_secret(header: &str) -> bool {
    ["auth", "key", "token", "secret", "cookie"].iter().any(|word| header.contains(word))
}

/// All enabled models are candidates of `auto`, as many as one request may try.
fn attempts(reader: &Reader<'_>, draft: &mut Draft) {
    let candidates = draft.models.iter().filter(|model| model.enabled && model.id != WILDCARD);
    let wanted = u64::try_from(candidates.count()).unwrap_or(u64::MAX);
    let max = bound::ATTEMPTS.max;
    if wanted > max {
        let why =
            format!("has {wanted} models that `auto` may try, of which one request tries {max}");
        reader.losses.add(&Place::top().key("routes", 1), why);
    }
    draft.routing.push(format!("attempts_max: {}   # `auto` tries them all", wanted.clamp(1, max)));
}

/// What no route takes went to one address, with the client's own credential.
fn upstream(draft: &mut Draft) {
    let of_openai = |name: &str| {
        let mut providers = draft.providers.iter();
        providers.any(|known| known.name == name && known.dialect == Dialect::OpenAi)
    };
    if draft.models.iter().any(|model| model.id == WILDCARD && of_openai(&model.provider)) {
        return;
    }
    let name = draft.provider_name("upstream");
    let mut provider = Provider::new(name.clone(), UPSTREAM.to_owned());
    provider.note =
        "names that no route has; its key, if it has one: api_key: \"${UPSTREAM_API_KEY}\"";
    draft.providers.push(provider);
    draft.models.push(Model::new(WILDCARD, &name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_what_they_speak() {
        for url in ["https://api.anthropic.com", "http://x/v1/messages", "https://y/anthropic/"] {
            assert_eq!(dialect(url, false), Dialect::Anthropic, "{url}");
        }
        let exact = |path: &str| dialect(&format!("https://api.anthropic.com{path}"), true);
        assert_eq!(
            exact("/v1/chat/completions"),
            Dialect::OpenAi,
            "the path says more than the host"
        );
        assert_eq!(exact("/v1/messages/count_tokens"), Dialect::Anthropic);
        assert_eq!(exact("/own"), Dialect::Anthropic);
        for url in
            ["https://api.openai.com/v1", "https://notanthropic.com", "http://x/v1/messages2"]
        {
            assert_eq!(dialect(url, false), Dialect::OpenAi, "{url}");
        }
    }

    #[test]
    fn names_of_variables_are_made_of_names_of_routes() {
        assert_eq!(key_name("my route.1"), "MY_ROUTE_1_API_KEY");
        assert_eq!(key_name("4o"), "_4O_API_KEY");
        assert_eq!(key_name("azure_api-key"), "AZURE_API_KEY");
    }
}
