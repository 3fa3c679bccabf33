//! `cargo sim`: runs seeds and says what came of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use zufar_simulator::run::run_script;
use zufar_simulator::sweep::{Totals, checked, sweep};

/// Runs the node on virtual time, with clients, faults and checks that a seed decides.
#[derive(Parser)]
#[command(name = "cargo sim")]
struct Arguments {
    /// Replay this one seed, and show what it has drawn
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Replay what the fuzz target `simulating` did with the bytes in this file
    #[arg(long, conflicts_with_all = ["seed", "seeds"])]
    input: Option<PathBuf>,
    /// Run so many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Begin with this one
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Stop after so many seeds that fail
    #[arg(long, default_value_t = 3)]
    failures: usize,
    /// With --seed or --input: print every event
    #[arg(long)]
    trace: bool,
    /// Run each seed once, without seeing whether a second run is the same
    #[arg(long)]
    once: bool,
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
        let all = zufar_core::planted::Bug::ALL;
        let Some((_, bug)) = all.iter().find(|(name, _)| name == wanted) else {
            println!("the bugs are {:?}", all.map(|(name, _)| name));
            return ExitCode::FAILURE;
        };
        zufar_core::planted::plant(Some(*bug));
    }
    if let Some(input) = &arguments.input {
        return replay(input, arguments.trace);
    }
    let began = Instant::now();
    let totals = match arguments.seed {
        Some(seed) => {
            let report = checked(seed, arguments.trace, arguments.once);
            println!("{:#?}", report.plan);
            println!("trace {:016x}", report.hash);
            let mut totals = Totals::default();
            totals.add(seed, report);
            totals
        }
        None => sweep(
            arguments.first..arguments.first + arguments.seeds,
            arguments.once,
            arguments.failures,
        ),
    };
    println!(
        "{} seeds, {} events, {} commands checked, {} s of virtual time in {:.1} s",
        totals.seeds,
        totals.events,
        totals.commands,
        totals.virtual_ms / 1000,
        began.elapsed().as_secs_f64(),
    );
    if totals.given_up > 0 {
        println!(
            "{} keys had too many explanations to follow",
            totals.given_up
        );
    }
    for (fault, count) in &totals.faults {
        println!("{count:>10} {fault}");
    }
    for (seed, violation) in &totals.failed {
        println!("\nseed {seed}: {violation}\nreplay: cargo sim --seed {seed} --trace");
    }
    println!("{} seeds failed", totals.failed.len());
    if totals.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[allow(clippy::print_stdout)] // It is a program.
fn replay(input: &Path, told: bool) -> ExitCode {
    let script = match std::fs::read(input) {
        Ok(script) => script,
        Err(error) => {
            println!("{}: {error}", input.display());
            return ExitCode::FAILURE;
        }
    };
    let report = run_script(&script, told);
    println!("{:#?}", report.plan);
    println!("{} events, {} commands", report.events, report.commands);
    match report.violation {
        Some(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
