//! Tells alerts to the web hook, in order, on a thread of its own: a POST of `{"account", "level", "spent",
//! "limit", "at"}`, amounts in USD as numbers, `limit` null where there is none, the instant in RFC 3339; of a
//! canary that has leaked `{"account", "level": "CRITICAL", "event": "canary_leak", "request_id", "at"}`.
//!
//! Any 2xx is a yes. An alert that is not taken is tried again a few times, each time later, and those
//! behind it wait; then it is dropped and counted. What an alert is, `watch` decides.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::backoff::Backoff;
use crate::base::limit::{ALERT_BACKOFF_MS, ALERT_TRIES_MAX};
use crate::engine::bookkeeper::Bookkeeper;
use crate::engine::caller::{Callee, Caller};
use crate::engine::rounds::{Round, Rounds};
use crate::engine::watch::{Alert, News};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::money::Delivery;
use crate::wire::object::Object;

/// Starts the thread.
///
/// # Errors
/// The thread cannot be made.
pub fn start(keeper: Arc<Bookkeeper>, metrics: Arc<Metrics>) -> io::Result<Rounds> {
    let mut caller = Caller::default();
    let mut queue = Queue::default();
    Rounds::start("weir-outbox", move |round| {
        if queue.alerts.is_empty() || round == Round::Last {
            queue.alerts.extend(keeper.take_alerts());
        }
        let mut post = |alert: &Alert| {
            let hook = Callee { url: alert.hook.0.url(""), authorization: None };
            let told = caller.post(&hook, &body(alert));
            told.inspect_err(|error| tracing::debug!(%error, "the web hook does not take an alert"))
                .is_ok()
        };
        while let Some(delivery) = queue.next(round, Instant::now(), &mut post) {
            metrics.money.webhook_called(delivery);
        }
    })
}

/// Alerts on their way.
#[derive(Default)]
struct Queue {
    alerts: VecDeque<Alert>,
    /// How often the first one was tried.
    tries: u32,
    /// When it is tried again; `None` = at once.
    due: Option<Instant>,
    /// In the last round a try has failed; there is no time for others.
    deaf: bool,
}

impl Queue {
    /// Tries the first alert, if it is due; what came of it. In the last round each has one more try, up to
    /// the first failure.
    fn next(
        &mut self,
        round: Round,
        now: Instant,
        post: &mut dyn FnMut(&Alert) -> bool,
    ) -> Option<Delivery> {
        let alert = self.alerts.front()?;
        if round == Round::Usual && self.due.is_some_and(|due| now < due) {
            return None;
        }
        if !self.deaf && post(alert) {
            self.pass();
            return Some(Delivery::Delivered);
        }
        self.tries += 1;
        self.deaf = round == Round::Last;
        if self.deaf || self.tries >= ALERT_TRIES_MAX {
            let (account, level) = (&*alert.account, &*alert.level);
            tracing::warn!(account, level, "the web hook does not take an alert; it is dropped");
            self.pass();
            return Some(Delivery::Dropped);
        }
        let (first_ms, max_ms) = ALERT_BACKOFF_MS;
        let wait = Backoff { first_ms, max_ms }.after(self.tries - 1);
        self.due = Some(now + Duration::from_millis(wait));
        Some(Delivery::Failed)
    }

    fn pass(&mut self) {
        self.alerts.pop_front();
        (self.tries, self.due) = (0, None);
    }
}

fn body(alert: &Alert) -> String {
    let about = Object::default().text("account", &alert.account).text("level", &alert.level);
    let news = match &alert.news {
        News::Budget { spent, limit } => {
            about.raw("spent", spent).raw("limit", limit.as_deref().unwrap_or("null"))
        }
        News::CanaryLeak { request } => {
            about.text("event", "canary_leak").text("request_id", request)
        }
    };
    news.time("at", Some(alert.at_ms)).end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::budgets::Webhook;
    use crate::upstream::target::BaseUrl;

    fn alert(level: &str) -> Alert {
        Alert {
            account: "fleet".to_owned(),
            level: level.to_owned(),
            news: News::Budget { spent: "250.5".to_owned(), limit: None },
            at_ms: 1_000,
            hook: Webhook(BaseUrl::parse("http://h/secret", true).unwrap()),
        }
    }

    fn queue(levels: &[&str]) -> Queue {
        Queue { alerts: levels.iter().map(|level| alert(level)).collect(), ..Queue::default() }
    }

    #[test]
    fn an_alert_is_an_object_with_amounts_as_numbers() {
        let expected = r#"{"account":"fleet","level":"soft","spent":250.5,"limit":null,"at":"1970-01-01T00:00:01Z"}"#;
        assert_eq!(body(&alert("soft")), expected);
        let news = News::Budget { spent: "1".to_owned(), limit: Some("1200".to_owned()) };
        assert!(body(&Alert { news, ..alert("soft") }).contains(r#""limit":1200,"#));
        let news = News::CanaryLeak { request: "r1".to_owned() };
        let expected = r#"{"account":"fleet","level":"CRITICAL","event":"canary_leak","request_id":"r1","at":"1970-01-01T00:00:01Z"}"#;
        assert_eq!(body(&Alert { news, ..alert("CRITICAL") }), expected);
    }

    #[test]
    fn each_is_told_once_and_in_order() {
        let (mut queue, mut told) = (queue(&["warning", "soft"]), Vec::new());
        let mut post = |alert: &Alert| {
            told.push(alert.level.clone());
            true
        };
        let now = Instant::now();
        for _ in 0..2 {
            assert_eq!(queue.next(Round::Usual, now, &mut post), Some(Delivery::Delivered));
        }
        assert_eq!(queue.next(Round::Usual, now, &mut post), None);
        assert_eq!(told, ["warning", "soft"]);
    }

    #[test]
    fn a_deaf_hook_is_tried_later_and_later_and_then_given_up() {
        let (mut queue, start) = (queue(&["warning", "soft"]), Instant::now());
        let mut now = 0;
        for wait in [1_000, 2_000, 4_000, 8_000] {
            let at = |ms| start + Duration::from_millis(ms);
            assert_eq!(queue.next(Round::Usual, at(now), &mut |_| false), Some(Delivery::Failed));
            let early = queue.next(Round::Usual, at(now + wait - 1), &mut |_| panic!("too early"));
            assert_eq!(early, None);
            now += wait;
        }
        let last = start + Duration::from_millis(now);
        assert_eq!(queue.next(Round::Usual, last, &mut |_| false), Some(Delivery::Dropped));
        let mut heard = |alert: &Alert| alert.level == "soft";
        assert_eq!(queue.next(Round::Usual, last, &mut heard), Some(Delivery::Delivered));
    }

    #[test]
    fn the_end_waits_for_no_second_try() {
        let mut queue = queue(&["warning", "soft"]);
        let now = Instant::now();
        assert_eq!(queue.next(Round::Usual, now, &mut |_| false), Some(Delivery::Failed));
        assert_eq!(queue.next(Round::Last, now, &mut |_| true), Some(Delivery::Delivered));
        queue.alerts.extend([alert("hard"), alert("emergency")]);
        assert_eq!(queue.next(Round::Last, now, &mut |_| false), Some(Delivery::Dropped));
        for _ in 0..2 {
            let dropped = queue.next(Round::Last, now, &mut |_| panic!("a second try"));
            assert_eq!(dropped, Some(Delivery::Dropped));
        }
        assert_eq!(queue.next(Round::Last, now, &mut |_| panic!("nothing is left")), None);
    }
}
