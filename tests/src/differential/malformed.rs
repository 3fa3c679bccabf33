//! Lines that are no requests, or none that can be carried out.
//!
//! Decides what each must be answered, byte by byte, and whether the connection is closed behind
//! it: this is the table, and memcached 1.6.45 is its source. The memcached of this machine is
//! older, so it can vouch only for the lines whose answers have not changed since.

mod table;

use std::time::Duration;

use crate::client::shown;
use crate::random::Random;
use crate::transcript::unescaped;
use crate::{Client, Node};

pub use table::TABLE;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most lines of one conversation.
const LINES_MAX: u64 = 40;

/// What happens behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request is read.
    Goes,
    /// The server closes the connection.
    Closes,
}

/// Who answers so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// 1.6.18 and 1.6.45.
    Ever,
    /// 1.6.45, and not 1.6.18.
    Recently,
    /// Zufar alone, which has not what these commands govern, or speaks no binary.
    Zufar,
}

/// A line of the table. Both texts have the escapes of transcripts.
#[derive(Clone, Copy, Debug)]
pub struct Malformed {
    /// What is sent, line ends and data included.
    pub sent: &'static str,
    /// The whole answer.
    pub answer: &'static str,
    /// What happens then.
    pub then: Then,
    /// Who answers so.
    pub since: Since,
}

/// Plays `conversations` of random lines of the table, cut at random places, and counts the
/// lines. The keys that they name are not there.
///
/// # Panics
/// At the first wrong answer.
#[must_use]
pub fn converse(node: &Node, seed: u64, conversations: u32, is_known: fn(Since) -> bool) -> u64 {
    let known: Vec<&Malformed> = TABLE.iter().filter(|line| is_known(line.since)).collect();
    let mut random = Random::new(seed);
    let mut count = 0;
    for _ in 0..conversations {
        let lines = 1 + random.below(LINES_MAX);
        let lines: Vec<&Malformed> = (0..lines).map(|_| random.pick(&known)).collect();
        // Nothing is answered behind a close.
        let closes = |line: &&Malformed| line.then == Then::Closes;
        let upto = lines
            .iter()
            .position(closes)
            .map_or(lines.len(), |at| at + 1);
        converse_once(node, &mut random, &lines[..upto]);
        count += upto as u64;
    }
    count
}

/// Plays each line of the table alone.
///
/// # Panics
/// With all wrong answers.
pub fn each_alone(node: &Node, is_known: fn(Since) -> bool) {
    let mut wrong = Vec::new();
    for line in TABLE.iter().filter(|line| is_known(line.since)) {
        let mut client = connect(node);
        client.send(sent(line));
        if let Err(error) = check(&mut client, line) {
            wrong.push(error);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn connect(node: &Node) -> Client {
    let mut client = node.client();
    client.set_patience(PATIENCE);
    client
}

/// What is sent for one line of the table: behind it a no-op, which shows that what follows is
/// understood as it should be.
fn sent(line: &Malformed) -> Vec<u8> {
    let mut bytes = unescaped(line.sent);
    if line.then == Then::Goes {
        bytes.extend_from_slice(b"mn\r\n");
    }
    bytes
}

fn check(client: &mut Client, line: &Malformed) -> Result<(), String> {
    let told = |found: &str| {
        format!(
            "{}: expected {:?}, then it {:?}, found {found}",
            line.sent, line.answer, line.then
        )
    };
    let mut expected = unescaped(line.answer);
    if line.then == Then::Goes {
        expected.extend_from_slice(b"MN\r\n");
    }
    match client.try_expect(&expected) {
        Ok(None) => {}
        Ok(Some(found)) => return Err(told(&shown(&found))),
        Err(error) => return Err(told(&error.to_string())),
    }
    if line.then == Then::Closes {
        client.expect_end();
    }
    Ok(())
}

fn converse_once(node: &Node, random: &mut Random, lines: &[&Malformed]) {
    let mut client = connect(node);
    let bytes: Vec<u8> = lines.iter().flat_map(|line| sent(line)).collect();
    let mut ends: Vec<usize> = (0..random.below(8))
        .map(|_| 1 + random.below(bytes.len() as u64) as usize)
        .collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    ends.dedup();
    let mut start = 0;
    for end in ends {
        // A server that closes early may refuse the rest; what it said is judged below.
        if client.try_send(&bytes[start..end]).is_err() {
            break;
        }
        start = end;
    }
    for line in lines {
        if let Err(error) = check(&mut client, line) {
            let all: Vec<&str> = lines.iter().map(|line| line.sent).collect();
            panic!("{error}\nin {all:#?}");
        }
    }
}
