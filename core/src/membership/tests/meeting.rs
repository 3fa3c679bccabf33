//! Finding others, and being refused by them.

use super::*;

fn seeds(node: &mut Node, seeds: &[SocketAddr]) {
    node.input(0, Input::Seeds(seeds));
}

#[test]
fn seeds_are_tried_and_after_two_silent_seconds_the_node_serves_alone() {
    let mut node = Node::new(1);
    seeds(&mut node, &[address(1), address(2), address(3)]);
    let wished = |number| Wish::Exchange {
        address: address(number),
    };
    assert_eq!(node.out.wishes, [wished(2), wished(3)], "but not itself");
    node.run_alone(ALONE_MS - 1);
    assert_eq!(node.events, []);
    node.run_alone(ALONE_MS);
    assert_eq!(node.count(Event::Serving { alone: true }), 1);
    let formation = node.membership.formation().expect("it has begun one");
    assert_eq!(node.count(Event::Formed(formation)), 1);
    // It goes on looking: two clusters may have begun apart.
    node.events.clear();
    let mut tried = 0;
    while let Some(due) = node.membership.next_deadline()
        && due.as_millis() < 30_000
    {
        node.input(due.as_millis(), Input::Deadline);
        tried += node.out.wishes.len();
    }
    assert!((4..=8).contains(&tried), "{tried} in half a minute");
}

#[test]
fn without_seeds_it_serves_at_once_and_with_majority_it_waits() {
    let mut first = Node::of(
        MembershipSettings {
            seeds_expected: false,
            ..settings()
        },
        start(1),
    );
    first.run_alone(0);
    assert_eq!(first.count(Event::Serving { alone: true }), 1);

    let mut careful = Node::of(
        MembershipSettings {
            wait_for_others: true,
            ..settings()
        },
        start(2),
    );
    seeds(&mut careful, &[address(1)]);
    careful.run_alone(60_000);
    assert_eq!(careful.events, []);
    assert!(careful.membership.formation().is_none());
    exchange(60_000, &mut careful, &mut first);
    assert_eq!(careful.count(Event::Serving { alone: false }), 1);
    assert_eq!(careful.membership.formation(), first.membership.formation());
}

#[test]
fn a_seed_that_refuses_is_not_silent() {
    let mut node = Node::new(1);
    seeds(&mut node, &[address(2)]);
    let refused = Input::Refused {
        from: address(2),
        reason: Reason::Cluster,
        text: "this is cluster `d`",
    };
    for second in 0..20 {
        node.run_alone(second * 1000);
        node.input(second * 1000, refused);
        assert_eq!(
            node.out.notices.len(),
            usize::from(second == 0),
            "told once"
        );
    }
    assert_eq!(node.events, []);
    node.run_alone(31_000);
    assert_eq!(node.count(Event::Serving { alone: true }), 1);
}

#[test]
fn strangers_are_refused_on_both_sides_and_told_once() {
    let mut one = Node::new(1);
    one.run_alone(ALONE_MS);
    for (number, other, reason) in [
        (2, ("d", 4096), Reason::Cluster),
        (3, ("c", 256), Reason::Partitions),
    ] {
        let mut its = settings();
        (its.cluster, its.partitions) = (other.0.to_owned(), other.1);
        let mut stranger = Node::of(its, start(number));
        let refusal = greet(3000, &mut one, &stranger).expect_err("refused");
        assert_eq!(refusal.reason, reason);
        assert_eq!(one.out.notices.len(), 1);
        greet(3001, &mut one, &stranger).expect_err("refused");
        assert_eq!(one.out.notices.len(), 0, "once a minute is enough");
        let refused = Input::Refused {
            from: address(1),
            reason,
            text: &refusal.theirs,
        };
        stranger.input(3002, refused);
        assert!(stranger.out.notices[0].text.contains(&refusal.theirs));
    }
    assert_eq!(one.membership.members().len(), 0);
}

#[test]
fn an_empty_cluster_joins_one_with_data_and_takes_its_fellows_along() {
    let (mut one, mut other) = two();
    let mut rich = Node::new(3);
    rich.input(0, Input::Health(Health::HOLDS_DATA));
    rich.run_alone(ALONE_MS);
    rich.input(ALONE_MS, place(1));
    one.input(3000, place(1));
    exchange(3000, &mut one, &mut rich);
    assert_eq!(one.membership.formation(), rich.membership.formation());
    let wish = Wish::Exchange {
        address: address(2),
    };
    let met = greet(3001, &mut other, &one).expect("they belong together");
    assert_eq!(met.formation, rich.membership.formation());
    assert_eq!(
        other.membership.formation(),
        rich.membership.formation(),
        "it had heard of {wish:?}"
    );
    // Before its new fellows' descriptors have come it counts as one that holds data.
    assert!(other.membership.introduction(None).holds_data);
}

fn place(weight: u32) -> Input<'static> {
    Input::Place {
        state: LayoutState::Normal,
        weight,
        rack: "r",
    }
}

#[test]
fn two_clusters_with_data_keep_apart_and_say_so() {
    let (mut one, mut other) = (Node::new(1), Node::new(2));
    for node in [&mut one, &mut other] {
        node.input(0, Input::Health(Health::HOLDS_DATA));
        node.run_alone(ALONE_MS);
    }
    for now_ms in [3000, 70_000] {
        let refusal = greet(now_ms, &mut one, &other).expect_err("refused");
        assert_eq!(refusal.reason, Reason::Formation);
        assert_eq!(one.out.notices.len(), 1);
        let refused = Input::Refused {
            from: address(1),
            reason: refusal.reason,
            text: &refusal.theirs,
        };
        other.input(now_ms, refused);
        assert_eq!(other.out.notices.len(), 1);
    }
    assert_ne!(one.membership.formation(), other.membership.formation());
    assert_eq!(other.count(Event::NameLost), 0);
}

#[test]
fn a_run_that_others_know_a_later_one_of_asks_for_a_number_above() {
    let (mut one, _) = two();
    let mut behind = start(2);
    behind.id.generation = 7;
    let mut again = Node::of(settings(), behind);
    greet(3000, &mut one, &again).expect("the same address: it has restarted");
    let met = greet(3000, &mut again, &one).expect("they belong together");
    assert!(!met.exchange);
    assert_eq!(again.count(Event::GenerationWanted { known: 10 }), 1);
    again.run_alone(10_000);
    assert_eq!(again.count(Event::Serving { alone: true }), 0, "it waits");
    let generation = next_generation(Some(7), 0, Some(10));
    again.input(10_000, Input::Generation(generation));
    assert_eq!(again.id().generation, 11);
    exchange(10_001, &mut again, &mut one);
    let member = one.membership.member(&guid(2)).expect("known");
    assert_eq!(member.identity.id, again.id());
    assert_eq!(again.count(Event::Serving { alone: false }), 1);
}

#[test]
fn a_second_node_of_one_name_is_turned_away_until_the_first_is_down() {
    let (mut one, _) = two();
    let twin = || {
        let mut twin = start(2);
        twin.id.generation = 20;
        twin.address = address(9);
        Node::of(settings(), twin)
    };
    let refusal = greet(1100, &mut one, &twin()).expect_err("refused");
    assert_eq!(refusal.reason, Reason::Guid);
    one.run_alone(8000);
    assert_eq!(one.liveness(2), Some(Liveness::Down));
    greet(8000, &mut one, &twin()).expect("it has moved");
}

#[test]
fn of_two_that_serve_under_one_name_the_later_run_stays() {
    let twin = |generation, number| {
        let mut twin = start(2);
        twin.id.generation = generation;
        twin.address = address(number);
        let mut node = Node::of(settings(), twin);
        node.run_alone(ALONE_MS);
        node
    };
    let (mut early, mut late) = (twin(20, 2), twin(21, 9));
    greet(3000, &mut late, &early).expect_err("refused");
    assert_eq!(late.count(Event::NameLost), 0);
    let refusal = greet(3000, &mut early, &late).expect_err("refused");
    assert_eq!(early.count(Event::NameLost), 1);
    assert_eq!(early.membership.next_deadline(), None);
    // What the loser says does not take the winner along.
    let refused = Input::Refused {
        from: address(2),
        reason: refusal.reason,
        text: &refusal.theirs,
    };
    late.input(3001, refused);
    assert_eq!(late.count(Event::NameLost), 0);
}
