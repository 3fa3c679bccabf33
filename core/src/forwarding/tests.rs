//! Against primaries that move, refuse, lose links and answer late: order per partition, nothing
//! lost, nothing answered twice.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::command::{Delete, Fetch, Store, StoreMode};
use crate::id::{ConnId, WorkerId};
use crate::member::Guid;

const LIMITS: ForwardingLimits = ForwardingLimits {
    requests_max: 64,
    bytes_max: 10_000,
    timeout_ms: 1000,
};

fn node(number: usize) -> NodeId {
    NodeId {
        guid: Guid::new(&format!("node-{number}")).expect("a guid"),
        generation: 1,
    }
}

fn term(number: usize) -> Term {
    term_of(3, number)
}

fn term_of(counter: u64, number: usize) -> Term {
    Term {
        counter,
        node: node(number),
    }
}

fn refusal(epoch: u32, hint: Term, at_once: bool) -> Refusal {
    Refusal {
        epoch,
        hint: Some(hint),
        at_once,
    }
}

fn token(sequence: u64) -> Token {
    Token {
        worker: WorkerId(0),
        conn: ConnId {
            slot: 0,
            generation: 0,
        },
        sequence,
    }
}

/// What came out.
#[derive(Default)]
struct Seen {
    sent: Vec<(NodeId, u64, u32)>,
    /// Since which term each of these may have been carried out.
    since: Vec<u64>,
    failed: Vec<(u64, Failure)>,
}

impl Sink for Seen {
    fn send(&mut self, term: &Term, request: Outgoing<'_>) {
        assert_eq!(KeyHash::of(request.key), request.hash);
        self.sent.push((term.node, request.sequence, request.epoch));
        self.since.push(request.since);
    }

    fn fail(&mut self, token: Token, failure: Failure) {
        self.failed.push((token.sequence, failure));
    }
}

struct Bench {
    forwarding: Forwarding,
    now: Time,
    seen: Seen,
    pushed: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            forwarding: Forwarding::new(LIMITS, 7),
            now: Time::from_millis(1),
            seen: Seen::default(),
            pushed: 0,
        }
    }

    fn push(&mut self, key: &[u8], target: Option<usize>) {
        let operation = Operation::Fetch(Fetch::default());
        let (hash, token) = (KeyHash::of(key), token(self.pushed));
        self.pushed += 1;
        let target = target.map(term);
        self.forwarding.push(
            self.now,
            token,
            hash,
            key,
            &operation,
            target,
            &mut self.seen,
        );
    }

    fn is_passed(&mut self, sequence: u64, outcome: &Outcome<'_>, from: usize) -> bool {
        let from = node(from).guid;
        self.forwarding.is_passed(sequence, outcome, Some(&from))
    }

    fn sent(&mut self) -> Vec<(usize, u64, u32)> {
        let number = |id: &NodeId| {
            (0..4)
                .find(|number| node(*number) == *id)
                .expect("one of 4")
        };
        let sent = self.seen.sent.iter();
        let sent = sent.map(|(id, sequence, epoch)| (number(id), *sequence, *epoch));
        let sent = sent.collect();
        self.seen.sent.clear();
        sent
    }

    fn since(&mut self) -> Vec<u64> {
        core::mem::take(&mut self.seen.since)
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now = self.now.plus_millis(milliseconds);
        self.forwarding.handle_deadline(self.now, &mut self.seen);
    }
}

#[test]
fn a_request_goes_out_and_comes_back() {
    let mut bench = Bench::new();
    bench.push(b"a", Some(1));
    assert_eq!(bench.sent(), [(1, 7, 0)]);
    assert_eq!(
        bench.forwarding.finish(bench.now, 7, &Outcome::NotFound),
        Some(token(0))
    );
    assert_eq!(
        bench.forwarding.finish(bench.now, 7, &Outcome::NotFound),
        None,
        "once only"
    );
    assert_eq!(bench.forwarding.stale_answers, 1);
    assert_eq!(bench.forwarding.next_deadline(), None);
}

#[test]
fn a_refused_lane_is_sent_again_as_a_whole_and_in_order() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.push(b"a", Some(1));
    }
    bench.sent();
    assert_eq!(
        bench.forwarding.finish(bench.now, 8, &Outcome::NotFound),
        Some(token(1)),
        "another key may be quicker"
    );
    let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
    forwarding.refuse(bench.now, 7, refusal(0, term(2), true), seen);
    assert_eq!(bench.sent(), [(2, 7, 1), (2, 9, 1)]);
    let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
    forwarding.refuse(bench.now, 9, refusal(0, term(3), true), seen);
    assert_eq!(bench.sent(), [], "that was about the first sending");
    bench.push(b"a", Some(1));
    assert_eq!(
        bench.sent(),
        [(2, 10, 1)],
        "the lane knows better than a guess"
    );
}

#[test]
fn nodes_that_refer_to_each_other_do_not_make_a_storm() {
    let mut bench = Bench::new();
    bench.push(b"a", Some(0));
    let mut sends = 0;
    for _ in 0..100 {
        for (at, sequence, epoch) in bench.sent() {
            sends += 1;
            let refusal = refusal(epoch, term(1 - at), true);
            let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
            forwarding.refuse(bench.now, sequence, refusal, seen);
        }
    }
    assert_eq!(sends, 3, "two at once, then a rest");
    bench.pass(RETRY_MS);
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn what_a_broken_link_may_have_lost_waits_for_a_way() {
    let mut bench = Bench::new();
    bench.push(b"a", Some(1));
    bench.push(b"a", None);
    bench.sent();
    let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
    forwarding.lose(bench.now, node(1), seen);
    assert_eq!(bench.sent(), []);
    let partition = KeyHash::of(b"a").partition();
    assert!(bench.forwarding.unrouted().eq([(partition, 0)]));
    let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
    forwarding.route(bench.now, partition, Some(term(2)), seen);
    assert_eq!(bench.sent(), [(2, 7, 1 + 1), (2, 8, 1 + 1)]);
    assert_eq!(bench.forwarding.resent, 2);
}

#[test]
fn what_was_refused_at_once_is_as_good_as_never_sent() {
    for (at_once, since) in [(true, [5, 5]), (false, [3, 3])] {
        let mut bench = Bench::new();
        bench.push(b"a", Some(1));
        bench.push(b"a", None);
        assert_eq!(bench.since(), [3, 3]);
        let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
        forwarding.refuse(bench.now, 7, refusal(0, term_of(5, 2), at_once), seen);
        assert_eq!(bench.since(), since, "refused at once: {at_once}");
    }
}

#[test]
fn what_may_have_been_carried_out_before_is_not_forgotten_by_a_refusal() {
    let mut bench = Bench::new();
    bench.push(b"a", Some(1));
    let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
    let partition = KeyHash::of(b"a").partition();
    forwarding.route(bench.now, partition, Some(term_of(4, 2)), seen);
    forwarding.refuse(bench.now, 7, refusal(1, term_of(5, 3), true), seen);
    assert_eq!(bench.since(), [3, 3, 3], "node 1 may have had it");
}

#[test]
fn time_runs_out_in_order_and_says_what_is_known() {
    let mut bench = Bench::new();
    bench.push(b"a", Some(1));
    bench.push(b"b", None);
    bench.pass(LIMITS.timeout_ms - 1);
    assert_eq!(bench.seen.failed, []);
    bench.push(b"a", None);
    bench.pass(1);
    // A reading changes nothing, whoever may have carried it out.
    let expected = [(0, Failure::Unreachable), (1, Failure::Unreachable)];
    assert_eq!(bench.seen.failed, expected);
    assert_eq!(
        bench.forwarding.finish(bench.now, 7, &Outcome::NotFound),
        None,
        "too late"
    );
    assert_eq!(bench.forwarding.unfinished(), 1);
}

#[test]
fn what_becomes_of_a_change_that_was_sent_is_unknown() {
    let mut bench = Bench::new();
    let operation = Operation::Delete(Delete::default());
    for (sequence, target) in [(0, Some(term(1))), (1, None)] {
        let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
        let key: &[u8] = if sequence == 0 { b"a" } else { b"b" };
        let hash = KeyHash::of(key);
        let token = token(sequence);
        forwarding.push(bench.now, token, hash, key, &operation, target, seen);
    }
    bench.pass(LIMITS.timeout_ms);
    let expected = [(0, Failure::Unknown), (1, Failure::Unreachable)];
    assert_eq!(bench.seen.failed, expected);
}

#[test]
fn a_command_counts_once_when_it_is_answered() {
    let mut bench = Bench::new();
    bench.push(b"a:1", Some(1));
    bench.push(b"a:2", Some(1));
    bench.forwarding.figures.detail.enabled = true;
    bench.forwarding.finish(bench.now, 7, &Outcome::NotFound);
    bench.forwarding.finish(bench.now, 7, &Outcome::NotFound);
    bench.pass(LIMITS.timeout_ms);
    let figures = &bench.forwarding.figures;
    assert_eq!((figures.cmd_get, figures.get_misses), (1, 1));
    let mut detail = Vec::new();
    figures.detail.render(&mut detail);
    assert!(detail.starts_with(b"PREFIX a get 1 hit 0 set 0 del 0\r\n"));
}

/// The answer of what may change something is remembered, and a reading before it is not.
#[test]
fn a_reading_is_not_sent_again_before_what_is_remembered() {
    let touching = Fetch {
        touch: Some(crate::command::Expiry::Never),
        ..Fetch::default()
    };
    for (last, failed) in [
        (touching, vec![(0, Failure::Unreachable)]),
        (Fetch::default(), vec![]),
    ] {
        let mut bench = Bench::new();
        bench.push(b"a", Some(1));
        let hash = KeyHash::of(b"a");
        let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
        let operation = Operation::Fetch(last);
        forwarding.push(bench.now, token(1), hash, b"a", &operation, None, seen);
        forwarding.route(bench.now, hash.partition(), Some(term_of(4, 2)), seen);
        assert_eq!(bench.seen.failed, failed);
    }
}

/// Only the node that a command was sent to at last can say that it has changed nothing.
#[test]
fn what_has_been_sent_elsewhere_may_change_something_yet() {
    let mut bench = Bench::new();
    let operation = Operation::Delete(Delete::default());
    let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
    let hash = KeyHash::of(b"a");
    let target = Some(term(1));
    forwarding.push(bench.now, token(0), hash, b"a", &operation, target, seen);
    bench.push(b"a", Some(1));
    let negative = [Outcome::NotFound, Outcome::Failed(Failure::Unreachable)];
    assert!(
        !negative
            .iter()
            .any(|outcome| bench.is_passed(7, outcome, 1))
    );
    let partition = hash.partition();
    let to = Some(term_of(4, 2));
    let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
    forwarding.route(bench.now, partition, to, seen);
    assert!(
        negative
            .iter()
            .all(|outcome| bench.is_passed(7, outcome, 1))
    );
    assert!(
        !negative
            .iter()
            .any(|outcome| bench.is_passed(7, outcome, 2))
    );
    assert!(
        !bench.is_passed(7, &Outcome::Deleted, 1),
        "that is remembered"
    );
    assert!(!bench.is_passed(8, &Outcome::NotFound, 1), "a reading");
    assert!(
        !bench.is_passed(9, &Outcome::NotFound, 1),
        "nobody waits for it"
    );
    assert_eq!(bench.forwarding.stale_answers, 2);
}

#[test]
fn a_later_lane_goes_on_with_the_epochs() {
    let mut bench = Bench::new();
    bench.push(b"a", Some(1));
    let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
    forwarding.refuse(bench.now, 7, refusal(0, term(2), true), seen);
    bench.sent();
    bench.forwarding.finish(bench.now, 7, &Outcome::NotFound);
    bench.push(b"a", Some(1));
    assert_eq!(bench.sent(), [(1, 8, 1)], "node 1 refuses epoch 0");
}

#[test]
fn there_is_room_for_so_many_and_so_much() {
    let mut bench = Bench::new();
    for _ in 0..LIMITS.requests_max {
        assert!(bench.forwarding.has_room());
        bench.push(b"a", Some(1));
    }
    assert!(!bench.forwarding.has_room());
    bench.forwarding.finish(bench.now, 7, &Outcome::NotFound);
    assert!(bench.forwarding.has_room());
    let mut bench = Bench::new();
    let operation = Operation::Store(Store {
        mode: StoreMode::Set,
        flags: 0,
        expiry: crate::command::Expiry::Never,
        value: crate::command::Value::Small(&[b'v'; 4000]),
        compare: None,
        new_cas: None,
        invalidate: false,
        vivify: None,
    });
    for sequence in 0..3 {
        assert!(bench.forwarding.has_room());
        let (forwarding, seen) = (&mut bench.forwarding, &mut bench.seen);
        let hash = KeyHash::of(b"a");
        let token = token(sequence);
        forwarding.push(bench.now, token, hash, b"a", &operation, None, seen);
    }
    assert!(!bench.forwarding.has_room());
    bench.pass(LIMITS.timeout_ms);
    assert!(bench.forwarding.has_room(), "bytes are given back");
}

/// Something that happens to the requests of a few keys.
#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    /// The node with this number carries out, or refuses, what has reached it first.
    Serve(usize),
    /// It carries that out, and then finds that it is not primary any more.
    ServeInVain(usize),
    /// An answer arrives.
    Answer,
    /// The primary moves.
    Move(usize),
    /// The link to a node breaks, with what is on it.
    Break(usize),
    /// The origin hears who is primary.
    Hear,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..3).prop_map(Step::Push),
        6 => (0_usize..3).prop_map(Step::Serve),
        1 => (0_usize..3).prop_map(Step::ServeInVain),
        4 => Just(Step::Answer),
        1 => (0_usize..3).prop_map(Step::Move),
        1 => (0_usize..3).prop_map(Step::Break),
        1 => Just(Step::Hear),
        2 => (1_u64..30).prop_map(Step::Pass),
    ]
}

enum Reply {
    Done(u64),
    Refused(u64, Refusal),
}

/// Three nodes, one of them primary of everything, which remember what has been applied.
struct Cluster {
    bench: Bench,
    primary: usize,
    /// The counter of its term.
    counter: u64,
    links: Vec<VecDeque<(u64, u32, u64)>>,
    refused: Vec<Refused>,
    /// Replies on their way back, by the node that they come from.
    replies: VecDeque<(usize, Reply)>,
    partitions: BTreeMap<u64, u16>,
    /// Sequences in the order in which they were first applied, by partition.
    applied: BTreeMap<u16, Vec<u64>>,
    finished: Vec<u64>,
    /// Under which term each sequence was first applied.
    applied_in: BTreeMap<u64, u64>,
}

impl Cluster {
    fn new() -> Self {
        Self {
            bench: Bench::new(),
            primary: 0,
            counter: 3,
            applied_in: BTreeMap::new(),
            links: vec![VecDeque::new(); 3],
            refused: (0..3).map(|_| Refused::default()).collect(),
            replies: VecDeque::new(),
            partitions: BTreeMap::new(),
            applied: BTreeMap::new(),
            finished: Vec::new(),
        }
    }

    fn collect(&mut self) {
        let since = self.bench.since();
        for ((at, sequence, epoch), since) in self.bench.sent().into_iter().zip(since) {
            if let Some(applied) = self.applied_in.get(&sequence) {
                assert!(since <= *applied, "{sequence} was carried out in {applied}");
            }
            self.links[at].push_back((sequence, epoch, since));
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Push(key) => {
                if self.bench.forwarding.has_room() {
                    let sequence = 7 + self.bench.pushed;
                    let partition = KeyHash::of(&[key]).partition();
                    self.partitions.insert(sequence, partition);
                    self.bench.push(&[key], Some(0));
                }
            }
            Step::Serve(at) => self.serve(at, false),
            Step::ServeInVain(at) => self.serve(at, true),
            Step::Answer => self.answer(),
            Step::Move(to) => {
                self.primary = to;
                self.counter += 1;
            }
            Step::Break(at) => {
                self.links[at].clear();
                self.refused[at] = Refused::default();
                self.replies.retain(|(from, _)| *from != at);
                let (forwarding, seen) = (&mut self.bench.forwarding, &mut self.bench.seen);
                forwarding.lose(self.bench.now, node(at), seen);
            }
            Step::Hear => {
                let lanes: Vec<u16> = self.bench.forwarding.lanes.iter().map(|it| it.0).collect();
                for partition in lanes {
                    let target = Some(term_of(self.counter, self.primary));
                    let (forwarding, seen) = (&mut self.bench.forwarding, &mut self.bench.seen);
                    forwarding.route(self.bench.now, partition, target, seen);
                }
            }
            Step::Pass(milliseconds) => self.bench.pass(milliseconds),
        }
        self.collect();
    }

    fn serve(&mut self, at: usize, in_vain: bool) {
        let Some((sequence, epoch, since)) = self.links[at].pop_front() else {
            return;
        };
        let partition = self.partitions[&sequence];
        let reply = if at == self.primary && !self.refused[at].covers(node(9), partition, epoch) {
            let applied = self.applied.entry(partition).or_default();
            if !applied.contains(&sequence) {
                applied.push(sequence);
                self.applied_in.insert(sequence, since);
            }
            match in_vain {
                true => self.refused(at, sequence, epoch, false),
                false => Reply::Done(sequence),
            }
        } else {
            self.refused(at, sequence, epoch, true)
        };
        self.replies.push_back((at, reply));
    }

    fn refused(&mut self, at: usize, sequence: u64, epoch: u32, at_once: bool) -> Reply {
        let partition = self.partitions[&sequence];
        self.refused[at].note(node(9), partition, epoch);
        let hint = term_of(self.counter, self.primary);
        Reply::Refused(sequence, refusal(epoch, hint, at_once))
    }

    fn answer(&mut self) {
        match self.replies.pop_front() {
            Some((_, Reply::Done(sequence))) => {
                let token =
                    self.bench
                        .forwarding
                        .finish(self.bench.now, sequence, &Outcome::NotFound);
                self.finished.extend(token.map(|token| token.sequence));
            }
            Some((_, Reply::Refused(sequence, refusal))) => {
                let (forwarding, seen) = (&mut self.bench.forwarding, &mut self.bench.seen);
                forwarding.refuse(self.bench.now, sequence, refusal, seen);
            }
            None => {}
        }
    }

    /// Everything comes to rest, and must be done by then.
    fn settle(&mut self) {
        self.step(&Step::Hear);
        for _ in 0..2000 {
            for at in 0..3 {
                self.step(&Step::Serve(at));
            }
            self.step(&Step::Answer);
            if self.bench.forwarding.unfinished() == 0 {
                return;
            }
            self.step(&Step::Pass(1));
        }
        panic!("{} are never finished", self.bench.forwarding.unfinished());
    }
}

proptest! {
    #[test]
    fn order_holds_and_nothing_is_lost(steps in prop::collection::vec(step(), 0..200)) {
        let mut cluster = Cluster::new();
        for step in &steps {
            cluster.step(step);
        }
        cluster.settle();
        for applied in cluster.applied.values() {
            prop_assert!(applied.is_sorted(), "applied as {applied:?}");
        }
        let mut ends = cluster.finished.clone();
        ends.extend(cluster.bench.seen.failed.iter().map(|(sequence, _)| *sequence));
        ends.sort_unstable();
        prop_assert!(ends.into_iter().eq(0..cluster.bench.pushed), "each ends once");
        let forwarding = &cluster.bench.forwarding;
        prop_assert_eq!((forwarding.bytes, forwarding.lanes.len()), (0, 0));
        prop_assert_eq!(forwarding.resting.len(), 0);
    }
}
