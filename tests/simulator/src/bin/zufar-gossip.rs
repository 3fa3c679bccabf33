//! `cargo gossip`: runs gossip alone on many seeds, or measures it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use zufar_simulator::gossip::detect::{Death, detection_ms, quiet};
use zufar_simulator::gossip::{Plan, Report, run};

/// Runs gossip on virtual time, with faults and checks that a seed decides.
#[derive(Parser)]
#[command(name = "cargo gossip")]
struct Arguments {
    /// Replay this one seed, and show what it has drawn
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds, each twice
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// Begin with this one
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// With --seed: print every event
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Break the core in this way first, to see whether it is found
    #[cfg(feature = "planted")]
    #[arg(long)]
    bug: Option<String>,
    /// Measure how long deaths take to be known, in so many trials for each size
    #[arg(long)]
    detect: Option<u64>,
    /// Let a cluster of so many nodes be for an hour, and show what it says
    #[arg(long)]
    quiet: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "planted")]
    if let Some(wanted) = &arguments.bug {
        let all = zufar_core::planted::Bug::GOSSIP;
        let Some((_, bug)) = all.iter().find(|(name, _)| name == wanted) else {
            tell(&format!("the bugs are {:?}", all.map(|(name, _)| name)));
            return ExitCode::FAILURE;
        };
        zufar_core::planted::plant(Some(*bug));
    }
    if let Some(trials) = arguments.detect {
        measure(trials);
        return ExitCode::SUCCESS;
    }
    if let Some(hosts) = arguments.quiet {
        tell(&format!("{hosts} nodes: {:?}", quiet(hosts, 3_600_000, 1)));
        return ExitCode::SUCCESS;
    }
    match arguments.seed {
        Some(seed) => {
            tell(&format!("{:#?}", Plan::draw(seed)));
            match checked(seed, arguments.trace) {
                Ok(report) => tell(&format!("{report:#?}")),
                Err(what) => {
                    tell(&what);
                    return ExitCode::FAILURE;
                }
            }
            ExitCode::SUCCESS
        }
        None => sweep(arguments.first..arguments.first + arguments.seeds),
    }
}

#[allow(clippy::print_stdout)] // It is a program.
fn tell(line: &str) {
    println!("{line}");
}

fn checked(seed: u64, trace: bool) -> Result<Report, String> {
    let once = |trace| {
        let plan = Plan::draw(seed);
        let result = catch_unwind(AssertUnwindSafe(|| run(&plan, seed, trace)));
        result.unwrap_or_else(|_| Err("an assertion failed".to_owned()))
    };
    let report = once(trace)?;
    match once(false)? == report {
        true => Ok(report),
        false => Err("a second run was another one".to_owned()),
    }
}

fn sweep(seeds: std::ops::Range<u64>) -> ExitCode {
    let began = Instant::now();
    let (mut failed, mut count) = (0, 0);
    let mut heals_ms = Vec::new();
    let mut sum = Report::default();
    for seed in seeds {
        count += 1;
        match checked(seed, false) {
            Ok(report) => {
                heals_ms.push(report.heal_ms);
                sum.events += report.events;
                sum.virtual_ms += report.virtual_ms;
                sum.deaths += report.deaths;
                sum.suspicions += report.suspicions;
                sum.renewals += report.renewals;
                sum.fast_deaths += report.fast_deaths;
                sum.generations_wanted += report.generations_wanted;
                sum.names_lost += report.names_lost;
            }
            Err(what) => {
                failed += 1;
                tell(&format!(
                    "seed {seed}: {what}\nreplay: cargo gossip --seed {seed} --trace"
                ));
            }
        }
    }
    tell(&format!(
        "{count} seeds, {} events, {} s of virtual time in {:.1} s; deaths {}, suspicions {}, \
         renewals {}, fast deaths {}, generations wanted {}, names lost {}",
        sum.events,
        sum.virtual_ms / 1000,
        began.elapsed().as_secs_f64(),
        sum.deaths,
        sum.suspicions,
        sum.renewals,
        sum.fast_deaths,
        sum.generations_wanted,
        sum.names_lost,
    ));
    tell(&format!("healed after {}", percentiles(&mut heals_ms)));
    tell(&format!("{failed} seeds failed"));
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn percentiles(figures: &mut [u64]) -> String {
    figures.sort_unstable();
    let at = |percent: usize| figures.get((figures.len().max(1) - 1) * percent / 100);
    let at = |percent| at(percent).copied().unwrap_or(0);
    format!("p50 {} p99 {} max {} ms", at(50), at(99), at(100))
}

fn measure(trials: u64) {
    for hosts in [2, 3, 5, 7, 10, 30] {
        for death in [Death::Kill, Death::Vanish, Death::Hang] {
            let times = (0..trials).map(|seed| detection_ms(hosts, death, seed));
            let (mut firsts, mut lasts): (Vec<u64>, Vec<u64>) = times.unzip();
            tell(&format!(
                "{hosts:>3} nodes {death:?}: first {}; all {}",
                percentiles(&mut firsts),
                percentiles(&mut lasts),
            ));
        }
    }
}
