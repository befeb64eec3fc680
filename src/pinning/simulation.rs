//! Sessions replayed under three policies: always stay with the first model, always go where the strategy says,
//! and leave a warm cache only when it pays. The caches here follow the providers' rules, with lifetimes and
//! misses that the policy does not know; prices are those of October 2026.

use std::sync::Arc;

use crate::base::money::{NanoUsd, PicoUsdPerToken};
use crate::pinning::cache::{self, CacheReport, Rule};
use crate::pinning::habits::Habits as Learnt;
use crate::pinning::pin::{Answer, Pin};
use crate::pinning::prospect::{Known, Next};
use crate::pinning::window::{Fit, Sight, Verdict, Windows};
use crate::pinning::worth::{self, Margin, Tariff};

/// Name, then input, output, cache read and cache write in thousandths of a dollar per million tokens.
const MODELS: [(&str, [i64; 4]); 10] = [
    ("claude-opus-4-8", [5_000, 25_000, 500, 6_250]),
    ("claude-sonnet-5", [3_000, 15_000, 300, 3_750]),
    ("claude-haiku-4-5", [1_000, 5_000, 100, 1_250]),
    ("gpt-5.4", [2_500, 15_000, 250, 2_500]),
    ("gpt-5.6-sol", [1_750, 14_000, 175, 2_188]),
    ("deepseek-v4-flash", [140, 280, 3, 140]),
    ("deepseek-v4-pro", [435, 870, 4, 435]),
    ("gemini-3-flash", [500, 3_000, 50, 500]),
    ("kimi-k2.6", [600, 2_500, 102, 600]),
    ("minimax-m2.5", [300, 1_200, 30, 375]),
];

const WINDOWS: Windows = Windows { hard_ms: 0, soft_ms: 1_800_000 };
const MARGIN: Margin = Margin { of_cost_ppm: 400_000, worth: NanoUsd::ZERO };

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

#[derive(Clone, Copy)]
struct Turn {
    at_ms: u64,
    prompt: u64,
    output: u64,
    /// What the strategy says.
    wants: usize,
    /// What caches do in this turn, the same for whoever asks.
    fate: u64,
}

/// How sessions of one tenant are.
struct Habits {
    models: Vec<usize>,
    turns: (u64, u64),
    keeps_percent: u64,
    pauses_percent: u64,
}

impl Habits {
    fn of(dice: &mut Dice) -> Self {
        let mut models: Vec<usize> = Vec::new();
        while models.len() < 2 + (dice.0 % 3) as usize {
            let model = dice.between(0, MODELS.len() as u64 - 1) as usize;
            if !models.contains(&model) {
                models.push(model);
            }
        }
        let least = dice.between(1, 20);
        let most = least + dice.between(0, 40);
        let turns = (least, most);
        Self {
            models,
            turns,
            keeps_percent: dice.between(20, 95),
            pauses_percent: dice.between(0, 25),
        }
    }

    fn session(&self, dice: &mut Dice) -> Vec<Turn> {
        let (mut at_ms, mut prompt) = (1_000_000_000, dice.between(2_000, 40_000));
        let mut wants = self.pick(dice);
        let count = dice.between(self.turns.0, self.turns.1);
        let mut turns = Vec::new();
        for _ in 0..count {
            let output = dice.between(50, 1_500);
            turns.push(Turn { at_ms, prompt, output, wants, fate: dice.roll() });
            prompt += output + dice.between(100, 3_000);
            let pause = dice.happens(self.pauses_percent);
            at_ms +=
                if pause { dice.between(200_000, 4_000_000) } else { dice.between(2_000, 90_000) };
            if !dice.happens(self.keeps_percent) {
                wants = self.pick(dice);
            }
        }
        turns
    }

    fn pick(&self, dice: &mut Dice) -> usize {
        self.models[dice.between(0, self.models.len() as u64 - 1) as usize]
    }
}

fn known(model: usize) -> Known<'static> {
    let (id, [input, output, read, write]) = MODELS[model];
    let [input, output, read, write] =
        [input, output, read, write].map(|price| PicoUsdPerToken(price * 1_000));
    let tariff = Tariff { input, output, read, write, request: NanoUsd::ZERO };
    Known { id, tariff, rule: cache::rule(id, false) }
}

/// What the providers' caches hold of a session.
#[derive(Default)]
struct Caches([Option<(u64, u64)>; MODELS.len()]);

impl Caches {
    /// The answer of a model: what it said of its cache, and what it cost in pico-dollars.
    fn answer(&mut self, model: usize, turn: &Turn) -> (CacheReport, i128) {
        let Known { tariff, rule, .. } = known(model);
        let Rule { sure_s, gone_s, .. } = rule;
        let life_ms = (sure_s + turn.fate % (gone_s - sure_s + 1)) * 1_000;
        let spills = !rule.is_marked && turn.fate / 7 % 100 < 4;
        let found = self.0[model].filter(|(used_ms, _)| turn.at_ms - used_ms <= life_ms && !spills);
        let is_cached = turn.prompt >= rule.tokens_min;
        let read = found.map_or(0, |(_, prefix)| prefix.min(turn.prompt));
        self.0[model] = is_cached.then_some((turn.at_ms, turn.prompt));
        let fresh = turn.prompt - read;
        let writes = is_cached && rule.bills_writes;
        let price = if writes { tariff.write } else { tariff.input };
        let cost = i128::from(read) * i128::from(tariff.read.0)
            + i128::from(fresh) * i128::from(price.0)
            + i128::from(turn.output) * i128::from(tariff.output.0);
        let written = if writes { fresh } else { 0 };
        (CacheReport { prompt: turn.prompt, read, written, written_long: 0 }, cost)
    }
}

fn replay(turns: &[Turn], mut choose: impl FnMut(usize, &Turn) -> usize) -> i128 {
    let mut caches = Caches::default();
    let cost = |(at, turn): (usize, &Turn)| caches.answer(choose(at, turn), turn).1;
    turns.iter().enumerate().map(cost).sum()
}

/// What the policy has learnt of a tenant.
struct Known2 {
    habits: Learnt,
    usual_ppm: [u32; MODELS.len()],
}

impl Known2 {
    fn known(&self, model: usize) -> Known<'static> {
        let plain = known(model);
        Known { rule: plain.rule.hitting(Some(self.usual_ppm[model])), ..plain }
    }
}

/// Turns of the same run after this one: none of their pauses goes beyond the soft window.
fn left(turns: &[Turn], at: usize) -> u64 {
    let runs =
        turns[at..].windows(2).take_while(|pair| pair[1].at_ms - pair[0].at_ms <= WINDOWS.soft_ms);
    runs.count() as u64 * 1_000
}

fn aware(turns: &[Turn], is_told: bool, (margin, learnt): (&Margin, &mut Known2)) -> i128 {
    let (mut caches, mut pin, mut total) = (Caches::default(), None::<Pin>, 0);
    let index = |id: &str| MODELS.iter().position(|(name, _)| *name == id);
    for (at, turn) in turns.iter().enumerate() {
        let fit = Fit { vision: true, context_tokens: None, rests: false };
        let sight = Sight {
            now_ms: turn.at_ms,
            tokens: turn.prompt,
            images: false,
            answers_tool: false,
            pinned: Some(fit),
        };
        pin = pin.filter(|pin| !pin.is_older(turn.at_ms, WINDOWS.soft_ms));
        let number = pin.as_ref().map_or(1, |pin| pin.turns + 1);
        let later =
            if is_told { left(turns, at) } else { learnt.habits.lengths.more_milli(number, 8) };
        learnt.habits.lengths.saw(number);
        if let Some(pin) = &pin {
            learnt.habits.pauses.saw(turn.at_ms - pin.used_ms);
        }
        let model = match (WINDOWS.judge(pin.as_ref(), &sight), &pin) {
            (Verdict::Weigh, Some(pin)) => {
                let next = Next { now_ms: turn.at_ms, prompt_tokens: turn.prompt, has_marks: true };
                let here = index(&pin.model).unwrap();
                let side =
                    |model: usize| pin.side(&learnt.known(model), (&next, &learnt.habits.pauses));
                let outlook = pin.outlook(&next, later);
                let found = worth::weigh(&side(here), &side(turn.wants), (&outlook, margin));
                if found.leaves { turn.wants } else { here }
            }
            _ => turn.wants,
        };
        let (report, cost) = caches.answer(model, turn);
        total += cost;
        let answer = Answer {
            model: Arc::from(MODELS[model].0),
            now_ms: turn.at_ms,
            report: Some(report),
            output_tokens: turn.output,
            body_bytes: turn.prompt * 4,
        };
        let rule = learnt.known(model).rule;
        if let Some(pin) = &pin {
            if let Some(hit) = pin.trail_of(MODELS[model].0).hit_ppm(&report, &rule, turn.at_ms) {
                let usual = &mut learnt.usual_ppm[model];
                *usual = *usual - *usual / 64 + hit / 64;
            }
        }
        pin = Some(Pin::after(pin.as_ref(), &answer, &rule));
    }
    total
}

fn plain(turns: &[Turn]) -> (i128, i128) {
    let (mut at, mut last_ms) = (0, None::<u64>);
    let pinned = replay(turns, |_, turn| {
        let is_fresh = last_ms.is_none_or(|last| turn.at_ms - last > WINDOWS.soft_ms);
        last_ms = Some(turn.at_ms);
        if is_fresh {
            at = turn.wants
        }
        at
    });
    (pinned, replay(turns, |_, turn| turn.wants))
}

#[test]
fn experiment() {
    let (mut worse_told, mut worse_learnt, mut sessions) = ([0, 0], [0, 0], 0);
    let mut bad_traces = 0;
    let (mut sum_p, mut sum_n, mut sum_t, mut sum_l) = (0, 0, 0, 0);
    let mut worst = Vec::new();
    let mut worst_told = Vec::new();
    for seed in 0..300 {
        let mut dice = Dice(seed * 1_000_003);
        let habits = Habits::of(&mut dice);
        let mut learnt_all = Known2 {
            habits: Learnt::default(),
            usual_ppm: std::array::from_fn(|model| known(model).rule.usual_ppm),
        };
        for _ in 0..200 {
            let session = habits.session(&mut dice);
            aware(&session, false, (&MARGIN, &mut learnt_all));
        }
        let (mut p, mut n, mut l) = (0, 0, 0);
        for number in 0..100 {
            let session = habits.session(&mut dice);
            let (pinned, never) = plain(&session);
            let told =
                aware(&session, true, (&Margin { of_cost_ppm: 0, ..MARGIN }, &mut learnt_all));
            let learnt = aware(&session, false, (&MARGIN, &mut learnt_all));
            sessions += 1;
            let least = pinned.min(never);
            if told > least {
                worse_told[usize::from(never < pinned)] += 1;
                worst_told.push(((told * 1000 / least - 1000) as i64, seed, number));
            }
            if learnt > least {
                worse_learnt[usize::from(never < pinned)] += 1;
                worst.push((learnt * 1000 / least - 1000) as i64);
            }
            p += pinned;
            n += never;
            l += learnt;
            sum_t += told;
        }
        if l > p.min(n) {
            bad_traces += 1;
            println!(
                "trace {seed}: {} models {:?} turns {:?} keeps {} pauses {}",
                l * 1000 / p.min(n),
                habits.models.iter().map(|&m| MODELS[m].0).collect::<Vec<_>>(),
                habits.turns,
                habits.keeps_percent,
                habits.pauses_percent
            );
        }
        sum_p += p;
        sum_n += n;
        sum_l += l;
    }
    worst.sort();
    worst_told.sort();
    println!(
        "{sessions} sessions, worse told {worse_told:?} learnt {worse_learnt:?}, bad traces {bad_traces}"
    );
    println!("pin {sum_p} never {sum_n} told {sum_t} learnt {sum_l}");
    println!(
        "worst learnt {:?} {:?} {:?}",
        worst.get(worst.len() / 2),
        worst.get(worst.len() * 9 / 10),
        worst.last()
    );
    println!(
        "worst told {:?} {:?} {:?}",
        worst_told.get(worst_told.len() / 2),
        worst_told.get(worst_told.len() * 9 / 10),
        worst_told.last()
    );
}
