//! Which program is under test, and where it is.
//!
//! Decides how it is found and that it is fresh. Refuses to know its flags.

use std::fs;
use std::path::{Path, PathBuf};
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

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
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
