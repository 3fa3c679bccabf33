//! Several nodes on several hosts: they find each other by what their workers' peer ports say,
//! agree on who is there and on who owns what, and notice who goes.

mod flush;
mod forming;
mod located;
mod outage;
mod restart;
mod stops;

use std::sync::Arc;

use zufar_core::disk::Recovery;
use zufar_core::id::WorkerId;
use zufar_core::machine::Listener;
use zufar_core::member::{Guid, NodeId};
use zufar_core::membership::Liveness;
use zufar_core::node::{ClusterSettings, ClusterView};
use zufar_core::protocol::peer::{Frame, VERSION_HIGHEST, VERSION_LOWEST, decode, encode};
use zufar_core::replication::SplitBrain;
use zufar_core::secure::{Credentials, Secrets, Seed};
use zufar_core::worker::Worker;
use zufar_simulator::Random;
use zufar_simulator::plan::{DiskPlan, NetworkPlan};
use zufar_simulator::rig::{START_UNIX_MS, settings};
use zufar_simulator::trace::Trace;
use zufar_simulator::world::{Crash, HostId, Incident, Launch, Program, Runnable, World};

const WORKERS: u16 = 2;
const SECRET: &str = "a secret that is long enough for a cluster\n";
const OTHER: &str = "another secret that is long enough, as well\n";

/// What a node is started with.
#[derive(Clone, Copy)]
struct Node<'a> {
    secret: Option<&'a str>,
    cluster: &'a str,
    /// It holds items of an earlier run.
    holds_data: bool,
    /// It has a disk, and knows what its last run has left there.
    disk: bool,
    /// Its operator has named host 0, if it is another one.
    seeds: bool,
    split_brain: SplitBrain,
    /// The partitions that are replicated; none for all.
    partitions: Option<&'a [u16]>,
}

const NODE: Node<'_> = Node {
    secret: Some(SECRET),
    cluster: "shop",
    holds_data: false,
    disk: false,
    seeds: true,
    split_brain: SplitBrain::Available,
    partitions: None,
};

/// Hosts 0 to `count`, each of which knows host 0 by its name.
fn world(seed: u64, count: u16) -> World {
    let network = NetworkPlan {
        latency_us_max: 200,
        stall_percent: 0,
        buffer_bytes: 200_000,
        small_segments: true,
        short_reads: true,
        short_writes: true,
    };
    let disk = DiskPlan {
        latency_us_max: 500,
        slow_us_max: 1000,
    };
    let trace = Trace::new(false);
    let mut world = World::new(Random::new(seed), network, disk, START_UNIX_MS, trace);
    for _ in 1..count {
        world.add_host(zufar_core::time::Time::ZERO, START_UNIX_MS);
    }
    let first = HostId(0).address(Listener::Peer);
    world.names.insert("first:8123".into(), vec![first]);
    world
}

fn guid(host: HostId) -> Guid {
    Guid::new(&format!("node-{}", host.0)).expect("a guid")
}

fn start(world: &mut World, host: HostId, node: Node<'_>) {
    world.start_host(host, |launch| program(launch, node));
}

fn program(launch: Launch<'_>, node: Node<'_>) -> Program {
    let host = launch.host;
    let mut shared = settings(WORKERS, 8 << 20, node.disk);
    shared.guid = guid(host).to_string();
    let shared = Arc::new(shared);
    let recovery = match node.disk {
        true => launch.disk.recovery(),
        false => Recovery::default(),
    };
    assert!(recovery.cluster.damaged.is_empty());
    let secrets = node
        .secret
        .map(|text| Secrets::parse(text.as_bytes()).expect("long"));
    let cluster = ClusterSettings {
        name: node.cluster.into(),
        credentials: Credentials::new(node.cluster, secrets),
        id: NodeId {
            guid: guid(host),
            generation: launch.now.unix_ms + u64::from(launch.run),
        },
        address: host.address(Listener::Peer),
        client_address: host.address(Listener::Client).to_string(),
        peer_address: host.address(Listener::Peer).to_string(),
        version: "0.1.0".into(),
        rack: "1".into(),
        weight: 100,
        replication_factor: 2,
        seeds: match node.seeds && host.0 > 0 {
            true => vec!["first:8123".into()],
            false => Vec::new(),
        },
        in_sync_min: 1,
        split_brain: node.split_brain,
        members: recovery.cluster.members.clone(),
        formation: recovery.cluster.formation,
        layout: recovery.cluster.layout.clone(),
        holds_data: node.holds_data || recovery.holds_records,
    };
    let worker = |id: u16| -> Box<dyn Runnable> {
        let worker = Worker::new(Arc::clone(&shared), WorkerId(id), &recovery);
        let mut seed = [host.0 as u8; 32];
        (seed[0], seed[1]) = (id as u8, launch.run as u8);
        let worker = worker.in_cluster(launch.now, cluster.clone(), Seed::new(seed));
        let worker = worker.expect("what it says of itself is short");
        Box::new(match node.partitions {
            Some(partitions) => worker.replicating_only(partitions),
            None => worker,
        })
    };
    Program {
        machines: (0..WORKERS).map(worker).collect(),
        disk: node.disk,
    }
}

/// Lets so much time pass.
fn pass(world: &mut World, milliseconds: u64) {
    world.set_timer(7, milliseconds * 1000);
    while world.step() != Some(Incident::Timer(7)) {}
}

/// Waits until no process runs any more.
fn wait_for_stop(world: &mut World, milliseconds: u64) {
    let hosts: Vec<HostId> = world.hosts().collect();
    for _ in 0..milliseconds {
        if !hosts.iter().any(|host| world.is_host_up(*host)) {
            return;
        }
        pass(world, 1);
    }
    panic!("a process still runs after {milliseconds} ms");
}

fn view(world: &World, host: HostId) -> &ClusterView {
    let worker: &Worker = world.machine_of(host, WORKERS - 1).expect("it runs");
    worker.cluster_view().expect("every worker has the view")
}

/// The nodes that `host` believes to be up, itself included.
fn up(world: &World, host: HostId) -> Vec<Guid> {
    let view = view(world, host);
    let members = view.members.iter();
    let up = members.filter(|member| member.liveness == Liveness::Up);
    let mut up: Vec<Guid> = up.map(|member| member.node.guid).collect();
    up.push(view.me.guid);
    up.sort_unstable();
    up
}

fn guids(hosts: &[u16]) -> Vec<Guid> {
    hosts.iter().map(|host| guid(HostId(*host))).collect()
}

/// Within so many milliseconds `hosts` all believe just each other to be up.
fn agree_within(world: &mut World, hosts: &[u16], milliseconds: u64) {
    let expected = guids(hosts);
    for _ in 0..milliseconds / 50 {
        pass(world, 50);
        let agreed = |host: &u16| {
            let worker: Option<&Worker> = world.machine_of(HostId(*host), WORKERS - 1);
            let known = worker.is_some_and(|worker| worker.cluster_view().is_some());
            known && up(world, HostId(*host)) == expected
        };
        if hosts.iter().all(agreed) {
            return;
        }
    }
    let seen: Vec<_> = hosts.iter().map(|host| up(world, HostId(*host))).collect();
    panic!("not agreed on {expected:?}: {seen:?}");
}

#[test]
fn nodes_that_start_one_after_another_find_each_other() {
    for seed in 0..5 {
        let mut world = world(seed, 3);
        for host in 0..3 {
            start(&mut world, HostId(host), NODE);
            pass(&mut world, 300);
        }
        agree_within(&mut world, &[0, 1, 2], 10_000);
        pass(&mut world, 2000);
        let digest = view(&world, HostId(0)).placement.digest();
        for host in world.hosts() {
            let view = view(&world, host);
            assert!(view.serving, "seed {seed}");
            assert_eq!(view.placement.digest(), digest, "seed {seed}");
            assert_eq!(view.placement.node_count(), 3, "seed {seed}");
        }
    }
}

#[test]
fn a_process_that_dies_is_down_soon_and_up_again_as_another_run() {
    for seed in 0..5 {
        let mut world = world(seed, 3);
        for host in 0..3 {
            start(&mut world, HostId(host), NODE);
        }
        agree_within(&mut world, &[0, 1, 2], 10_000);
        let before = view(&world, HostId(2)).me;
        world.crash_host(HostId(2), Crash::Process);
        agree_within(&mut world, &[0, 1], 10_000);
        start(&mut world, HostId(2), NODE);
        agree_within(&mut world, &[0, 1, 2], 10_000);
        let view = view(&world, HostId(0));
        let after = view.member(&guid(HostId(2))).expect("it is known").node;
        assert!(after.generation > before.generation, "seed {seed}");
    }
}

#[test]
fn a_node_that_stops_is_not_waited_for() {
    let mut world = world(1, 2);
    start(&mut world, HostId(0), NODE);
    start(&mut world, HostId(1), NODE);
    agree_within(&mut world, &[0, 1], 10_000);
    world.stop_host(HostId(1));
    agree_within(&mut world, &[0], 400);
}

#[test]
fn a_node_that_others_cannot_reach_is_down_and_comes_back() {
    let mut world = world(2, 3);
    for host in 0..3 {
        start(&mut world, HostId(host), NODE);
    }
    agree_within(&mut world, &[0, 1, 2], 10_000);
    for other in [0, 1] {
        world.cut_both(HostId(2), HostId(other));
    }
    agree_within(&mut world, &[0, 1], 20_000);
    world.heal_all();
    agree_within(&mut world, &[0, 1, 2], 30_000);
}

/// Starts a node beside another one, and tells what both operators read after ten seconds.
fn refusal(first: Node<'_>, second: Node<'_>) -> [String; 2] {
    let mut world = world(3, 2);
    start(&mut world, HostId(0), first);
    pass(&mut world, 100);
    start(&mut world, HostId(1), second);
    pass(&mut world, 10_000);
    assert_eq!(up(&world, HostId(0)), guids(&[0]));
    [0, 1].map(|host| {
        let notices = world.notices_of(HostId(host)).iter();
        let refused = notices.filter(|notice| notice.event == "peer-refused");
        refused.map(|notice| notice.text.clone() + "\n").collect()
    })
}

#[test]
fn both_operators_read_why_a_node_is_refused() {
    let other_secret = Node {
        secret: Some(OTHER),
        ..NODE
    };
    let [ours, theirs] = refusal(NODE, other_secret);
    assert!(ours.contains("secret is none of those"), "{ours}");
    assert!(theirs.contains("your cluster secret is none"), "{theirs}");

    let no_secret = Node {
        secret: None,
        ..NODE
    };
    let [ours, theirs] = refusal(NODE, no_secret);
    assert!(ours.contains("clear text"), "{ours}");
    assert!(theirs.contains("has a cluster secret"), "{theirs}");

    let unprotected = |cluster| Node {
        secret: None,
        cluster,
        ..NODE
    };
    let [ours, theirs] = refusal(unprotected("shop"), unprotected("bank"));
    assert!(ours.contains("cluster `bank`"), "{ours}");
    assert!(theirs.contains("cluster `shop`"), "{theirs}");

    let full = Node {
        holds_data: true,
        ..NODE
    };
    let [ours, theirs] = refusal(full, full);
    assert!(ours.contains("formed apart"), "{ours}");
    assert!(theirs.contains("formed apart"), "{theirs}");
}

/// Sends `line` to a node and returns what it answers within `milliseconds`.
fn ask(world: &mut World, host: HostId, line: &str, milliseconds: u64) -> String {
    let link = world.connect_to(host, Listener::Client);
    pass(world, 2);
    assert_eq!(world.send(link, line.as_bytes()), line.len());
    let mut answer = Vec::new();
    for _ in 0..milliseconds {
        pass(world, 1);
        let (bytes, _) = world.receive(link, 1 << 20);
        answer.extend(bytes);
        if answer.ends_with(b"\r\n") {
            break;
        }
    }
    String::from_utf8(answer).expect("text")
}

/// A write whose other replica is out of reach, where no majority can go on without it, may come
/// about once the ways are open again. Its client is told so, and does not wait for that.
#[test]
fn a_write_that_nobody_can_acknowledge_is_answered_all_the_same() {
    let node = Node {
        split_brain: SplitBrain::Majority,
        ..NODE
    };
    let mut world = world(4, 2);
    // Under a majority a node that looks for others waits for one.
    start(&mut world, HostId(0), node);
    start(&mut world, HostId(1), node);
    agree_within(&mut world, &[0, 1], 10_000);
    for at in 0..6 {
        let line = format!("set key{at} 0 0 1\r\n0\r\n");
        assert_eq!(ask(&mut world, HostId(0), &line, 10_000), "STORED\r\n");
    }
    pass(&mut world, 5000);
    world.cut_both(HostId(0), HostId(1));
    let mut unknown = 0;
    for at in 0..6 {
        let line = format!("set key{at} 0 0 1\r\n1\r\n");
        let answer = ask(&mut world, HostId(0), &line, 8000);
        assert!(answer.starts_with("SERVER_ERROR "), "{at}: {answer:?}");
        unknown += u32::from(answer.contains("unknown"));
    }
    assert!(unknown > 0, "none of them was carried out here");
}

#[test]
fn any_node_reaches_any_key() {
    for seed in 0..3 {
        let mut world = world(seed, 3);
        for host in 0..3 {
            start(&mut world, HostId(host), NODE);
            pass(&mut world, 300);
        }
        agree_within(&mut world, &[0, 1, 2], 10_000);
        for at in 0..20 {
            let line = format!("set key{at} 0 0 2\r\n{at:02}\r\n");
            let host = HostId(at % 3);
            assert_eq!(
                ask(&mut world, host, &line, 5000),
                "STORED\r\n",
                "{at} seed {seed}"
            );
        }
        pass(&mut world, 5000);
        for at in 0..20 {
            for host in 0..3 {
                let line = format!("get key{at}\r\n");
                let answer = ask(&mut world, HostId(host), &line, 5000);
                assert_eq!(
                    answer,
                    format!("VALUE key{at} 0 2\r\n{at:02}\r\nEND\r\n"),
                    "{host} seed {seed}"
                );
            }
        }
    }
}

const DISK: Node<'_> = Node { disk: true, ..NODE };

/// Nobody names a seed any more: a node finds the others by its notes, which also say which
/// cluster it belongs to and who else is in it.
#[test]
fn a_node_that_restarts_finds_the_others_by_its_notes() {
    for (seed, crash) in [(1, Crash::Process), (2, Crash::Power), (3, Crash::Power)] {
        let mut world = world(seed, 3);
        for host in 0..3 {
            start(&mut world, HostId(host), DISK);
        }
        agree_within(&mut world, &[0, 1, 2], 10_000);
        pass(&mut world, 3000);
        let notes = world.disk_of(HostId(2)).recovery().cluster;
        assert!(notes.formation.is_some(), "seed {seed}");
        assert_eq!(notes.layout.len(), 3, "seed {seed}");
        assert_eq!(notes.members.len(), 2, "seed {seed}");
        let before = view(&world, HostId(2)).me;
        // The first node, which all have been told of, is gone for good.
        for host in 0..3 {
            world.crash_host(HostId(host), crash);
        }
        let alone = Node {
            seeds: false,
            ..DISK
        };
        for host in [1, 2] {
            world.boot_host(HostId(host));
            start(&mut world, HostId(host), alone);
        }
        agree_within(&mut world, &[1, 2], 5000);
        assert!(view(&world, HostId(2)).me > before, "seed {seed}");
        let digest = |host| view(&world, HostId(host)).placement.digest();
        assert_eq!(digest(1), digest(2), "seed {seed}");
        assert_eq!(view(&world, HostId(2)).placement.node_count(), 3);
    }
}

/// What a client has stored makes a node's cluster one that is not given up.
#[test]
fn clusters_that_were_formed_apart_keep_apart_once_both_hold_an_item() {
    for stores in [true, false] {
        let mut world = world(9, 2);
        start(&mut world, HostId(0), NODE);
        world.cut_both(HostId(0), HostId(1));
        start(&mut world, HostId(1), NODE);
        pass(&mut world, 4000);
        for host in [0, 1] {
            let link = world.connect_to(HostId(host), Listener::Client);
            let store = format!("set key{host} 0 0 1\r\nx\r\n");
            // Without an item on both sides one of them goes over.
            if stores || host == 0 {
                world.send(link, store.as_bytes());
            }
        }
        pass(&mut world, 500);
        world.heal_all();
        match stores {
            false => agree_within(&mut world, &[0, 1], 20_000),
            true => {
                pass(&mut world, 20_000);
                for host in [0, 1] {
                    assert_eq!(up(&world, HostId(host)), guids(&[host]));
                    let mut notices = world.notices_of(HostId(host)).iter();
                    assert!(notices.any(|notice| notice.text.contains("formed apart")));
                }
            }
        }
    }
}

/// What `zufar status` is told by a host, within a second and a little: who is up, and who has
/// said how it fares.
fn status(world: &mut World, host: HostId) -> Vec<(String, bool, bool)> {
    let link = world.connect_to(host, Listener::Peer);
    let mut question = Vec::new();
    let (lowest, highest) = (VERSION_LOWEST, VERSION_HIGHEST);
    let (guid, node) = ("", None);
    let hello = Frame::Hello {
        lowest,
        highest,
        guid,
        node,
    };
    encode(&hello, &mut question);
    encode(&Frame::StatusRequest, &mut question);
    let mut sent = 0;
    let mut heard = Vec::new();
    for _ in 0..220 {
        sent += world.send(link, &question[sent..]);
        pass(world, 5);
        heard.extend(world.receive(link, 100_000).0);
        let mut rest = &heard[..];
        while let Ok(Some((frame, bytes))) = decode(rest, 64 * 1024) {
            rest = &rest[bytes..];
            if let Frame::StatusReply { last, nodes } = frame {
                assert!(last);
                let nodes = nodes.iter();
                let nodes = nodes.map(|it| (it.guid.to_owned(), it.up, it.figures.is_some()));
                return nodes.collect();
            }
        }
    }
    panic!("no status from {host:?} within a second");
}

#[test]
fn status_shows_all_nodes_also_those_that_do_not_answer() {
    let bare = Node {
        secret: None,
        ..NODE
    };
    let mut world = world(5, 3);
    for host in 0..3 {
        start(&mut world, HostId(host), bare);
    }
    agree_within(&mut world, &[0, 1, 2], 10_000);
    pass(&mut world, 1000);
    let rows = |flags: [(bool, bool); 3]| -> Vec<(String, bool, bool)> {
        let rows = flags.iter().zip(0..);
        rows.map(|((up, known), host)| (guid(HostId(host)).to_string(), *up, *known))
            .collect()
    };
    for host in [0, 1, 2, 0, 1, 2] {
        let shown = status(&mut world, HostId(host));
        assert_eq!(shown, rows([(true, true); 3]));
    }
    // Who does not run does not answer, and nobody has found out yet.
    world.suspend_host(HostId(1), 3000);
    let shown = status(&mut world, HostId(2));
    assert_eq!(shown, rows([(true, true), (true, false), (true, true)]));
    pass(&mut world, 10_000);
    agree_within(&mut world, &[0, 1, 2], 10_000);
    world.crash_host(HostId(0), Crash::Process);
    // Down, and not just suspected.
    pass(&mut world, 15_000);
    let shown = status(&mut world, HostId(2));
    assert_eq!(shown, rows([(false, false), (true, true), (true, true)]));
}
