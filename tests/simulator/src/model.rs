//! memcached's semantics for one key, written down a second time.
//!
//! Decides which answers a state allows to a command, and what state follows. Refuses to know
//! who asked, in which order commands took effect, and how the node does it.
//!
//! Time and versions are known within bounds only, so one state and one answer may allow
//! several states after it.

use crate::operation::{Answer, Marks, Mode, Operation, Refusal, Value};

/// Exptimes up to here are relative, in seconds.
const RELATIVE_EXPTIME_S_MAX: i32 = 60 * 60 * 24 * 30;

/// What one key may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    /// The item, which may have expired.
    pub item: Option<Item>,
    /// An item that nobody removed and that is gone all the same: a restart may bring it back.
    pub vanished: Option<Item>,
    /// Every version that is yet to be drawn for this key lies above this one.
    pub version_above: u64,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    value: Value,
    flags: u32,
    /// The cas unique, once it has been seen. Until then it is above this.
    cas: Version,
    /// It expires in one of these Unix seconds.
    expires_s: Option<(u64, u64)>,
    stale: bool,
    token_sent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Known(u64),
    Above(u64),
}

/// When a command took effect: no earlier and no later than this, by the node's clock.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Unix milliseconds.
    pub earliest_ms: u64,
    /// Unix milliseconds.
    pub latest_ms: u64,
}

/// What holds for a whole run of the node.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// An item may be gone that nobody has removed.
    pub items_may_vanish: bool,
    /// A command may be refused for want of memory, or for the disk's sake.
    pub commands_may_fail: bool,
    /// The node has others: a command may be refused because none answers for its key.
    pub has_others: bool,
    /// The item limit.
    pub value_bytes_max: usize,
    /// Every version that this run draws lies above this one.
    pub version_above: u64,
    /// The node's clock shows at least this time...
    pub clock_ms_min: u64,
    /// ... and may show this one though the system's is behind it.
    pub clock_ms_max: u64,
}

impl State {
    /// A key that has never been used.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            item: None,
            vanished: None,
            version_above: 0,
        }
    }

    /// This state once a restart has brought back what had vanished, if anything had.
    #[must_use]
    pub fn recalled(&self) -> Option<Self> {
        let item = self.vanished.clone()?;
        Some(Self {
            item: Some(item),
            vanished: None,
            version_above: self.version_above,
        })
    }

    /// This state in a run of the node that draws only versions above `version`.
    #[must_use]
    pub fn above(self, version: u64) -> Self {
        Self {
            version_above: self.version_above.max(version),
            ..self
        }
    }

    /// This state where versions that were drawn and lost may be below what is drawn next. Those of
    /// the item are not lost.
    #[must_use]
    pub fn renumbered(self) -> Self {
        Self {
            version_above: 0,
            ..self
        }
    }

    /// All states that may follow when `operation` takes effect within `span` and is answered so;
    /// none, if the answer is wrong.
    #[must_use]
    pub fn after(
        &self,
        operation: &Operation,
        answer: &Answer,
        span: Span,
        rules: &Rules,
    ) -> Vec<Self> {
        let mut before = self.clone().above(rules.version_above);
        let (may_live, may_be_dead) = self
            .item
            .as_ref()
            .map_or((false, true), |item| item.lives(span, rules));
        let mut after = Vec::new();
        if may_live {
            let moment = Moment { span, rules };
            before.step(before.item.as_ref(), operation, answer, moment, &mut after);
        }
        if may_be_dead {
            let moment = Moment { span, rules };
            let living = after.len();
            before.step(None, operation, answer, moment, &mut after);
            if may_live && rules.has_others {
                before.stay_for_others(&mut after, living);
            }
        }
        if may_live && rules.items_may_vanish {
            let moment = Moment { span, rules };
            before.vanished = before.item.take();
            before.step(None, operation, answer, moment, &mut after);
        }
        after
    }

    /// What is gone by one node's clock may be there by another's, which answers next: of the
    /// states from `from` on those without an item may as well have this one's.
    fn stay_for_others(&self, after: &mut Vec<Self>, from: usize) {
        let gone = after[from..].iter().filter(|state| state.item.is_none());
        let stays = |state: &Self| Self {
            item: self.item.clone(),
            ..state.clone()
        };
        let there: Vec<Self> = gone.map(stays).collect();
        after.extend(there);
    }

    /// Whether there is perhaps no item.
    #[must_use]
    pub fn may_be_nothing(&self) -> bool {
        let item = self.item.as_ref();
        item.is_none_or(|item| item.expires_s.is_some())
    }

    fn step(
        &self,
        item: Option<&Item>,
        operation: &Operation,
        answer: &Answer,
        moment: Moment<'_>,
        after: &mut Vec<Self>,
    ) {
        if let Answer::Refused(refusal) = answer
            && *refusal != Refusal::NonNumeric
        {
            return self.refused(item, operation, *refusal, moment, after);
        }
        match operation {
            Operation::Flush { .. } => match answer {
                Answer::Done | Answer::Unknown => {
                    after.push(self.without_item());
                }
                _ => {}
            },
            Operation::Fetch {
                meta,
                touch,
                vivify,
            } => self.fetch(item, (*meta, *touch, *vivify), answer, moment, after),
            Operation::Touch { exptime } => {
                let touched = item.map(|item| Item {
                    expires_s: moment.expiry(*exptime),
                    ..item.clone()
                });
                match (answer, touched) {
                    (Answer::Done | Answer::Unknown, Some(item)) => {
                        after.push(self.with(Some(item)))
                    }
                    (Answer::Miss | Answer::Unknown, None) => after.push(self.with(None)),
                    _ => {}
                }
            }
            Operation::Store { .. } => self.store(item, operation, answer, moment, after),
            Operation::Delete { compare, stale } => {
                self.delete(item, *compare, *stale, answer, moment, after);
            }
            Operation::Count {
                decrement,
                delta,
                initial,
            } => self.count(item, (*decrement, *delta, *initial), answer, moment, after),
        }
        if matches!(answer, Answer::Unknown) && moment.rules.commands_may_fail {
            self.refused(item, operation, Refusal::OutOfMemory, moment, after);
        }
    }

    /// Nothing was changed.
    fn with(&self, item: Option<Item>) -> Self {
        Self {
            item,
            ..self.clone()
        }
    }

    /// The item was removed.
    fn without_item(&self) -> Self {
        Self {
            item: None,
            vanished: None,
            version_above: self.version_above,
        }
    }

    /// A new version is drawn for `item`, and perhaps shown.
    fn with_new(&self, item: Item, shown: Option<u64>, after: &mut Vec<Self>) {
        let above = match self.item.as_ref().map(|item| item.cas) {
            Some(Version::Known(cas)) => self.version_above.max(cas),
            Some(Version::Above(above)) => self.version_above.max(above),
            None => self.version_above,
        };
        let item = Item {
            cas: Version::Above(above),
            ..item
        };
        let state = Self {
            version_above: above,
            ..self.without_item()
        };
        after.extend(state.showing(item, shown));
    }

    /// This state with `item`, whose cas unique has been seen, if it can be that one.
    fn showing(&self, mut item: Item, shown: Option<u64>) -> Option<Self> {
        let mut version_above = self.version_above;
        if let Some(cas) = shown {
            match item.cas {
                Version::Known(known) if known != cas => return None,
                Version::Above(above) if cas <= above => return None,
                Version::Known(_) | Version::Above(_) => item.cas = Version::Known(cas),
            }
            version_above = version_above.max(cas);
        }
        Some(Self {
            item: Some(item),
            vanished: self.vanished.clone(),
            version_above,
        })
    }

    /// Nothing was changed; but a store that found no room has removed what was there.
    fn refused(
        &self,
        item: Option<&Item>,
        operation: &Operation,
        refusal: Refusal,
        moment: Moment<'_>,
        after: &mut Vec<Self>,
    ) {
        let may_fail = match refusal {
            Refusal::Unreachable => moment.rules.has_others,
            // In a cluster such a command counts as one without an answer.
            Refusal::OutcomeUnknown => false,
            Refusal::OutOfMemory | Refusal::NonNumeric | Refusal::Disk => {
                moment.rules.commands_may_fail
            }
        };
        if !may_fail {
            return;
        }
        after.push(self.with(item.cloned()));
        let stores = matches!(operation, Operation::Store { .. } | Operation::Count { .. });
        if refusal == Refusal::OutOfMemory && stores && item.is_some() {
            after.push(self.without_item());
        }
    }

    fn fetch(
        &self,
        item: Option<&Item>,
        (meta, touch, vivify): (bool, Option<i32>, Option<i32>),
        answer: &Answer,
        moment: Moment<'_>,
        after: &mut Vec<Self>,
    ) {
        let Some(item) = item else {
            match (vivify, answer) {
                (Some(exptime), Answer::Item { .. } | Answer::Unknown) => {
                    let made = Item {
                        value: Value::new(&[]),
                        flags: 0,
                        cas: Version::Above(0),
                        expires_s: moment.expiry(exptime),
                        stale: false,
                        token_sent: true,
                    };
                    let marks = Marks {
                        won: true,
                        ..Marks::default()
                    };
                    if let Some(shown) = made.shows(answer, marks) {
                        self.with_new(made, shown, after);
                    }
                    if matches!(answer, Answer::Unknown) {
                        after.push(self.with(None));
                    }
                }
                // Without room memcached says that there is none, and so does Zufar.
                (Some(_), Answer::Miss) if moment.rules.commands_may_fail => {
                    after.push(self.with(None));
                }
                (None, Answer::Miss | Answer::Unknown) => after.push(self.with(None)),
                _ => {}
            }
            return;
        };
        let marks = Marks {
            won: meta && item.stale && !item.token_sent,
            stale: item.stale,
            token_sent: item.token_sent,
        };
        if marks.won && moment.rules.has_others {
            // Nobody wins while that could not be replicated.
            let marks = Marks {
                won: false,
                ..marks
            };
            if let Some(shown) = item.shows(answer, marks)
                && !matches!(answer, Answer::Unknown)
            {
                after.extend(self.showing(item.clone(), shown));
            }
        }
        let Some(shown) = item.shows(answer, marks) else {
            return;
        };
        let mut fetched = item.clone();
        fetched.token_sent |= marks.won;
        if let Some(exptime) = touch {
            fetched.expires_s = moment.expiry(exptime);
        }
        after.extend(self.showing(fetched, shown));
        if matches!(answer, Answer::Unknown) {
            after.push(self.with(Some(item.clone())));
        }
    }

    fn store(
        &self,
        item: Option<&Item>,
        operation: &Operation,
        answer: &Answer,
        moment: Moment<'_>,
        after: &mut Vec<Self>,
    ) {
        let Operation::Store {
            mode,
            value,
            flags,
            exptime,
            compare,
            invalidate,
        } = operation
        else {
            unreachable!("it is a store");
        };
        let fresh = Item {
            value: value.clone(),
            flags: *flags,
            cas: Version::Above(0),
            expires_s: moment.expiry(*exptime),
            stale: false,
            token_sent: false,
        };
        let unchanged = || self.with(item.cloned());
        let Some(old) = item else {
            match (mode, compare) {
                (Mode::Set | Mode::Add, None) => self.stored(fresh, answer, after),
                (Mode::Set | Mode::Add, Some(_)) => {
                    after.extend(answer.is_miss().then(unchanged));
                }
                (Mode::Replace | Mode::Append | Mode::Prepend, _) => {
                    after.extend(answer.is_not_stored().then(unchanged));
                }
            }
            return;
        };
        if let Some(compare) = compare {
            let matched = old.cas.compare(*compare);
            if matched.differs && !(*invalidate && matched.is_surely_above) {
                after.extend(answer.is_exists().then(unchanged));
            }
            if matched.is_above && *invalidate {
                let stale = Item {
                    stale: true,
                    token_sent: old.token_sent,
                    expires_s: old.expires_s,
                    ..fresh.clone()
                };
                self.stored(stale, answer, after);
            }
            if matched.equal {
                self.stored(fresh, answer, after);
            }
            return;
        }
        let joined = |head: &Value, tail: &Value| Item {
            value: head.joined(tail),
            flags: old.flags,
            expires_s: old.expires_s,
            ..fresh.clone()
        };
        match mode {
            Mode::Set | Mode::Replace => self.stored(fresh, answer, after),
            Mode::Add => after.extend(answer.is_not_stored().then(unchanged)),
            Mode::Append | Mode::Prepend
                if old.value.len() + value.len() > moment.rules.value_bytes_max =>
            {
                after.extend(answer.is_not_stored().then(unchanged));
            }
            Mode::Append => self.stored(joined(&old.value, value), answer, after),
            Mode::Prepend => self.stored(joined(value, &old.value), answer, after),
        }
    }

    fn stored(&self, item: Item, answer: &Answer, after: &mut Vec<Self>) {
        match answer {
            Answer::Stored(shown) => self.with_new(item, *shown, after),
            Answer::Unknown => self.with_new(item, None, after),
            _ => {}
        }
    }

    fn delete(
        &self,
        item: Option<&Item>,
        compare: Option<u64>,
        stale: Option<Option<i32>>,
        answer: &Answer,
        moment: Moment<'_>,
        after: &mut Vec<Self>,
    ) {
        let Some(item) = item else {
            after.extend(answer.is_miss().then(|| self.with(None)));
            return;
        };
        let matched = compare.map_or(Comparison::EQUAL, |compare| item.cas.compare(compare));
        if matched.differs {
            after.extend(answer.is_exists().then(|| self.with(Some(item.clone()))));
        }
        if !matched.equal || !matches!(answer, Answer::Done | Answer::Unknown) {
            return;
        }
        let Some(exptime) = stale else {
            let above = match item.cas {
                Version::Known(version) | Version::Above(version) => version,
            };
            after.push(Self {
                version_above: self.version_above.max(above),
                ..self.without_item()
            });
            return;
        };
        let marked = Item {
            stale: true,
            token_sent: false,
            expires_s: exptime.map_or(item.expires_s, |exptime| moment.expiry(exptime)),
            ..item.clone()
        };
        self.with_new(marked, None, after);
    }

    fn count(
        &self,
        item: Option<&Item>,
        (decrement, delta, initial): (bool, u64, Option<(u64, i32)>),
        answer: &Answer,
        moment: Moment<'_>,
        after: &mut Vec<Self>,
    ) {
        // It stays the same item: a stale number is as stale as before.
        let stale = item.is_some_and(|item| item.stale);
        let token_sent = item.is_some_and(|item| item.token_sent);
        let (number, flags, expires_s) = match (item, initial) {
            (None, None) => {
                after.extend(answer.is_miss().then(|| self.with(None)));
                return;
            }
            (None, Some((number, exptime))) => (number, 0, moment.expiry(exptime)),
            (Some(item), _) => {
                let Some(old) = item.value.number() else {
                    if matches!(
                        answer,
                        Answer::Refused(Refusal::NonNumeric) | Answer::Unknown
                    ) {
                        after.push(self.with(Some(item.clone())));
                    }
                    return;
                };
                let number = if decrement {
                    old.saturating_sub(delta)
                } else {
                    old.wrapping_add(delta)
                };
                (number, item.flags, item.expires_s)
            }
        };
        let counted = Item {
            value: Value::new(number.to_string().as_bytes()),
            flags,
            cas: Version::Above(0),
            expires_s,
            stale,
            token_sent,
        };
        match answer {
            Answer::Number(told) if *told == number => self.with_new(counted, None, after),
            Answer::Unknown => self.with_new(counted, None, after),
            Answer::NotStored if item.is_none() && moment.rules.commands_may_fail => {
                after.push(self.with(None));
            }
            _ => {}
        }
    }
}

impl Item {
    /// Whether it may be alive, and whether it may have expired.
    fn lives(&self, span: Span, rules: &Rules) -> (bool, bool) {
        let Some((first_s, last_s)) = self.expires_s else {
            return (true, false);
        };
        let earliest_s = span.earliest_ms.max(rules.clock_ms_min) / 1000;
        let latest_s = span.latest_ms.max(rules.clock_ms_max) / 1000;
        (earliest_s < last_s, latest_s >= first_s)
    }

    /// Whether `answer` shows this item with these marks; and which cas unique, if any.
    #[allow(clippy::option_option)] // Whether it does, and what it shows, are two things.
    fn shows(&self, answer: &Answer, expected: Marks) -> Option<Option<u64>> {
        match answer {
            Answer::Item {
                value,
                flags,
                cas,
                marks,
            } => {
                let right = *value == self.value
                    && *flags == self.flags
                    && marks.is_none_or(|marks| marks == expected);
                right.then_some(*cas)
            }
            Answer::Unknown => Some(None),
            _ => None,
        }
    }
}

/// What may come of comparing cas uniques.
struct Comparison {
    equal: bool,
    differs: bool,
    /// The item's may be the later one.
    is_above: bool,
    is_surely_above: bool,
}

impl Comparison {
    const EQUAL: Self = Self {
        equal: true,
        differs: false,
        is_above: false,
        is_surely_above: false,
    };
}

impl Version {
    /// Compares with a cas unique that a client has seen. One that has been seen of this very
    /// version would have made it known.
    fn compare(self, seen: u64) -> Comparison {
        match self {
            Self::Known(cas) => Comparison {
                equal: cas == seen,
                differs: cas != seen,
                is_above: cas > seen,
                is_surely_above: cas > seen,
            },
            Self::Above(_) => Comparison {
                equal: false,
                differs: true,
                is_above: true,
                is_surely_above: false,
            },
        }
    }
}

#[derive(Clone, Copy)]
struct Moment<'a> {
    span: Span,
    rules: &'a Rules,
}

impl Moment<'_> {
    /// The Unix seconds in one of which `exptime` ends.
    fn expiry(self, exptime: i32) -> Option<(u64, u64)> {
        match exptime {
            0 => None,
            ..0 => Some((1, 1)),
            1..=RELATIVE_EXPTIME_S_MAX => {
                let ends =
                    |from_ms: u64| (from_ms + exptime.unsigned_abs() as u64 * 1000).div_ceil(1000);
                let first = ends(self.span.earliest_ms.max(self.rules.clock_ms_min));
                let last = ends(self.span.latest_ms.max(self.rules.clock_ms_max));
                Some((first, last))
            }
            _ => {
                let at = u64::from(exptime.unsigned_abs());
                Some((at, at))
            }
        }
    }
}

impl Answer {
    const fn is_miss(&self) -> bool {
        matches!(self, Self::Miss | Self::Unknown)
    }

    const fn is_exists(&self) -> bool {
        matches!(self, Self::Exists | Self::Unknown)
    }

    const fn is_not_stored(&self) -> bool {
        matches!(self, Self::NotStored | Self::Unknown)
    }
}
