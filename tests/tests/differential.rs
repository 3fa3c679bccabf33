//! Zufar beside a live memcached: the same random requests, the same answers.
#![allow(missing_docs)]

use zufar_tests::differential::malformed::{self, Since};
use zufar_tests::differential::{self, Pair, Plan};
use zufar_tests::program::{self, Program};
use zufar_tests::{Node, NodeOptions};

/// Requests of each case, unless `ZUFAR_DIFFERENTIAL_REQUESTS` says otherwise.
const REQUESTS: u64 = 20_000;
/// Conversations of malformed lines.
const CONVERSATIONS: u32 = 100;
/// Much more than the items take: nothing is ever evicted.
const MEMORY_MIB: u32 = 1024;

fn pair(zufar: NodeOptions) -> Pair {
    assert!(
        program::memcached().is_some(),
        "memcached isn't installed: scripts/test installs it"
    );
    let memcached = Node::options().program(Program::Memcached);
    Pair {
        memcached: memcached.memory_mib(MEMORY_MIB).start(),
        zufar: zufar.program(Program::Zufar).memory_mib(MEMORY_MIB).start(),
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[allow(clippy::print_stdout)]
fn play(zufar: NodeOptions, seed: u64) {
    let pair = pair(zufar);
    let plan = Plan {
        seed: number("ZUFAR_DIFFERENTIAL_SEED").unwrap_or(seed),
        requests: number("ZUFAR_DIFFERENTIAL_REQUESTS").unwrap_or(REQUESTS),
    };
    let report = differential::run(&pair, plan);
    println!("{report}");
    assert!(report.requests() >= plan.requests);
}

#[test]
fn random_streams_in_memory() {
    play(Node::options().no_disk(), 1);
}

#[test]
fn random_streams_with_a_disk_and_one_thread() {
    play(Node::options().threads(1), 1_000_001);
}

#[test]
fn items_expire_on_both() {
    differential::expire_alike(&pair(Node::options()));
}

/// Zufar answers as the table has it.
fn of_zufar(_: Since) -> bool {
    true
}

/// The memcached of this machine, for what it can vouch for.
fn of_memcached(since: Since) -> bool {
    since == Since::Ever
}

#[test]
fn malformed_lines_of_the_table() {
    let pair = pair(Node::options());
    malformed::each_alone(&pair.zufar, of_zufar);
    malformed::each_alone(&pair.memcached, of_memcached);
}

#[test]
fn malformed_lines_in_random_conversations() {
    let pair = pair(Node::options());
    let lines = malformed::converse(&pair.zufar, 1, CONVERSATIONS, of_zufar);
    assert!(lines > u64::from(CONVERSATIONS));
    let lines = malformed::converse(&pair.memcached, 2, CONVERSATIONS, of_memcached);
    assert!(lines > u64::from(CONVERSATIONS));
}
