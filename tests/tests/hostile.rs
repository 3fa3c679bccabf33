//! Clients that mean no good, or know no better: whatever they do, others are served, memory stays
//! bounded, and what they left is cleaned up.
#![allow(missing_docs)]

use std::thread;

use zufar_tests::program::Program;
use zufar_tests::random::Random;
use zufar_tests::script::Cuts;
use zufar_tests::{Client, Node, PATIENCE, process, wait_for};

/// Most that a crowd may cost in resident memory beyond what the node may hold anyway.
const GROWTH_MIB_MAX: u64 = 96;
/// What the node may hold anyway, and does not hold yet.
const MEMORY_MIB: u32 = 64;

/// A node, and what it takes while nobody does anything.
struct Victim {
    node: Node,
    resident_bytes: u64,
}

impl Victim {
    fn new() -> Self {
        let node = Node::options().memory_mib(MEMORY_MIB);
        let node = node.connections_max(8192).start();
        let mut client = node.client();
        client.set("bystander", "is served");
        let resident_bytes = process::resident_bytes(node.id(), "VmRSS").expect("it runs");
        Self {
            node,
            resident_bytes,
        }
    }

    /// Others are served, and memory is bounded.
    fn assert_unharmed(&mut self) {
        assert!(self.node.is_running(), "it is gone:\n{}", self.node.log());
        let found = self.node.client().get("bystander");
        assert_eq!(found.as_deref(), Some(&b"is served"[..]));
        let resident = process::resident_bytes(self.node.id(), "VmRSS").expect("it runs");
        let grown_mib = resident.saturating_sub(self.resident_bytes) >> 20;
        // Large answers of other nodes, on their way, are charged to the node's memory.
        let answers_mib = if self.node.copies() > 1 {
            MEMORY_MIB.into()
        } else {
            0
        };
        let most_mib = GROWTH_MIB_MAX + answers_mib;
        assert!(grown_mib < most_mib, "grown by {grown_mib} MiB");
    }

    /// Waits until only the asking connection is left.
    fn await_alone(&self) {
        let mut client = self.node.client();
        let alone = if Program::is_stand_in() { 2 } else { 1 };
        wait_for("the connections to be gone", PATIENCE, || {
            (client.stat("", "curr_connections") <= alone).then_some(())
        });
    }
}

#[test]
fn hundreds_that_drip_bytes_are_answered_in_the_end() {
    let mut victim = Victim::new();
    let mut crowd: Vec<Client> = (0..300).map(|_| victim.node.client()).collect();
    let request = b"set dripped 0 0 5\r\nhello\r\n";
    for (at, byte) in request.iter().enumerate() {
        for client in &mut crowd {
            client.send([*byte]);
        }
        if at % 5 == 0 {
            victim.assert_unharmed();
        }
    }
    for client in &mut crowd {
        client.expect("STORED\r\n");
    }
    // Half a command each, and then silence.
    for client in &mut crowd {
        client.send("set dripped 0 0 1000\r\nhel");
    }
    victim.assert_unharmed();
    drop(crowd);
    victim.await_alone();
    let found = victim.node.client().get("dripped");
    assert_eq!(found.as_deref(), Some(&b"hello"[..]));
}

#[test]
fn lines_without_an_end_cost_nothing() {
    let mut victim = Victim::new();
    let megabytes = vec![b'x'; 8 << 20];
    for start in [&b""[..], b"set ", b"get ", b"gets ", b"mg ", b"gat 0 "] {
        // Closed on the way or not: what matters is what all of them cost at once.
        let crowd: Vec<Client> = (0..25)
            .map(|_| {
                let mut client = victim.node.client();
                let sent = client.try_send(start);
                drop(sent.and_then(|()| client.try_send(&megabytes)));
                client
            })
            .collect();
        victim.assert_unharmed();
        drop(crowd);
    }
    victim.await_alone();
}

#[test]
fn a_get_of_half_a_million_keys_is_answered_as_it_comes() {
    let mut victim = Victim::new();
    let mut client = victim.node.client();
    let answered = client.try_converse(|writer| {
        writer.write_all(b"get")?;
        for _ in 0..500 {
            writer.write_all(&b" absent".repeat(999))?;
            writer.write_all(b" bystander")?;
        }
        writer.write_all(b"\r\n")
    });
    let answered = answered.expect("an answer").bytes;
    let wanted = b"VALUE bystander 0 9\r\nis served\r\n".repeat(500);
    assert!(answered == [&wanted[..], b"END\r\n"].concat());
    victim.assert_unharmed();
}

#[test]
fn a_crowd_that_never_reads_costs_bounded_memory() {
    let mut victim = Victim::new();
    // One that is copied into the answer, and one that is sent from where it lies. Each connection
    // may hold a mebibyte of answers and a thousand more of them that other threads have given.
    for (bytes, asked) in [(4_000, 40_000), (256 * 1024, 600)] {
        victim.node.client().set("unread", vec![b'v'; bytes]);
        let mut crowd: Vec<Client> = (0..10).map(|_| victim.node.client()).collect();
        for client in &mut crowd {
            client.send("get unread\r\n".repeat(asked));
        }
        // 1.5 GiB have been asked for; whoever else asks has waited behind all that is carried out.
        for _ in 0..50 {
            victim.assert_unharmed();
        }
        for client in crowd {
            client.reset();
        }
        victim.await_alone();
        victim.assert_unharmed();
    }
}

#[test]
fn resets_in_the_middle_of_values_give_their_memory_back() {
    let mut victim = Victim::new();
    let half = vec![b'v'; 512 * 1024];
    // Ten times the node's memory, if any of it were kept.
    for _ in 0..64 {
        let mut crowd: Vec<Client> = (0..10).map(|_| victim.node.client()).collect();
        for client in &mut crowd {
            client.send("set cut 0 0 1048576\r\n");
            client.send(&half);
        }
        for client in crowd {
            client.reset();
        }
    }
    victim.await_alone();
    victim.assert_unharmed();
    let mut client = victim.node.client();
    assert_eq!(client.get("cut"), None, "half a value was stored");
    for at in 0..20 {
        client.set(&format!("whole:{at}"), vec![b'w'; 1 << 20]);
    }
}

#[test]
fn half_closed_in_the_middle_of_a_value_ends_without_it() {
    let mut victim = Victim::new();
    for bytes in [10, 5_000, 1 << 20] {
        let mut client = victim.node.client();
        client.send(format!("mn\r\nset half 0 0 {bytes}\r\nabc"));
        client.finish();
        client.expect("MN\r\n");
        client.expect_end();
    }
    assert_eq!(victim.node.client().get("half"), None);
    victim.await_alone();
    victim.assert_unharmed();
}

#[test]
fn half_closed_with_much_to_come_gets_all_of_it() {
    let victim = Victim::new();
    let large = vec![b'v'; 1 << 20];
    victim.node.client().set("large", &large);
    let mut client = victim.node.client();
    client.send("get large\r\n".repeat(30));
    client.finish();
    for _ in 0..30 {
        let found = client.values();
        assert!(found.len() == 1 && found[0].1 == large);
    }
    client.expect_end();
}

#[test]
fn thousands_of_connections_at_once() {
    let mut victim = Victim::new();
    let mut crowd: Vec<Client> = (0..3_000).map(|_| victim.node.client()).collect();
    for client in &mut crowd {
        client.send("get bystander\r\n");
    }
    for client in &mut crowd {
        client.expect("VALUE bystander 0 9\r\nis served\r\nEND\r\n");
    }
    let open = victim.node.client().stat("", "curr_connections");
    assert!(open > 3_000, "{open}");
    for client in crowd {
        client.reset();
    }
    victim.await_alone();
    victim.assert_unharmed();
}

#[test]
fn garbage_harms_nobody() {
    let mut victim = Victim::new();
    let port = victim.node.port();
    thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..40 {
                    let length = 1 + random.below(20_000) as usize;
                    let bytes: Vec<u8> = (0..length).map(|_| random.number() as u8).collect();
                    let cuts = random.number();
                    let answer = Client::connect(port)
                        .try_converse(|writer| Cuts::new(cuts).write(&bytes, writer));
                    answer.expect("an end");
                }
            });
        }
    });
    victim.await_alone();
    victim.assert_unharmed();
}
