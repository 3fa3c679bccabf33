//! Connections between hosts: how they come about, hold over a cut, and end.

use zufar_core::machine::Listener;
use zufar_simulator::world::Crash;

use crate::toy::{A, B, BUFFER_BYTES, C, Heard, Order, Stage, peer};

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 % 251) as u8).collect()
}

#[test]
fn workers_accept_in_turn_and_bytes_come_back() {
    let mut stage = Stage::new(1);
    let client_port = B.address(Listener::Client);
    for (number, to) in [(1, peer(B)), (2, peer(B)), (3, client_port)] {
        stage.order(A, Order::Connect(number, to));
    }
    let accepted: Vec<_> = stage.wire(B).heard();
    let workers: Vec<_> = accepted
        .iter()
        .map(|heard| match heard {
            Heard::Accepted(worker, _, listener) => (*worker, *listener),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (0, Listener::Peer),
        (1, Listener::Peer),
        (0, Listener::Client),
    ];
    assert_eq!(workers, expected);
    for heard in stage.wire(A).heard() {
        let Heard::Connected(_, conn) = heard else {
            panic!("{heard:?}");
        };
        // More than the buffers of both directions hold.
        let bytes = text(3 * BUFFER_BYTES);
        stage.order(A, Order::Send(conn, bytes.clone()));
        stage.pass(200);
        assert!(stage.wire(B).received() == bytes);
        assert!(stage.wire(A).received() == bytes);
        stage.order(A, Order::Close(conn));
        assert_eq!(stage.wire(B).heard(), [Heard::Finished]);
    }
    assert_eq!(stage.wire(A).heard(), []);
    assert!(stage.fault("short reads") > 0 && stage.fault("segments cut small") > 0);
}

#[test]
fn a_host_without_a_process_refuses() {
    let mut stage = Stage::new(2);
    stage.world.crash_host(B, Crash::Process);
    stage.order(A, Order::Connect(1, peer(B)));
    assert_eq!(stage.wire(A).heard(), [Heard::Failed(1, true)]);
    stage.start(B);
    stage.pass(5);
    stage.connect(A, B);
}

#[test]
fn a_host_that_is_cut_off_or_without_power_says_nothing() {
    let mut stage = Stage::new(3);
    for cut in [[(A, B), (B, A)].as_slice(), &[(A, B)], &[(B, A)]] {
        for (from, to) in cut {
            stage.world.cut(*from, *to);
        }
        stage.order(A, Order::Connect(1, peer(B)));
        stage.pass(60_000);
        assert_eq!(stage.wire(A).heard(), []);
        assert_eq!(stage.wire(B).heard(), []);
        stage.world.heal_all();
        stage.pass(10);
        assert!(matches!(
            stage.wire(A).heard()[..],
            [Heard::Connected(1, _)]
        ));
        assert_eq!(stage.wire(B).heard().len(), 1);
    }
    stage.world.crash_host(C, Crash::Power);
    stage.order(A, Order::Connect(2, peer(C)));
    stage.pass(60_000);
    assert_eq!(stage.wire(A).heard(), []);
    stage.world.boot_host(C);
    stage.pass(10);
    assert_eq!(
        stage.wire(A).heard(),
        [Heard::Failed(2, true)],
        "its kernel is back"
    );
}

#[test]
fn a_system_gives_up_after_two_minutes() {
    let mut stage = Stage::new(4);
    let nobody = "10.9.9.9:1".parse().expect("an address");
    stage.order(A, Order::Connect(1, nobody));
    stage.pass(126_000);
    assert_eq!(stage.wire(A).heard(), []);
    stage.pass(2_000);
    assert_eq!(stage.wire(A).heard(), [Heard::Failed(1, false)]);
}

#[test]
fn what_is_given_up_is_not_answered() {
    let mut stage = Stage::new(5);
    stage.world.cut(A, B);
    stage.order(A, Order::Connect(1, peer(B)));
    stage.order(A, Order::GiveUp(1));
    stage.world.heal(A, B);
    // Both in one turn, and one that is not under way.
    stage.wire(A).order(Order::Connect(2, peer(B)));
    stage.wire(A).order(Order::GiveUp(2));
    stage.order(A, Order::GiveUp(3));
    stage.pass(200_000);
    assert_eq!(stage.wire(A).heard(), []);
    assert_eq!(stage.wire(B).heard(), []);
    // One whose answer is already there when it is given up.
    stage.wire(A).order(Order::Connect(4, peer(B)));
    while stage.wire(B).heard().is_empty() {
        stage.world.step();
    }
    stage.world.suspend_host(A, 20);
    stage.pass(10);
    stage.order(A, Order::GiveUp(4));
    stage.pass(20);
    match (&stage.wire(A).heard()[..], &stage.wire(B).heard()[..]) {
        ([], [Heard::Finished | Heard::Closed(true)]) | ([Heard::Connected(4, _)], []) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn connections_to_a_process_that_dies_are_reset() {
    let mut stage = Stage::new(6);
    for (from, to) in [(A, B), (B, A)] {
        stage.connect(from, to);
        stage.world.crash_host(B, Crash::Process);
        stage.pass(10);
        assert_eq!(stage.wire(A).heard(), [Heard::Closed(true)]);
        stage.start(B);
        stage.pass(10);
    }
}

#[test]
fn a_reset_before_the_process_has_accepted_is_not_lost() {
    let mut stage = Stage::new(12);
    stage.world.suspend_host(B, 500);
    stage.order(A, Order::Connect(1, peer(B)));
    assert!(matches!(
        stage.wire(A).heard()[..],
        [Heard::Connected(1, _)]
    ));
    stage.world.crash_host(A, Crash::Process);
    stage.pass(600);
    let heard = stage.wire(B).heard();
    let expected = matches!(heard[..], [Heard::Accepted(..), Heard::Closed(true)]);
    assert!(expected, "{heard:?}");
}

#[test]
fn a_death_behind_a_cut_is_learnt_of_by_speaking() {
    let mut stage = Stage::new(7);
    let (conn, _) = stage.connect(A, B);
    stage.world.cut(B, A);
    stage.world.crash_host(B, Crash::Process);
    stage.pass(5_000);
    stage.start(B);
    stage.world.heal_all();
    stage.pass(5_000);
    assert_eq!(stage.wire(A).heard(), [], "nobody has said anything");
    assert_eq!(stage.fault("resets lost to a cut"), 1);
    stage.order(A, Order::Send(conn, vec![1]));
    assert_eq!(stage.wire(A).heard(), [Heard::Closed(true)]);
    let (conn, _) = stage.connect(A, B);
    stage.world.crash_host(B, Crash::Power);
    stage.order(A, Order::Send(conn, vec![1]));
    stage.pass(5_000);
    assert_eq!(
        stage.wire(A).heard(),
        [],
        "a host without power says nothing"
    );
    stage.start(B);
    stage.pass(10);
    assert_eq!(stage.wire(A).heard(), [Heard::Closed(true)]);
}

#[test]
fn bytes_are_held_by_a_cut_and_come_after_it() {
    let mut stage = Stage::new(8);
    let (conn, _) = stage.connect(A, B);
    stage.world.cut_both(A, B);
    let bytes = text(3 * BUFFER_BYTES);
    stage.order(A, Order::Send(conn, bytes.clone()));
    stage.pass(9_000);
    assert_eq!(stage.wire(B).received(), b"");
    assert!(stage.fault("segments held by a cut") > 0);
    stage.world.heal_both(A, B);
    stage.pass(500);
    assert!(stage.wire(B).received() == bytes);
    assert!(stage.wire(A).received() == bytes);
    stage.pass(200_000);
    assert_eq!(stage.wire(A).heard(), [], "a doubt ends with the cut");
}

#[test]
fn a_connection_breaks_at_the_end_that_waits_in_vain() {
    let mut stage = Stage::new(9);
    stage.world.peers.break_ms_min = 1_000;
    stage.world.peers.break_ms_max = 2_000;
    let (conn, _) = stage.connect(A, B);
    stage.world.cut_both(A, B);
    stage.pass(10_000);
    stage.order(A, Order::Send(conn, vec![1]));
    stage.pass(900);
    assert_eq!(
        stage.wire(A).heard(),
        [],
        "a connection that says nothing knows nothing"
    );
    stage.pass(1_200);
    assert_eq!(stage.wire(A).heard(), [Heard::Closed(false)]);
    assert_eq!(stage.fault("connections broken by a cut"), 1);
    stage.world.heal_all();
    stage.pass(10_000);
    assert_eq!(stage.wire(B).heard(), [], "the other end is not told");
    assert_eq!(
        stage.wire(B).received(),
        b"",
        "and what it waited for is lost"
    );
}

#[test]
fn the_end_that_was_not_told_learns_by_speaking() {
    let mut stage = Stage::new(10);
    let (opener, acceptor) = stage.connect(B, A);
    stage.world.cut(A, B);
    stage.order(A, Order::Send(acceptor, vec![1]));
    stage.pass(130_000);
    assert_eq!(stage.wire(A).heard(), [Heard::Closed(false)]);
    stage.world.heal_all();
    stage.pass(10);
    assert_eq!(stage.wire(B).heard(), []);
    stage.order(B, Order::Send(opener, vec![1]));
    assert_eq!(stage.wire(B).heard(), [Heard::Closed(true)]);
}

#[test]
fn a_one_way_cut_lets_a_buffer_through_and_no_more() {
    let mut stage = Stage::new(11);
    let (conn, _) = stage.connect(A, B);
    stage.world.cut(B, A);
    let bytes = text(3 * BUFFER_BYTES);
    for half in bytes.chunks(BUFFER_BYTES / 2) {
        stage.order(A, Order::Send(conn, half.to_vec()));
    }
    stage.pass(5_000);
    let mut came = stage.wire(B).received();
    assert_eq!(came.len(), BUFFER_BYTES, "nothing is acknowledged");
    assert_eq!(stage.wire(A).received(), b"");
    stage.world.heal(B, A);
    stage.pass(500);
    came.extend(stage.wire(B).received());
    assert!(came == bytes);
    assert!(stage.wire(A).received() == bytes);
    stage.world.cut(B, A);
    stage.order(A, Order::Send(conn, vec![1]));
    stage.pass(130_000);
    assert_eq!(stage.wire(B).received(), [1]);
    assert_eq!(
        stage.wire(A).heard(),
        [Heard::Closed(false)],
        "it waits in vain"
    );
}
