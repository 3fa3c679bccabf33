//! Whether a history of one key is linearizable.
//!
//! Decides by following every order that real time allows (after Lowe, *Testing for
//! linearizability*, 2017): a set of configurations, each the key's state and which open
//! operations have taken effect in it. Refuses to know who executed them.

use std::collections::BTreeSet;

/// What a client asks of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Its value.
    Get,
    /// To have this value.
    Set(u64),
    /// To have this value if it has none.
    Add(u64),
    /// To have a value greater by this.
    Increase(u64),
    /// To have none.
    Delete,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Its value.
    Value(Option<u64>),
    /// It was done.
    Done,
    /// It was not, because there was a value, or was none.
    NotDone,
}

impl Wish {
    /// The state after, and what is told.
    pub(super) const fn on(self, state: Option<u64>) -> (Option<u64>, Told) {
        match (self, state) {
            (Self::Get, state) => (state, Told::Value(state)),
            (Self::Set(value), _) | (Self::Add(value), None) => (Some(value), Told::Done),
            (Self::Increase(by), Some(value)) => {
                let sum = value.wrapping_add(by);
                (Some(sum), Told::Value(Some(sum)))
            }
            (Self::Delete, Some(_)) => (None, Told::Done),
            (Self::Add(_) | Self::Increase(_) | Self::Delete, state) => (state, Told::NotDone),
        }
    }
}

/// One operation on the key: when it was asked, and what was told when, if anything was.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) wish: Wish,
    pub(super) asked: u64,
    pub(super) told: Option<(u64, Told)>,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Linearizable,
    /// At the operation with this index no order is left.
    Violated(usize),
    /// Too many orders to follow.
    GivenUp,
}

const CONFIGURATIONS_MAX: usize = 50_000;
const OPEN_MAX: usize = 64;

type Configuration = (Option<u64>, u64);

struct Search<'a> {
    operations: &'a [Operation],
    /// The operations that are open, by slot.
    slots: Vec<Option<usize>>,
    configurations: BTreeSet<Configuration>,
}

/// Checks the operations of one key, which had no value at first.
pub(super) fn check(operations: &[Operation]) -> Verdict {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        let pointless = operation.told.is_none() && operation.wish == Wish::Get;
        if pointless {
            continue;
        }
        events.push((operation.asked, false, at));
        if let Some((when, _)) = operation.told {
            events.push((when, true, at));
        }
    }
    events.sort_unstable();
    let mut search = Search {
        operations,
        slots: vec![None; OPEN_MAX],
        configurations: BTreeSet::from([(None, 0)]),
    };
    for (_, is_told, at) in events {
        let goes_on = if is_told {
            search.told(at)
        } else {
            search.asked(at)
        };
        if !goes_on {
            return Verdict::GivenUp;
        }
        if search.configurations.is_empty() {
            return Verdict::Violated(at);
        }
    }
    Verdict::Linearizable
}

impl Search<'_> {
    fn asked(&mut self, at: usize) -> bool {
        let free = self.slots.iter_mut().find(|slot| slot.is_none());
        free.map(|slot| *slot = Some(at)).is_some()
    }

    fn told(&mut self, at: usize) -> bool {
        let slot = self
            .slots
            .iter()
            .position(|slot| *slot == Some(at))
            .expect("it was asked");
        let bit = 1 << slot;
        let mut seen = BTreeSet::new();
        let mut left: Vec<Configuration> = self.configurations.iter().copied().collect();
        let mut done = BTreeSet::new();
        while let Some((state, taken)) = left.pop() {
            if !seen.insert((state, taken)) {
                continue;
            }
            if seen.len() > CONFIGURATIONS_MAX {
                return false;
            }
            if taken & bit != 0 {
                done.insert((state, taken & !bit));
                continue;
            }
            for (other, open) in self.slots.iter().enumerate() {
                let Some(index) = open.filter(|_| taken & (1 << other) == 0) else {
                    continue;
                };
                let operation = &self.operations[index];
                let (after, told) = operation.wish.on(state);
                if operation.told.is_none_or(|(_, expected)| expected == told) {
                    left.push((after, taken | 1 << other));
                }
            }
        }
        self.slots[slot] = None;
        self.configurations = done;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(wish: Wish, asked: u64, told: Option<(u64, Told)>) -> Operation {
        Operation { wish, asked, told }
    }

    #[test]
    fn what_overlaps_may_be_in_either_order() {
        let history = [
            operation(Wish::Set(1), 0, Some((5, Told::Done))),
            operation(Wish::Get, 1, Some((2, Told::Value(Some(1))))),
            operation(Wish::Get, 3, Some((4, Told::Value(Some(1))))),
        ];
        assert_eq!(check(&history), Verdict::Linearizable);
    }

    #[test]
    fn a_read_does_not_go_back() {
        let history = [
            operation(Wish::Set(1), 0, Some((9, Told::Done))),
            operation(Wish::Get, 1, Some((2, Told::Value(Some(1))))),
            operation(Wish::Get, 3, Some((4, Told::Value(None)))),
        ];
        assert_eq!(check(&history), Verdict::Violated(2));
    }

    #[test]
    fn an_unknown_write_may_take_effect_late_but_once() {
        let mut history = vec![
            operation(Wish::Set(1), 0, Some((1, Told::Done))),
            operation(Wish::Increase(1), 2, None),
            operation(Wish::Get, 3, Some((4, Told::Value(Some(1))))),
            operation(Wish::Get, 5, Some((6, Told::Value(Some(2))))),
        ];
        assert_eq!(check(&history), Verdict::Linearizable);
        history.push(operation(Wish::Get, 7, Some((8, Told::Value(Some(3))))));
        assert_eq!(check(&history), Verdict::Violated(4));
    }

    #[test]
    fn a_lost_update_is_found() {
        let history = [
            operation(Wish::Set(1), 0, Some((1, Told::Done))),
            operation(Wish::Increase(1), 2, Some((3, Told::Value(Some(2))))),
            operation(Wish::Increase(1), 4, Some((5, Told::Value(Some(2))))),
        ];
        assert_eq!(check(&history), Verdict::Violated(2));
    }
}
