//! No client can tell the runtimes apart: the same bytes get the same answers from all of them,
//! and what one has written another one serves.
//!
//! Runs over all runtimes at once, whatever `ZUFAR_RUNTIME` says. `ZUFAR_SEED` sets what the
//! random sessions send, `ZUFAR_SESSIONS` how many connections that takes (60).
#![allow(missing_docs)]

use std::collections::BTreeMap;

use zufar_tests::answers::Answers;
use zufar_tests::client::{Rest, shown};
use zufar_tests::program::{self, Program};
use zufar_tests::script::{Cuts, Part, Round, Script, filled};
use zufar_tests::{Node, transcript};

const TRANSCRIPTS: &[&str] = &[
    include_str!("../transcripts/classic.txt"),
    include_str!("../transcripts/meta.txt"),
    include_str!("../transcripts/located.txt"),
];
const VALUE_BYTES_MAX: usize = 1 << 20;

/// A node, and what its answers look like without what may differ.
struct Voice {
    name: String,
    node: Node,
    answers: Answers,
}

impl Voice {
    fn new(runtime: &str, threads: u16, disk: bool) -> Self {
        let options = Node::options().runtime(runtime).threads(threads);
        let options = if disk { options } else { options.no_disk() };
        let disk = if disk { "with" } else { "without" };
        Self {
            name: format!("{runtime}, {threads} threads, {disk} a disk"),
            node: options.start(),
            answers: Answers::default(),
        }
    }

    /// Sends a round on a connection of its own, cut as `seed` has it; returns all that comes
    /// back, normalised.
    fn answer(&mut self, round: &[Part], seed: u64) -> Rest {
        let bytes = filled(round, |key| self.answers.unique_of(key));
        let mut found = answer(&self.node, &bytes, seed);
        if !found.is_whole {
            // Up to the last line that is complete.
            let end = found.bytes.iter().rposition(|&byte| byte == b'\n');
            found.bytes.truncate(end.map_or(0, |end| end + 1));
        }
        // Those of answers that a reset has swallowed would be missing in the count.
        self.answers.forget_names();
        found.bytes = self.answers.normalised(&found.bytes);
        found
    }
}

/// Sends all of `bytes`, and reads until the server has closed.
fn answer(node: &Node, bytes: &[u8], seed: u64) -> Rest {
    let answered = node
        .client()
        .try_converse(|writer| Cuts::new(seed).write(bytes, writer));
    answered.unwrap_or_else(|error| panic!("{}: {error}", shown(bytes)))
}

/// All runtimes, each with one thread and with several, with a disk and without: if the driver
/// shows in an answer, then beside one of these.
fn voices() -> Vec<Voice> {
    let mut voices = Vec::new();
    for (at, runtime) in program::runtimes().iter().enumerate() {
        let first = at % 2 == 0;
        voices.push(Voice::new(runtime, 1, first));
        voices.push(Voice::new(runtime, 3, !first));
    }
    voices
}

/// Two streams of answers, each with its name, are equal.
fn same((one, wanted): (&str, &[u8]), (other, found): (&str, &[u8])) {
    if found == wanted {
        return;
    }
    let alike = found.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let from = alike.saturating_sub(150);
    let (wanted, found) = (shown(&wanted[from..]), shown(&found[from..]));
    panic!("the answers differ from byte {alike} on\n  {one}: {wanted}\n  {other}: {found}");
}

/// Has every node answer `round`, and compares each answer with the longest. Returns how many
/// bytes that has.
fn compare(voices: &mut [Voice], what: &str, round: &[Part], seed: u64) -> usize {
    // The cuts differ, too: they must not show either.
    let seeds = seed..;
    let answers: Vec<(&str, Rest)> = voices
        .iter_mut()
        .zip(seeds)
        .map(|(voice, seed)| {
            let rest = voice.answer(round, seed);
            (voice.name.as_str(), rest)
        })
        .collect();
    let longest = answers.iter().max_by_key(|(_, rest)| rest.bytes.len());
    let (name, longest) = longest.expect("there is a runtime");
    let sent = shown(&filled(round, |_| 1));
    let title = format!("{what}, sent {sent}\n  {name}");
    for (name, found) in &answers {
        let wanted = if found.is_whole {
            &longest.bytes[..]
        } else {
            &longest.bytes[..found.bytes.len()]
        };
        same((&title, wanted), (name, &found.bytes));
    }
    longest.bytes.len()
}

fn number_from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

#[test]
fn transcripts_get_the_same_bytes_from_every_runtime() {
    if Program::is_stand_in() {
        return;
    }
    let mut voices = voices();
    let mut answered = 0;
    for text in TRANSCRIPTS {
        for (at, section) in transcript::parse(text).iter().enumerate() {
            let round = vec![Part::Bytes(section.sent())];
            answered += compare(&mut voices, &section.name, &round, at as u64);
        }
    }
    assert!(answered > 10_000, "only {answered} bytes were answered");
}

/// What commands did, as far as it is counted alike everywhere: when an expired or flushed item
/// is swept depends on the clock, and whether its miss is told apart from others on that.
fn counters(node: &Node) -> BTreeMap<String, u64> {
    let counts = "cmd_ get_hits get_misses delete_ incr_ decr_ cas_ touch_ store_ total_items";
    let stats = node.client().stats("");
    stats
        .into_iter()
        .filter(|(name, _)| counts.split(' ').any(|start| name.starts_with(start)))
        .map(|(name, value)| (name, value.parse().expect("a counter is a number")))
        .collect()
}

#[test]
fn random_sessions_get_the_same_bytes_from_every_runtime() {
    if Program::is_stand_in() {
        return;
    }
    let seed = number_from_environment("ZUFAR_SEED", u64::from(std::process::id()));
    let sessions = number_from_environment("ZUFAR_SESSIONS", 60);
    let mut voices = voices();
    let mut script = Script::new(seed, VALUE_BYTES_MAX);
    let mut answered = 0;
    for at in 0..sessions {
        let round: Round = script.round(200);
        let what = format!("session {at}, ZUFAR_SEED={seed}");
        answered += compare(&mut voices, &what, &round, seed + 10 * at);
        let what = format!("what session {at} left, ZUFAR_SEED={seed}");
        answered += compare(&mut voices, &what, &script.look(), seed + 10 * at + 5);
    }
    assert!(
        answered as u64 > 1000 * sessions,
        "only {answered} bytes were answered"
    );
    let (first, others) = voices.split_first().expect("there is a runtime");
    let wanted = counters(&first.node);
    assert!(wanted["cmd_get"] > sessions, "{wanted:?}");
    for other in others {
        let found = counters(&other.node);
        assert_eq!(
            found, wanted,
            "{} and {}, ZUFAR_SEED={seed}",
            other.name, first.name
        );
    }
}

#[test]
fn what_one_runtime_has_written_every_other_serves() {
    if Program::is_stand_in() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let data = home.path().join("data");
    let mut script = Script::new(7, VALUE_BYTES_MAX);
    // Flags, times and stale marks of all kinds; what the last look has shown, the next shows.
    let rounds: Vec<Round> = (0..10).map(|_| script.round(100)).collect();
    let mut shown_last: Option<Vec<u8>> = None;
    let mut answers = Answers::default();
    let runtimes = program::runtimes();
    // Round the circle and once more, so that the first also follows the last.
    for turn in 0..=runtimes.len() {
        let runtime = &runtimes[turn % runtimes.len()];
        let node = Node::options().runtime(runtime).data_dir(&data);
        let mut node = node.threads(1 + turn as u16).start();
        let look = |node: &Node, answers: &mut Answers| {
            let found = answer(node, &filled(&script.look(), |_| 1), turn as u64);
            answers.normalised(&found.bytes)
        };
        let found = look(&node, &mut answers);
        if let Some(shown_last) = &shown_last {
            let what = format!("{runtime} in turn {turn}");
            same(("before", shown_last), (&what, &found));
        }
        for round in &rounds {
            let bytes = filled(round, |key| answers.unique_of(key));
            answer(&node, &bytes, turn as u64);
        }
        let left = look(&node, &mut answers);
        assert!(left.len() > 500, "nothing was stored: {}", shown(&left));
        shown_last = Some(left);
        if turn % 2 == 0 {
            node.terminate();
        } else {
            node.await_written();
            node.kill_9();
        }
    }
}
