//! The models of a configuration and what a client's word for one of them means.
//!
//! Hot path: `resolve` and the lists do not allocate (save for the answer to an unknown name).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::limit::{CLOSE_NAMES_MAX, MODEL_NAME_BYTES_MAX};
use crate::base::money::NanoUsd;
use crate::base::surface::Dialect;
use crate::config::price_table;
use crate::pinning::cache::Rule;
use crate::upstream::provider::Provider;
use crate::usage::price::{Price, Rates};
use crate::usage::vocabulary::Vocabulary;

/// The id of a model that takes every unknown name of its dialect.
pub const WILDCARD: &str = "*";

/// How alike an id must be to be named to a client that asked for a model we do not know.
const LIKENESS_PERCENT_MIN: usize = 60;

/// How able, and how dear, a model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Small and cheap.
    Fast,
    /// The ordinary work.
    #[default]
    Reasoning,
    /// The best there is.
    Oracle,
}

impl Tier {
    /// All, the weakest first.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Reasoning, Self::Oracle];

    /// The name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Reasoning => "reasoning",
            Self::Oracle => "oracle",
        }
    }

    /// The tier of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// What happens to fields of a request that the provider's dialect cannot say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Translation {
    /// They are left out, and listed to the client.
    #[default]
    Lenient,
    /// The request is refused.
    Strict,
}

impl Translation {
    /// The words of the configuration.
    pub const WORDS: [(&'static str, Self); 2] =
        [("lenient", Self::Lenient), ("strict", Self::Strict)];
}

/// How a model is told to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThinkingParam {
    /// By the parameter of its provider's API.
    #[default]
    Native,
    /// The same, but where the model is at a Messages API that lets it say itself how much it thinks.
    Adaptive,
    /// By `/think` before the last words of the user (S2-10).
    Prompt,
}

impl ThinkingParam {
    /// The words of the configuration.
    pub const WORDS: [(&'static str, Self); 3] =
        [("native", Self::Native), ("adaptive", Self::Adaptive), ("prompt", Self::Prompt)];
}

/// One model, ready for requests.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "five independent facts of one model")]
pub struct Model {
    /// What clients call it; `*` for a wildcard.
    pub id: Arc<str>,
    /// What its provider calls it; `*` for a wildcard, which sends names on as they came.
    pub upstream_id: Arc<str>,
    /// `upstream_id` as a JSON string with its quotes, to be put into a body; empty for a wildcard.
    pub model_json: Bytes,
    /// Who serves it.
    pub provider: Arc<Provider>,
    /// What it costs; nothing if that is not known.
    pub price: Price,
    /// Whether the price is known.
    pub priced: bool,
    /// How able it is.
    pub tier: Tier,
    /// Tokens of input and output together; `None` = not known.
    pub context_tokens: Option<u64>,
    /// Most tokens of one answer; `None` = not known.
    pub output_tokens_max: Option<u64>,
    /// Most tokens that one image of a request can count for.
    pub image_tokens_max: u64,
    /// The vocabulary by which its input can be counted; `None` = by its bytes only.
    pub vocabulary: Option<Vocabulary>,
    /// Takes images.
    pub vision: bool,
    /// Takes tools.
    pub tools: bool,
    /// Thinks before it answers.
    pub thinking: bool,
    /// How it is told to.
    pub thinking_param: ThinkingParam,
    /// What happens to fields that its provider's dialect cannot say.
    pub translation: Translation,
    /// How its prompts are cached.
    pub cache_rule: Rule,
    /// Whether the model and its provider are both enabled.
    pub enabled: bool,
}

impl Model {
    /// Whether it takes every unknown name of its dialect.
    pub fn is_wildcard(&self) -> bool {
        &*self.id == WILDCARD
    }

    /// The wire format that its provider speaks.
    pub fn dialect(&self) -> Dialect {
        self.provider.dialect
    }
}

/// How a name led to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// It is the model's own id.
    Named,
    /// It is an alias.
    Alias,
    /// It is the plain name of a model that accounts offer, the oldest account first.
    Offered,
}

/// The wildcard models, as places in the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wildcards {
    /// Of the `OpenAI` dialect.
    pub openai: Option<usize>,
    /// Of the Anthropic dialect.
    pub anthropic: Option<usize>,
}

impl Wildcards {
    /// The wildcard of that dialect.
    pub fn of(&self, dialect: Dialect) -> Option<usize> {
        match dialect {
            Dialect::OpenAi => self.openai,
            Dialect::Anthropic => self.anthropic,
        }
    }
}

/// What a client's word for a model means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The strategy chooses: an auto name, or no name.
    Auto,
    /// That model.
    Model {
        /// Its place in the catalog.
        index: usize,
        /// How the name led to it.
        via: Via,
    },
    /// No such model, but a wildcard exists, if `Wildcards::of` has one for the request's dialect;
    /// otherwise treat it as unknown and ask `Catalog::close_names`.
    Wildcard(Wildcards),
    /// No such model.
    Unknown {
        /// Ids that look alike, the closest first.
        close: Vec<Arc<str>>,
        /// Whether it is configured, but not enabled.
        disabled: bool,
    },
}

/// A model with another key of its provider.
#[derive(Clone, Debug)]
struct Twin {
    of: usize,
    model: Model,
}

/// Which model a name leads to.
#[derive(Clone, Copy, Debug)]
struct Entry {
    index: usize,
    via: Via,
}

/// All models, by place and by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    models: Vec<Model>,
    /// Behind the models, by place; nobody names them.
    twins: Vec<Twin>,
    /// Of each model, its places with other keys or accounts of the same provider.
    spares: Vec<Box<[usize]>>,
    names: HashMap<Box<str>, Entry>,
    /// In the order of the file, each with the place of its model.
    aliases: Vec<(Box<str>, usize)>,
    /// Plain names of models and who offers them.
    offers: HashMap<Box<str>, Box<[usize]>>,
    auto_names: Vec<Arc<str>>,
    wildcards: Wildcards,
    auto_openai: Vec<usize>,
    auto_anthropic: Vec<usize>,
    chains: Vec<Box<[usize]>>,
    fallback_default: Box<[usize]>,
    /// Names the price table: the first 8 bytes of the SHA-256 of all ids and prices. Any change of a
    /// price changes it; the order of the file does not.
    pub price_version: u64,
    /// Of each kind of token the dearest rate of all models, long contexts included.
    pub dearest: Rates,
    /// The dearest fee of one request.
    pub dearest_request: NanoUsd,
}

/// What a catalog is made of; every name in it was checked to exist.
#[derive(Debug, Default)]
pub struct CatalogParts {
    /// The models in the order of the file.
    pub models: Vec<Model>,
    /// Alias and the place of its model.
    pub aliases: Vec<(String, usize)>,
    /// Names that leave the choice to the strategy.
    pub auto_names: Vec<String>,
    /// Places of a model and of its chain.
    pub fallbacks: Vec<(usize, Vec<usize>)>,
    /// The chain of every model without its own.
    pub fallback_default: Vec<usize>,
}

impl Catalog {
    /// A catalog of those parts.
    pub fn new(parts: CatalogParts) -> Self {
        let CatalogParts { models, aliases, auto_names, fallbacks, fallback_default } = parts;
        let enabled = |index: &usize| models[*index].enabled;
        let fallback_default: Box<[usize]> = fallback_default.into_iter().filter(enabled).collect();
        let mut chains: Vec<Box<[usize]>> = (0..models.len())
            .map(|index| fallback_default.iter().copied().filter(|&next| next != index).collect())
            .collect();
        for (index, chain) in fallbacks {
            chains[index] = chain.into_iter().filter(enabled).collect();
        }
        let auto = |dialect| auto_list(&models, dialect);
        let (auto_openai, auto_anthropic) = (auto(Dialect::OpenAi), auto(Dialect::Anthropic));
        let twins = twins(&models);
        Self {
            spares: spares(&models, &twins),
            twins,
            names: names(&models, &aliases),
            aliases: aliases.into_iter().map(|(name, index)| (name.into(), index)).collect(),
            offers: HashMap::new(),
            auto_names: auto_names.into_iter().map(Arc::from).collect(),
            wildcards: Wildcards {
                openai: wildcard(&models, Dialect::OpenAi),
                anthropic: wildcard(&models, Dialect::Anthropic),
            },
            auto_openai,
            auto_anthropic,
            chains,
            fallback_default,
            price_version: price_table::version(&models),
            dearest: price_table::dearest(&models),
            dearest_request: price_table::dearest_request(&models),
            models,
        }
    }

    /// The same catalog with those models of accounts behind its own. Their ids and their plain names can
    /// be asked for, unless a name of the file is the same; no strategy chooses them.
    #[must_use]
    pub fn extended(mut self, more: Vec<Model>) -> Self {
        let first = self.models.len();
        for (index, model) in (first..).zip(&more) {
            let entry = Entry { index, via: Via::Named };
            self.names.entry(Box::from(&*model.id)).or_insert(entry);
            self.chains.push(self.fallback_default.clone());
        }
        let mut offers: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, model) in (first..).zip(&more).filter(|(_, model)| model.enabled) {
            offers.entry(Box::from(&*model.upstream_id)).or_default().push(index);
        }
        for (name, places) in offers {
            if let Some(&index) = places.first() {
                let entry = Entry { index, via: Via::Offered };
                self.names.entry(name.clone()).or_insert(entry);
            }
            self.offers.insert(name, places.into_boxed_slice());
        }
        self.models.extend(more);
        self.twins = twins(&self.models);
        self.spares = spares(&self.models, &self.twins);
        self.price_version = price_table::version(&self.models);
        self.dearest = price_table::dearest(&self.models);
        self
    }

    /// Whether a model has that id, or that name is an alias.
    pub fn knows(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The model that is called so by its provider, or has that id, and its provider that name.
    pub fn at_provider(&self, provider: &str, name: &str) -> Option<usize> {
        let called = |model: &Model| *model.upstream_id == *name || *model.id == *name;
        self.models.iter().position(|model| *model.provider.name == *provider && called(model))
    }

    /// A model of the same name in that dialect, one with a price if there is one.
    pub fn alike(&self, name: &str, dialect: Dialect) -> Option<&Model> {
        let named = |model: &&Model| {
            let called = *model.upstream_id == *name || *model.id == *name;
            called && model.dialect() == dialect && !model.is_wildcard()
        };
        let mut all = self.models.iter().filter(named);
        all.clone().find(|model| model.priced).or_else(|| all.next())
    }

    /// The enabled models of accounts with that plain name, the oldest account first.
    pub fn offers(&self, name: &str) -> &[usize] {
        self.offers.get(name).map_or(&[], |places| places)
    }

    /// The same model with other keys or at other accounts of its provider, as places.
    pub fn spares(&self, index: usize) -> &[usize] {
        self.spares.get(index).map_or(&[], |places| places)
    }

    /// The place by which a model is listed: itself, or of whom it is a twin with another key.
    pub fn listed(&self, index: usize) -> usize {
        index
            .checked_sub(self.models.len())
            .and_then(|at| self.twins.get(at))
            .map_or(index, |twin| twin.of)
    }

    /// All models by place, their twins with other keys included.
    pub fn places(&self) -> impl Iterator<Item = &Model> {
        self.models.iter().chain(self.twins.iter().map(|twin| &twin.model))
    }

    /// What that name means; `None` and the empty name leave the choice to the strategy.
    pub fn resolve(&self, name: Option<&str>) -> Choice {
        let name = name.unwrap_or_default();
        if name.is_empty() || self.is_auto_name(name) {
            return Choice::Auto;
        }
        let disabled = match self.names.get(name) {
            Some(entry) if self.models[entry.index].enabled => {
                return Choice::Model { index: entry.index, via: entry.via };
            }
            Some(_) => true,
            None => false,
        };
        // A disabled model stays disabled: a wildcard must not bring it back under the same name.
        if !disabled && self.wildcards != Wildcards::default() {
            return Choice::Wildcard(self.wildcards);
        }
        Choice::Unknown { close: self.close_names(name), disabled }
    }

    /// The ids of enabled models that look like `name`, the closest first.
    pub fn close_names(&self, name: &str) -> Vec<Arc<str>> {
        // Names come from clients: an endless one must not cost endless work.
        if name.len() > MODEL_NAME_BYTES_MAX {
            return Vec::new();
        }
        let name = name.to_ascii_lowercase();
        let mut close: Vec<(usize, &Arc<str>)> = self
            .models
            .iter()
            .filter(|model| model.enabled && !model.is_wildcard())
            .map(|model| (likeness_percent(&name, &model.id), &model.id))
            .filter(|(likeness, _)| *likeness >= LIKENESS_PERCENT_MIN)
            .collect();
        close.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        close.into_iter().take(CLOSE_NAMES_MAX).map(|(_, id)| Arc::clone(id)).collect()
    }

    /// Whether the name leaves the choice to the strategy, in any case of letters.
    pub fn is_auto_name(&self, name: &str) -> bool {
        self.auto_names.iter().any(|auto| auto.eq_ignore_ascii_case(name))
    }

    /// The enabled models of a dialect that a strategy may choose from, in the order of the file.
    pub fn auto_candidates(&self, dialect: Dialect) -> &[usize] {
        match dialect {
            Dialect::OpenAi => &self.auto_openai,
            Dialect::Anthropic => &self.auto_anthropic,
        }
    }

    /// The enabled models to try after the one at that place: its own chain, else the default one.
    /// They may be of another dialect.
    pub fn chain(&self, index: usize) -> &[usize] {
        self.chains.get(index).map_or(&[], |chain| chain)
    }

    /// The enabled models to try after all candidates of a strategy.
    pub fn fallback_default(&self) -> &[usize] {
        &self.fallback_default
    }

    /// The wildcard models.
    pub fn wildcards(&self) -> Wildcards {
        self.wildcards
    }

    /// The model at that place.
    pub fn get(&self, index: usize) -> Option<&Model> {
        let at = index.checked_sub(self.models.len());
        at.map_or_else(|| self.models.get(index), |at| self.twins.get(at).map(|twin| &twin.model))
    }

    /// All models in the order of the file, then those of accounts; disabled ones and wildcards included.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The aliases and their models, in the order of the file.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &Model)> {
        self.aliases.iter().filter_map(|(name, index)| Some((&**name, self.models.get(*index)?)))
    }

    /// The names that leave the choice to the strategy, as configured.
    pub fn auto_names(&self) -> &[Arc<str>] {
        &self.auto_names
    }
}

fn names(models: &[Model], aliases: &[(String, usize)]) -> HashMap<Box<str>, Entry> {
    let own = models.iter().enumerate().filter(|(_, model)| !model.is_wildcard());
    let own = own.map(|(index, model)| (Box::from(&*model.id), Entry { index, via: Via::Named }));
    let aliases = aliases
        .iter()
        .map(|(name, index)| (Box::from(&**name), Entry { index: *index, via: Via::Alias }));
    own.chain(aliases).collect()
}

fn twins(models: &[Model]) -> Vec<Twin> {
    let of_one = |(of, model): (usize, &Model)| {
        let keys = model.provider.other_keys.clone();
        let model = model.clone();
        keys.into_iter()
            .map(move |provider| Twin { of, model: Model { provider, ..model.clone() } })
    };
    models.iter().enumerate().flat_map(of_one).collect()
}

/// Of each model, the same one with other keys (of a provider of the file) or at other accounts.
fn spares(models: &[Model], twins: &[Twin]) -> Vec<Box<[usize]>> {
    let mut accounts: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (at, model) in models.iter().enumerate().filter(|(_, model)| model.enabled) {
        if let Some(word) = &model.provider.account_of {
            accounts.entry((word, &model.upstream_id)).or_default().push(at);
        }
    }
    let mut spares: Vec<Vec<usize>> = vec![Vec::new(); models.len()];
    for (place, twin) in (models.len()..).zip(twins) {
        spares[twin.of].push(place);
    }
    // Two models of the file that share keys are not each other's spares: clients can tell them apart.
    let made = accounts.into_values().filter(|places| models[places[0]].provider.fence.is_some());
    for places in made {
        for &at in &places {
            spares[at] = places.iter().copied().filter(|&other| other != at).collect();
        }
    }
    spares.into_iter().map(Vec::into_boxed_slice).collect()
}

fn auto_list(models: &[Model], dialect: Dialect) -> Vec<usize> {
    let fits = |model: &Model| model.enabled && !model.is_wildcard() && model.dialect() == dialect;
    models.iter().enumerate().filter(|(_, model)| fits(model)).map(|(index, _)| index).collect()
}

fn wildcard(models: &[Model], dialect: Dialect) -> Option<usize> {
    let fits = |model: &Model| model.enabled && model.is_wildcard() && model.dialect() == dialect;
    models.iter().position(fits)
}

/// How alike a name and an id are, in percent of the longer one's letters; 0 if that is less than
/// `LIKENESS_PERCENT_MIN`. A name without the vendor that the id begins with (`gpt-4o` for
/// `openai/gpt-4o`) counts as nearly the same.
fn likeness_percent(name: &str, id: &str) -> usize {
    let id = id.to_ascii_lowercase();
    let bare = id.rsplit('/').next().unwrap_or(&id);
    likeness_of(name, &id).max(likeness_of(name, bare).saturating_sub(1))
}

fn likeness_of(a: &str, b: &str) -> usize {
    let (shorter, longer) = (a.len().min(b.len()), a.len().max(b.len()).max(1));
    // The lengths alone rule out most ids, before the work that takes their product.
    if shorter * 100 < longer * LIKENESS_PERCENT_MIN {
        return 0;
    }
    (longer - strsim::levenshtein(a, b).min(longer)) * 100 / longer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::config::snapshot::Snapshot;
    use proptest::prelude::*;

    fn snapshot(models: &str, rest: &str) -> Snapshot {
        let text = format!(
            "providers:\n  o: {{dialect: openai, base_url: http://127.0.0.1:1}}\n  a: {{dialect: \
             anthropic, base_url: http://127.0.0.1:2}}\n  off: {{dialect: openai, base_url: \
             http://127.0.0.1:3, enabled: false}}\nmodels:\n{models}{rest}"
        );
        load(&text, "t.yaml", &|_| None).unwrap()
    }

    const MODELS: &str = "  - {id: openai/gpt-4o, provider: o}\n  - {id: claude, provider: a}\n  - \
                          {id: mini, provider: o, upstream_id: \"m\\\"1\"}\n  - {id: old, provider: o, \
                          enabled: false}\n  - {id: gone, provider: off}\n";

    const REST: &str = "aliases: {gpt-4: openai/gpt-4o, older: old}\nrouting:\n  fallbacks: {mini: \
                        [openai/gpt-4o, old, claude]}\n  fallback_default: [mini]\n";

    fn model(index: usize, via: Via) -> Choice {
        Choice::Model { index, via }
    }

    #[test]
    fn names_lead_to_models() {
        let catalog = snapshot(MODELS, REST).catalog;
        assert_eq!(catalog.resolve(Some("openai/gpt-4o")), model(0, Via::Named));
        assert_eq!(catalog.resolve(Some("gpt-4")), model(0, Via::Alias));
        assert_eq!(catalog.resolve(None), Choice::Auto);
        for auto in ["", "auto", "AUTO", "OpenRouter/Auto", "weir", "optmod-router"] {
            assert_eq!(catalog.resolve(Some(auto)), Choice::Auto, "{auto:?}");
        }
    }

    #[test]
    fn unknown_names_bring_close_ones() {
        let catalog = snapshot(MODELS, REST).catalog;
        let close = |name: &str| match catalog.resolve(Some(name)) {
            Choice::Unknown { close, disabled } => (close.join(" "), disabled),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(close("gpt-4o"), ("openai/gpt-4o".to_owned(), false));
        assert_eq!(close("GPT4o"), ("openai/gpt-4o".to_owned(), false));
        assert_eq!(close("cluade"), ("claude".to_owned(), false));
        assert_eq!(close("something else"), (String::new(), false));
        for disabled in ["old", "gone", "older"] {
            assert!(close(disabled).1, "{disabled}");
        }
    }

    #[test]
    fn endless_names_cost_nothing() {
        let catalog = snapshot(MODELS, REST).catalog;
        assert!(catalog.close_names(&"gpt-4o".repeat(1_000_000)).is_empty());
        assert_eq!(likeness_percent("gpt-4o", "openai/gpt-4o"), 99);
        assert_eq!(likeness_percent("x", "openai/gpt-4o"), 0);
    }

    #[test]
    fn wildcards_take_what_is_unknown_but_not_what_is_disabled() {
        let models = format!("{MODELS}  - {{id: \"*\", provider: a}}\n");
        let catalog = snapshot(&models, REST).catalog;
        let wildcards = Wildcards { openai: None, anthropic: Some(5) };
        assert_eq!(catalog.resolve(Some("claude-9")), Choice::Wildcard(wildcards));
        assert_eq!(catalog.resolve(Some("*")), Choice::Wildcard(wildcards));
        assert!(matches!(catalog.resolve(Some("old")), Choice::Unknown { disabled: true, .. }));
        assert_eq!(wildcards.of(Dialect::Anthropic), Some(5));
        assert_eq!(wildcards.of(Dialect::OpenAi), None);
        assert!(catalog.get(5).unwrap().is_wildcard());
        assert!(catalog.get(5).unwrap().model_json.is_empty());
    }

    #[test]
    fn lists_hold_enabled_models_only() {
        let catalog = snapshot(MODELS, REST).catalog;
        assert_eq!(catalog.auto_candidates(Dialect::OpenAi), [0, 2]);
        assert_eq!(catalog.auto_candidates(Dialect::Anthropic), [1]);
        assert_eq!(catalog.chain(2), [0, 1], "its own chain, without the disabled model");
        assert_eq!(catalog.chain(0), [2], "the default chain");
        assert_eq!(catalog.fallback_default(), [2]);
        assert_eq!(catalog.chain(99), [0_usize; 0]);
    }

    #[test]
    fn a_model_is_never_in_its_own_default_chain() {
        let catalog = snapshot(MODELS, "routing: {fallback_default: [mini, claude]}\n").catalog;
        assert_eq!(catalog.chain(2), [1]);
        assert_eq!(catalog.chain(1), [2]);
        assert_eq!(catalog.chain(0), [2, 1]);
    }

    #[test]
    fn upstream_names_are_ready_for_json() {
        let catalog = snapshot(MODELS, "").catalog;
        assert_eq!(catalog.get(0).unwrap().model_json, "\"openai/gpt-4o\"");
        assert_eq!(catalog.get(2).unwrap().model_json, "\"m\\\"1\"");
        assert_eq!(&*catalog.get(2).unwrap().upstream_id, "m\"1");
    }

    proptest! {
        #[test]
        fn any_name_is_answered(name in "\\PC{0,40}") {
            let catalog = snapshot(MODELS, REST).catalog;
            if let Choice::Unknown { close, .. } = catalog.resolve(Some(&name)) {
                prop_assert!(close.len() <= CLOSE_NAMES_MAX);
            }
        }
    }
}
