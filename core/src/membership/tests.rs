use alloc::borrow::ToOwned;
use core::net::Ipv4Addr;

use super::*;
use crate::layout::LayoutState;
use crate::protocol::peer::{Reason, VERSION_HIGHEST, VERSION_LOWEST};

mod fast;
mod meeting;

const VERSIONS: (u16, u16) = (VERSION_LOWEST, VERSION_HIGHEST);

fn guid(number: u8) -> Guid {
    Guid::new(&format!("n{number}")).expect("a guid")
}

fn address(number: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, number), 7946).into()
}

fn at(milliseconds: u64) -> Now {
    Now {
        time: Time::from_millis(milliseconds),
        unix_ms: 1_000_000 + milliseconds,
    }
}

/// A machine with what it last wanted done, and which was handed over.
struct Node {
    membership: Membership,
    out: Outputs,
    events: Vec<Event>,
}

fn start(number: u8) -> Start {
    Start {
        id: NodeId {
            guid: guid(number),
            generation: 10,
        },
        address: address(number),
        formation: None,
        layout: Vec::new(),
        health: Health::NONE,
        client_address: "c:1".to_owned(),
        peer_address: "p:1".to_owned(),
        version: "0.1".to_owned(),
    }
}

fn settings() -> MembershipSettings {
    MembershipSettings {
        cluster: "c".to_owned(),
        partitions: 4096,
        replication_factor: 2,
        seeds_expected: true,
        wait_for_others: false,
    }
}

impl Node {
    fn of(settings: MembershipSettings, start: Start) -> Self {
        let seed = start.id.generation;
        Self {
            membership: Membership::new(at(0), settings, start, seed).expect("short texts"),
            out: Outputs::default(),
            events: Vec::new(),
        }
    }

    fn new(number: u8) -> Self {
        Self::of(settings(), start(number))
    }

    fn input(&mut self, now_ms: u64, input: Input<'_>) {
        self.out.clear();
        self.membership.handle(at(now_ms), input, &mut self.out);
        self.events.extend(&self.out.events);
    }

    fn id(&self) -> NodeId {
        self.membership.identity().id
    }

    /// Wakes it whenever it wants, up to a moment. Nothing that it sends arrives.
    fn run_alone(&mut self, until_ms: u64) {
        while let Some(due) = self.membership.next_deadline()
            && due.as_millis() <= until_ms
        {
            self.input(due.as_millis(), Input::Deadline);
        }
    }

    fn count(&self, wanted: Event) -> usize {
        let events = self.events.iter();
        events.filter(|event| **event == wanted).count()
    }

    fn liveness(&self, other: u8) -> Option<Liveness> {
        let known = self.membership.member(&guid(other))?;
        Some(known.liveness)
    }
}

fn greet(now_ms: u64, one: &mut Node, other: &Node) -> Result<Met, Refusal> {
    let guid = other.id().guid;
    let to = one.id().guid;
    let introduction = other.membership.introduction(Some(&to));
    one.out.clear();
    let met = one.membership.meet(
        at(now_ms),
        other.membership.identity().address,
        VERSIONS,
        guid.as_str(),
        &introduction,
        &mut one.out,
    );
    one.events.extend(&one.out.events);
    met
}

fn give(now_ms: u64, from: &Node, to: &mut Node) {
    let mut parts = Vec::new();
    from.membership
        .state(1024, &mut |part, _| parts.push(part.to_vec()));
    for part in parts {
        let input = Input::State {
            formation: from.membership.formation(),
            records: &part,
        };
        to.input(now_ms, input);
    }
}

/// Hello and both states, as a stream that `opener` opens has them.
fn exchange(now_ms: u64, opener: &mut Node, accepter: &mut Node) {
    greet(now_ms, accepter, opener).expect("they belong together");
    greet(now_ms, opener, accepter).expect("they belong together");
    give(now_ms, opener, accepter);
    give(now_ms, accepter, opener);
}

/// Lets datagrams flow between nodes, without loss or delay, and wakes them up to a moment.
fn run(nodes: &mut [&mut Node], until_ms: u64) {
    loop {
        let due = nodes.iter().enumerate();
        let due = due.filter_map(|(index, node)| Some((node.membership.next_deadline()?, index)));
        let Some((due, index)) = due.min().filter(|(due, _)| due.as_millis() <= until_ms) else {
            return;
        };
        nodes[index].input(due.as_millis(), Input::Deadline);
        deliver(nodes, index, due.as_millis());
    }
}

fn deliver(nodes: &mut [&mut Node], from: usize, now_ms: u64) {
    let sender = nodes[from].membership.identity().address;
    let datagrams = nodes[from].out.datagrams();
    let datagrams: Vec<_> = datagrams.map(|(to, bytes)| (to, bytes.to_vec())).collect();
    for (to, bytes) in datagrams {
        let index = nodes
            .iter()
            .position(|node| node.membership.identity().address == to);
        if let Some(index) = index {
            let bytes = &bytes;
            nodes[index].input(
                now_ms,
                Input::Datagram {
                    from: sender,
                    bytes,
                },
            );
            deliver(nodes, index, now_ms);
        }
    }
}

fn two() -> (Node, Node) {
    let (mut one, mut other) = (Node::new(1), Node::new(2));
    exchange(0, &mut one, &mut other);
    run(&mut [&mut one, &mut other], 1000);
    (one, other)
}

#[test]
fn two_that_meet_know_each_other_and_stay_so() {
    let (mut one, mut other) = two();
    for (node, it) in [(&one, &other), (&other, &one)] {
        assert_eq!(node.count(Event::Serving { alone: false }), 1);
        assert_eq!(node.count(Event::Appeared(it.id())), 1);
        assert_eq!(node.count(Event::Up(it.id())), 1);
        let descriptor = node.membership.descriptor(&it.id().guid);
        assert_eq!(descriptor, it.membership.descriptor(&it.id().guid));
        assert!(descriptor.is_some());
    }
    assert_eq!(one.membership.formation(), other.membership.formation());
    run(&mut [&mut one, &mut other], 60_000);
    for node in [&one, &other] {
        let doubts = node.events.iter();
        let mut doubts =
            doubts.filter(|event| matches!(event, Event::Suspected(_) | Event::Down(_)));
        assert_eq!(doubts.next(), None);
        assert_eq!(node.membership.counters().faults, 0);
        assert_eq!(node.membership.counters().malformed, 0);
    }
}

#[test]
fn news_reach_the_others_in_datagrams() {
    let (mut one, mut other) = two();
    one.input(1000, Input::Health(Health::DISK_FULL));
    let place = Input::Place {
        state: LayoutState::Normal,
        weight: 7,
        rack: "r1",
    };
    one.input(1000, place);
    let layout = other.count(Event::LayoutChanged);
    run(&mut [&mut one, &mut other], 1500);
    assert_eq!(other.count(Event::LayoutChanged), layout + 1);
    let descriptor = other.membership.descriptor(&guid(1)).expect("known");
    assert_eq!(descriptor.health, Health::DISK_FULL);
    assert_eq!(other.membership.layout(), one.membership.layout());
    // Whoever takes it out of the layout wins over what it has said before.
    other.input(1500, Input::Remove(guid(1)));
    run(&mut [&mut one, &mut other], 2000);
    let state = |node: &Node| node.membership.layout().entry(&guid(1)).map(|it| it.state);
    assert_eq!(state(&one), Some(LayoutState::Left));
    assert_eq!(state(&other), Some(LayoutState::Left));
    one.input(2000, place);
    assert_eq!(
        state(&one),
        Some(LayoutState::Normal),
        "until it wants back"
    );
}

#[test]
fn a_node_that_stops_in_good_order_is_down_at_once() {
    let (mut one, mut other) = two();
    one.input(1000, Input::Leave);
    let mut nodes = [&mut one, &mut other];
    deliver(&mut nodes, 0, 1000);
    assert_eq!(other.liveness(1), Some(Liveness::Down));
    assert_eq!(one.membership.next_deadline(), None);
    let bytes = &[];
    let from = address(2);
    one.input(1001, Input::Datagram { from, bytes });
    assert_eq!(one.out.datagrams().len(), 0, "it says nothing any more");
}

#[test]
fn a_silent_node_is_suspected_and_then_down_and_comes_back_with_its_memory() {
    let (mut one, mut other) = two();
    one.events.clear();
    let id = other.id();
    one.run_alone(6000);
    let doubts: Vec<_> = one
        .events
        .iter()
        .filter(|event| matches!(event, Event::Suspected(_) | Event::Down(_)))
        .collect();
    assert_eq!(doubts, [&Event::Suspected(id), &Event::Down(id)]);
    // Foca is idle without members: this machine calls those that are down itself.
    other.run_alone(6000);
    run(&mut [&mut one, &mut other], 20_000);
    assert_eq!(one.liveness(2), Some(Liveness::Up));
    assert_eq!(other.liveness(1), Some(Liveness::Up));
    assert_eq!(one.count(Event::Up(id)), 1);
    let restarted = one.events.iter();
    let mut restarted = restarted.filter(|event| matches!(event, Event::Restarted { .. }));
    assert_eq!(restarted.next(), None, "its memory is what it was");
}

#[test]
fn a_later_run_has_lost_its_memory_also_if_nobody_saw_it_down() {
    let (mut one, other) = two();
    let before = other.id();
    let mut later = start(2);
    later.id.generation = 11;
    later.formation = other.membership.formation();
    let mut again = Node::of(settings(), later);
    exchange(1100, &mut again, &mut one);
    let after = again.id();
    assert_eq!(one.count(Event::Restarted { before, after }), 1);
    assert_eq!(one.count(Event::Down(before)), 0);
    assert_eq!(one.liveness(2), Some(Liveness::Up));
    // What the earlier run has sent comes late.
    let state = one.membership.member(&guid(2)).copied();
    give(1200, &other, &mut one);
    assert_eq!(one.membership.member(&guid(2)).copied(), state);
}

#[test]
fn a_stalled_process_reads_before_it_judges() {
    let (mut one, mut other) = two();
    run(&mut [&mut one, &mut other], 1900);
    one.events.clear();
    // The other one is probed and answers, and then this process does not run for ten seconds.
    let (sent_ms, ping) = loop {
        let due = one.membership.next_deadline().expect("it probes");
        one.input(due.as_millis(), Input::Deadline);
        let mut datagrams = one.out.datagrams();
        // The kind of foca's packet lies behind the head.
        if let Some((_, bytes)) = datagrams.find(|(_, bytes)| bytes.get(7) == Some(&1)) {
            break (due.as_millis(), bytes.to_vec());
        }
    };
    let (from, bytes) = (address(1), &ping);
    other.input(sent_ms, Input::Datagram { from, bytes });
    let answers: Vec<_> = other
        .out
        .datagrams()
        .map(|(_, bytes)| bytes.to_vec())
        .collect();
    assert_eq!(answers.len(), 1);
    let late_ms = sent_ms + 10_000;
    one.input(late_ms, Input::Deadline);
    assert_eq!(one.membership.counters().stalls, 1);
    let (from, bytes) = (address(2), &answers[0]);
    one.input(late_ms, Input::Datagram { from, bytes });
    let due = one.membership.next_deadline().expect("it goes on");
    assert!(
        due >= at(late_ms + 50).time,
        "what waits in sockets comes first"
    );
    one.run_alone(late_ms + 450);
    assert_eq!(one.events, []);
    assert_eq!(one.membership.counters().probes_failed, 0);
}

#[test]
fn what_strangers_and_noise_say_is_counted_and_not_believed() {
    let (mut one, other) = two();
    let before: Vec<_> = one.membership.members().copied().collect();
    let from = address(9);
    let long = [1; DATAGRAM_BYTES_MAX + 1];
    for bytes in [&b""[..], b"x", b"\x02\0\0\0\0\0\0", &long] {
        one.input(1000, Input::Datagram { from, bytes });
    }
    assert_eq!(one.membership.counters().malformed, 4);
    // A whole datagram, but of a cluster of another name.
    let mut elsewhere = settings();
    elsewhere.cluster = "d".to_owned();
    let (mut three, mut four) = (
        Node::of(elsewhere.clone(), start(3)),
        Node::of(elsewhere, start(4)),
    );
    exchange(1000, &mut three, &mut four);
    three.run_alone(2000);
    let datagrams = three.out.datagrams();
    let bytes: Vec<u8> = datagrams.flat_map(|(_, bytes)| bytes.to_vec()).collect();
    assert!(!bytes.is_empty());
    let bytes = &bytes;
    one.input(1001, Input::Datagram { from, bytes });
    assert_eq!(one.membership.counters().strangers, 1);
    let formation = three.membership.formation();
    let records = b"";
    one.input(1002, Input::State { formation, records });
    assert_eq!(one.membership.counters().strangers, 2);
    let formation = one.membership.formation();
    let records = b"\x01\xff\xff";
    one.input(1003, Input::State { formation, records });
    assert_eq!(one.membership.counters().malformed, 5);
    assert_eq!(
        one.membership.members().copied().collect::<Vec<_>>(),
        before
    );
    assert_eq!(other.membership.members().len(), 1);
}

#[test]
fn what_is_too_long_for_a_descriptor_is_told_at_the_start() {
    let mut long = start(1);
    long.peer_address = "p".repeat(300);
    assert!(Membership::new(at(0), settings(), long, 1).is_err());
}
