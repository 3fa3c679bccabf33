//! One stream, played to both servers.
//!
//! Decides the order: a batch is answered by both before the next is sent, on whichever
//! connection, so that there is one order of all requests. Refuses to know what is drawn and how
//! it is compared.

use std::time::{Duration, Instant, SystemTime};

use super::comparison::Comparison;
use super::exchange::{Broken, Connection};
use super::generator::CONNECTIONS;
use super::keys;
use super::report::Report;
use super::request::{Batch, Request};
use super::tallies::Tallies;
use super::{Pair, Side};

/// The seconds that two clocks and their rounding make of one moment: both have ticks of a
/// second, and each server is asked a little later than the other.
const CLOCKS_S: u64 = 2;

/// The first request that was not answered alike.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) batch: usize,
    /// What differs, and of which command.
    pub(super) what: String,
    /// The same, the request, and both answers.
    pub(super) told: String,
}

/// Plays a stream; adds what has been met to `report`.
pub(super) fn play(
    pair: &Pair,
    seed: u64,
    batches: &[Batch],
    report: &mut Report,
) -> Result<(), Failure> {
    let keys = keys::all();
    let mut comparison = Comparison::new(&keys);
    let mut connections: Vec<Connection> =
        (0..CONNECTIONS).map(|_| Connection::open(pair)).collect();
    let clocks = Clocks::start();
    let is_countable = Tallies::are_comparable(batches);
    let before = read_tallies(&mut connections[0])?;
    for (at, batch) in batches.iter().enumerate() {
        let connection = &mut connections[batch.connection];
        play_batch(at, batch, connection, &mut comparison, clocks, report)?;
        if batch.quits {
            *connection = Connection::open(pair);
        }
    }
    if is_countable {
        let after = read_tallies(&mut connections[0])?;
        let count = after.since(&before).compare().map_err(|told| Failure {
            batch: batches.len() - 1,
            what: "counters".to_owned(),
            told: format!("stream {seed} is counted otherwise: {told}"),
        })?;
        report.note_counters(count);
    }
    report.note_stream();
    Ok(())
}

/// The two clocks of a machine since a stream has begun: memcached goes by the one, Zufar by the
/// other.
#[derive(Clone, Copy)]
struct Clocks {
    steady: Instant,
    wall: SystemTime,
}

impl Clocks {
    fn start() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// By how much somebody has set the time meanwhile.
    fn apart(self) -> Duration {
        let steady = self.steady.elapsed();
        match self.wall.elapsed() {
            Ok(wall) => wall.abs_diff(steady),
            Err(back) => back.duration() + steady,
        }
    }
}

fn read_tallies(connection: &mut Connection) -> Result<Tallies, Failure> {
    let stats = connection.stats().map_err(|broken| Failure {
        batch: 0,
        what: "stats".to_owned(),
        told: format!("{:?} does not answer stats: {}", broken.side, broken.error),
    })?;
    Ok(Tallies::new(&stats))
}

fn play_batch(
    at: usize,
    batch: &Batch,
    connection: &mut Connection,
    comparison: &mut Comparison<'_>,
    clocks: Clocks,
    report: &mut Report,
) -> Result<(), Failure> {
    let cas_sent: Vec<Option<u64>> = batch
        .requests
        .iter()
        .map(|request| request.cas_sent(Side::Zufar, &comparison.ledger))
        .collect();
    let started = Instant::now();
    let answers = connection
        .exchange(batch, &comparison.ledger)
        .map_err(|broken| failed(at, batch, &broken))?;
    report.note_batch(answers.writes, started.elapsed());
    let slack_s = CLOCKS_S + report.longest_batch().as_secs() + clocks.apart().as_secs();
    let slack_s = i64::try_from(slack_s).expect("a batch takes no ages");
    comparison.set_slack_s(slack_s);
    let pairs = answers.memcached.iter().zip(&answers.zufar);
    let requests = batch.requests.iter().zip(cas_sent);
    for ((request, cas_sent), (memcached, zufar)) in requests.zip(pairs) {
        let met = comparison
            .compare(request, cas_sent, memcached, zufar)
            .map_err(|what| Failure {
                batch: at,
                what: format!("{what} of {}", request.command),
                told: format!(
                    "{what} of {}\n  memcached: {}\n  Zufar:     {}",
                    asked(batch, request),
                    memcached.told(),
                    zufar.told()
                ),
            })?;
        report.note_request(request.command);
        for listed in met {
            report.note_listed(listed);
        }
    }
    Ok(())
}

fn asked(batch: &Batch, request: &Request) -> String {
    let depth = batch.requests.len();
    format!("{}, in a batch of {depth}:", request.told())
}

fn failed(at: usize, batch: &Batch, broken: &Broken) -> Failure {
    let name = match broken.side {
        Side::Memcached => "memcached",
        Side::Zufar => "Zufar",
    };
    let request = &batch.requests[broken.request];
    Failure {
        batch: at,
        what: format!("{name} at {}", request.command),
        told: format!("{name}: {} at {}", broken.error, asked(batch, request)),
    }
}
