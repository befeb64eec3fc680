//! The learned router of a configuration: its file, which of its columns stands for which model, and what the
//! operator wants of it.
//!
//! Without a file of its own it is the router that comes with the program; that is read when it is first needed, so
//! that who does not use it pays nothing for it. Choosing is `learned::choose`'s business, what a request will cost
//! `exchange::outlook`'s.

use std::sync::{Arc, LazyLock, OnceLock};

use crate::config::catalog::{Catalog, Model, Tier};
use crate::learned::choose::Preference;
use crate::learned::file::Router;
use crate::learned::heads::{self, Column};

/// The share of the best model's quality that is kept unless `alpha` is given: the file says which weight of cost
/// was measured to keep it.
const QUALITY_KEPT: f64 = 0.95;

/// The router that comes with the program; its training is told in the file (`conf/router/README.md`).
static SHIPPED: LazyLock<Option<Arc<Router>>> = LazyLock::new(|| {
    let file = include_bytes!("../../conf/router/router.bin");
    Router::parse(file).ok().map(Arc::new)
});

/// What the learned strategy goes by, for the models of one catalog.
#[derive(Debug)]
pub struct Learned {
    given: Option<Arc<Router>>,
    wish: Wish,
    /// What each model may be called in the router's file, and its tier.
    models: Vec<Named>,
    ready: OnceLock<Option<Ready>>,
}

#[derive(Debug)]
struct Named {
    names: Vec<Arc<str>>,
    tier: Tier,
}

/// A learned router, ready for the models of one catalog.
#[derive(Debug)]
pub struct Ready {
    /// What judges.
    pub router: Arc<Router>,
    /// What is wanted; its `baseline` is `None`, because places differ from request to request.
    pub preference: Preference,
    /// The place of the model that savings are counted against.
    pub baseline: Option<usize>,
    columns: Vec<Column>,
}

/// What the file of the configuration says about it.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Points of quality that the cost of the dearest model must bring.
    pub alpha: Option<f32>,
    /// Points of quality that may be lost.
    pub degradation: Option<f32>,
    /// How like the training data a prompt must be.
    pub min_similarity: Option<f32>,
    /// The place of the baseline.
    pub baseline: Option<usize>,
    /// Places of models, and what they are called in the router's file.
    pub names: Vec<(usize, String)>,
}

impl Learned {
    /// For the models of `catalog`, by the router of a file where one is given.
    pub fn new(given: Option<Arc<Router>>, wish: &Wish, catalog: &Catalog) -> Self {
        let named = |(place, model): (usize, &Model)| {
            let wished = wish.names.iter().find(|(of, _)| *of == place);
            let wished = wished.map(|(_, name)| Arc::from(name.as_str()));
            Named { names: wished.into_iter().chain(names_of(model)).collect(), tier: model.tier }
        };
        let models = catalog.models().iter().enumerate().map(named).collect();
        Self { given, wish: wish.clone(), models, ready: OnceLock::new() }
    }

    /// Ready to judge. The first call may read the router of the program, which takes some ten milliseconds;
    /// `None` only if that were broken.
    pub fn ready(&self) -> Option<&Ready> {
        self.ready.get_or_init(|| self.prepared()).as_ref()
    }

    fn prepared(&self) -> Option<Ready> {
        let router = self.given.clone().or_else(|| SHIPPED.clone())?;
        let column = |model: &Named| {
            let known = model.names.iter().find(|name| router.heads().knows(name));
            let name = known.or(model.names.first()).map_or("", |name| name);
            router.resolve(name, tier_of(model.tier))
        };
        let columns = self.models.iter().map(column).collect();
        let (base, wish) = (Preference::default(), &self.wish);
        let alpha = wish.alpha.or_else(|| measured_alpha(&router));
        let preference = Preference {
            alpha: alpha.unwrap_or(base.alpha),
            degradation: wish.degradation.unwrap_or(base.degradation),
            min_similarity: wish.min_similarity.unwrap_or(base.min_similarity),
            ..base
        };
        Some(Ready { router, preference, baseline: wish.baseline, columns })
    }
}

impl Ready {
    /// The column of the model at that place of the catalog.
    pub fn column(&self, place: usize) -> Option<Column> {
        self.columns.get(place).copied()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a preference, not a measure")]
fn measured_alpha(router: &Router) -> Option<f32> {
    router.alpha(QUALITY_KEPT).map(|alpha| alpha as f32)
}

/// What a router may call the model: its id, its provider's name for it, or either without its vendor. Where it
/// knows none of them, the model stands for its tier.
fn names_of(model: &Model) -> impl Iterator<Item = Arc<str>> {
    let ids = [&model.id, &model.upstream_id];
    let bare = ids.map(|id| Arc::from(id.rsplit('/').next().unwrap_or(id)));
    ids.into_iter().cloned().chain(bare)
}

const fn tier_of(tier: Tier) -> heads::Tier {
    match tier {
        Tier::Fast => heads::Tier::Fast,
        Tier::Reasoning => heads::Tier::Reasoning,
        Tier::Oracle => heads::Tier::Oracle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_of_the_program_is_whole_and_promises_quality() {
        let router = SHIPPED.as_ref().expect("conf/router/router.bin");
        assert!(measured_alpha(router).is_some());
    }
}
