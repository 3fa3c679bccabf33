//! Counting instructions under callgrind, for benches of several scenarios.
//!
//! Decides that each scenario runs twice, once for longer, in a process of its own, so that the
//! difference leaves out how it begins. Refuses to know what a scenario does.

use std::process::{Command, ExitCode};

/// The scenario and how often it is to do it, if this process is one of those that are counted.
pub(crate) fn wanted() -> Option<(usize, usize)> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, index, times] = &arguments[..] else {
        return None;
    };
    let number = |word: &String| word.parse().expect("a number");
    (flag == "--run").then(|| (number(index), number(times)))
}

/// Counts those scenarios whose names have the word in them that the command line gives, or all, and
/// has each `shown` with what it takes to do it once. `times` says how often the shorter and the
/// longer run do it.
pub(crate) fn count_all<'a>(
    names: impl Iterator<Item = &'a str>,
    times: [usize; 2],
    shown: impl Fn(usize, u64),
) -> ExitCode {
    let word = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"));
    for (index, name) in names.enumerate() {
        if word
            .as_ref()
            .is_some_and(|word| !name.contains(word.as_str()))
        {
            continue;
        }
        let [Some(shorter), Some(longer)] = times.map(|times| count(index, times)) else {
            println!("valgrind does not run, or counted nothing");
            return ExitCode::FAILURE;
        };
        shown(index, (longer - shorter) / (times[1] - times[0]) as u64);
    }
    ExitCode::SUCCESS
}

/// Instructions of a run of its own.
fn count(index: usize, times: usize) -> Option<u64> {
    let this = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--run".to_owned(), index.to_string(), times.to_string()])
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, counted) = report.rsplit_once("Collected : ")?;
    counted.split_whitespace().next()?.parse().ok()
}
