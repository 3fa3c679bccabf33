//! Whatever is answered when, and by whom: a client reads answers in the order of its commands.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::command::Item;
use crate::id::ConnId;
use crate::protocol::{ParseLimits, render_value};
use crate::session::Keys;

const PARSE_LIMITS: ParseLimits = ParseLimits {
    value_bytes_max: 1 << 20,
    flush_enabled: true,
    shutdown_enabled: false,
};
const CONTEXT: Rendering<'_> = Rendering {
    parse_limits: &PARSE_LIMITS,
    guid: "here",
};
const NOW: Now = Now {
    time: Time::ZERO,
    unix_ms: 1_800_000_000_000,
};

/// What comes of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Value,
    Shared,
    Nothing,
    Failed,
}

/// One key, and whether it is answered at once.
type Key = (Found, bool);

#[derive(Clone, Debug)]
enum Asked {
    Get {
        keys: Vec<Key>,
        located: bool,
    },
    Delete {
        at_once: bool,
    },
    /// So many of the answers that are waited for come, from this place on.
    Answers {
        from: usize,
        count: usize,
    },
}

fn outcome(found: Found, value: &str) -> Outcome<'_> {
    let item = |value| {
        Outcome::Item(Item {
            value,
            flags: 0,
            cas: 1,
            expired_s_before: 0,
            expires_s: 0,
            accessed_s: 0,
            fetched: false,
            stale: false,
            token_sent: false,
            won: false,
            vivified: false,
            memory_bytes: 0,
        })
    };
    match found {
        Found::Value => item(Value::Small(value.as_bytes())),
        Found::Shared => item(Value::Large(bytes::Bytes::copy_from_slice(
            value.as_bytes(),
        ))),
        Found::Nothing => Outcome::NotFound,
        Found::Failed => Outcome::Failed(Failure::Unreachable),
    }
}

/// A session as its worker uses it, and what its client is to read.
struct Bench {
    session: Session,
    buffers: Buffers,
    /// What is carried out elsewhere: the slot and what comes of it.
    waiting: Vec<(u64, Option<Found>, String)>,
    asked: usize,
    expected: String,
}

impl Bench {
    fn new() -> Self {
        let conn = ConnId {
            slot: 0,
            generation: 0,
        };
        Self {
            session: Session::new(conn, "", NOW),
            buffers: Buffers::default(),
            waiting: Vec::new(),
            asked: 0,
            expected: String::new(),
        }
    }

    fn get(&mut self, keys: &[Key], located: bool) {
        let whole = Keys {
            located,
            ..Keys::default()
        };
        self.session.set_keys(whole, NOW);
        for (found, at_once) in keys {
            self.asked += 1;
            let key = format!("key{}", self.asked);
            let value = format!("value{}", self.asked);
            let words = Words::Value { with_cas: false };
            let (session, buffers) = (&mut self.session, &mut self.buffers);
            let outcome = outcome(*found, &value);
            if !at_once {
                let sequence = session.reserve(words, key.as_bytes(), NOW, buffers);
                self.waiting.push((sequence, Some(*found), value.clone()));
            } else if session.is_in_order() {
                session.output.prepare(buffers);
                match &outcome {
                    Outcome::Item(item) => {
                        session.note_own_key();
                        render_value(&mut session.output, key.as_bytes(), false, item);
                    }
                    Outcome::Failed(failure) => session.note_key_failure(*failure),
                    _ => session.note_own_key(),
                }
            } else {
                session.answer_behind(words, key.as_bytes(), &outcome, NOW, &CONTEXT, buffers);
            }
            if matches!(found, Found::Value | Found::Shared) {
                let text = format!("VALUE {key} 0 {}\r\n{value}\r\n", value.len());
                self.expected.push_str(&text);
            }
        }
        self.session.finish_keys(NOW, &CONTEXT, &mut self.buffers);
        self.expect_end(keys, located);
    }

    fn expect_end(&mut self, keys: &[Key], located: bool) {
        let mut end: Vec<u8> = b"END\r\n".to_vec();
        if keys.iter().any(|(found, _)| *found == Found::Failed) {
            end = ErrorLine::of_failure(Failure::Unreachable, false)
                .as_bytes()
                .to_vec();
        }
        if located {
            CONTEXT.locate(&["here"], NOW.time, NOW, &mut end);
        }
        self.expected.push_str(&String::from_utf8_lossy(&end));
    }

    fn delete(&mut self, at_once: bool) {
        let line = b"delete key";
        let (session, buffers) = (&mut self.session, &mut self.buffers);
        if !at_once {
            let sequence = session.reserve(Words::Line, line, NOW, buffers);
            self.waiting.push((sequence, None, String::new()));
        } else if session.is_in_order() {
            session.say(b"DELETED\r\n", buffers);
        } else {
            let outcome = Outcome::Deleted;
            session.answer_behind(Words::Line, line, &outcome, NOW, &CONTEXT, buffers);
        }
        self.expected.push_str("DELETED\r\n");
    }

    /// An answer comes. The same one again is not known any more.
    fn answer(&mut self, index: usize) {
        let (sequence, found, value) = self.waiting.remove(index);
        let outcome = found.map_or(Outcome::Deleted, |found| outcome(found, &value));
        let buffers = &mut self.buffers;
        for is_known in [true, false] {
            let known = self
                .session
                .complete(sequence, &outcome, NOW, &CONTEXT, buffers);
            assert_eq!(known, is_known);
        }
    }

    fn take(&mut self, asked: &Asked) {
        match asked {
            Asked::Get { keys, located } => self.get(keys, *located),
            Asked::Delete { at_once } => self.delete(*at_once),
            Asked::Answers { from, count } => {
                for _ in 0..(*count).min(self.waiting.len()) {
                    self.answer(from % self.waiting.len());
                }
            }
        }
    }

    fn said(&self) -> String {
        let mut slices: [&[u8]; 4096] = [&[]; 4096];
        let filled = self.session.output.slices(&mut slices);
        String::from_utf8_lossy(&slices[..filled].concat()).into_owned()
    }
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        6 => Just(Found::Value),
        1 => Just(Found::Shared),
        2 => Just(Found::Nothing),
        1 => Just(Found::Failed),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let keys = prop::collection::vec((found(), any::<bool>()), 1..4);
    prop_oneof![
        4 => (keys, prop::bool::weighted(0.2))
            .prop_map(|(keys, located)| Asked::Get { keys, located }),
        1 => any::<bool>().prop_map(|at_once| Asked::Delete { at_once }),
        2 => (any::<usize>(), 0..6_usize)
            .prop_map(|(from, count)| Asked::Answers { from, count }),
    ]
}

proptest! {
    #[test]
    fn answers_leave_in_the_order_of_commands(all in prop::collection::vec(asked(), 1..60)) {
        let mut bench = Bench::new();
        for asked in &all {
            bench.take(asked);
            let said = bench.said();
            prop_assert!(bench.expected.starts_with(&said), "{said:?}");
        }
        while !bench.waiting.is_empty() {
            bench.answer(0);
        }
        prop_assert_eq!(bench.said(), bench.expected);
        prop_assert!(bench.session.is_in_order());
        prop_assert_eq!(bench.session.order.kept_bytes(), 0);
    }
}

#[test]
fn a_get_of_one_key_waits_in_one_slot_and_what_is_behind_it_in_none() {
    let mut bench = Bench::new();
    bench.get(&[(Found::Value, false)], false);
    bench.get(&[(Found::Value, true)], false);
    bench.delete(true);
    assert_eq!(bench.session.unanswered(), 1);
    bench.answer(0);
    assert_eq!(bench.said(), bench.expected);
}

#[test]
fn what_is_kept_for_long_does_not_keep_what_has_left() {
    let mut bench = Bench::new();
    for _ in 0..10_000 {
        bench.get(&[(Found::Value, false)], false);
        bench.get(&[(Found::Value, true)], false);
        if bench.waiting.len() > 1 {
            bench.answer(0);
        }
    }
    assert!(bench.session.order.kept.bytes.len() < 3 * LEFT_BYTES_MAX);
}
