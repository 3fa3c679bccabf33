//! What a world of several hosts does between them: told by small machines.

mod chaos;
mod streams;
mod toy;

use zufar_core::machine::Listener;
use zufar_core::settings::Settings;
use zufar_simulator::rig::settings;
use zufar_simulator::world::{Crash, DRIFT_PPM_MAX, HostId, Program};

use toy::{A, B, C, Heard, Order, Stage, Toy, UNIX_MS, peer};

/// Datagrams that have come to `host`.
fn datagrams(stage: &Stage, host: HostId) -> Vec<Vec<u8>> {
    let heard = stage.wire(host).heard().into_iter();
    let datagram = |heard| match heard {
        Heard::Datagram(_, bytes) => bytes,
        other => panic!("{other:?}"),
    };
    heard.map(datagram).collect()
}

fn send_many(stage: &mut Stage, count: u32) {
    for number in 0..count {
        let bytes = number.to_be_bytes().to_vec();
        stage.wire(A).order(Order::Datagram(peer(B), bytes));
        if number % 50 == 49 {
            stage.pass(2);
        }
    }
    stage.pass(100);
}

#[test]
fn datagrams_come_whole_and_once_when_nothing_is_wrong() {
    let mut stage = Stage::new(1);
    for bytes in [&b"one"[..], b"", &[7; 60_000]] {
        stage.order(A, Order::Datagram(peer(B), bytes.to_vec()));
        let expected = Heard::Datagram(peer(A), bytes.to_vec());
        assert!(stage.wire(B).heard() == [expected]);
    }
    let nobody = "10.9.9.9:1".parse().expect("an address");
    for to in [nobody, B.address(Listener::Client)] {
        stage.order(A, Order::Datagram(to, vec![1]));
    }
    assert_eq!(stage.wire(B).heard(), []);
    assert_eq!(stage.fault("datagrams to nobody"), 2);
}

#[test]
fn datagrams_are_lost_doubled_and_overtaken_as_often_as_planned() {
    const SENT: u32 = 4_000;
    let mut stage = Stage::new(2);
    stage.world.peers.lost_percent = 5;
    stage.world.lose(A, B, 5);
    stage.world.peers.doubled_percent = 10;
    stage.world.peers.late_percent = 10;
    stage.world.peers.late_us_max = 20_000;
    send_many(&mut stage, SENT);
    let came = datagrams(&stage, B);
    let (lost, doubled) = (
        stage.fault("datagrams lost"),
        stage.fault("datagrams doubled"),
    );
    assert_eq!(came.len() as u64, u64::from(SENT) - lost + doubled);
    let about = |count: u64, percent: u64| {
        let expected = u64::from(SENT) * percent / 100;
        assert!(
            (expected * 3 / 4..expected * 5 / 4).contains(&count),
            "{count} of {expected}"
        );
    };
    about(lost, 10);
    about(doubled, 9);
    about(stage.fault("datagrams late"), 10);
    let behind = |two: &&[Vec<u8>]| two[1] < two[0];
    assert!(came.windows(2).filter(behind).count() > 100);
    assert!(stage.fault("datagrams out of order") > 100);
    stage.world.calm();
    send_many(&mut stage, 500);
    assert_eq!(datagrams(&stage, B).len(), 500, "calm is calm");
}

#[test]
fn a_way_that_is_cut_takes_datagrams_in_one_direction() {
    let mut stage = Stage::new(3);
    stage.world.cut(A, B);
    for (from, to) in [(A, B), (B, A), (A, C)] {
        stage.order(from, Order::Datagram(peer(to), vec![1]));
    }
    assert_eq!(datagrams(&stage, B).len(), 0);
    assert_eq!(datagrams(&stage, A).len(), 1);
    assert_eq!(datagrams(&stage, C).len(), 1);
    assert_eq!(stage.fault("datagrams cut off"), 1);
    stage.world.heal(A, B);
    stage.order(A, Order::Datagram(peer(B), vec![2]));
    assert_eq!(
        datagrams(&stage, B),
        [[2]],
        "what was dropped does not come back"
    );
}

#[test]
fn a_suspended_host_does_nothing_but_its_kernel_takes_what_comes() {
    let mut stage = Stage::new(4);
    stage.world.suspend_host(B, 500);
    stage.wire(A).order(Order::Connect(1, peer(B)));
    stage.pass(50);
    let heard = stage.wire(A).heard();
    let [Heard::Connected(1, conn)] = heard[..] else {
        panic!("{heard:?}");
    };
    stage.order(A, Order::Send(conn, b"early".to_vec()));
    for number in 0..300_u32 {
        let datagram = number.to_be_bytes().to_vec();
        stage.wire(A).order(Order::Datagram(peer(B), datagram));
    }
    stage.pass(400);
    assert_eq!(stage.wire(B).heard(), []);
    assert_eq!(stage.wire(A).received(), b"");
    assert_eq!(stage.fault("datagrams that found a full socket"), 300 - 256);
    stage.pass(100);
    let heard = stage.wire(B).heard();
    assert!(
        matches!(heard[0], Heard::Accepted(_, _, Listener::Peer)),
        "{heard:?}"
    );
    assert_eq!(heard.len(), 1 + 256);
    assert_eq!(stage.wire(A).received(), b"early");
}

#[test]
fn each_host_has_its_own_clocks() {
    let mut stage = Stage::new(5);
    let ms = |stage: &Stage, host| stage.world.now_of(host).time.as_millis();
    assert_eq!(
        (ms(&stage, A), ms(&stage, B), ms(&stage, C)),
        (5, 3_600_005, 5_005)
    );
    assert_eq!(stage.world.now_of(B).unix_ms, UNIX_MS + 505);
    stage.world.set_drift_of(B, DRIFT_PPM_MAX);
    stage.world.set_drift_of(C, -DRIFT_PPM_MAX);
    stage.pass(100_000);
    assert_eq!(stage.world.time().as_millis(), 100_005);
    assert_eq!(ms(&stage, A), 100_005);
    assert_eq!(ms(&stage, B), 3_600_005 + 101_000);
    assert_eq!(ms(&stage, C), 5_005 + 99_000);
    let ticks = |host| {
        let toy: &Toy = stage.world.machine_of(host, 0).expect("it runs");
        let behind = stage.world.now_of(host).time.millis_since(toy.seen.time);
        assert!(behind <= 2, "a machine sees its own host's clock");
        toy.ticks
    };
    let (a, b, c) = (ticks(A), ticks(B), ticks(C));
    // Deadlines come at the pace of the host: 2 % more there than here.
    let near = |ours: u64, percent: u64| {
        (a * percent - a / 2..a * percent + a / 2).contains(&(ours * 100))
    };
    assert!(near(b, 101) && near(c, 99), "{a} {b} {c}");
    stage.world.set_clock_of(B, -60_000);
    stage.pass(20_000);
    let unix_ms = |host| stage.world.now_of(host).unix_ms;
    assert!(
        unix_ms(B) < unix_ms(A) + 500 + 1_200 - 50,
        "it follows its system's clock"
    );
    assert!(
        stage.world.now_of(B).unix_ms > UNIX_MS + 120_000,
        "and slowly"
    );
}

#[test]
fn names_are_looked_up_in_a_table() {
    let mut stage = Stage::new(6);
    let both = vec![peer(B), peer(C)];
    stage
        .world
        .names
        .insert("all:21211".to_owned(), both.clone());
    for (number, name) in [(1, "all:21211"), (2, "none:21211"), (3, "10.0.0.9:7")] {
        stage.order(A, Order::Resolve(number, name));
    }
    let literal = vec!["10.0.0.9:7".parse().expect("an address")];
    let expected = [
        Heard::Resolved(1, Ok(both)),
        Heard::Resolved(2, Err("no such name".to_owned())),
        Heard::Resolved(3, Ok(literal)),
    ];
    assert_eq!(stage.wire(A).heard(), expected);
    stage.world.peers.resolve_us_max = 1_000_000;
    for number in 0..70 {
        stage.wire(A).order(Order::Resolve(number, "all:21211"));
    }
    stage.pass(3);
    let heard = stage.wire(A).heard();
    let failed = |heard: &&Heard| matches!(heard, Heard::Resolved(_, Err(_)));
    assert_eq!(heard.iter().filter(failed).count(), 70 - 64);
    stage.pass(2_000);
    assert_eq!(heard.len() + stage.wire(A).heard().len(), 70);
    stage.world.peers.resolve_failed_percent = 100;
    stage.wire(A).order(Order::Resolve(9, "all:21211"));
    stage.pass(2_000);
    let expected = Heard::Resolved(9, Err("nobody answers".to_owned()));
    assert_eq!(stage.wire(A).heard(), [expected]);
}

#[test]
fn a_process_that_wants_to_stop_is_stopped_and_can_be_started_again() {
    let mut stage = Stage::new(7);
    stage.connect(A, B);
    stage.wire(B).order(Order::Stop);
    assert_eq!(stage.pass(10), [B]);
    assert!(!stage.world.is_host_up(B));
    assert_eq!(
        stage.wire(A).heard(),
        [Heard::Finished],
        "its kernel takes its leave"
    );
    stage.start(B);
    stage.pass(10);
    stage.connect(A, B);
}

#[test]
fn nodes_run_side_by_side_each_with_its_own_disk() {
    let mut stage = Stage::new(8);
    let node = || -> Settings { settings(2, 64 << 20, true) };
    for host in [A, B] {
        stage.world.crash_host(host, Crash::Process);
        let start = |launch: zufar_simulator::world::Launch<'_>| Program::node(node(), launch.disk);
        stage.world.start_host(host, start);
    }
    let ask = |stage: &mut Stage, host, request: &[u8]| {
        let link = stage.world.connect_to(host, Listener::Client);
        stage.pass(1);
        assert_eq!(stage.world.send(link, request), request.len());
        stage.pass(5_000);
        let (bytes, _) = stage.world.receive(link, usize::MAX);
        String::from_utf8(bytes).expect("text")
    };
    assert_eq!(ask(&mut stage, A, b"set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut stage, B, b"get a\r\n"), "END\r\n");
    stage.world.crash_host(A, Crash::Power);
    stage
        .world
        .start_host(A, |launch| Program::node(node(), launch.disk));
    assert_eq!(
        ask(&mut stage, A, b"get a\r\n"),
        "VALUE a 0 1\r\nx\r\nEND\r\n"
    );
    assert_eq!(stage.world.disk_of(B).records(), 0);
}
