//! Rest periods of endpoints: after a failure an endpoint is passed over for a while.
//!
//! Nothing here reads a clock: `now_ms` is any steadily growing number of milliseconds, the same one
//! everywhere. A rest is advice: if every candidate rests, they are tried all the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::limit::{AUTH_REST_MS, COOLDOWN_MS_MAX};

/// The rest period of one endpoint, shared by all threads and kept across reloads.
#[derive(Debug, Default)]
pub struct Breaker {
    rest_until_ms: AtomicU64,
}

impl Breaker {
    /// When the rest ends, in the milliseconds of `now_ms`; 0 = it never rested.
    pub fn rest_until(&self) -> u64 {
        self.rest_until_ms.load(Ordering::Relaxed)
    }

    /// Whether to pass it over at that time.
    pub fn is_resting(&self, now_ms: u64) -> bool {
        now_ms < self.rest_until()
    }

    /// After a failure that may heal: rest as long as the upstream asked, else for `cooldown_ms`.
    /// A rest is never shortened by a later, milder failure, nor longer than `COOLDOWN_MS_MAX`.
    pub fn report_failure(&self, now_ms: u64, cooldown_ms: u64, retry_after_ms: Option<u64>) {
        self.rest(now_ms, retry_after_ms.unwrap_or(cooldown_ms));
    }

    /// After our credential was refused: a wrong key does not heal by itself.
    pub fn report_auth_failure(&self, now_ms: u64) {
        self.rest(now_ms, AUTH_REST_MS);
    }

    /// Ends the rest.
    pub fn clear(&self) {
        self.rest_until_ms.store(0, Ordering::Relaxed);
    }

    fn rest(&self, now_ms: u64, wait_ms: u64) {
        let until = now_ms.saturating_add(wait_ms.min(COOLDOWN_MS_MAX));
        self.rest_until_ms.fetch_max(until, Ordering::Relaxed);
    }
}

/// All breakers that exist, by provider and model, so that a reload finds the old ones again.
#[derive(Debug, Default)]
pub struct Cooldowns {
    known: HashMap<(Arc<str>, Arc<str>), Arc<Breaker>>,
}

impl Cooldowns {
    /// The breaker of that model at that provider (`Provider::rest_key`).
    pub fn of_model(&mut self, rest_key: &Arc<str>, model_id: &Arc<str>) -> Arc<Breaker> {
        let key = (Arc::clone(rest_key), Arc::clone(model_id));
        Arc::clone(self.known.entry(key).or_default())
    }

    /// The breaker of the provider as a whole, for refused credentials. No model has an empty name.
    pub fn of_provider(&mut self, rest_key: &Arc<str>) -> Arc<Breaker> {
        self.of_model(rest_key, &Arc::from(""))
    }

    /// Drops the breakers that only this table still holds, and that do not rest any more.
    pub fn forget_unused(&mut self, now_ms: u64) {
        self.known
            .retain(|_, breaker| Arc::strong_count(breaker) > 1 || breaker.is_resting(now_ms));
    }
}

/// The breakers of one snapshot, by place in its catalog.
#[derive(Debug, Default)]
pub struct Endpoints {
    endpoints: Vec<Endpoint>,
}

/// The two breakers that a request to one model has to pass.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Of this model at this provider.
    pub model: Arc<Breaker>,
    /// Of the provider's credential.
    pub provider: Arc<Breaker>,
}

impl Endpoint {
    /// Whether to pass it over at that time.
    pub fn is_resting(&self, now_ms: u64) -> bool {
        self.model.is_resting(now_ms) || self.provider.is_resting(now_ms)
    }
}

impl Endpoints {
    /// The breakers of the models in catalog order, each given as (`rest_key`, model id).
    pub fn of<'a>(
        models: impl IntoIterator<Item = (&'a Arc<str>, &'a Arc<str>)>,
        cooldowns: &mut Cooldowns,
    ) -> Self {
        let endpoint = |(rest_key, model_id): (&Arc<str>, &Arc<str>)| Endpoint {
            model: cooldowns.of_model(rest_key, model_id),
            provider: cooldowns.of_provider(rest_key),
        };
        Self { endpoints: models.into_iter().map(endpoint).collect() }
    }

    /// The endpoint of the model at that place of the catalog.
    pub fn get(&self, model_index: usize) -> Option<&Endpoint> {
        self.endpoints.get(model_index)
    }

    /// Whether the model at that place rests.
    pub fn is_resting(&self, model_index: usize, now_ms: u64) -> bool {
        self.get(model_index).is_some_and(|endpoint| endpoint.is_resting(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_rests_and_time_heals() {
        let breaker = Breaker::default();
        assert!(!breaker.is_resting(0));
        breaker.report_failure(1_000, 10_000, None);
        assert!(breaker.is_resting(10_999));
        assert!(!breaker.is_resting(11_000));
        breaker.report_failure(20_000, 10_000, Some(30_000));
        assert_eq!(breaker.rest_until(), 50_000);
        breaker.report_failure(21_000, 10_000, None);
        assert_eq!(breaker.rest_until(), 50_000, "a milder failure does not shorten the rest");
        breaker.clear();
        assert!(!breaker.is_resting(21_000));
    }

    #[test]
    fn an_upstream_cannot_ask_for_ever() {
        let breaker = Breaker::default();
        breaker.report_failure(5, 10, Some(u64::MAX));
        assert_eq!(breaker.rest_until(), 5 + COOLDOWN_MS_MAX);
        breaker.report_failure(u64::MAX - 1, 10, None);
        assert_eq!(breaker.rest_until(), u64::MAX);
    }

    #[test]
    fn a_reload_finds_the_old_breakers() {
        let mut cooldowns = Cooldowns::default();
        let (p, q): (Arc<str>, Arc<str>) = (Arc::from("p"), Arc::from("q"));
        let (a, b): (Arc<str>, Arc<str>) = (Arc::from("a"), Arc::from("b"));
        let old = Endpoints::of([(&p, &a), (&p, &b)], &mut cooldowns);
        old.get(0).unwrap().model.report_failure(0, 100, None);
        let new = Endpoints::of([(&q, &b), (&p, &a)], &mut cooldowns);
        assert!(new.is_resting(1, 50) && !new.is_resting(0, 50) && !old.is_resting(1, 50));
        new.get(1).unwrap().provider.report_auth_failure(0);
        assert!(old.is_resting(1, 50), "a refused key rests every model of the provider");
        drop(old);
        cooldowns.forget_unused(1_000);
        assert_eq!(cooldowns.known.len(), 4);
        drop(new);
        cooldowns.forget_unused(1_000);
        assert_eq!(cooldowns.known.len(), 1, "a rest outlives its snapshot");
    }
}
