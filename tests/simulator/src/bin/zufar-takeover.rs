//! Runs seeds of the replication protocol's simulation and says what came of them.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use zufar_simulator::takeover::{Totals, one, sweep};

/// Runs the replication protocol on virtual time, with clients, faults and checks that a seed
/// decides.
#[derive(Parser)]
#[command(name = "zufar-takeover")]
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
    /// With --seed: print every event
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run each seed twice: both must be the same
    #[arg(long)]
    twice: bool,
    /// Break the protocol in this way first, to see whether it is found
    #[cfg(feature = "planted")]
    #[arg(long)]
    bug: Option<String>,
}

#[allow(clippy::print_stdout)] // It is a program.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "planted")]
    if let Some(wanted) = &arguments.bug {
        use zufar_core::replication::planted::{Bug, plant};
        let Some((_, bug)) = Bug::ALL.iter().find(|(name, _)| name == wanted) else {
            println!("the bugs are {:?}", Bug::ALL.map(|(name, _)| name));
            return ExitCode::FAILURE;
        };
        plant(Some(*bug));
    }
    let began = Instant::now();
    if let Some(seed) = arguments.seed {
        let report = one(seed, arguments.trace, arguments.twice);
        println!("{report:#?}");
        let fine = report.is_ok_and(|report| report.violation.or(report.stuck).is_none());
        return if fine {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let seeds = arguments.first..arguments.first + arguments.seeds;
    let totals = sweep(seeds, arguments.twice, arguments.failures);
    tell(&totals, began.elapsed().as_secs_f64());
    if totals.failed.is_empty() && totals.stuck.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[allow(clippy::print_stdout)] // It is a program.
fn tell(totals: &Totals, seconds: f64) {
    println!(
        "{} seeds, {} events, {} operations answered, {} unknown, {} linearizable histories with \
         crashes or pauses, {} given up, in {seconds:.1} s",
        totals.seeds,
        totals.events,
        totals.known,
        totals.unknown,
        totals.histories,
        totals.given_up,
    );
    for (name, count) in totals.faults.iter().chain(&totals.figures) {
        println!("{count:>10} {name}");
    }
    for (seed, violation) in totals.failed.iter().chain(&totals.stuck) {
        println!("\nseed {seed}: {violation}\nreplay: zufar-takeover --seed {seed} --trace");
    }
    println!(
        "{} seeds failed, {} got stuck",
        totals.failed.len(),
        totals.stuck.len()
    );
}
