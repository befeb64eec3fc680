//! The provider's own bill: what every request that reached a model costs, whatever became of it.
//!
//! It is kept to be compared with the gateway's ledger and knows nothing of it. The rules:
//!
//! - A request is booked when it has been read to its end; one whose body never ended costs nothing.
//! - An answer costs its full usage, sent to the end or not: a client that leaves does not stop the
//!   model. `bill=seen` stops it: all input, and of the output the share of the answer's bytes that
//!   was handed to the connection, rounded up. `bill=none` forgives all that was not sent to its end.
//! - That holds as well for answers that the mock itself cuts, stalls or never begins.
//! - Error statuses, a 200 whose body is an error and a stream that begins with an error cost nothing
//!   unless `billerror` says so. An error later in a stream is an answer that was cut.
//! - A fixture costs what `cost=` says, else nothing: the mock does not read it.
//!
//! One line per request on the surfaces of models, refusals included; counts and lookups have none.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::count::Tokens;
use super::price::{Price, dollars};

/// Lines kept; sums go on beyond it.
const LINES_MAX: usize = 20_000;

/// What an answer costs that was not sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Abandoned {
    /// As if it had been.
    #[default]
    Full,
    /// The input, and the output sent.
    Seen,
    /// Nothing.
    Nothing,
}

impl FromStr for Abandoned {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "full" => Self::Full,
            "seen" => Self::Seen,
            "none" => Self::Nothing,
            _ => return Err(()),
        })
    }
}

/// One request on the bill.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BillLine {
    /// The request's number, as in [`super::seen::Seen`].
    pub number: u64,
    /// The name of the answer: `x-generation-id` in `OpenRouter`'s manner.
    pub generation: String,
    /// The model that answered.
    pub model: String,
    /// A stream was asked for.
    pub stream: bool,
    /// Status answered; 0 for none.
    pub status: u16,
    /// The tokens that are billed.
    pub tokens: Tokens,
    /// What they cost, in nano-dollars.
    pub cost_nano: i64,
    /// Nothing more will change.
    pub ended: bool,
    /// The answer was sent to its proper end.
    pub completed: bool,
    /// The request's headers that begin with `x-`, and `traceparent`; no credentials.
    pub headers: Vec<(String, String)>,
}

impl BillLine {
    /// The first value of a header (name in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn to_json(&self) -> Value {
        let headers: Vec<Value> =
            self.headers.iter().map(|(name, value)| json!([name, value])).collect();
        json!({
            "number": self.number,
            "generation_id": self.generation,
            "model": self.model,
            "stream": self.stream,
            "status": self.status,
            "input_tokens": self.tokens.input,
            "cache_read_tokens": self.tokens.cache_read,
            "cache_write_tokens": self.tokens.cache_write,
            "cache_write_1h_tokens": self.tokens.cache_write_1h,
            "output_tokens": self.tokens.output,
            "reasoning_tokens": self.tokens.reasoning,
            "cost_nano_usd": self.cost_nano,
            "ended": self.ended,
            "completed": self.completed,
            "headers": headers,
        })
    }

    /// As `OpenRouter` tells of it under `/generation`.
    fn generation_json(&self) -> Value {
        let (prompt, output) = (self.tokens.prompt(), self.tokens.output);
        let cost = dollars(self.cost_nano);
        json!({"data": {
            "id": self.generation, "model": self.model, "provider_name": "Mock",
            "total_cost": cost, "usage": cost, "cache_discount": null, "is_byok": false,
            "streamed": self.stream, "cancelled": !self.completed,
            "tokens_prompt": prompt, "tokens_completion": output,
            "native_tokens_prompt": prompt, "native_tokens_completion": output,
            "native_tokens_reasoning": self.tokens.reasoning,
            "native_tokens_cached": self.tokens.cache_read,
        }})
    }
}

/// What an answer costs, and what it costs if it is not sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// The tokens of the whole answer.
    pub tokens: Tokens,
    /// What they cost.
    pub price: Price,
    /// What the answer costs instead, whatever its tokens, in nano-dollars.
    pub fixed_nano: Option<i64>,
    /// The rule for what is not sent to its end.
    pub abandoned: Abandoned,
    /// Bytes of the whole answer.
    pub bytes: u64,
}

impl Terms {
    /// Tokens and nano-dollars of the whole answer.
    fn whole(&self) -> (Tokens, i64) {
        (self.tokens, self.fixed_nano.unwrap_or_else(|| self.price.cost_nano(&self.tokens)))
    }

    /// Tokens and nano-dollars once so many bytes were sent and no more will be.
    fn broken(&self, sent: u64) -> (Tokens, i64) {
        match self.abandoned {
            Abandoned::Full => self.whole(),
            Abandoned::Nothing => (Tokens::default(), 0),
            Abandoned::Seen => {
                let tokens = self.tokens.with_output(self.share(self.tokens.output, sent));
                let cost = match self.fixed_nano {
                    Some(fixed) => {
                        let fixed = u64::try_from(fixed).unwrap_or_default();
                        i64::try_from(self.share(fixed, sent)).unwrap_or(i64::MAX)
                    }
                    None => self.price.cost_nano(&tokens),
                };
                (tokens, cost)
            }
        }
    }

    /// The part of `all` that so many bytes of the answer stand for, rounded up.
    fn share(&self, all: u64, sent: u64) -> u64 {
        let bytes = u128::from(self.bytes.max(1));
        let part = u128::from(all) * u128::from(sent).min(bytes);
        u64::try_from(part.div_ceil(bytes)).unwrap_or(all)
    }
}

/// All lines of a mock and their sum.
#[derive(Debug)]
pub struct Bill {
    lines_max: usize,
    account: Mutex<Account>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Account {
    /// Counts the resets: what was booked before one does not change what comes after.
    epoch: u64,
    count: u64,
    total_nano: i64,
    /// The newest lines; the last one has the number `count`.
    lines: VecDeque<BillLine>,
}

impl Account {
    /// The line that was booked as number `id`, if it is still kept.
    fn line(&mut self, id: u64) -> Option<&mut BillLine> {
        let from_last = usize::try_from(self.count.checked_sub(id)?).ok()?;
        let at = self.lines.len().checked_sub(from_last + 1)?;
        self.lines.get_mut(at)
    }
}

impl Bill {
    /// An empty bill. `with_lines` false keeps the sum only.
    pub fn new(with_lines: bool) -> Self {
        let lines_max = if with_lines { LINES_MAX } else { 0 };
        Self { lines_max, account: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// True if lines are kept.
    pub fn has_lines(&self) -> bool {
        self.lines_max > 0
    }

    /// Books a request under these terms; the [`Charge`] takes what becomes of it.
    pub fn book(self: &Arc<Self>, mut line: BillLine, terms: Terms) -> Charge {
        let (tokens, cost) = terms.broken(0);
        (line.tokens, line.cost_nano) = (tokens, cost);
        let mut account = self.account.lock();
        account.count += 1;
        account.total_nano = account.total_nano.saturating_add(cost);
        let (id, epoch) = (account.count, account.epoch);
        if self.lines_max > 0 {
            if account.lines.len() == self.lines_max {
                account.lines.pop_front();
            }
            account.lines.push_back(line);
        }
        drop(account);
        self.changed();
        Charge {
            open: Some(Open { bill: Arc::clone(self), id, epoch, terms, booked: cost, sent: 0 }),
        }
    }

    /// Copies of the lines kept, oldest first.
    pub fn lines(&self) -> Vec<BillLine> {
        self.account.lock().lines.iter().cloned().collect()
    }

    /// The sum of all lines, those no longer kept included, in nano-dollars.
    pub fn total_nano(&self) -> i64 {
        self.account.lock().total_nano
    }

    /// Forgets all lines. What is still being answered is forgotten as well.
    pub fn reset(&self) {
        let mut account = self.account.lock();
        let epoch = account.epoch + 1;
        *account = Account { epoch, ..Account::default() };
        drop(account);
        self.changed();
    }

    /// Waits until the lines fulfil the condition; false when the time is over.
    pub async fn wait_for(&self, time: Duration, wanted: impl Fn(&[BillLine]) -> bool) -> bool {
        let mut changes = self.changes.subscribe();
        let search = async {
            loop {
                changes.borrow_and_update();
                if wanted(&self.lines()) {
                    return true;
                }
                if changes.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(time, search).await.unwrap_or(false)
    }

    /// The whole bill, for `/mock/bill`.
    pub fn to_json(&self) -> Value {
        let account = self.account.lock();
        let lines: Vec<Value> = account.lines.iter().map(BillLine::to_json).collect();
        json!({"total_nano_usd": account.total_nano, "count": account.count, "lines": lines})
    }

    /// One answer as `/generation` tells of it; none before it ended, as with the original.
    pub fn generation_json(&self, id: &str) -> Option<Value> {
        let account = self.account.lock();
        let line = account.lines.iter().rev().find(|line| line.generation == id)?;
        line.ended.then(|| line.generation_json())
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Follows one booked request to its end. Dropped before [`Charge::finish`], it was abandoned.
#[derive(Debug, Default)]
pub struct Charge {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    bill: Arc<Bill>,
    id: u64,
    epoch: u64,
    terms: Terms,
    booked: i64,
    sent: u64,
}

impl Charge {
    /// So many bytes of the answer were handed to the connection.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(open) = &mut self.open {
            open.sent += bytes as u64;
        }
    }

    /// The mock has done what it was asked for; `is_whole` if that is a whole answer.
    pub fn finish(&mut self, is_whole: bool) {
        if let Some(open) = self.open.take() {
            open.settle(is_whole);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.finish(false);
    }
}

impl Open {
    fn settle(self, is_whole: bool) {
        let (tokens, cost) =
            if is_whole { self.terms.whole() } else { self.terms.broken(self.sent) };
        let mut account = self.bill.account.lock();
        if account.epoch != self.epoch {
            return;
        }
        let change = cost.saturating_sub(self.booked);
        account.total_nano = account.total_nano.saturating_add(change);
        if let Some(line) = account.line(self.id) {
            (line.tokens, line.cost_nano) = (tokens, cost);
            (line.ended, line.completed) = (true, is_whole);
        }
        drop(account);
        self.bill.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(abandoned: Abandoned) -> Terms {
        let tokens = Tokens { input: 10, output: 100, reasoning: 40, ..Tokens::default() };
        Terms { tokens, price: Price::of(1_000, 2_000), fixed_nano: None, abandoned, bytes: 50 }
    }

    fn booked(bill: &Arc<Bill>, abandoned: Abandoned) -> Charge {
        bill.book(BillLine::default(), terms(abandoned))
    }

    #[test]
    fn a_whole_answer_costs_the_same_under_every_rule() {
        for rule in [Abandoned::Full, Abandoned::Seen, Abandoned::Nothing] {
            let bill = Arc::new(Bill::new(true));
            booked(&bill, rule).finish(true);
            let line = &bill.lines()[0];
            assert_eq!((bill.total_nano(), line.cost_nano), (210, 210), "{rule:?}");
            assert!(line.ended && line.completed);
        }
    }

    #[test]
    fn an_abandoned_answer_costs_what_the_rule_says() {
        for (rule, open, after) in
            [(Abandoned::Full, 210, 210), (Abandoned::Seen, 10, 54), (Abandoned::Nothing, 0, 0)]
        {
            let bill = Arc::new(Bill::new(true));
            let mut charge = booked(&bill, rule);
            assert_eq!(bill.total_nano(), open, "{rule:?}");
            assert!(!bill.lines()[0].ended);
            charge.sent(11);
            drop(charge);
            let line = &bill.lines()[0];
            assert_eq!((bill.total_nano(), line.cost_nano), (after, after), "{rule:?}");
            assert!(line.ended && !line.completed);
        }
    }

    #[test]
    fn a_share_is_rounded_up_and_never_above_the_whole() {
        let seen = terms(Abandoned::Seen);
        assert_eq!(seen.broken(1).0.output, 2);
        assert_eq!(seen.broken(1).0.reasoning, 2);
        assert_eq!(Terms { bytes: 51, ..seen }.broken(1).0.output, 2);
        assert_eq!(seen.broken(1_000).0, seen.tokens);
        let fixed = Terms { fixed_nano: Some(7), ..seen };
        assert_eq!((fixed.broken(0).1, fixed.broken(1).1, fixed.whole().1), (0, 1, 7));
    }

    #[test]
    fn sums_go_on_when_lines_are_dropped() {
        let mut bill = Bill::new(true);
        bill.lines_max = 2;
        let bill = Arc::new(bill);
        let charges: Vec<Charge> = (0..5).map(|_| booked(&bill, Abandoned::Nothing)).collect();
        assert_eq!((bill.lines().len(), bill.total_nano()), (2, 0));
        for mut charge in charges {
            charge.finish(true);
        }
        assert_eq!(bill.total_nano(), 5 * 210);
        assert!(bill.lines().iter().all(|line| line.completed));
        let blind = Arc::new(Bill::new(false));
        booked(&blind, Abandoned::Full).finish(true);
        assert_eq!((blind.lines().len(), blind.total_nano()), (0, 210));
    }

    #[test]
    fn a_reset_forgets_what_is_under_way() {
        let bill = Arc::new(Bill::new(true));
        let mut before = booked(&bill, Abandoned::Seen);
        bill.reset();
        let mut after = booked(&bill, Abandoned::Seen);
        before.finish(true);
        assert_eq!(bill.total_nano(), 10);
        assert!(!bill.lines()[0].ended);
        after.finish(true);
        assert_eq!(bill.total_nano(), 210);
        assert_eq!(bill.to_json()["count"], 1);
    }

    #[test]
    fn a_generation_is_known_once_it_ended() {
        let bill = Arc::new(Bill::new(true));
        let line = BillLine { generation: "gen-1".to_owned(), ..BillLine::default() };
        let mut charge = bill.book(line, terms(Abandoned::Full));
        assert_eq!(bill.generation_json("gen-1"), None);
        charge.finish(true);
        let told = bill.generation_json("gen-1").unwrap();
        assert_eq!(told["data"]["total_cost"].to_string(), "2.1e-7");
        assert_eq!(told["data"]["native_tokens_completion"], 100);
        assert_eq!(bill.generation_json("gen-2"), None);
    }
}
