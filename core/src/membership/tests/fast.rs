//! Deaths that connections show.

use super::*;

fn three() -> [Node; 3] {
    let (mut one, mut two, mut three) = (Node::new(1), Node::new(2), Node::new(3));
    exchange(0, &mut one, &mut two);
    exchange(0, &mut three, &mut two);
    exchange(0, &mut one, &mut three);
    run(&mut [&mut one, &mut two, &mut three], 1000);
    [one, two, three]
}

fn evidence(node: NodeId, evidence: Evidence) -> Input<'static> {
    Input::Evidence { node, evidence }
}

#[test]
fn of_two_nodes_the_one_that_refuses_connections_is_dead() {
    let (mut one, other) = two();
    let id = other.id();
    one.input(1000, evidence(id, Evidence::Reset));
    assert_eq!(one.liveness(2), Some(Liveness::Up));
    one.input(1001, evidence(id, Evidence::Refused));
    assert_eq!(one.liveness(2), Some(Liveness::Down));
    assert_eq!(one.count(Event::Down(id)), 1);
    assert_eq!(one.membership.counters().fast_deaths, 1);
}

#[test]
fn of_three_a_second_one_must_find_the_same() {
    let [mut one, two, mut three] = three();
    let about = two.id();
    one.input(1000, evidence(about, Evidence::Reset));
    one.input(1001, evidence(about, Evidence::Refused));
    assert_eq!(one.liveness(2), Some(Liveness::Up));
    let ask = Wish::Ask {
        guid: guid(3),
        address: address(3),
        about,
    };
    assert_eq!(one.out.wishes, [ask]);

    three.input(1002, Input::Asked { asker: 5, about });
    let reconnect = Wish::Reconnect {
        node: about,
        address: address(2),
    };
    assert_eq!(three.out.wishes, [reconnect]);
    assert_eq!(three.out.answers, []);
    three.input(1003, evidence(about, Evidence::Refused));
    assert_eq!(three.out.answers, [(5, about, DeathVerdict::Dead)]);
    assert_eq!(
        three.liveness(2),
        Some(Liveness::Up),
        "it saw no reset itself"
    );

    let verdict = DeathVerdict::Dead;
    one.input(1004, Input::Answered { about, verdict });
    assert_eq!(one.liveness(2), Some(Liveness::Down));
    // And gossip tells the third.
    let mut nodes = [&mut one, &mut three];
    deliver(&mut nodes, 0, 1004);
    assert_eq!(three.liveness(2), Some(Liveness::Down));
    three.input(1005, Input::Asked { asker: 6, about });
    assert_eq!(three.out.answers, [(6, about, DeathVerdict::Dead)]);
}

#[test]
fn a_witness_that_sees_it_alive_or_nothing_leaves_it_to_gossip() {
    for verdict in [DeathVerdict::Alive, DeathVerdict::Unknown] {
        let [mut one, two, _] = three();
        let about = two.id();
        one.input(1000, evidence(about, Evidence::Reset));
        one.input(1001, evidence(about, Evidence::Refused));
        one.input(1002, Input::Answered { about, verdict });
        assert_eq!(one.liveness(2), Some(Liveness::Up));
    }
    let [_, two, mut three] = three();
    let about = two.id();
    three.input(1000, Input::Asked { asker: 5, about });
    let mut answers = Vec::new();
    while let Some(due) = three.membership.next_deadline()
        && due.as_millis() <= 2000
    {
        three.input(due.as_millis(), Input::Deadline);
        answers.append(&mut three.out.answers);
    }
    // Nothing has come of the new connection.
    assert_eq!(answers, [(5, about, DeathVerdict::Unknown)]);
}

#[test]
fn evidence_has_to_come_together_and_about_the_run_that_is() {
    let [mut one, two, _] = three();
    let about = two.id();
    one.input(1000, evidence(about, Evidence::Reset));
    // The case is dropped after a second.
    let mut later = 1000;
    while let Some(due) = one.membership.next_deadline()
        && due.as_millis() <= 2000
    {
        later = due.as_millis();
        one.input(later, Input::Deadline);
    }
    one.input(later, evidence(about, Evidence::Refused));
    assert_eq!(one.out.wishes, []);

    let earlier = NodeId {
        generation: about.generation - 1,
        ..about
    };
    for shown in [Evidence::Reset, Evidence::Refused] {
        one.input(later, evidence(earlier, shown));
        assert_eq!(one.out.wishes, []);
    }
    let later_run = NodeId {
        generation: about.generation + 1,
        ..about
    };
    one.input(later, evidence(later_run, Evidence::Connected));
    let exchange = Wish::Exchange {
        address: address(2),
    };
    assert_eq!(one.out.wishes, [exchange], "it has restarted");
}

#[test]
fn whoever_is_asked_about_another_run_knows_or_does_not() {
    let [_, two, mut three] = three();
    let id = two.id();
    let with = |generation| NodeId { generation, ..id };
    let stranger = NodeId {
        guid: guid(9),
        generation: 1,
    };
    for (about, verdict) in [
        (with(id.generation - 1), DeathVerdict::Dead),
        (with(id.generation + 1), DeathVerdict::Unknown),
        (stranger, DeathVerdict::Unknown),
    ] {
        three.input(1000, Input::Asked { asker: 5, about });
        assert_eq!(three.out.answers, [(5, about, verdict)]);
    }
}
