//! `cargo sim`: runs seeds and says what came of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use clap::Parser;
use zufar_simulator::Random;
use zufar_simulator::run::{Report, run};

/// Runs the node on virtual time, with clients, faults and checks that a seed decides.
#[derive(Parser)]
#[command(name = "cargo sim")]
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
    failures: u64,
    /// With --seed: print every event
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run each seed once, without seeing whether a second run is the same
    #[arg(long)]
    once: bool,
    /// Break the core in this way first, to see whether it is found
    #[cfg(feature = "planted")]
    #[arg(long)]
    bug: Option<String>,
}

/// What came of many seeds.
#[derive(Default)]
struct Totals {
    seeds: u64,
    events: u64,
    commands: u64,
    given_up: u64,
    virtual_ms: u64,
    faults: BTreeMap<&'static str, u64>,
    failed: Vec<(u64, String)>,
}

impl Totals {
    fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.commands += report.commands;
        self.given_up += report.given_up;
        self.virtual_ms += report.virtual_ms;
        for (fault, count) in report.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        if let Some(violation) = report.violation {
            self.failed.push((seed, violation));
        }
    }
}

#[allow(clippy::print_stdout)] // It is a program.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "planted")]
    if let Some(name) = &arguments.bug
        && !zufar_core::planted::plant(name)
    {
        println!("there is no bug {name}: {:?}", zufar_core::planted::NAMES);
        return ExitCode::FAILURE;
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
        None => many(&arguments),
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

/// Runs a range of seeds on all cores.
fn many(arguments: &Arguments) -> Totals {
    let seeds: Range<u64> = arguments.first..arguments.first + arguments.seeds;
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Totals::default());
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = checked(seed, false, arguments.once);
                    let mut totals = totals.lock().expect("no thread panics with it");
                    totals.add(seed, report);
                    if totals.failed.len() as u64 >= arguments.failures {
                        next.store(seeds.end, Relaxed);
                    }
                }
            });
        }
    });
    let mut totals = totals.into_inner().expect("no thread panics with it");
    totals.failed.sort();
    totals
}

/// Runs a seed, twice unless told otherwise: both must be the same.
fn checked(seed: u64, told: bool, once: bool) -> Report {
    let first = one(seed, told);
    if once || first.violation.is_some() {
        return first;
    }
    let second = one(seed, false);
    if first.hash == second.hash {
        return first;
    }
    let differs = format!("two runs differ: {:016x}, {:016x}", first.hash, second.hash);
    Report {
        violation: Some(differs),
        ..first
    }
}

/// Runs a seed; a panic is a violation, too.
fn one(seed: u64, told: bool) -> Report {
    catch_unwind(AssertUnwindSafe(|| run(Random::new(seed), told))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Report::of_panic(seed, text.unwrap_or("no words"))
    })
}
