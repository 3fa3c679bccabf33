//! Transcripts: what memcached 1.6.45 answers, byte by byte.
#![allow(missing_docs)]

use zufar_tests::program::{self, Program};
use zufar_tests::transcript::{Dialect, Pace, Section, parse};
use zufar_tests::{Node, NodeOptions};

const CLASSIC: &str = include_str!("../transcripts/classic.txt");
const META: &str = include_str!("../transcripts/meta.txt");
const LOCATED: &str = include_str!("../transcripts/located.txt");

/// Plays the sections of `text` that `answers` says the program gives.
fn play(text: &str, node: NodeOptions, pace: Pace, answers: impl Fn(&Section) -> bool) {
    let node = node.start();
    let sections: Vec<Section> = parse(text).into_iter().filter(answers).collect();
    assert!(sections.len() > 2, "nothing to play");
    let mut failures = Vec::new();
    for section in &sections {
        let mut client = node.client();
        client.set_patience(std::time::Duration::from_secs(20));
        if let Err(failure) = section.play(&mut client, pace) {
            failures.push(failure);
        }
    }
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} of {} sections differ ({pace:?}):\n{}",
        sections.len(),
        failures.join("\n")
    );
}

/// All of it for Zufar; a stand-in is an older memcached.
fn known(section: &Section) -> bool {
    !Program::is_stand_in() || section.dialect == Dialect::Every
}

#[test]
fn classic_step_by_step() {
    play(CLASSIC, Node::options().no_disk(), Pace::Steps, known);
}

#[test]
fn classic_step_by_step_with_a_disk_and_one_thread() {
    play(CLASSIC, Node::options().threads(1), Pace::Steps, known);
}

#[test]
fn classic_pipelined() {
    play(CLASSIC, Node::options(), Pace::Pipelined, known);
}

#[test]
fn classic_byte_by_byte() {
    play(CLASSIC, Node::options().no_disk(), Pace::Bytes, known);
}

#[test]
fn meta_step_by_step() {
    play(META, Node::options(), Pace::Steps, known);
}

#[test]
fn meta_pipelined() {
    play(META, Node::options().no_disk(), Pace::Pipelined, known);
}

#[test]
fn meta_byte_by_byte() {
    play(META, Node::options(), Pace::Bytes, known);
}

#[test]
fn located_commands_at_every_pace() {
    if Program::is_stand_in() {
        return;
    }
    // In a cluster it is whichever node has the key; `nodes/located.rs` of the simulator checks
    // that all name the same one.
    let located = match program::nodes_in_place_of_one() {
        1 => LOCATED.to_owned(),
        _ => LOCATED.replace("node-7 in", "node-{_} in"),
    };
    for pace in [Pace::Steps, Pace::Pipelined, Pace::Bytes] {
        play(&located, Node::options(), pace, known);
    }
}

/// The transcripts are what a live memcached answers, as far as the one of this machine is new
/// enough: a check of the transcripts, not of Zufar.
#[test]
fn a_live_memcached_answers_the_same() {
    assert!(
        program::memcached().is_some(),
        "memcached isn't installed: scripts/test installs it"
    );
    let every = |section: &Section| section.dialect == Dialect::Every;
    let node = || Node::options().program(Program::Memcached);
    play(CLASSIC, node(), Pace::Steps, every);
    play(META, node(), Pace::Pipelined, every);
}
