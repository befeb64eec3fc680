//! The learned router of a configuration: its file, which of its columns stands for which model, and what the
//! operator wants of it.
//!
//! Choosing is `learned::choose`'s business, what a request will cost `exchange::outlook`'s.

use std::sync::Arc;

use crate::config::catalog::{Catalog, Model, Tier};
use crate::learned::choose::Preference;
use crate::learned::file::Router;
use crate::learned::heads::{self, Column};

/// The share of the best model's quality that is kept unless `alpha` is given: the file says which weight of cost
/// was measured to keep it.
const QUALITY_KEPT: f64 = 0.95;

/// A learned router, ready for the models of one catalog.
#[derive(Clone, Debug)]
pub struct Learned {
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
    /// That router for the models of `catalog`.
    pub fn new(router: Arc<Router>, wish: &Wish, catalog: &Catalog) -> Self {
        let named = |place: usize| {
            wish.names.iter().find(|(of, _)| *of == place).map(|(_, name)| name.as_str())
        };
        let column = |(place, model): (usize, &Model)| {
            let name = named(place).unwrap_or_else(|| known_name(&router, model));
            router.resolve(name, tier_of(model.tier))
        };
        let columns = catalog.models().iter().enumerate().map(column).collect();
        let base = Preference::default();
        let alpha = wish.alpha.or_else(|| measured_alpha(&router));
        let preference = Preference {
            alpha: alpha.unwrap_or(base.alpha),
            degradation: wish.degradation.unwrap_or(base.degradation),
            min_similarity: wish.min_similarity.unwrap_or(base.min_similarity),
            ..base
        };
        Self { router, preference, baseline: wish.baseline, columns }
    }

    /// The column of the model at that place of the catalog.
    pub fn column(&self, place: usize) -> Option<Column> {
        self.columns.get(place).copied()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a preference, not a measure")]
fn measured_alpha(router: &Router) -> Option<f32> {
    router.alpha(QUALITY_KEPT).map(|alpha| alpha as f32)
}

/// What the router calls the model: its id, its provider's name for it, or either without its vendor; else the id,
/// which stands for its tier then.
fn known_name<'a>(router: &Router, model: &'a Model) -> &'a str {
    let ids: [&str; 2] = [&model.id, &model.upstream_id];
    let bare = ids.map(|id| id.rsplit('/').next().unwrap_or(id));
    let mut names = ids.into_iter().chain(bare);
    names.find(|name| router.heads().knows(name)).unwrap_or(&model.id)
}

const fn tier_of(tier: Tier) -> heads::Tier {
    match tier {
        Tier::Fast => heads::Tier::Fast,
        Tier::Reasoning => heads::Tier::Reasoning,
        Tier::Oracle => heads::Tier::Oracle,
    }
}
