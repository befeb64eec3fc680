//! Names: every name that is used exists, and no name means two things.

use std::collections::HashMap;

use crate::base::surface::Dialect;
use crate::config::catalog::{Tier, WILDCARD};
use crate::config::check::Links;
use crate::config::learned::Wish;
use crate::config::problem::{At, Problems, hint};
use crate::config::raw::Raw;
use crate::config::raw_agent::RawAgent;
use crate::config::raw_model::RawModel;
use crate::config::section::shown;
use crate::config::yaml::Text;
use crate::upstream::target::BaseUrl;

/// A rate below this (in pico-dollars per token) is far cheaper than any model on the market, and
/// just what a price per token looks like when it is read as one per million.
const CHEAPEST_PICO_USD: i64 = 1_000;

/// Checks all names but those in budgets.
pub fn check(names: &Names<'_>) -> Links {
    let raw = names.raw;
    let mut links = Links {
        model_providers: names.model_providers(),
        aliases: names.aliases(),
        fallbacks: names.fallbacks(),
        fallback_default: names.chain(&raw.routing.fallback_default),
        primary: names.primary(),
        learned: names.learned(),
        agent_models: raw.agents.iter().map(|agent| names.agent_models(agent)).collect(),
        ..Links::default()
    };
    names.auto_names();
    names.wildcards();
    names.warn(&links.model_providers, &mut links.warnings);
    links
}

/// The places of all models by id, wildcards left out.
fn ids<'a>(raw: &'a Raw, problems: &Problems) -> HashMap<&'a str, usize> {
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for (at, model) in raw.models.iter().enumerate() {
        let id = model.id.value.text.as_str();
        if id == WILDCARD {
            continue;
        }
        if let Some(first) = ids.insert(id, at) {
            let first = &raw.models[first].id.place.path;
            problems.add(
                &model.id.place,
                format!("{} is the same id as {first}", shown(&model.id.value)),
            );
        }
    }
    ids
}

/// What names are looked up in.
pub struct Names<'a> {
    /// What the file says.
    pub raw: &'a Raw,
    /// Where problems go.
    pub problems: &'a Problems,
    ids: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    /// The names of that file, with a problem for every id that is given twice.
    pub fn new(raw: &'a Raw, problems: &'a Problems) -> Self {
        Self { raw, problems, ids: ids(raw, problems) }
    }

    /// Whether the model at that place and its provider are enabled.
    pub fn is_enabled(&self, model: usize) -> bool {
        let Some(model) = self.raw.models.get(model) else {
            return false;
        };
        let name = model.provider.as_ref().map(|name| name.value.text.as_str());
        let mut providers = self.raw.providers.iter();
        let provider = providers.find(|provider| Some(provider.name.value.text.as_str()) == name);
        model.enabled && provider.is_some_and(|provider| provider.enabled)
    }

    /// The models of the tier `fast`.
    pub fn fast(&self) -> Vec<usize> {
        let models = self.raw.models.iter().enumerate();
        let fast =
            models.filter(|(_, model)| model.tier == Tier::Fast && model.id.value.text != WILDCARD);
        fast.map(|(at, _)| at).collect()
    }

    fn model_providers(&self) -> Vec<usize> {
        let provider = |model: &RawModel| {
            let name = model.provider.as_ref()?;
            let names = self.raw.providers.iter().map(|provider| provider.name.value.text.as_str());
            let place = names.clone().position(|known| known == name.value.text);
            if place.is_none() {
                let hint = hint(&name.value.text, "configured:", names);
                self.problems
                    .add(&name.place, format!("{} is not a provider {hint}", shown(&name.value)));
            }
            place
        };
        self.raw.models.iter().map(|model| provider(model).unwrap_or(0)).collect()
    }

    /// The place of a model that has to exist.
    pub fn model(&self, name: &At<Text>) -> Option<usize> {
        let place = self.ids.get(name.value.text.as_str()).copied();
        if place.is_none() {
            // In the order of the file, not of the hash map.
            let shown_ids = self.raw.models.iter().filter(|model| !model.id.value.secret);
            let models = shown_ids.map(|model| model.id.value.text.as_str());
            let hint = hint(&name.value.text, "configured:", models.filter(|id| *id != WILDCARD));
            self.problems.add(
                &name.place,
                format!("{} is not the id of a model {hint}", shown(&name.value)),
            );
        }
        place
    }

    fn aliases(&self) -> Vec<(String, usize)> {
        let alias = |(name, model): &(At<Text>, At<Text>)| {
            let clash = match name.value.text.as_str() {
                WILDCARD => Some("the wildcard"),
                name if self.ids.contains_key(name) => Some("the id of a model"),
                name if self.is_auto_name(name) => Some("one of routing.auto_names"),
                _ => None,
            };
            if let Some(clash) = clash {
                self.problems
                    .add(&name.place, format!("{} is {clash} already", shown(&name.value)));
            }
            Some((name.value.text.clone(), self.model(model)?))
        };
        self.raw.aliases.iter().filter_map(alias).collect()
    }

    fn is_auto_name(&self, name: &str) -> bool {
        self.raw.routing.auto_names.iter().any(|auto| auto.value.text.eq_ignore_ascii_case(name))
    }

    /// The model that `passthrough` always takes; it can only be one that is in use.
    fn primary(&self) -> Option<usize> {
        let name = self.raw.routing.strategies.primary_model.as_ref()?;
        let place = self.model(name)?;
        if !self.is_enabled(place) {
            self.problems.add(&name.place, format!("{} is not enabled", shown(&name.value)));
        }
        Some(place)
    }

    /// What the names in `routing.learned` lead to.
    fn learned(&self) -> Wish {
        let Some(learned) = &self.raw.routing.strategies.learned else { return Wish::default() };
        let name = |(id, called): &(At<Text>, At<Text>)| {
            Some((self.model(id)?, called.value.text.clone()))
        };
        Wish {
            baseline: learned.baseline.as_ref().and_then(|id| self.model(id)),
            names: learned.names.iter().filter_map(name).collect(),
            ..learned.wish.clone()
        }
    }

    fn fallbacks(&self) -> Vec<(usize, Vec<usize>)> {
        let chain = |(name, chain): &(At<Text>, Vec<At<Text>>)| {
            let model = self.model(name);
            for next in chain.iter().filter(|next| next.value.text == name.value.text) {
                let message = format!("{} would fall back to itself", shown(&next.value));
                self.problems.add(&next.place, message);
            }
            let chain = self.chain(chain);
            Some((model?, chain))
        };
        self.raw.routing.fallbacks.iter().filter_map(chain).collect()
    }

    /// The places of models that have to exist, in order; no model may stand there twice.
    pub fn chain(&self, names: &[At<Text>]) -> Vec<usize> {
        for (at, name) in names.iter().enumerate() {
            if names[..at].iter().any(|first| first.value.text == name.value.text) {
                let message = format!("{} stands twice in one list", shown(&name.value));
                self.problems.add(&name.place, message);
            }
        }
        names.iter().filter_map(|name| self.model(name)).collect()
    }

    /// The sorted places of the models that an agent may use; `None` = all.
    pub fn agent_models(&self, agent: &RawAgent) -> Option<Box<[usize]>> {
        let models = self.raw.models.iter().enumerate();
        let wildcards =
            models.filter(|(_, model)| model.id.value.text == WILDCARD).map(|(at, _)| at);
        let wildcards: Vec<usize> = wildcards.collect();
        let mut places = Vec::new();
        for name in agent.models.as_ref()? {
            match name.value.text.as_str() {
                WILDCARD if !wildcards.is_empty() => places.extend(&wildcards),
                _ => places.extend(self.model(name)),
            }
        }
        places.sort_unstable();
        places.dedup();
        Some(places.into_boxed_slice())
    }

    /// An auto name that is also a model would make that model unreachable.
    fn auto_names(&self) {
        for model in self.raw.models.iter().filter(|model| self.is_auto_name(&model.id.value.text))
        {
            let allowed = "(take it out of auto_names, or give the model another id)";
            let message =
                format!("{} is one of routing.auto_names {allowed}", shown(&model.id.value));
            self.problems.add(&model.id.place, message);
        }
    }

    fn wildcards(&self) {
        let mut seen: Vec<(Dialect, &str)> = Vec::new();
        for model in self.raw.models.iter().filter(|model| model.id.value.text == WILDCARD) {
            let Some(dialect) = self.dialect(model) else {
                continue;
            };
            let first = seen.iter().find(|(known, _)| *known == dialect);
            if let Some((_, first)) = first {
                let message = format!("\"*\" for the dialect {} stands at {first}", dialect.name());
                self.problems.add(&model.id.place, format!("{message} already (one per dialect)"));
            }
            seen.push((dialect, &model.id.place.path));
        }
    }

    fn dialect(&self, model: &RawModel) -> Option<Dialect> {
        let name = &model.provider.as_ref()?.value.text;
        self.raw.providers.iter().find(|provider| provider.name.value.text == *name)?.dialect
    }

    fn warn(&self, model_providers: &[usize], warnings: &mut Vec<String>) {
        for (model, &provider) in self.raw.models.iter().zip(model_providers) {
            let provider_enabled = self.raw.providers.get(provider).is_none_or(|p| p.enabled);
            let path = &model.id.place.path;
            match &model.price {
                Some(price) if (1..CHEAPEST_PICO_USD).contains(&price.base.input.0) => {
                    warnings.push(format!("{path}: is very cheap; are prices per million tokens?"));
                }
                // Models without a price are `check_budget`'s business.
                Some(_) | None => {}
            }
            if model.enabled && !provider_enabled {
                warnings.push(format!("{path}: is out of use, as its provider is not enabled"));
            }
        }
        for provider in self.raw.providers.iter().filter(|it| it.enabled) {
            let unknown = |base: &BaseUrl| base.is_exact() && base.named_surface().is_none();
            if let (true, Some(dialect)) =
                (provider.base.as_ref().is_some_and(unknown), provider.dialect)
            {
                let (path, dialect) = (&provider.name.place.path, dialect.name());
                warnings.push(format!(
                    "{path}.base_url: does not tell what is asked there, so it is taken for the usual path of the \
                     {dialect} dialect and for nothing else (exact_url)"
                ));
            }
        }
        for status in self.raw.routing.retry_statuses.iter().filter(|at| at.value / 100 == 2) {
            let path = &status.place.path;
            warnings.push(format!("{path}: good answers will be thrown away and asked for again"));
        }
        if !self.raw.models.iter().any(|model| model.enabled) {
            warnings.push("models: none is enabled, so nothing can be served".to_owned());
        }
    }
}
