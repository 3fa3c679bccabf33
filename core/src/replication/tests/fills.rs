//! Two replicas, one of which fills the other, by hand: patience on both sides.

use alloc::collections::VecDeque;

use super::*;

/// What both nodes believe.
struct Both {
    all: Vec<Guid>,
    may_fill: bool,
}

impl View for Both {
    fn liveness(&self, _: Guid) -> Liveness {
        Liveness::Alive(1)
    }

    fn owners(&self) -> &[Guid] {
        &self.all
    }

    fn voters(&self) -> &[Guid] {
        &self.all
    }

    fn may_fill(&self) -> bool {
        self.may_fill
    }
}

struct Side {
    replica: Replica,
    store: Memory,
}

struct Pair {
    sides: Vec<Side>,
    view: Both,
    now: Time,
    mail: VecDeque<(usize, usize, Message)>,
    /// Chunks are lost.
    loses_chunks: bool,
    /// So is all that comes from the second one.
    is_mute: bool,
    chunks: usize,
}

impl Pair {
    /// The first one has an entry, and is to fill the second one.
    fn new() -> Self {
        let view = Both {
            all: vec![guid("a"), guid("b")],
            may_fill: true,
        };
        let now = Time::from_millis(1000);
        let settings = Settings {
            disk: false,
            ..Settings::default()
        };
        let (mut sides, mut mail) = (Vec::new(), VecDeque::new());
        for (name, start) in [("a", Start::Founder), ("b", Start::Nothing)] {
            let mut store = Memory::default();
            if name == "a" {
                store.apply(&entry("key", 1), Arrival::Live);
            }
            let (mut out, settings) = (Output::default(), Arc::new(settings));
            let mut context = Context {
                now,
                view: &view,
                store: &mut store,
                out: &mut out,
            };
            let replica = Replica::new(run(name, 1), settings, 7, start, &mut context);
            sides.push(Side { replica, store });
            mail.extend(out.messages.into_iter().map(|(_, message)| (0, 1, message)));
        }
        Self {
            sides,
            view,
            now,
            mail,
            loses_chunks: false,
            is_mute: false,
            chunks: 0,
        }
    }

    fn handle(&mut self, at: usize, input: Input) {
        let mut out = Output::default();
        let side = &mut self.sides[at];
        let mut context = Context {
            now: self.now,
            view: &self.view,
            store: &mut side.store,
            out: &mut out,
        };
        side.replica.handle(input, &mut context);
        self.post(at, out);
    }

    fn post(&mut self, at: usize, out: Output) {
        for (to, message) in out.messages {
            let to = usize::from(to == guid("b"));
            self.mail.push_back((at, to, message));
        }
    }

    fn deliver(&mut self) {
        while let Some((from, to, message)) = self.mail.pop_front() {
            let is_chunk = matches!(message, Message::FillChunk { .. });
            self.chunks += usize::from(is_chunk);
            if (is_chunk && self.loses_chunks) || (from == 1 && self.is_mute) {
                continue;
            }
            let from = run(["a", "b"][from], 1);
            self.handle(to, Input::Message { from, message });
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now = self.now.plus_millis(10);
            for at in 0..2 {
                let due = self.sides[at].replica.next_deadline();
                if due.is_some_and(|due| due <= self.now) {
                    self.handle(at, Input::Deadline);
                }
            }
            self.deliver();
        }
    }

    fn is_filled(&self) -> bool {
        let record = self.sides[0].replica.record();
        record.is_some_and(|record| record.names(run("b", 1)))
    }

    fn figures(&self) -> Figures {
        *self.sides[0].replica.figures()
    }
}

/// Before its disk knows that it has a mixture, nobody relies on who is filled.
#[test]
fn who_is_filled_is_not_added_before_its_disk_knows() {
    let mut pair = Pair::new();
    pair.sides[1].store.unkept = true;
    pair.pass(200);
    assert!(!pair.is_filled());
    assert_eq!(pair.sides[1].store.entries.len(), 1, "it has everything");
    assert_eq!(pair.sides[0].replica.may_write(), Ok(()), "nobody waits");
    pair.sides[1].store.unkept = false;
    pair.handle(1, Input::Scanned);
    pair.deliver();
    assert!(pair.is_filled(), "at once");
    assert_eq!(pair.figures().fills, 1, "by the first fill");
}

#[test]
fn a_fill_ends_and_the_store_is_told_so() {
    let mut pair = Pair::new();
    pair.pass(2_000);
    assert!(pair.is_filled());
    assert_eq!(pair.sides[1].store.entries.len(), 1);
    assert_eq!(pair.figures().fills, 1);
    assert_eq!(pair.sides[0].store.fills, 0, "it was begun and has ended");
}

#[test]
fn a_fill_begins_once_it_may() {
    let mut pair = Pair::new();
    pair.view.may_fill = false;
    pair.pass(2_000);
    assert_eq!((pair.is_filled(), pair.figures().fills), (false, 0));
    pair.view.may_fill = true;
    pair.pass(1_000);
    assert!(pair.is_filled());
}

#[test]
fn a_source_waits_for_its_own_data_and_goes_on_when_it_has_come() {
    let mut pair = Pair::new();
    pair.sides[0].store.slow = true;
    pair.pass(10_000);
    assert_eq!((pair.chunks, pair.figures().fills_given_up), (0, 0));
    assert_eq!(pair.sides[0].store.fills, 1);
    pair.sides[0].store.slow = false;
    pair.handle(0, Input::Scanned);
    assert!(
        pair.mail
            .iter()
            .any(|mail| matches!(mail.2, Message::FillChunk { .. })),
        "at once, not when it would look again"
    );
    pair.pass(500);
    assert!(pair.is_filled());
}

#[test]
fn a_target_that_takes_no_chunk_but_answers_is_not_given_up() {
    let mut pair = Pair::new();
    pair.loses_chunks = true;
    pair.pass(20_000);
    assert_eq!(pair.figures().fills_given_up, 0);
    assert!(pair.chunks > 100, "it was sent again and again");
    pair.loses_chunks = false;
    pair.pass(500);
    assert!(pair.is_filled() && pair.figures().fills == 1);
}

#[test]
fn a_fill_that_does_not_move_for_very_long_is_given_up() {
    let mut pair = Pair::new();
    pair.loses_chunks = true;
    pair.pass(40_000);
    assert_eq!(pair.figures().fills_given_up, 1);
}

#[test]
fn a_target_that_answers_nothing_is_given_up() {
    let mut pair = Pair::new();
    pair.sides[0].store.slow = true;
    pair.pass(1_000);
    pair.is_mute = true;
    pair.pass(1_500);
    assert_eq!(pair.figures().fills_given_up, 1);
}

/// It must fall out of sync: its silence sees to that.
#[test]
fn a_backup_without_room_answers_nothing() {
    let mut pair = Pair::new();
    pair.pass(2_000);
    assert!(pair.is_filled());
    pair.sides[1].store.full = true;
    let mut out = Output::default();
    let now = pair.now;
    let entry = entry("other", 2);
    pair.sides[0].store.apply(&entry, Arrival::Live);
    let number = pair.sides[0].replica.propose(now, entry, &mut out);
    assert_eq!(out.acknowledged, None);
    pair.post(0, out);
    pair.pass(300);
    assert!(pair.is_filled(), "not so soon");
    pair.view.may_fill = false;
    pair.pass(2_000);
    assert!(!pair.is_filled());
    assert_eq!(number, 1);
    assert_eq!(pair.sides[1].store.entries.len(), 1);
}

#[test]
fn a_newcomer_that_the_first_messages_did_not_reach_is_asked_again() {
    let mut pair = Pair::new();
    pair.mail.clear();
    pair.pass(2_000);
    assert!(pair.is_filled());
}
