//! `cargo cluster`: runs whole clusters on many seeds and says what came of them.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use zufar_simulator::cluster::{Scope, Totals, checked, sweep};

/// Runs clusters on virtual time, with clients, faults and checks that a seed decides.
#[derive(Parser)]
#[command(name = "cargo cluster")]
struct Arguments {
    /// Replay this one seed, and show what it has drawn
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Begin with this one
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Stop after so many seeds that fail
    #[arg(long, default_value_t = 3)]
    failures: usize,
    /// Run every so many-th seed twice: both must be the same; 0 for none
    #[arg(long, default_value_t = 10)]
    twice: u64,
    /// Without disks, flushes and expiry
    #[arg(long)]
    plain: bool,
    /// Without faults at bad moments
    #[arg(long)]
    unbiased: bool,
    /// With --seed: print every event
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Break the core in this way first, to see whether it is found
    #[cfg(feature = "planted")]
    #[arg(long)]
    bug: Option<String>,
}

#[allow(clippy::print_stdout)] // It is a program.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "planted")]
    if let Some(wanted) = &arguments.bug {
        use zufar_core::planted::Bug;
        let all: Vec<_> = Bug::CLUSTER.iter().chain(&Bug::CLUSTER_FULL).collect();
        let Some((_, bug)) = all.iter().find(|(name, _)| name == wanted) else {
            let names: Vec<_> = all.iter().map(|(name, _)| name).collect();
            println!("the bugs are {names:?}");
            return ExitCode::FAILURE;
        };
        zufar_core::planted::plant(Some(*bug));
    }
    let scope = Scope {
        full: !arguments.plain,
        biased: !arguments.unbiased,
    };
    let began = Instant::now();
    let totals = match arguments.seed {
        Some(seed) => {
            let outcome = checked(seed, scope, arguments.trace, arguments.twice > 0);
            println!("{outcome:#?}");
            let mut totals = Totals::default();
            totals.add(seed, outcome);
            totals
        }
        None => sweep(
            arguments.first..arguments.first + arguments.seeds,
            scope,
            arguments.twice,
            arguments.failures,
        ),
    };
    tell(&totals, scope, began.elapsed().as_secs_f64());
    match totals.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[allow(clippy::print_stdout)] // It is a program.
fn tell(totals: &Totals, scope: Scope, seconds: f64) {
    let plain = if scope.full { "" } else { " --plain" };
    let unbiased = if scope.biased { "" } else { " --unbiased" };
    println!(
        "{} seeds, {} events, {} commands checked, {} s of virtual time in {seconds:.1} s",
        totals.seeds,
        totals.events,
        totals.commands,
        totals.virtual_ms / 1000,
    );
    println!(
        "{} linearizable histories with crashes or suspensions, {} given up, {} partitions cut; \
         {} outcomes unknown, {} unreachable",
        totals.histories, totals.given_up, totals.cut, totals.unknown, totals.unreachable,
    );
    let settled = &totals.settled_ms;
    let at = |percent: usize| settled.get((settled.len().max(1) - 1) * percent / 100);
    println!(
        "settled after the last fault: p50 {:?} p99 {:?} max {:?} ms; nodes: {:?}",
        at(50),
        at(99),
        at(100),
        totals.by_nodes,
    );
    for (fault, count) in &totals.faults {
        println!("{count:>10} {fault}");
    }
    for (seed, violation) in &totals.failed {
        println!(
            "\nseed {seed}: {violation}\n\
             replay: cargo cluster --seed {seed}{plain}{unbiased} --trace"
        );
    }
    println!("{} seeds failed", totals.failed.len());
}
