//! One batch on one connection to each of the two servers.
//!
//! Decides how bytes are cut into writes, that both servers have them before either is read, and
//! which answer belongs to which request. Refuses to judge answers.

use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::Duration;

use crate::random::Random;
use crate::{Client, Node};

use super::answer::{self, Answer};
use super::ledger::Ledger;
use super::request::{Batch, Cuts, Request, Silence};
use super::{Pair, Side};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many bytes always fit the buffers between client and server; more are written by threads
/// of their own, so that they can't block what reads the answers.
const BUFFERED_BYTES_MAX: usize = 32 * 1024;

/// A failed conversation with one of the servers.
#[derive(Debug)]
pub(super) struct Broken {
    /// The request that was waiting for its answer.
    pub(super) request: usize,
    pub(super) side: Side,
    pub(super) error: io::Error,
}

/// A connection to each of the two.
#[derive(Debug)]
pub(super) struct Connection {
    memcached: Client,
    zufar: Client,
}

/// The answers of both to every request of a batch.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) memcached: Vec<Answer>,
    pub(super) zufar: Vec<Answer>,
    /// Writes that the batch was cut into.
    pub(super) writes: u64,
}

impl Connection {
    pub(super) fn open(pair: &Pair) -> Self {
        let client = |node: &Node| {
            let mut client = node.client();
            client.set_patience(PATIENCE);
            client
        };
        Self {
            memcached: client(&pair.memcached),
            zufar: client(&pair.zufar),
        }
    }

    /// Sends a batch to both and reads what they answer.
    pub(super) fn exchange(&mut self, batch: &Batch, ledger: &Ledger) -> Result<Answers, Broken> {
        let one = Writes::new(batch, Side::Memcached, ledger);
        let two = Writes::new(batch, Side::Zufar, ledger);
        let writes = one.count();
        let broken = |side| {
            move |error| Broken {
                request: 0,
                side,
                error,
            }
        };
        if one.bytes.len() + two.bytes.len() <= BUFFERED_BYTES_MAX {
            let sent =
                |client: &mut Client, writes: &Writes| writes.each(|part| client.try_send(part));
            sent(&mut self.memcached, &one).map_err(broken(Side::Memcached))?;
            sent(&mut self.zufar, &two).map_err(broken(Side::Zufar))?;
            return self.read(batch, writes);
        }
        let mut one_writer = self.memcached.writer().map_err(broken(Side::Memcached))?;
        let mut two_writer = self.zufar.writer().map_err(broken(Side::Zufar))?;
        thread::scope(|scope| {
            let one = scope.spawn(move || one.each(|part| one_writer.write_all(part)));
            let two = scope.spawn(move || two.each(|part| two_writer.write_all(part)));
            let answers = self.read(batch, writes);
            for (writer, side) in [(one, Side::Memcached), (two, Side::Zufar)] {
                let sent = writer.join().expect("a writer does not panic");
                // A failed conversation has been told already, and may be why this one failed.
                if answers.is_ok() {
                    sent.map_err(broken(side))?;
                }
            }
            answers
        })
    }

    fn read(&mut self, batch: &Batch, writes: u64) -> Result<Answers, Broken> {
        let told = |side| {
            move |(request, error)| Broken {
                request,
                side,
                error,
            }
        };
        Ok(Answers {
            memcached: read_all(&mut self.memcached, batch).map_err(told(Side::Memcached))?,
            zufar: read_all(&mut self.zufar, batch).map_err(told(Side::Zufar))?,
            writes,
        })
    }

    /// What both count.
    pub(super) fn stats(&mut self) -> Result<[Vec<(String, String)>; 2], Broken> {
        let told = |side| {
            move |error| Broken {
                request: 0,
                side,
                error,
            }
        };
        Ok([
            self.memcached
                .try_stats("")
                .map_err(told(Side::Memcached))?,
            self.zufar.try_stats("").map_err(told(Side::Zufar))?,
        ])
    }
}

/// Reads an answer for every request of a batch, and the end if the client has quit.
fn read_all(client: &mut Client, batch: &Batch) -> Result<Vec<Answer>, (usize, io::Error)> {
    let mut answers: Vec<Answer> = Vec::with_capacity(batch.requests.len());
    let mut run: Vec<&Request> = Vec::new();
    for (at, request) in batch.requests.iter().enumerate() {
        let told = |error| (at, error);
        if request.silence != Silence::Never {
            run.push(request);
        } else if request.fence {
            answers.extend(answer::read_run(client, &run).map_err(told)?);
            answers.push(Answer::default());
            run.clear();
        } else {
            answers.push(answer::read(client).map_err(told)?);
        }
    }
    if batch.quits {
        read_end(client).map_err(|error| (batch.requests.len() - 1, error))?;
    }
    Ok(answers)
}

fn read_end(client: &mut Client) -> io::Result<()> {
    match client.try_bytes(1) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("more than the answers has come")),
    }
}

/// The bytes of a batch and where they are cut.
struct Writes {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Writes {
    fn new(batch: &Batch, side: Side, ledger: &Ledger) -> Self {
        let mut bytes = Vec::new();
        for request in &batch.requests {
            bytes.extend_from_slice(&request.bytes(side, ledger));
        }
        if batch.quits {
            bytes.extend_from_slice(b"quit\r\n");
        }
        let ends = ends(bytes.len(), batch.cuts);
        Self { bytes, ends }
    }

    fn count(&self) -> u64 {
        self.ends.len() as u64
    }

    fn each(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut start = 0;
        for &end in &self.ends {
            write(&self.bytes[start..end])?;
            start = end;
        }
        Ok(())
    }
}

/// Where the writes of so many bytes end, in order.
fn ends(bytes: usize, cuts: Cuts) -> Vec<usize> {
    let mut ends: Vec<usize> = match cuts {
        Cuts::Whole => Vec::new(),
        Cuts::Every => (1..bytes).collect(),
        Cuts::Some { count, seed } => {
            let mut random = Random::new(seed);
            let mut any = || 1 + random.below(bytes as u64) as usize;
            (0..count).map(|_| any()).collect()
        }
    };
    ends.push(bytes);
    ends.sort_unstable();
    ends.dedup();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_cover_all_bytes_once() {
        let some = Cuts::Some { count: 9, seed: 4 };
        for cuts in [Cuts::Whole, Cuts::Every, some] {
            for bytes in [1, 2, 50] {
                let ends = ends(bytes, cuts);
                assert_eq!(ends.last(), Some(&bytes));
                assert!(ends.is_sorted_by(|one, two| one < two));
                assert!(ends[0] > 0);
            }
        }
        assert_eq!(ends(5, Cuts::Every).len(), 5);
        assert!(ends(1000, some).len() > 5);
    }
}
