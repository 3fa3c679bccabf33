//! Which program is under test, where it is, over which runtime it runs, and on how many nodes.
//!
//! Decides what the environment asks for, how the program is found and that it is fresh. Refuses
//! to know its flags, but for the one that names the runtime.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The program under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The real one.
    Zufar,
    /// memcached, for the cases that any memcached answers alike.
    Memcached,
}

impl Program {
    /// What the environment asks for.
    ///
    /// # Panics
    /// If `ZUFAR_STAND_IN` names a program that is no stand-in.
    #[must_use]
    pub fn under_test() -> Self {
        match std::env::var("ZUFAR_STAND_IN") {
            Err(_) => Self::Zufar,
            Ok(name) if name == "memcached" => Self::Memcached,
            Ok(name) => panic!("ZUFAR_STAND_IN={name}: the only stand-in is memcached"),
        }
    }

    /// Whether a stand-in is asked for, which can't do what only Zufar does.
    #[must_use]
    pub fn is_stand_in() -> bool {
        Self::under_test() == Self::Memcached
    }
}

/// The repository's root: where cargo runs this, for what it has built may come from another checkout
/// that shares the target directory.
#[must_use]
pub fn repository() -> PathBuf {
    let running = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let tests = running.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    tests.parent().unwrap_or(&tests).to_path_buf()
}

/// The built `zufar`.
///
/// # Panics
/// If it isn't built or is older than one of its sources.
#[must_use]
pub fn zufar() -> PathBuf {
    if let Some(named) = std::env::var_os("ZUFAR_BIN") {
        let path = PathBuf::from(named);
        assert!(path.is_file(), "ZUFAR_BIN names no file: {path:?}");
        return path;
    }
    let this = std::env::current_exe().expect("a test has an executable");
    let profile = this
        .ancestors()
        .nth(2)
        .expect("test executables are in target/PROFILE/deps");
    let path = profile.join("zufar");
    assert!(
        path.is_file(),
        "{path:?} isn't built: run `cargo build --release --workspace` first, or scripts/test"
    );
    if let Some(newer) = newer_source(&path) {
        panic!("{path:?} is older than {newer}: run `cargo build --release --workspace` first");
    }
    path
}

/// The runtimes that the program offers, in its order. Nobody but the program lists them.
///
/// # Panics
/// If its help does not list them.
#[must_use]
pub fn runtimes() -> &'static [String] {
    static RUNTIMES: OnceLock<Vec<String>> = OnceLock::new();
    RUNTIMES.get_or_init(|| {
        let output = Command::new(zufar())
            .args(["serve", "--help"])
            .output()
            .expect("the program can be run");
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        let listed = listed_runtimes(&help);
        assert!(!listed.is_empty(), "the help lists no runtimes:\n{help}");
        listed
    })
}

/// The possible values of `--runtime` in `help`: lines such as `- mio: Our own event loop`.
fn listed_runtimes(help: &str) -> Vec<String> {
    let flag = |line: &&str| line.trim_start().starts_with("--runtime ");
    let after = help.lines().skip_while(|line| !flag(line)).skip(1);
    // Values start with a dash and a space, flags with a dash and a letter, or two dashes.
    let next_flag = |line: &&str| {
        let line = line.trim_start();
        line.starts_with('-') && !line.starts_with("- ")
    };
    let of_this_flag = after.take_while(|line| !next_flag(line));
    of_this_flag
        .filter_map(|line| line.trim_start().strip_prefix("- "))
        .filter_map(|value| value.split(':').next())
        .map(|name| name.trim_end().to_owned())
        .collect()
}

/// The runtime under test: what `ZUFAR_RUNTIME` names, else the program's first. Of several it is
/// that of the node that a test talks to.
///
/// # Panics
/// If the program does not offer it.
#[must_use]
pub fn runtime() -> String {
    runtime_of(0)
}

/// The runtime of the node of this number in its cluster; a list in `ZUFAR_RUNTIME` is gone
/// through again and again. `mixed` is all that the program offers.
///
/// # Panics
/// If the program does not offer it.
#[must_use]
pub fn runtime_of(number: usize) -> String {
    let offered = runtimes();
    let named: Vec<String> = match std::env::var("ZUFAR_RUNTIME") {
        Err(_) => vec![offered[0].clone()],
        Ok(text) if text == "mixed" => offered.to_vec(),
        Ok(text) => text.split(',').map(str::to_owned).collect(),
    };
    for name in &named {
        assert!(
            offered.contains(name),
            "ZUFAR_RUNTIME={}: the program offers {offered:?}, and `mixed`",
            named.join(",")
        );
    }
    named[number % named.len()].clone()
}

/// How many nodes there are in place of each lone one that a test starts: what `ZUFAR_CLUSTER`
/// says, else 1. See [`crate::companions`].
///
/// # Panics
/// If it is no number from 1 to 7, or a stand-in is asked for, too.
#[must_use]
pub fn nodes_in_place_of_one() -> usize {
    let Ok(text) = std::env::var("ZUFAR_CLUSTER") else {
        return 1;
    };
    let count = text.parse().ok().filter(|count| (1..=7).contains(count));
    let count = count.unwrap_or_else(|| panic!("ZUFAR_CLUSTER={text}: 1 to 7 nodes"));
    assert!(
        count == 1 || !Program::is_stand_in(),
        "ZUFAR_CLUSTER and ZUFAR_STAND_IN: memcached has no companions"
    );
    count
}

/// The memcached of this machine, if it has one.
#[must_use]
pub fn memcached() -> Option<PathBuf> {
    ["/usr/bin/memcached", "/usr/local/bin/memcached"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

/// A source of `program` that has changed after it was built, as cargo's own list has it.
fn newer_source(program: &Path) -> Option<String> {
    let built = changed(program)?;
    let list = fs::read_to_string(program.with_extension("d")).ok()?;
    let (_, sources) = list.split_once(": ")?;
    sources
        .split_whitespace()
        .find(|source| changed(Path::new(source)).is_some_and(|at| at > built))
        .map(str::to_owned)
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_read_from_the_help() {
        let help = "Options:\n      --runtime <RUNTIME>\n          The event loop\n\n          \
                    Possible values:\n          - mio:  Our own\n          - smol: Tasks\n\n  \
                    -l, --listen <ADDR>\n          - not this\n      --port\n          - nor: this\n";
        assert_eq!(listed_runtimes(help), ["mio", "smol"]);
        assert!(listed_runtimes("Options:\n").is_empty());
    }
}
