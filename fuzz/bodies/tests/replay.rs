//! The corpus, and whatever the fuzzers have found, through the bodies of their targets.
#![allow(clippy::print_stdout, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use zufar_fuzz_bodies::TARGETS;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(kind)
        .join(target)
}

/// The inputs in a folder, in the order of their names.
fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let input = fs::read(&path).expect("an input can be read");
            (path.display().to_string(), input)
        })
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn every_input_passes() {
    for (target, body) in TARGETS {
        let corpus = inputs(&folder("corpus", target));
        assert!(!corpus.is_empty(), "{target} has no corpus");
        for (name, input) in corpus
            .into_iter()
            .chain(inputs(&folder("regressions", target)))
        {
            // Told only if the body panics.
            println!("{name}");
            body(&input);
        }
    }
}
