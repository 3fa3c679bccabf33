//! Flushes that are on their way.
//!
//! Decides how long whatever draws versions waits for them. Refuses to know what a flush drops.

use alloc::vec::Vec;

use crate::message::FlushName;
use crate::time::Time;

/// How long a flush of another node, or of this one that concerns others, is waited for, in
/// milliseconds. Who flushes gives up before.
pub(crate) const HOLD_FLUSH_MS_MAX: u64 = 3000;
/// Flushes that are waited for at once. The oldest lapses for one more.
const HOLDS_MAX: usize = 256;

struct Hold {
    name: FlushName,
    /// It has lapsed then. A flush of this node alone comes in any case.
    until: Option<Time>,
}

/// The flushes that have asked for the last version and have not come yet.
#[derive(Default)]
pub(super) struct Holds(Vec<Hold>);

impl Holds {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn begin(&mut self, now: Time, name: FlushName) {
        self.end(now, name);
        if self.0.len() >= HOLDS_MAX {
            self.0.remove(0);
        }
        let until = name.node.map(|_| now.plus_millis(HOLD_FLUSH_MS_MAX));
        self.0.push(Hold { name, until });
    }

    /// The flush has come, or will not. Whether everything has waited for it until `now`.
    pub(super) fn end(&mut self, now: Time, name: FlushName) -> bool {
        self.lapse(now);
        let before = self.0.len();
        self.0.retain(|hold| hold.name != name);
        self.0.len() < before
    }

    /// Lets those go that have lapsed.
    pub(super) fn lapse(&mut self, now: Time) {
        self.0
            .retain(|hold| hold.until.is_none_or(|until| until > now));
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.0.iter().filter_map(|hold| hold.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Guid, NodeId};

    fn name(number: u64, shared: bool) -> FlushName {
        let node = NodeId {
            guid: Guid::new("a").expect("a guid"),
            generation: 1,
        };
        FlushName {
            node: shared.then_some(node),
            number,
        }
    }

    #[test]
    fn what_others_flush_lapses_and_what_this_node_does_alone_does_not() {
        let mut holds = Holds::default();
        let start = Time::ZERO;
        holds.begin(start, name(1, true));
        holds.begin(start, name(2, false));
        let end = start.plus_millis(HOLD_FLUSH_MS_MAX);
        assert_eq!(holds.next_deadline(), Some(end));
        holds.lapse(end);
        assert_eq!(holds.next_deadline(), None);
        assert!(!holds.is_empty());
        assert!(!holds.end(end, name(1, true)), "it has lapsed");
        assert!(holds.end(end, name(2, false)));
        assert!(holds.is_empty());
    }

    #[test]
    fn a_flush_in_time_has_been_waited_for_once() {
        let mut holds = Holds::default();
        let now = Time::ZERO;
        holds.begin(now, name(1, true));
        let later = now.plus_millis(HOLD_FLUSH_MS_MAX - 1);
        assert!(holds.end(later, name(1, true)));
        assert!(!holds.end(later, name(1, true)));
        assert!(!holds.end(later, name(7, true)));
    }

    #[test]
    fn no_more_than_so_many_are_waited_for() {
        let mut holds = Holds::default();
        for number in 0..=HOLDS_MAX as u64 {
            holds.begin(Time::ZERO, name(number, true));
        }
        assert!(!holds.end(Time::ZERO, name(0, true)));
        assert!(holds.end(Time::ZERO, name(1, true)));
    }
}
