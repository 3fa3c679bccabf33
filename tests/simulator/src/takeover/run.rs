//! One run: faults for a while, then none, and what must hold at the end.
//!
//! Decides the phases and the final checks. Refuses to know the faults.

use std::collections::BTreeMap;

use zufar_core::replication::{Figures, Store as _};

use super::check::{Verdict, check};
use super::plan::{Plan, Story};
use super::world::{Due, World};
use crate::Random;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it was like.
    pub plan: Plan,
    /// What went wrong first, if anything did.
    pub violation: Option<String>,
    /// What was not as wanted long after the last fault, if anything was.
    pub stuck: Option<String>,
    /// Equal for equal runs.
    pub hash: u64,
    /// Things that happened.
    pub events: u64,
    /// Operations whose outcome is known.
    pub known: u64,
    /// Operations whose outcome is not.
    pub unknown: u64,
    /// Histories of a key that were found linearizable, with crashes or pauses in the run.
    pub histories: u64,
    /// Histories with too many orders to follow.
    pub given_up: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What the replicas have counted.
    pub figures: Figures,
}

/// Time without faults within which all must be as wanted.
const CALM_MS: u64 = 25_000;

/// Draws a run from a seed's numbers and carries it out; prints what happens if `told`.
#[must_use]
pub fn run(mut random: Random, told: bool) -> Report {
    let plan = Plan::draw(&mut random);
    let mut world = World::new(plan, random, told);
    begin(&mut world);
    let faults_end = world.now.plus_millis(world.plan.faults_ms);
    world.run_until(faults_end);
    calm_down(&mut world);
    let mut left_ms = CALM_MS;
    let mut wrong = None;
    while left_ms > 0 && world.watch.violation.is_none() {
        let next = world.now.plus_millis(500);
        world.run_until(next);
        left_ms -= 500;
        if left_ms < CALM_MS - 2000 {
            world.asking = false;
        }
        wrong = not_as_wanted(&world);
        let idle = world.clients.iter().all(|client| client.current.is_none());
        if wrong.is_none() && !world.asking && idle {
            break;
        }
    }
    let mut report = histories(&world);
    report.stuck = wrong;
    report.figures = world.watch.total();
    if report.figures.fills_unequal > 0 && report.figures.forced == 0 {
        let words = "a fill left something else than the source has".to_owned();
        report.violation.get_or_insert(words);
    }
    report
}

fn begin(world: &mut World) {
    let guids = world.guids.clone();
    for _ in 0..world.plan.partitions {
        world.wanted.push((Vec::new(), Vec::new()));
    }
    for partition in 0..world.plan.partitions {
        world.draw_wish(partition, 0);
        if world.random.chance(60) {
            let (owners, voters) = (&guids[..world.plan.replicas], &guids[..world.plan.voters]);
            world.wanted[usize::from(partition)] = (owners.to_vec(), voters.to_vec());
            world.tell_wish(partition, 0);
        }
    }
    for host in 0..guids.len() {
        world.start(host);
    }
    world.true_beliefs(0, 1);
    // Most runs begin with all in place.
    if world.random.chance(85) {
        let stable = world.now.plus_millis(6000);
        world.faulty = false;
        world.run_until(stable);
        world.faulty = true;
    }
    for client in 0..world.clients.len() {
        world.after_ms(1, Due::Client { client, attempt: 0 });
    }
    world.begin_faults();
}

/// Faults stop, and what they have done is undone.
fn calm_down(world: &mut World) {
    world.faulty = false;
    world.cut.clear();
    for partition in 0..world.plan.partitions {
        world.tell_wish(partition, 300);
    }
    for host in 0..world.hosts.len() {
        if world.hosts[host].process.is_none() {
            world.after_ms(100, Due::Restart { host });
        }
        world.hosts[host].paused_until = world.now;
        world.after_ms(0, Due::Resume { host });
    }
    // Wrong opinions may still be on their way: they end within three seconds.
    let later = world.now.plus_millis(3000);
    world.run_until(later);
    world.true_beliefs(0, 500);
}

/// What is not as it should be in the end, if anything is.
fn not_as_wanted(world: &World) -> Option<String> {
    (0..world.plan.partitions).find_map(|partition| partition_not_as_wanted(world, partition))
}

fn partition_not_as_wanted(world: &World, partition: u16) -> Option<String> {
    let at = usize::from(partition);
    let (owners, voters) = &world.wanted[at];
    let record = world.highest_record(partition)?;
    let primary = record.primary();
    let words = |what: &str| {
        Some(format!(
            "p{partition}: {what}: {record:?}, wanted {owners:?} of {voters:?}"
        ))
    };
    let host = world.host_of(primary);
    let process = host.and_then(|host| world.hosts[host].process.as_ref());
    let Some(part) = process.map(|process| &process.parts[at]) else {
        return words("the primary does not live");
    };
    if !part.replica.is_open() {
        return words("the primary is not open");
    }
    let sorted = |guids: &[zufar_core::member::Guid]| {
        let mut guids = guids.to_vec();
        guids.sort_unstable();
        guids
    };
    let in_sync: Vec<_> = record.in_sync.iter().map(|node| node.guid).collect();
    if in_sync != sorted(owners) || record.voters != sorted(voters) {
        return words("the members are not those that are wanted");
    }
    if primary.guid != owners[0] {
        return words("the primary is not the wanted one");
    }
    for node in &record.in_sync {
        let other = world
            .host_of(*node)
            .and_then(|host| world.hosts[host].process.as_ref());
        let digest = other.map(|process| process.parts[at].store.digest());
        if digest != Some(part.store.digest()) {
            return words(&format!("{node:?} holds something else"));
        }
    }
    None
}

fn histories(world: &World) -> Report {
    let mut report = Report {
        plan: world.plan.clone(),
        violation: world.watch.violation.clone(),
        stuck: None,
        hash: world.trace.hash(),
        events: world.trace.events(),
        known: world.watch.known,
        unknown: world.watch.unknown,
        histories: 0,
        given_up: 0,
        faults: world.faults.clone(),
        figures: Figures::default(),
    };
    let struck = [
        "crashes",
        "pauses",
        "pauses at a bad moment",
        "crashes at a bad moment",
    ];
    let struck = struck.iter().any(|fault| world.faults.contains_key(fault));
    for ((partition, key), history) in &world.histories {
        if world.plan.story == Story::Available && world.watch.was_forced(*partition) {
            continue;
        }
        match check(history) {
            Verdict::Linearizable => report.histories += u64::from(struck),
            Verdict::GivenUp => report.given_up += 1,
            Verdict::Violated(index) => {
                let operation = &history[index];
                let words = format!("p{partition} key {key}: no order explains {operation:?}");
                report.violation.get_or_insert(words);
            }
        }
    }
    report
}
