//! What the workspace depends on: licences, sources, bans (deny.toml), and a core that brings in
//! no std, no entropy and no clock.
//!
//! `cargo deny check bans licenses sources` reads the same deny.toml; this test needs no tool
//! that takes minutes to build.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;
use zufar_tests::program::repository;

/// All that the core may bring into a program, itself included.
const CORE_BRINGS: &[&str] = &[
    "base64",
    "bytes",
    "foca",
    "itoa",
    "memchr",
    "nom",
    "rand",
    "rand_core",
    "xxhash-rust",
    "zufar-core",
];

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(repository())
        .args(arguments)
        .output()
        .expect("cargo can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("cargo prints text")
}

/// The platform that is built for: nothing else needs to have been downloaded.
fn host() -> String {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .expect("rustc can be run");
    let text = String::from_utf8(output.stdout).expect("rustc prints text");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc knows its host").to_owned()
}

fn packages() -> Vec<Value> {
    let text = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--offline",
        "--filter-platform",
        &host(),
    ]);
    let mut metadata: Value = serde_json::from_str(&text).expect("cargo prints JSON");
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("packages are {other}"),
    }
}

fn rules() -> toml::Table {
    let text = fs::read_to_string(repository().join("deny.toml")).expect("deny.toml is there");
    text.parse().expect("deny.toml is TOML")
}

fn words<'a>(table: &'a toml::Table, section: &str, key: &str) -> BTreeSet<&'a str> {
    let list = table[section][key].as_array().expect("a list");
    list.iter()
        .map(|word| {
            let name = word
                .get("crate")
                .or_else(|| word.get("name"))
                .unwrap_or(word);
            name.as_str().expect("a word")
        })
        .collect()
}

/// Whether an SPDX expression can be met with the allowed licences.
fn allowed(expression: &str, licences: &BTreeSet<&str>) -> bool {
    // An older notation for OR; no licence has a slash in its name.
    let text = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let (met, rest) = either(&words, licences);
    assert!(rest.is_empty(), "{expression} is no licence expression");
    met
}

fn either<'a>(words: &'a [&'a str], licences: &BTreeSet<&str>) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = both(words, licences);
    while let ["OR", after @ ..] = rest {
        let (other, after) = both(after, licences);
        met |= other;
        rest = after;
    }
    (met, rest)
}

fn both<'a>(words: &'a [&'a str], licences: &BTreeSet<&str>) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = one(words, licences);
    while let ["AND", after @ ..] = rest {
        let (other, after) = one(after, licences);
        met &= other;
        rest = after;
    }
    (met, rest)
}

fn one<'a>(words: &'a [&'a str], licences: &BTreeSet<&str>) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inside @ ..] => {
            let (met, rest) = either(inside, licences);
            let [")", rest @ ..] = rest else {
                panic!("a parenthesis stays open: {words:?}");
            };
            (met, rest)
        }
        [licence, "WITH", exception, rest @ ..] => {
            let name = format!("{licence} WITH {exception}");
            (licences.contains(&*name), rest)
        }
        [licence, rest @ ..] => (licences.contains(licence), rest),
        [] => panic!("a licence is missing"),
    }
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    let licences = BTreeSet::from(["MIT", "Apache-2.0", "BSD-3-Clause"]);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND BSD-3-Clause", true),
        ("GPL-3.0 OR (MIT AND Zlib)", false),
        ("Apache-2.0 WITH LLVM-exception", false),
    ] {
        assert_eq!(allowed(expression, &licences), met, "{expression}");
    }
}

#[test]
fn licences_are_allowed() {
    let rules = rules();
    let licences = words(&rules, "licenses", "allow");
    let offenders: Vec<String> = packages()
        .iter()
        .filter(|package| {
            let licence = package["license"].as_str();
            !licence.is_some_and(|licence| allowed(licence, &licences))
        })
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[test]
fn all_comes_from_the_registry() {
    let rules = rules();
    let registries = words(&rules, "sources", "allow-registry");
    let offenders: Vec<String> = packages()
        .iter()
        .filter(|package| {
            let source = package["source"].as_str();
            let url = source.map(|source| source.trim_start_matches("registry+"));
            url.is_some_and(|url| !registries.contains(url))
        })
        .map(|package| format!("{}: {}", package["name"], package["source"]))
        .collect();
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[test]
fn banned_crates_stay_out() {
    let rules = rules();
    let banned = words(&rules, "bans", "deny");
    assert!(!banned.is_empty());
    let offenders: Vec<String> = packages()
        .iter()
        .filter(|package| banned.contains(package["name"].as_str().expect("a name")))
        .map(|package| package["name"].to_string())
        .collect();
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

/// The fuzz targets are a workspace of their own, whose lock file says what they bring.
#[test]
fn the_fuzz_targets_bring_nothing_that_is_banned() {
    let rules = rules();
    let banned = words(&rules, "bans", "deny");
    let registries = words(&rules, "sources", "allow-registry");
    let lock = fs::read_to_string(repository().join("fuzz/Cargo.lock")).expect("a lock file");
    let lock: toml::Table = lock.parse().expect("a lock file is TOML");
    let packages = lock["package"].as_array().expect("packages are a list");
    let offenders: Vec<&str> = packages
        .iter()
        .filter(|package| {
            let source = package.get("source").and_then(toml::Value::as_str);
            let url = source.map(|source| source.trim_start_matches("registry+"));
            let name = package["name"].as_str().expect("a name");
            banned.contains(name) || url.is_some_and(|url| !registries.contains(url))
        })
        .map(|package| package["name"].as_str().expect("a name"))
        .collect();
    assert!(offenders.is_empty(), "{offenders:?}");
}

/// What `zufar-core` brings along, with the features that are on.
fn core_tree() -> BTreeMap<String, BTreeSet<String>> {
    let text = cargo(&[
        "tree",
        "--package",
        "zufar-core",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}|{f}",
        "--locked",
        "--offline",
    ]);
    let mut tree: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (package, features) = line.split_once('|').expect("package|features");
        let name = package.split(' ').next().unwrap_or(package);
        let features = features.trim_end_matches(" (*)").split(',');
        let features = features
            .filter(|feature| !feature.is_empty())
            .map(str::to_owned);
        tree.entry(name.to_owned()).or_default().extend(features);
    }
    tree
}

/// A core that can't ask the time or draw entropy: nothing that it is built with could.
#[test]
fn the_core_brings_no_std_no_entropy_and_no_clock() {
    let tree = core_tree();
    assert!(tree.contains_key("zufar-core"), "{tree:?}");
    let known: BTreeSet<&str> = CORE_BRINGS.iter().copied().collect();
    for (name, features) in &tree {
        assert!(known.contains(&**name), "zufar-core brings {name}");
        for feature in ["std", "default", "getrandom", "rand", "js", "wasm-bindgen"] {
            assert!(
                !features.contains(feature),
                "{name} has {feature} on: {features:?}"
            );
        }
    }
}

/// The names above are no promise; their sources are.
#[test]
fn what_the_core_brings_is_no_std_itself() {
    let packages = packages();
    for name in core_tree().keys() {
        let package = packages.iter().find(|package| package["name"] == **name);
        let package = package.unwrap_or_else(|| panic!("{name} is no package"));
        let library = package["targets"]
            .as_array()
            .expect("targets are a list")
            .iter()
            .find(|target| target["kind"].to_string().contains("lib"))
            .expect("a library");
        let root = library["src_path"].as_str().expect("a path");
        let text = fs::read_to_string(root).expect("a source is text");
        // `#![no_std]`, or `#![cfg_attr(not(feature = "std"), no_std)]` and the like.
        let is_no_std = text
            .lines()
            .any(|line| line.starts_with("#![") && line.ends_with("no_std)]"))
            || text.contains("#![no_std]");
        assert!(is_no_std, "{name} is not no_std: {root}");
    }
}
