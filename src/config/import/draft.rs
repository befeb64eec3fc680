//! A configuration of ours in the making, and how it is written down.

use std::fmt::Write as _;

use crate::base::surface::Dialect;
use crate::config::catalog::{Tier, WILDCARD};
use crate::config::import::Variable;
use crate::config::import::reader::is_variable;
use crate::config::problem::Place;
use crate::config::raw::AUTO_NAMES;

/// What an importer has gathered.
#[derive(Default)]
pub(super) struct Draft {
    /// `server.listen`, if it differs from the default.
    pub listen: Option<String>,
    /// Whether a client's credential may go upstream.
    pub pass_through: bool,
    /// `providers`.
    pub providers: Vec<Provider>,
    /// A word about all models, in comment lines after its first.
    pub about_models: &'static str,
    /// `models`.
    pub models: Vec<Model>,
    /// Lines of `routing`, without their indentation.
    pub routing: Vec<String>,
    /// `stream.metadata_field`.
    pub metadata_field: &'static str,
    /// All further sections, as they stand in the file.
    pub rest: String,
    /// The variables that the file needs.
    pub variables: Vec<Variable>,
}

/// One of `providers`.
pub(super) struct Provider {
    pub name: String,
    pub dialect: Dialect,
    pub base_url: String,
    /// Whether `base_url` is the whole address.
    pub exact: bool,
    /// A reference to its key.
    pub key: Option<String>,
    /// Header and prefix of the key, where they are not the usual ones of the dialect.
    pub auth: Option<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub timeout_ms: Option<u64>,
    pub native_fallback: bool,
    pub enabled: bool,
    /// A word about it.
    pub note: &'static str,
}

/// One of `models`.
pub(super) struct Model {
    pub id: String,
    pub provider: String,
    /// Further keys, each with its value.
    pub more: Vec<(&'static str, String)>,
    pub enabled: bool,
}

impl Model {
    /// With nothing but its id and provider.
    pub fn new(id: &str, provider: &str) -> Self {
        let (id, provider) = (id.to_owned(), provider.to_owned());
        Self { id, provider, more: Vec::new(), enabled: true }
    }

    /// With its tier.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.more.push(("tier", tier.name().to_owned()));
        self
    }
}

impl Draft {
    /// Text of the file read for a value of ours: variables stay variables, and are needed from now on; a
    /// dollar sign stays one.
    pub fn carried(&mut self, text: &str) -> String {
        let (text, names) = carried(text);
        for name in names {
            self.needs(Variable { name, moved_from: None, is_address: false });
        }
        text
    }

    /// The same for an address.
    pub fn address(&mut self, text: &str) -> String {
        let (text, names) = carried(text);
        for name in names {
            self.needs(Variable { name, moved_from: None, is_address: true });
        }
        text
    }

    /// A key of the file read: a variable stays one, and a key in clear becomes one, `name` if it is free.
    pub fn secret(&mut self, text: &str, name: &str, place: &Place) -> String {
        let (kept, names) = carried(text);
        if !names.is_empty() || kept.contains("${") {
            return self.carried(text);
        }
        let moved_from = Some(place.path.clone());
        let taken =
            |variable: &&Variable| variable.name == name && variable.moved_from != moved_from;
        let again = self.variables.iter().filter(taken).count();
        let name = if again == 0 { name.to_owned() } else { self.free(name) };
        let reference = format!("${{{name}}}");
        self.needs(Variable { name, moved_from, is_address: false });
        reference
    }

    /// A reference to a variable that the file read names.
    pub fn reference(&mut self, name: &str) -> String {
        self.needs(Variable { name: name.to_owned(), moved_from: None, is_address: false });
        format!("${{{name}}}")
    }

    /// A name like that one that no variable has.
    fn free(&self, name: &str) -> String {
        let is_free = |name: &String| self.variables.iter().all(|variable| variable.name != *name);
        let mut names = (2..).map(|n: usize| format!("{name}_{n}"));
        names.find(is_free).unwrap_or_else(|| name.to_owned())
    }

    fn needs(&mut self, variable: Variable) {
        if !self.variables.iter().any(|known| known.name == variable.name) {
            self.variables.push(variable);
        }
    }

    /// A name for a provider that is like `wish` and not taken.
    pub fn provider_name(&self, wish: &str) -> String {
        // As long as a metric label of a provider may be, with room for a number.
        const CHARS_MAX: usize = 56;
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let plain: String = wish.trim().chars().map(plain).take(CHARS_MAX).collect();
        let plain = plain.trim_matches('-');
        let base = if plain.is_empty() { "provider" } else { plain };
        let is_free = |name: &String| self.providers.iter().all(|provider| provider.name != *name);
        let mut names =
            std::iter::once(base.to_owned()).chain((2..).map(|n: usize| format!("{base}-{n}")));
        names.find(is_free).unwrap_or_else(|| base.to_owned())
    }

    /// The whole file.
    pub fn yaml(&self, seed: &str) -> String {
        let mut out = format!(
            "# Imported from {seed}. conf/weir.yaml documents every key; `weir check -c FILE` checks this \
             file.\n# Variables come from the environment or from `.env` beside this file.\n"
        );
        if let Some(listen) = &self.listen {
            // Writing to a string cannot fail, here and below.
            let _ = write!(out, "\nserver:\n  listen: [{}]\n", quoted(listen));
        }
        let pass_through = "# A client's own credential goes to providers without an api_key";
        if self.pass_through {
            let _ = write!(out, "\nauth:\n  {pass_through}.\n  pass_through: true\n");
        }
        out.push_str("\nproviders:\n");
        for provider in &self.providers {
            provider.write(&mut out);
        }
        out.push_str("\nmodels:\n");
        if !self.about_models.is_empty() {
            let _ = writeln!(out, "  # {}", self.about_models);
        }
        for model in &self.models {
            model.write(&mut out);
        }
        self.write_routing(&mut out);
        let _ = write!(out, "\nstream:\n  metadata_field: {}\n", quoted(self.metadata_field));
        out.push_str(&self.rest);
        out
    }

    fn write_routing(&self, out: &mut String) {
        let is_model =
            |name: &&str| self.models.iter().any(|model| model.id.eq_ignore_ascii_case(name));
        let mut lines = self.routing.clone();
        if AUTO_NAMES.iter().any(&is_model) {
            let names = AUTO_NAMES.iter().filter(|name| !is_model(name)).map(|name| quoted(name));
            let names: Vec<String> = names.collect();
            lines.push(format!("auto_names: [{}]   # less what is a model here", names.join(", ")));
        }
        if !lines.is_empty() {
            out.push_str("\nrouting:\n");
        }
        for line in lines {
            let _ = writeln!(out, "  {line}");
        }
    }
}

impl Provider {
    /// One that speaks `OpenAI`'s dialect in the usual way.
    pub fn new(name: String, base_url: String) -> Self {
        Self {
            name,
            dialect: Dialect::OpenAi,
            base_url,
            exact: false,
            key: None,
            auth: None,
            headers: Vec::new(),
            timeout_ms: None,
            native_fallback: false,
            enabled: true,
            note: "",
        }
    }

    fn write(&self, out: &mut String) {
        let note = if self.note.is_empty() { String::new() } else { format!("   # {}", self.note) };
        let _ = writeln!(out, "  {}:{note}", quoted(&self.name));
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(out, "    {key}: {value}");
        };
        line("dialect", self.dialect.name());
        line("base_url", &quoted(&self.base_url));
        if self.exact {
            line("exact_url", "true   # the address as it is, and only for what its path names");
        }
        if let Some(key) = &self.key {
            line("api_key", &quoted(key));
        }
        if let Some((header, prefix)) = &self.auth {
            line("auth_header", &quoted(header));
            line("auth_prefix", &quoted(prefix));
        }
        let headers = self.headers.iter().map(|(name, value)| (quoted(name), quoted(value)));
        let headers: Vec<String> =
            headers.map(|(name, value)| format!("{name}: {value}")).collect();
        if !headers.is_empty() {
            line("headers", &format!("{{{}}}", headers.join(", ")));
        }
        if let Some(ms) = self.timeout_ms {
            line("first_byte_timeout_ms", &ms.to_string());
            line("idle_timeout_ms", &ms.to_string());
        }
        if self.native_fallback {
            line("native_fallback", "true");
        }
        if !self.enabled {
            line("enabled", "false");
        }
    }
}

impl Model {
    fn write(&self, out: &mut String) {
        let _ = write!(out, "  - {{id: {}, provider: {}", quoted(&self.id), quoted(&self.provider));
        for (key, value) in &self.more {
            let _ = write!(out, ", {key}: {value}");
        }
        out.push_str(if self.enabled { "}" } else { ", enabled: false}" });
        out.push_str(if self.id == WILDCARD { "   # every other name\n" } else { "\n" });
    }
}

/// A value in YAML: bare where nothing else could be read there, else in double quotes, whose escapes are
/// those of JSON.
pub fn quoted(text: &str) -> String {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "nan"];
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if bare { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// A list in YAML.
pub(super) fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}

/// Text whose `${NAME}` stays and whose other dollar signs stay what they are, and the names of variables
/// that have no default.
fn carried(text: &str) -> (String, Vec<String>) {
    let (mut out, mut names, mut rest) = (String::new(), Vec::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        match inside.map(|(inside, after)| (inside, inside.split_once(":-"), after)) {
            Some((name, None, after)) if is_variable(name) => {
                let _ = write!(out, "${{{name}}}");
                names.push(name.to_owned());
                rest = after;
            }
            Some((inside, Some((name, _)), after)) if is_variable(name) => {
                let _ = write!(out, "${{{inside}}}");
                rest = after;
            }
            _ => out.push_str("$$"),
        }
    }
    out.push_str(rest);
    (out, names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::expand;
    use crate::config::problem::Problems;
    use crate::config::yaml::{self, Entry, Node, Text, Value};
    use proptest::prelude::*;

    #[test]
    fn variables_stay_and_dollars_too() {
        assert_eq!(
            carried("a$b ${X} ${Y:-z} ${"),
            ("a$$b ${X} ${Y:-z} $${".to_owned(), vec!["X".to_owned()])
        );
        assert_eq!(carried("${not-a-name}").0, "$${not-a-name}");
    }

    #[test]
    fn keys_in_clear_become_variables_of_their_own() {
        let mut draft = Draft::default();
        let at = |path: &str| Place { path: path.to_owned(), ..Place::top() };
        assert_eq!(draft.secret("${MINE}", "A_API_KEY", &at("x")), "${MINE}");
        assert_eq!(draft.secret("sk-1", "A_API_KEY", &at("y")), "${A_API_KEY}");
        assert_eq!(draft.secret("sk-1", "A_API_KEY", &at("y")), "${A_API_KEY}", "the same place");
        assert_eq!(draft.secret("sk-2", "A_API_KEY", &at("z")), "${A_API_KEY_2}");
        let names: Vec<&str> = draft.variables.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["MINE", "A_API_KEY", "A_API_KEY_2"]);
    }

    #[test]
    fn names_of_providers_are_usable_and_differ() {
        let mut draft = Draft::default();
        for expected in ["my-route", "my-route-2", "my-route-3"] {
            let name = draft.provider_name("my route");
            assert_eq!(name, expected);
            draft.providers.push(Provider::new(name, String::new()));
        }
        assert_eq!(draft.provider_name(" \u{1F600} "), "provider");
        assert!(draft.provider_name(&"x".repeat(500)).len() <= 64);
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(text in "\\PC{0,40}|[-\\\\$ {}:#\"'\\n\\ta-z]{0,40}") {
            let problems = Problems::default();
            let (kept, _) = carried(&text.replace("${", "$ {"));
            let file = format!("[{}, {{k: {}}}]", quoted(&kept), quoted(&kept));
            let mut node = yaml::read_any(&file, "f", &problems).unwrap();
            expand::expand(&mut node, &Place::top(), &|_| None, &problems);
            prop_assert!(problems.is_empty(), "{file}");
            let Value::List(items) = &node.value else { panic!("{file}") };
            let plain = |node: &Node| match &node.value {
                Value::Text(Text { text, .. }) => text.clone(),
                Value::Map(entries) => match &entries[..] {
                    [Entry { node: Node { value: Value::Text(it), .. }, .. }] => it.text.clone(),
                    _ => panic!("{file}"),
                },
                _ => panic!("{file}"),
            };
            let expected = text.replace("${", "$ {");
            prop_assert_eq!(items.iter().map(plain).collect::<Vec<_>>(), [expected.clone(), expected]);
        }
    }
}
