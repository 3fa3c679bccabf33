//! The parts of the machine by themselves, and the few rules that one replica shows alone. How
//! replicas act together is for the simulator.

mod fills;
mod hostile;
mod recovery;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use proptest::collection::vec as many;
use proptest::option::of as perhaps;
use proptest::prelude::*;

use super::members::{Member, Members};
use super::record::{majority, one_apart};
use super::requests::Requests;
use super::tail::Tail;
use super::*;
use crate::member::{Guid, NodeId};
use crate::time::Time;

fn guid(name: &str) -> Guid {
    Guid::new(name).expect("it is a guid")
}

fn run(name: &str, generation: u64) -> NodeId {
    NodeId {
        guid: guid(name),
        generation,
    }
}

fn entry(key: &str, version: u64) -> Entry {
    Entry {
        key: Bytes::copy_from_slice(key.as_bytes()),
        version,
        state: State::Item(Bytes::from_static(b"state")),
        request: None,
    }
}

fn request(sequence: u64) -> Request {
    Request {
        id: RequestId {
            origin: run("origin", 1),
            sequence,
        },
        answer: Bytes::copy_from_slice(&sequence.to_be_bytes()),
    }
}

// Records.

#[test]
fn a_majority_is_more_than_half() {
    let four = [guid("a"), guid("b"), guid("c"), guid("d")];
    assert!(!majority(&four, |at| at <= guid("b")));
    assert!(majority(&four, |at| at <= guid("c")));
    assert!(majority(&four[..3], |at| at <= guid("b")));
}

#[test]
fn voters_that_are_swapped_are_two_apart() {
    let (a, b, c) = (guid("a"), guid("b"), guid("c"));
    assert!(one_apart(&[a, b], &[a, b, c]));
    assert!(one_apart(&[a, b], &[a]));
    assert!(!one_apart(&[a, b], &[a, c]));
}

#[test]
fn a_record_names_runs_and_not_nodes() {
    let record = Record {
        term: Term {
            counter: 1,
            node: run("a", 1),
        },
        in_sync: vec![run("a", 1)],
        voters: vec![guid("a")],
        lineage: None,
    };
    assert!(record.names(run("a", 1)) && !record.names(run("a", 2)));
    assert!(record.names_guid(guid("a")) && record.is_sound());
}

// Requests.

#[test]
fn what_is_remembered_is_answered_and_what_is_not_is_never_new() {
    let mut requests = Requests::new(2, 8);
    for sequence in [5, 9, 7] {
        requests.note(&request(sequence));
    }
    assert_eq!(
        requests.look_up(request(9).id),
        Seen::Done(request(9).answer)
    );
    assert_eq!(
        requests.look_up(request(7).id),
        Seen::Done(request(7).answer)
    );
    assert_eq!(requests.look_up(request(5).id), Seen::Forgotten);
    assert_eq!(requests.look_up(request(4).id), Seen::Forgotten);
    assert_eq!(requests.look_up(request(8).id), Seen::New);
    assert_eq!(requests.look_up(request(10).id), Seen::New);
}

#[test]
fn a_later_run_of_an_origin_makes_earlier_ones_forgotten() {
    let mut requests = Requests::new(2, 1);
    let mut later = request(1);
    later.id.origin.generation = 2;
    requests.note(&request(1));
    assert_eq!(requests.look_up(later.id), Seen::New);
    requests.note(&later);
    assert_eq!(requests.look_up(request(1).id), Seen::Forgotten);
    assert_eq!(requests.look_up(request(2).id), Seen::Forgotten);
    let mut stranger = request(1);
    stranger.id.origin = run("stranger", 1);
    assert_eq!(requests.look_up(stranger.id), Seen::Forgotten, "no room");
    requests.forget_origin(guid("origin"));
    assert_eq!(requests.look_up(stranger.id), Seen::New);
}

proptest! {
    /// Whatever order requests come in and windows are merged in: none that was noted is new.
    #[test]
    fn nothing_that_was_carried_out_is_new_again(
        here in many(1_u64..40, 0..60),
        there in many(1_u64..40, 0..60),
        kept_max in 1_usize..6,
    ) {
        let mut one = Requests::new(kept_max, 4);
        let mut other = Requests::new(kept_max, 4);
        for sequence in &here {
            one.note(&request(*sequence));
        }
        for sequence in &there {
            other.note(&request(*sequence));
        }
        one.merge(other.origins());
        for sequence in here.iter().chain(&there) {
            prop_assert_ne!(one.look_up(request(*sequence).id), Seen::New);
        }
        for origin in one.origins() {
            prop_assert!(origin.kept.len() <= kept_max);
        }
    }
}

// The tail.

#[test]
fn entries_of_an_earlier_term_stay_until_all_that_was_merged_is_settled() {
    let mut tail = Tail::default();
    tail.push(1, 0, entry("a", 1));
    tail.push(2, 0, entry("b", 2));
    tail.begin_term();
    tail.push(1, 0, entry("c", 3));
    tail.commit(1, false, |_| panic!("nothing is settled"));
    let mut gone = Vec::new();
    tail.commit(1, true, |placed| gone.push(placed.entry.version));
    assert_eq!(gone, [1, 2, 3]);
    assert!(tail.is_empty() && tail.bytes() == 0);
}

#[test]
fn a_merged_tail_has_each_entry_once_in_the_order_of_versions() {
    let mut tail = Tail::default();
    tail.push(4, 7, entry("a", 2));
    tail.push(5, 8, entry("b", 5));
    let last = tail.merge(vec![entry("c", 1), entry("a", 2), entry("a", 3)].into_iter());
    let placed = |placed: &tail::Placed| (placed.position, placed.proposal, placed.entry.version);
    let all: Vec<_> = tail.iter().map(placed).collect();
    assert_eq!(all, [(1, 0, 1), (2, 7, 2), (3, 0, 3), (4, 8, 5)]);
    assert_eq!(last, 4);
    assert_eq!(
        tail.from(3)
            .map(|placed| placed.position)
            .collect::<Vec<_>>(),
        [3, 4]
    );
}

#[test]
fn each_request_of_a_merged_tail_stays_and_what_is_everywhere_is_known() {
    let with = |version, sequence| Entry {
        request: Some(request(sequence)),
        ..entry("a", version)
    };
    let mut tail = Tail::default();
    tail.push(1, 7, with(1, 1));
    tail.push(2, 8, with(2, 2));
    // Another replica has both, and one more request that has left the same state.
    let last = tail.merge(vec![with(1, 1), with(2, 2), with(2, 3)].into_iter());
    assert_eq!(last, 3);
    let numbers: Vec<_> = tail.iter().map(|placed| placed.proposal).collect();
    assert_eq!(numbers, [7, 8, 0], "whoever waits is not forgotten");
    let newest: Vec<_> = tail.newest().map(|entry| entry.version).collect();
    assert_eq!(newest, [2]);
    assert!(!tail.is_everywhere(&with(1, 1)));
    tail.commit(1, true, |_| {});
    assert!(tail.is_everywhere(&with(1, 1)) && !tail.is_everywhere(&with(2, 2)));
    assert!(
        !tail.is_everywhere(&entry("a", 1)),
        "one of another lineage"
    );
    tail.clear();
    assert!(!tail.is_everywhere(&with(1, 1)));
}

// Members.

#[test]
fn what_all_have_applied_is_committed_and_the_lease_counts_from_the_earliest_sending() {
    let at = Time::from_millis;
    let member = |name| Member::new(run(name, 1), true, at(0));
    let mut members = Members::new(vec![member("b"), member("c")]);
    members.acknowledge(run("b", 1), 5, at(100), at(130));
    assert_eq!((members.committed(), members.confirmed()), (0, None));
    members.acknowledge(run("c", 2), 9, at(120), at(130));
    assert_eq!(members.committed(), 0, "another run is another node");
    members.acknowledge(run("c", 1), 3, at(110), at(150));
    assert_eq!(
        (members.committed(), members.confirmed()),
        (3, Some(at(100)))
    );
    assert!(members.lease_holds(at(499), 400));
    assert!(
        !members.lease_holds(at(500), 400),
        "from sending, not from receipt"
    );
    members.acknowledge(run("c", 1), 2, at(90), at(160));
    assert_eq!(members.committed(), 3, "an old one takes nothing back");
}

// One replica alone.

#[derive(Default)]
struct Alone {
    owners: Vec<Guid>,
}

impl View for Alone {
    fn liveness(&self, _: Guid) -> Liveness {
        Liveness::Unknown
    }

    fn owners(&self) -> &[Guid] {
        &self.owners
    }

    fn voters(&self) -> &[Guid] {
        &self.owners
    }
}

#[derive(Default)]
struct Memory {
    entries: BTreeMap<Bytes, Entry>,
    /// It has to read what it is asked for.
    slow: bool,
    full: bool,
    mixed: bool,
    /// Its disk does not know yet that it is.
    unkept: bool,
    /// It was set aside, and not brought back.
    aside: bool,
    /// Fills and merges begun and ended.
    fills: i32,
    merges: i32,
}

impl Store for Memory {
    fn apply(&mut self, entry: &Entry, _: Arrival) -> bool {
        let known = self.entries.get(&entry.key);
        let newer = known.is_none_or(|known| known.version < entry.version);
        if newer {
            self.entries.insert(entry.key.clone(), entry.clone());
        }
        newer
    }

    fn scan(&mut self, _: u64, _: usize, into: &mut Vec<Entry>) -> Scan {
        if self.slow {
            return Scan::Wait;
        }
        into.extend(self.entries.values().cloned());
        Scan::End
    }

    fn has_room(&self) -> bool {
        !self.full
    }

    fn is_mixed(&self) -> bool {
        self.mixed
    }

    fn may_vouch(&self) -> bool {
        !self.unkept
    }

    fn begin_fill(&mut self) {
        self.fills += 1;
    }

    fn end_fill(&mut self) {
        self.fills = 0;
    }

    fn prepare_merge(&mut self) -> bool {
        self.merges = 1;
        !self.slow
    }

    fn end_merge(&mut self) {
        self.merges = 0;
    }

    fn digest(&self) -> Digest {
        Digest::default()
    }

    fn version_highest(&self) -> u64 {
        self.entries
            .values()
            .map(|entry| entry.version)
            .max()
            .unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn set_aside(&mut self) {
        self.aside = true;
    }

    fn bring_back(&mut self) {
        self.aside = false;
    }

    fn discard(&mut self) {}
}

fn founded(settings: Settings, store: &mut Memory, out: &mut Output) -> Replica {
    let mut context = Context {
        now: Time::from_millis(1000),
        view: &Alone::default(),
        store,
        out,
    };
    Replica::new(
        run("a", 1),
        Arc::new(settings),
        7,
        Start::Founder,
        &mut context,
    )
}

#[test]
fn a_founder_serves_at_once_and_alone_and_then_sleeps() {
    let (mut store, mut out) = (Memory::default(), Output::default());
    let mut replica = founded(Settings::default(), &mut store, &mut out);
    assert!(replica.is_open() && out.messages.is_empty());
    assert_eq!(replica.next_deadline(), None);
    out.clear();
    let now = Time::from_millis(1001);
    assert_eq!(replica.read(now, b"key", &mut out), Reading::Now);
    let number = replica.propose(now, entry("key", 1), &mut out);
    assert_eq!(out.acknowledged, Some(number));
    assert_eq!(replica.read(now, b"key", &mut out), Reading::Now);
}

#[test]
fn too_few_in_sync_refuse_writes_and_not_reads() {
    let settings = Settings {
        in_sync_min: 2,
        ..Settings::default()
    };
    let (mut store, mut out) = (Memory::default(), Output::default());
    let mut replica = founded(settings, &mut store, &mut out);
    assert_eq!(replica.may_write(), Err(Refused::TooFewInSync));
    let now = Time::from_millis(1001);
    assert_eq!(replica.read(now, b"key", &mut out), Reading::Now);
}

#[test]
fn an_attempt_that_was_meant_for_another_term_is_refused() {
    let (mut store, mut out) = (Memory::default(), Output::default());
    let mut replica = founded(Settings::default(), &mut store, &mut out);
    let term = replica.record().map(|record| record.term);
    let id = request(1).id;
    let other = term.map(|term| Term {
        counter: term.counter + 1,
        ..term
    });
    let refused = replica.admit(id, 1, other);
    assert!(matches!(refused, Admission::Refused(Refused::OtherTerm(_))));
    assert_eq!(
        replica.admit(id, 0, term),
        Admission::Forgotten,
        "older than the lineage"
    );
    assert_eq!(replica.admit(id, 1, term), Admission::Execute);
    replica.note_negative(&request(1));
    let answer = request(1).answer;
    assert_eq!(
        replica.admit(id, 1, term),
        Admission::Done {
            answer,
            after: None
        }
    );
}

#[test]
fn a_replica_that_is_not_open_refuses_and_a_blank_one_does_not_vote() {
    let (mut store, mut out) = (Memory::default(), Output::default());
    let mut context = Context {
        now: Time::from_millis(1000),
        view: &Alone::default(),
        store: &mut store,
        out: &mut out,
    };
    let settings = Arc::new(Settings::default());
    let mut replica = Replica::new(run("a", 2), settings, 7, Start::Nothing, &mut context);
    let term = Term {
        counter: 9,
        node: run("b", 1),
    };
    let message = Message::Prepare {
        term,
        listed: vec![run("a", 1)],
    };
    let from = run("b", 1);
    replica.handle(Input::Message { from, message }, &mut context);
    assert_eq!(replica.promised(), None, "another run was listed");
    assert!(matches!(
        out.messages[0].1,
        Message::Nack { blank: true, .. }
    ));
    assert_eq!(replica.may_write(), Err(Refused::NotPrimary(None)));
}

// The wire.

fn any_guid() -> impl Strategy<Value = Guid> {
    "[a-z0-9-]{1,32}".prop_map(|text| guid(&text))
}

fn any_node() -> impl Strategy<Value = NodeId> {
    (any_guid(), any::<u64>()).prop_map(|(guid, generation)| NodeId { guid, generation })
}

fn any_count() -> impl Strategy<Value = u64> {
    0..=wire::COUNT_MAX
}

fn any_term() -> impl Strategy<Value = Term> {
    (any_count(), any_node()).prop_map(|(counter, node)| Term { counter, node })
}

fn any_record() -> impl Strategy<Value = Record> {
    (any_term(), many(any_node(), 0..3), perhaps(any_term())).prop_map(
        |(term, mut in_sync, lineage)| {
            in_sync.push(term.node);
            in_sync.sort_unstable();
            in_sync.dedup_by_key(|node| node.guid);
            // Of two runs of one node it may have been the primary's that went.
            in_sync.retain(|node| node.guid != term.node.guid);
            in_sync.push(term.node);
            in_sync.sort_unstable();
            Record {
                term,
                voters: in_sync.iter().map(|node| node.guid).collect(),
                in_sync,
                lineage,
            }
        },
    )
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    many(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let request = (any_node(), any::<u64>(), any_bytes());
    (
        any_bytes(),
        any_count(),
        perhaps(any_bytes()),
        perhaps(request),
    )
        .prop_map(|(key, version, state, request)| Entry {
            key,
            version,
            state: state.map_or(State::Tombstone, State::Item),
            request: request.map(|(origin, sequence, answer)| Request {
                id: RequestId { origin, sequence },
                answer,
            }),
        })
}

fn any_origin() -> impl Strategy<Value = Origin> {
    let kept = proptest::collection::btree_map(any::<u64>(), any_bytes(), 0..4);
    (any_node(), any::<u64>(), kept).prop_map(|(node, floor, kept)| Origin {
        node,
        floor,
        kept: kept.into_iter().collect(),
    })
}

fn any_holding() -> impl Strategy<Value = Holding> {
    prop_oneof![
        Just(Holding::Nothing),
        Just(Holding::Something),
        Just(Holding::Mixed),
        any::<u64>().prop_map(|session| Holding::Filled { session }),
        Just(Holding::Complete),
    ]
}

fn any_voting() -> impl Strategy<Value = Message> {
    let knowledge = || (any::<bool>(), perhaps(any_term()), perhaps(any_record()));
    prop_oneof![
        (any_term(), many(any_node(), 0..4))
            .prop_map(|(term, listed)| Message::Prepare { term, listed }),
        (
            any_term(),
            perhaps(any_record()),
            any_holding(),
            many(any_entry(), 0..3)
        )
            .prop_map(|(term, record, holding, tail)| Message::Promise {
                term,
                record,
                holding,
                tail
            }),
        (any_record(), perhaps(any_node()), any::<bool>()).prop_map(
            |(record, newcomer, chosen)| Message::Accept {
                record,
                newcomer,
                chosen
            }
        ),
        any_term().prop_map(|term| Message::Accepted { term }),
        Just(Message::Learn),
        (any_node(), knowledge()).prop_map(|(to, (blank, promised, record))| Message::Learned {
            to,
            blank,
            promised,
            record
        }),
        knowledge().prop_map(|(blank, promised, record)| Message::Nack {
            blank,
            promised,
            record
        }),
        (any_term(), any_node()).prop_map(|(term, target)| Message::Cede { term, target }),
    ]
}

fn any_copying() -> impl Strategy<Value = Message> {
    let numbers = || (any_term(), any_count(), any_count());
    prop_oneof![
        (numbers(), any::<bool>(), any::<u64>(), perhaps(any_entry())).prop_map(
            |((term, position, committed), settled, sent, entry)| Message::Replicate {
                term,
                position,
                committed,
                settled,
                sent: Time::from_nanos(sent),
                entry,
            }
        ),
        numbers().prop_map(|(term, position, sent)| Message::Ack {
            term,
            position,
            sent: Time::from_nanos(sent),
        }),
        (numbers(), any_node(), any::<bool>()).prop_map(
            |((term, session, position), target, merged)| Message::FillStart {
                term,
                target,
                session,
                position,
                merged,
            }
        ),
        (
            numbers(),
            many(any_entry(), 0..3),
            many(any_origin(), 0..3),
            any::<bool>()
        )
            .prop_map(|((term, session, number), entries, requests, last)| {
                Message::FillChunk {
                    term,
                    session,
                    number,
                    entries,
                    requests,
                    last,
                }
            }),
        (numbers(), any::<bool>()).prop_map(|((term, session, number), merge)| Message::FillAck {
            term,
            session,
            number,
            merge,
        }),
        (numbers(), any::<u64>(), any::<u64>(), 0..=wire::COUNT_MAX).prop_map(
            |((term, session, position), sum, count, version)| Message::FillVerify {
                term,
                session,
                position,
                digest: Digest { sum, count },
                version,
            }
        ),
        (numbers(), any::<bool>()).prop_map(|((term, session, position), equal)| {
            Message::FillVerified {
                term,
                session,
                position,
                equal,
            }
        }),
        (any_term(), any::<u64>()).prop_map(|(term, cursor)| Message::Gather { term, cursor }),
        (
            any_term(),
            any::<u64>(),
            many(any_entry(), 0..3),
            perhaps(any::<u64>())
        )
            .prop_map(|(term, cursor, entries, next)| Message::Gathered {
                term,
                cursor,
                entries,
                next
            }),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![any_voting(), any_copying()]
}

fn decoded(bytes: &Bytes) -> Result<Vec<(u16, Message)>, wire::Malformed> {
    let mut all = Vec::new();
    wire::decode(bytes, |partition, message| all.push((partition, message)))?;
    Ok(all)
}

proptest! {
    #[test]
    fn a_batch_is_read_as_it_was_written(
        batch in many((0..crate::hash::PARTITIONS as u16, any_message()), 0..4),
    ) {
        let mut bytes = Vec::new();
        for (partition, message) in &batch {
            wire::encode(*partition, message, &mut bytes);
        }
        prop_assert_eq!(decoded(&Bytes::from(bytes)), Ok(batch));
    }

    #[test]
    fn no_part_of_a_message_is_a_message(message in any_message(), share in 0.0..1.0) {
        let mut bytes = Vec::new();
        wire::encode(3, &message, &mut bytes);
        let cut = 1 + ((bytes.len() - 2) as f64 * share) as usize;
        bytes.truncate(cut);
        prop_assert!(decoded(&Bytes::from(bytes)).is_err());
    }

    #[test]
    fn garbage_is_refused_or_read_and_nothing_else(
        mut bytes in many(any::<u8>(), 0..80),
        message in any_message(),
        at in any::<prop::sample::Index>(),
        other in any::<u8>(),
    ) {
        let _ = decoded(&Bytes::from(bytes.clone()));
        bytes.clear();
        wire::encode(3, &message, &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = other;
        let _ = decoded(&Bytes::from(bytes));
    }
}
