//! What clients ask for.
//!
//! Decides the next request, from chance and from what clients have seen. Refuses to know
//! connections and answers.

use crate::operation::{KeyNumber, Mode, Operation, Value};
use crate::plan::LoadPlan;
use crate::random::Random;
use crate::request::Request;
use std::collections::BTreeMap;

/// A flush is to come no more than so many seconds later.
pub(crate) const DELAY_S_MAX: u64 = 2;

/// Draws requests.
#[derive(Debug)]
pub struct Load {
    plan: LoadPlan,
    random: Random,
    /// The last cas unique that anybody has seen of a key.
    seen: BTreeMap<KeyNumber, u64>,
    drawn: u32,
    /// The keys, if they are not those from 0 on.
    numbers: Vec<KeyNumber>,
    kinds: [(u64, Kind); 16],
}

/// What a classic request may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Get,
    Gets,
    Many,
    Touching,
    Touch,
    Store(Mode),
    Compare,
    Delete,
    Count,
    Flush,
    Meta,
    Quiet,
}

impl Load {
    /// Requests as `plan` wants them.
    #[must_use]
    pub fn new(plan: LoadPlan, random: Random) -> Self {
        let kinds = [
            (20, Kind::Get),
            (6, Kind::Gets),
            (6, Kind::Many),
            (4, Kind::Touching),
            (4, Kind::Touch),
            (30, Kind::Store(Mode::Set)),
            (5, Kind::Store(Mode::Add)),
            (4, Kind::Store(Mode::Replace)),
            (4, Kind::Store(Mode::Append)),
            (3, Kind::Store(Mode::Prepend)),
            (6, Kind::Compare),
            (12, Kind::Delete),
            (8, Kind::Count),
            (plan.flushes, Kind::Flush),
            (plan.meta, Kind::Meta),
            (plan.meta / 8, Kind::Quiet),
        ];
        Self {
            plan,
            random,
            seen: BTreeMap::new(),
            drawn: 0,
            numbers: Vec::new(),
            kinds,
        }
    }

    /// Requests of these keys, of which more than elsewhere show when one is carried out twice, or
    /// not at all.
    #[must_use]
    pub fn of_keys(plan: LoadPlan, numbers: Vec<KeyNumber>, random: Random) -> Self {
        let mut load = Self::new(plan, random);
        load.numbers = numbers;
        for (weight, kind) in &mut load.kinds {
            match kind {
                Kind::Store(Mode::Set) => *weight = 14,
                Kind::Store(Mode::Append) | Kind::Compare | Kind::Count => *weight = 12,
                Kind::Gets => *weight = 14,
                _ => {}
            }
        }
        load
    }

    /// Takes note of a cas unique that a client has seen.
    pub fn see(&mut self, key: KeyNumber, cas: u64) {
        self.seen.insert(key, cas);
    }

    /// The next request. `unix_s` is about the node's time.
    pub fn draw(&mut self, unix_s: u64) -> Request {
        // A quiet request counts its commands up from its own number.
        self.drawn += 16;
        let kind = self.random.weighted(&self.kinds);
        let key = self.key();
        let silent = self.plan.silence && self.random.chance(12);
        match kind {
            Kind::Get => Request::values(&[key], false, None),
            Kind::Gets => Request::values(&[key], true, None),
            Kind::Many => {
                let with_cas = self.random.chance(50);
                Request::values(&self.keys(), with_cas, None)
            }
            Kind::Touching => {
                let (with_cas, exptime) = (self.random.chance(50), self.exptime(unix_s));
                Request::values(&[key], with_cas, Some(exptime))
            }
            Kind::Touch => {
                let exptime = self.exptime(unix_s);
                Request::classic(key, Operation::Touch { exptime }, silent)
            }
            Kind::Store(mode) => {
                let store = self.store(mode, unix_s);
                Request::classic(key, store, silent)
            }
            Kind::Compare => {
                let store = self.store(Mode::Set, unix_s);
                let compare = Some(self.seen(key));
                Request::classic(key, with_compare(store, compare, false), silent)
            }
            Kind::Delete => {
                let (compare, stale) = (None, None);
                Request::classic(key, Operation::Delete { compare, stale }, silent)
            }
            Kind::Count => {
                let count = self.count(None);
                Request::classic(key, count, silent)
            }
            Kind::Flush => self.flush(),
            Kind::Meta => {
                let operation = self.meta(key, unix_s);
                Request::meta(key, operation, self.drawn)
            }
            Kind::Quiet => {
                let mut commands = Vec::new();
                for _ in 0..self.random.between(1, 8) {
                    let key = self.key();
                    commands.push((key, self.meta(key, unix_s)));
                }
                Request::quiet(commands, self.drawn)
            }
        }
    }

    fn flush(&mut self) -> Request {
        if self.numbers.is_empty() {
            return Request::flush(self.plan.keys);
        }
        let delay_s = self.random.pick(&[0, 0, 0, 1, DELAY_S_MAX as u32]);
        Request::flush_of(self.numbers.iter().copied(), delay_s)
    }

    fn key(&mut self) -> KeyNumber {
        let keys = u64::from(self.plan.keys);
        // Some keys are asked for more than others.
        let spread = if self.random.chance(50) {
            keys.min(3)
        } else {
            keys
        };
        let drawn = self.random.below(spread) as KeyNumber;
        self.number(drawn)
    }

    fn number(&self, drawn: KeyNumber) -> KeyNumber {
        let number = self.numbers.get(usize::from(drawn));
        number.copied().unwrap_or(drawn)
    }

    /// Several keys, each once.
    fn keys(&mut self) -> Vec<KeyNumber> {
        let mut keys: Vec<KeyNumber> = (0..self.plan.keys).map(|key| self.number(key)).collect();
        let count = self.random.between(1, keys.len() as u64) as usize;
        for at in 0..count {
            let other = self.random.between(at as u64, keys.len() as u64 - 1) as usize;
            keys.swap(at, other);
        }
        keys.truncate(count);
        keys
    }

    fn seen(&mut self, key: KeyNumber) -> u64 {
        match self.seen.get(&key) {
            Some(cas) if self.random.chance(90) => *cas,
            Some(_) | None => 1 + self.random.below(1000),
        }
    }

    fn exptime(&mut self, unix_s: u64) -> i32 {
        if !self.plan.expiring {
            return 0;
        }
        let absolute = (unix_s + self.random.between(1, 4)) as i32;
        self.random.pick(&[0, 0, 0, 1, 2, 3, 30, -1, absolute])
    }

    fn store(&mut self, mode: Mode, unix_s: u64) -> Operation {
        let weights = self.plan.values;
        let [small, middle, large, near_limit] = weights;
        let extends = matches!(mode, Mode::Append | Mode::Prepend);
        let length = match self.random.weighted(&[
            (small, 0),
            (middle, 1),
            (if extends { 0 } else { large }, 2),
            (if extends { 0 } else { near_limit }, 3),
        ]) {
            0 => self.random.below(40),
            1 => self.random.between(100, 5_000),
            2 => self.random.between(60_000, 90_000),
            _ => self.random.between(300_000, 900_000),
        };
        let value: Vec<u8> = if self.random.chance(25) {
            self.random.below(1 << 20).to_string().into_bytes()
        } else {
            let unit = format!("{}.", self.drawn);
            let mut value = unit.repeat(length as usize / unit.len() + 1).into_bytes();
            value.truncate(length as usize);
            value
        };
        Operation::Store {
            mode,
            value: Value::new(&value),
            flags: self.random.pick(&[0, 0, 7, u32::MAX]),
            exptime: self.exptime(unix_s),
            compare: None,
            invalidate: false,
        }
    }

    fn count(&mut self, initial: Option<(u64, i32)>) -> Operation {
        Operation::Count {
            decrement: self.random.chance(40),
            delta: self.random.pick(&[0, 1, 1, 1, 9, 1 << 33, u64::MAX]),
            initial,
        }
    }

    fn meta(&mut self, key: KeyNumber, unix_s: u64) -> Operation {
        let exptime = self.exptime(unix_s);
        match self.random.below(10) {
            0..=3 => Operation::Fetch {
                meta: true,
                touch: self.random.chance(15).then_some(exptime),
                vivify: self.random.chance(20).then_some(exptime),
            },
            4..=6 => {
                let mode = self.random.pick(&[
                    Mode::Set,
                    Mode::Set,
                    Mode::Set,
                    Mode::Add,
                    Mode::Replace,
                    Mode::Append,
                    Mode::Prepend,
                ]);
                let store = self.store(mode, unix_s);
                let compares = mode == Mode::Set && self.random.chance(40);
                let compare = compares.then(|| self.seen(key));
                with_compare(store, compare, compares && self.random.chance(40))
            }
            7..=8 => Operation::Delete {
                compare: self.random.chance(30).then(|| self.seen(key)),
                stale: self
                    .random
                    .chance(40)
                    .then(|| self.random.chance(50).then_some(exptime)),
            },
            _ => {
                let initial = (self.random.below(100), exptime);
                let initial = self.random.chance(50).then_some(initial);
                self.count(initial)
            }
        }
    }
}

fn with_compare(store: Operation, with: Option<u64>, with_invalidate: bool) -> Operation {
    match store {
        Operation::Store {
            mode,
            value,
            flags,
            exptime,
            ..
        } => Operation::Store {
            mode,
            value,
            flags,
            exptime,
            compare: with,
            invalidate: with_invalidate,
        },
        other => other,
    }
}
