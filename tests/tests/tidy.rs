//! The house rules that a machine can check: what sources may name, and how long they may be.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use zufar_tests::program::repository;

const FILE_LINES_MAX: usize = 800;
/// Tests in the file they test, up to here; beyond that they get a file of their own.
const INLINE_TEST_LINES_MAX: usize = 150;
const FOLDERS: &[&str] = &[
    "core",
    "runtime-mio",
    "runtime-smol",
    "cli",
    "tests",
    "fuzz",
];

struct Source {
    name: String,
    text: String,
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = repository();
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &mut paths);
    }
    paths.sort();
    let sources: Vec<Source> = paths
        .iter()
        .map(|path| Source {
            name: path
                .strip_prefix(&root)
                .unwrap_or(path)
                .display()
                .to_string(),
            text: fs::read_to_string(path).expect("a source is text"),
        })
        .collect();
    assert!(sources.len() >= 10, "no sources below {root:?}");
    sources
}

fn is_test(source: &Source) -> bool {
    source.name.starts_with("tests/")
        || source.name.contains("/tests/")
        || source.name.ends_with("/tests.rs")
        || source.name.ends_with("_tests.rs")
}

/// The lines before the inline tests, with their numbers.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.text.lines().enumerate();
    lines
        .take_while(|(_, line)| *line != "mod tests {")
        .map(|(number, line)| (number + 1, line))
}

fn holds_word(line: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn verdict(what: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{what}:\n{}", offenders.join("\n"));
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources(FOLDERS)
        .iter()
        .map(|source| (source.text.lines().count(), &source.name))
        .filter(|(lines, _)| *lines >= FILE_LINES_MAX)
        .map(|(lines, name)| format!("{name}: {lines} lines"))
        .collect();
    verdict("files of 800 lines or more", &long);
}

#[test]
fn long_tests_have_a_file_of_their_own() {
    let long: Vec<String> = sources(FOLDERS)
        .iter()
        .filter_map(|source| {
            let (_, tests) = source.text.split_once("\nmod tests {\n")?;
            let lines = tests.lines().count();
            (lines > INLINE_TEST_LINES_MAX).then(|| format!("{}: {lines} lines", source.name))
        })
        .collect();
    verdict("inline tests of more than 150 lines", &long);
}

#[test]
fn every_module_says_what_it_decides() {
    let silent: Vec<String> = sources(FOLDERS)
        .iter()
        .filter(|source| !is_test(source) && !source.text.starts_with("//! "))
        .map(|source| source.name.clone())
        .collect();
    verdict("files that do not open with their purpose", &silent);
}

#[test]
fn the_core_names_no_clock_no_entropy_and_no_io() {
    let banned = [
        "std",
        "Instant",
        "SystemTime",
        "println",
        "eprintln",
        "print",
        "eprint",
        "thread_rng",
        "getrandom",
        "HashMap",
        "HashSet",
        "RandomState",
    ];
    let mut offenders = Vec::new();
    for source in sources(&["core/src"])
        .iter()
        .filter(|source| !is_test(source))
    {
        for (number, line) in code(source) {
            let line = line.split("//").next().unwrap_or_default();
            for word in banned {
                if holds_word(line, word) {
                    offenders.push(format!("{}:{number}: {word}", source.name));
                }
            }
        }
    }
    verdict("named in core", &offenders);
    let root = repository().join("core/src/lib.rs");
    let root = fs::read_to_string(root).expect("core has a root");
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(
            root.contains(attribute),
            "core/src/lib.rs lacks {attribute}"
        );
    }
}

#[test]
fn nothing_is_left_unfinished() {
    // Spelled in halves, so that this file does not find itself.
    let banned = [
        ("to", "do!"),
        ("unimple", "mented!"),
        ("db", "g!"),
        ("FIX", "ME"),
        ("XX", "X"),
        ("#[ign", "ore"),
        ("TO", "DO"),
    ]
    .map(|(first, second)| format!("{first}{second}"));
    let mut offenders = Vec::new();
    for source in sources(FOLDERS) {
        for (number, line) in source.text.lines().enumerate() {
            for word in &banned {
                if line.contains(word.as_str()) {
                    offenders.push(format!("{}:{}: {word}", source.name, number + 1));
                }
            }
        }
    }
    verdict("left unfinished", &offenders);
}

#[test]
fn only_storage_names_rocksdb_and_only_drivers_name_their_runtime() {
    let rules = [
        ("rocksdb", "cli/storage/"),
        ("mio", "runtime-mio/"),
        ("smol", "runtime-smol/"),
    ];
    let mut offenders = Vec::new();
    for source in sources(&["core", "runtime-mio", "runtime-smol", "cli"]) {
        for (krate, home) in rules {
            let path = format!("{krate}::");
            let named = code(&source).find(|(_, line)| {
                let line = line.split("//").next().unwrap_or_default();
                line.contains(&path) && holds_word(line, krate)
            });
            if let Some((number, _)) = named
                && !source.name.starts_with(home)
            {
                offenders.push(format!("{}:{number}: {krate}", source.name));
            }
        }
    }
    verdict("named outside of their folder", &offenders);
}

/// Drivers move bytes; they never look into requests.
#[test]
fn drivers_do_not_know_the_protocol() {
    let mut offenders = Vec::new();
    for source in sources(&["core/host/src", "runtime-mio/src", "runtime-smol/src"])
        .iter()
        .filter(|source| !is_test(source))
    {
        for (number, line) in code(source) {
            if line.contains("zufar_core::protocol") || line.contains("zufar_core::command") {
                offenders.push(format!("{}:{number}", source.name));
            }
        }
    }
    verdict("drivers that name the protocol", &offenders);
}

/// A name that is part of another one would leave that out, too.
#[test]
fn what_is_left_out_beside_companions_is_there_once() {
    let list = fs::read_to_string(repository().join("tests/alone.txt")).expect("the list is there");
    let sources = sources(&["tests/tests"]);
    let lines = sources.iter().flat_map(|source| source.text.lines());
    let functions: Vec<&str> = lines.filter_map(|line| line.strip_prefix("fn ")).collect();
    let wrong: Vec<String> = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(": ").map_or(line, |(name, _)| name))
        .filter(|name| functions.iter().filter(|it| it.contains(name)).count() != 1)
        .map(str::to_owned)
        .collect();
    verdict("tests/alone.txt: not the name of one test", &wrong);
}
