//! Questions to all workers, and what is made of their answers.
//!
//! Decides which commands concern the whole node (stats, flush_all, cache_memlimit, status) and
//! in which rounds their answers are gathered. Refuses to know how they are put into words.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::clock::version_at;
use crate::figures::{self, ConnectionFigures, Context, Figures};
use crate::id::{ConnId, WorkerId};
use crate::machine::{Actions, HostFigures};
use crate::member::Guid;
use crate::message::{Answer, FlushName, Message, Question, Token};
use crate::protocol::peer::FlushStep;
use crate::protocol::{
    END, ErrorLine, META_NOOP, OK, RESET, Request, StatsRequest, render_version,
};
use crate::session::Words;
use crate::settings::WORKER_MEMORY_BYTES_MAX;
use crate::shard::fair_share;
use crate::time::Now;

use super::Worker;
use super::flushing;
use super::requests::Flow;

/// The connection that a round's own tokens name: no driver hands out so many.
const ROUND_CONN: ConnId = ConnId {
    slot: u32::MAX,
    generation: 0,
};
/// Who wants to know.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// A reply slot of a connection of this worker.
    Slot(ConnId, u64),
    /// A peer connection of this worker.
    Peer(ConnId),
    /// The worker itself.
    Own,
}

/// What a round is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Stats(StatsRequest),
    Reset,
    Connections,
    /// Finds out the last version of every worker; [`Purpose::Flush`] follows.
    BeginFlush(FlushName),
    /// Without a name: another node has flushed this.
    Flush(Option<FlushName>, u64),
    FlushAt(u64),
    NoteFlush {
        unix_ms: u64,
        noted: u64,
    },
    /// A step of a flush of all nodes.
    FlushStep(FlushName, FlushStep),
    /// All nodes flush, now or at a time: the one answer comes from worker 0.
    FlushEverywhere(u64),
    MemoryLimit(u64),
    Detail(bool),
    Verbosity(u8),
    /// Who is primary of a partition.
    Primary(u16),
    Status,
    /// The same, of this node only.
    OwnStatus,
}

/// What has been gathered.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) figures: Box<Figures>,
    text: Vec<u8>,
    pub(super) version: u64,
    /// A worker had stopped waiting for the flush.
    pub(super) lapsed: bool,
    unreached: bool,
    primary: Option<Guid>,
    host: HostFigures,
}

struct Round {
    asker: Asker,
    purpose: Purpose,
    missing: u32,
    wants_host: bool,
    gathered: Gathered,
}

/// The rounds under way.
#[derive(Default)]
pub(super) struct Rounds {
    next: u64,
    under_way: BTreeMap<u64, Round>,
}

impl Rounds {
    /// The number of the next one.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }
}

impl Purpose {
    fn question(self, now: Now) -> Question {
        match self {
            Self::Stats(_) | Self::Status | Self::OwnStatus => Question::Figures,
            Self::Primary(partition) => Question::Primary(partition),
            Self::Reset => Question::Reset,
            Self::Connections => Question::Connections,
            Self::BeginFlush(name) => Question::BeginFlush(name),
            Self::Flush(name, version) => Question::Flush(name, version),
            Self::FlushAt(unix_ms) => {
                let noted = version_at(now.unix_ms);
                Question::FlushAt { unix_ms, noted }
            }
            Self::NoteFlush { unix_ms, noted } => Question::FlushAt { unix_ms, noted },
            Self::FlushStep(name, step) => flushing::question(name, step),
            Self::FlushEverywhere(_) => unreachable!("the node is asked, and not the workers"),
            Self::MemoryLimit(bytes) => Question::MemoryLimit(bytes),
            Self::Detail(enabled) => Question::Detail(enabled),
            Self::Verbosity(level) => Question::Verbosity(level),
        }
    }
}

impl Worker {
    /// Asks every worker, this one included.
    pub(super) fn begin_round(
        &mut self,
        now: Now,
        asker: Asker,
        purpose: Purpose,
        actions: &mut Actions,
    ) {
        self.ask_all(now, asker, purpose, Gathered::default(), actions);
    }

    fn ask_all(
        &mut self,
        now: Now,
        asker: Asker,
        purpose: Purpose,
        gathered: Gathered,
        actions: &mut Actions,
    ) {
        let wants_host = matches!(purpose, Purpose::Stats(_));
        let id = self.rounds.next;
        self.rounds.next += 1;
        let token = Token {
            worker: self.id,
            conn: ROUND_CONN,
            sequence: id,
        };
        let all = u32::from(self.settings.workers) + u32::from(wants_host);
        let round = Round {
            asker,
            purpose,
            missing: match purpose {
                Purpose::FlushEverywhere(_) => 1,
                _ => all,
            },
            wants_host,
            gathered,
        };
        self.rounds.under_way.insert(id, round);
        if let Purpose::FlushEverywhere(at_unix_ms) = purpose {
            self.flush_everywhere(now, token, at_unix_ms, actions);
            return;
        }
        let question = purpose.question(now);
        for worker in (0..self.settings.workers).map(WorkerId) {
            if worker != self.id {
                let question = question.clone();
                actions
                    .messages
                    .push((worker, Message::Ask { token, question }));
            }
        }
        actions.host_wanted |= wants_host;
        let answer = self.answer_question(now, question, actions);
        self.handle_tell(now, token, answer, actions);
    }

    /// What this worker says to a question.
    pub(super) fn answer_question(
        &mut self,
        now: Now,
        question: Question,
        actions: &mut Actions,
    ) -> Answer {
        match question {
            Question::Figures => Answer::Figures(Box::new(self.figures(now))),
            Question::Primary(partition) => self.answer_primary(partition),
            Question::Reset => {
                self.reset_figures();
                Answer::Done
            }
            Question::Connections => Answer::Text(self.connections(now)),
            Question::BeginFlush(name) => Answer::Version(self.shard.begin_flush(now, name)),
            Question::Flush(name, version) => self.answer_flush(now, name, version, actions),
            Question::FlushAt { unix_ms, noted } => {
                self.answer_flush_at(now, unix_ms, noted, actions)
            }
            Question::MemoryLimit(bytes) => {
                self.memory_bytes = bytes;
                let share = fair_share(bytes, self.settings.workers);
                self.shard.cache.set_limit_bytes(share);
                Answer::Done
            }
            Question::Detail(enabled) => {
                self.shard.figures.detail.enabled = enabled;
                if let Some(figures) = self.forwarded_figures() {
                    figures.detail.enabled = enabled;
                }
                Answer::Done
            }
            Question::Verbosity(level) => {
                self.verbosity = level;
                Answer::Done
            }
        }
    }

    /// Takes one worker's answer.
    pub(super) fn handle_tell(
        &mut self,
        now: Now,
        token: Token,
        answer: Answer,
        actions: &mut Actions,
    ) {
        let Some(round) = self.rounds.under_way.get_mut(&token.sequence) else {
            self.links.figures.stale_events += 1;
            return;
        };
        match answer {
            Answer::Done => {}
            Answer::Primary(primary) => {
                round.gathered.primary = round.gathered.primary.or(primary);
            }
            Answer::Lapsed => round.gathered.lapsed = true,
            Answer::Unreached => round.gathered.unreached = true,
            Answer::Figures(figures) => round.gathered.figures.merge(&figures),
            Answer::Text(text) => round.gathered.text.extend_from_slice(&text),
            Answer::Version(version) => {
                round.gathered.version = round.gathered.version.max(version);
            }
        }
        self.note_answer(now, token.sequence, actions);
    }

    /// The host's figures are there: every round that waits for them has them.
    pub(super) fn handle_host(&mut self, now: Now, host: HostFigures, actions: &mut Actions) {
        let mut waiting = Vec::new();
        for (id, round) in &mut self.rounds.under_way {
            if core::mem::take(&mut round.wants_host) {
                round.gathered.host = host;
                waiting.push(*id);
            }
        }
        for id in waiting {
            self.note_answer(now, id, actions);
        }
    }

    fn note_answer(&mut self, now: Now, id: u64, actions: &mut Actions) {
        let Some(round) = self.rounds.under_way.get_mut(&id) else {
            return;
        };
        round.missing -= 1;
        if round.missing > 0 {
            return;
        }
        if let Some(round) = self.rounds.under_way.remove(&id) {
            self.end_round(now, round, actions);
        }
    }

    fn end_round(&mut self, now: Now, round: Round, actions: &mut Actions) {
        let Round {
            asker,
            purpose,
            mut gathered,
            ..
        } = round;
        let text: &[u8] = match purpose {
            Purpose::BeginFlush(name) => {
                let purpose = Purpose::Flush(Some(name), gathered.version + 1);
                self.begin_round(now, asker, purpose, actions);
                return;
            }
            Purpose::FlushStep(name, step) => {
                self.end_flush_step(now, asker, name, step, &gathered, actions);
                return;
            }
            Purpose::FlushEverywhere(_) if gathered.unreached => {
                ErrorLine::FlushUnreached.as_bytes()
            }
            Purpose::Stats(request) => {
                let mut output = crate::session::output::Output::default();
                self.render_stats(now, request, &gathered, &mut output);
                self.fill_slot(now, asker, actions, |into| {
                    into.append_alone(output);
                });
                return;
            }
            Purpose::Primary(partition) => {
                if let Asker::Peer(conn) = asker {
                    self.say_partitions(conn, Some(partition), gathered.primary);
                }
                return;
            }
            Purpose::Status | Purpose::OwnStatus => {
                if let Asker::Peer(conn) = asker {
                    let all = matches!(purpose, Purpose::Status);
                    self.say_status(now, conn, &gathered, all, actions);
                }
                return;
            }
            Purpose::Connections => {
                gathered.text.extend_from_slice(END);
                &gathered.text
            }
            Purpose::Reset => RESET,
            Purpose::Flush(..)
            | Purpose::FlushAt(_)
            | Purpose::NoteFlush { .. }
            | Purpose::FlushEverywhere(_)
            | Purpose::MemoryLimit(_)
            | Purpose::Detail(_)
            | Purpose::Verbosity(_) => OK,
        };
        let text = text.to_vec();
        self.fill_slot(now, asker, actions, |into| {
            crate::protocol::Sink::put(into, &text);
        });
    }

    /// Says the answer of a round to whoever asked, if they are still there.
    fn fill_slot(
        &mut self,
        now: Now,
        asker: Asker,
        actions: &mut Actions,
        fill: impl FnOnce(&mut crate::session::output::Output),
    ) {
        let Asker::Slot(conn, sequence) = asker else {
            return;
        };
        self.with_session(conn, |session, rendering, buffers| {
            session.fill(sequence, now, rendering, buffers, fill);
        });
        actions.write.push(conn);
        self.links.wake(conn);
    }

    /// Carries out a command that concerns no single key.
    pub(super) fn perform_global(
        &mut self,
        now: Now,
        conn: ConnId,
        consumed: usize,
        request: &Request<'_>,
        actions: &mut Actions,
    ) -> Flow {
        let is_barrier = matches!(
            request,
            Request::FlushAll { .. }
                | Request::CacheMemlimit { .. }
                | Request::Verbosity { .. }
                | Request::Shutdown { .. }
                | Request::Stats(_)
        );
        if is_barrier && self.must_drain(conn) {
            return Flow::Wait;
        }
        match request {
            Request::Stats(stats) => {
                let purpose = match stats {
                    StatsRequest::Reset => Purpose::Reset,
                    StatsRequest::DetailOn => Purpose::Detail(true),
                    StatsRequest::DetailOff => Purpose::Detail(false),
                    StatsRequest::Connections => Purpose::Connections,
                    other => Purpose::Stats(*other),
                };
                self.ask_for(now, conn, purpose, true, actions);
            }
            Request::FlushAll { delay_s, noreply } => {
                self.perform_flush(now, conn, *delay_s, *noreply, actions);
            }
            Request::CacheMemlimit {
                memory_bytes,
                noreply,
            } => {
                self.perform_memory_limit(now, conn, *memory_bytes, *noreply, actions);
            }
            Request::Settled { noreply } => {
                if !noreply {
                    self.say(conn, OK);
                }
            }
            Request::Version => {
                let mut text = self.links.buffers.take();
                render_version(&mut text);
                self.say(conn, &text);
                self.links.buffers.give(text);
            }
            Request::Verbosity { level, noreply } => {
                self.ask_for(now, conn, Purpose::Verbosity(*level), !noreply, actions);
            }
            Request::MetaNoop => self.say(conn, META_NOOP),
            Request::Quit => {
                if let Some(session) = self.links.session(conn) {
                    session.finish();
                }
            }
            Request::Shutdown { .. } => {
                actions.stop_wanted = true;
                if let Some(session) = self.links.session(conn) {
                    session.finish();
                }
            }
            Request::Get(_) | Request::Store(_) | Request::Key(_) => {
                unreachable!("commands of keys go to their shards")
            }
        }
        Flow::On(consumed)
    }

    fn perform_memory_limit(
        &mut self,
        now: Now,
        conn: ConnId,
        memory_bytes: u64,
        noreply: bool,
        actions: &mut Actions,
    ) {
        let share = memory_bytes / u64::from(self.settings.workers);
        if share <= WORKER_MEMORY_BYTES_MAX {
            let purpose = Purpose::MemoryLimit(memory_bytes);
            self.ask_for(now, conn, purpose, !noreply, actions);
        } else if !noreply {
            self.say(conn, ErrorLine::MemlimitNotAdjusted.as_bytes());
        }
    }

    /// Whether earlier commands of the connection have to be answered first. It then goes on by
    /// itself once they are.
    fn must_drain(&mut self, conn: ConnId) -> bool {
        self.links.session(conn).is_some_and(|session| {
            session.draining = session.unanswered() > 0;
            session.draining
        })
    }

    /// Begins a round whose answer goes to the connection, in its turn.
    pub(super) fn ask_for(
        &mut self,
        now: Now,
        conn: ConnId,
        purpose: Purpose,
        answered: bool,
        actions: &mut Actions,
    ) {
        let sequence = self.with_session(conn, |session, _, buffers| {
            session.reserve(Words::Prepared, &[], now, buffers)
        });
        let Some(sequence) = sequence else {
            return;
        };
        // Even a silent one takes its slot: what follows on the connection must come after it.
        let asker = Asker::Slot(conn, sequence);
        if let Some(session) = self.links.session(conn) {
            session.draining = !matches!(purpose, Purpose::Stats(_) | Purpose::Status);
            session.mute(sequence, !answered);
        }
        self.begin_round(now, asker, purpose, actions);
    }

    /// This worker's figures.
    fn figures(&self, now: Now) -> Figures {
        let mut figures = self.shard.figures(now);
        let links = &self.links.figures;
        figures.total_connections = links.total_connections;
        figures.rejected_connections = links.rejected_connections;
        figures.curr_connections = u64::from(self.links.open);
        figures.idle_kicks = links.idle_kicks;
        figures.bytes_read = links.bytes_read;
        figures.bytes_written = links.bytes_written;
        figures.stale_events += links.stale_events;
        figures.credit_waits = links.credit_waits;
        figures.refused_peers = links.refused_peers;
        figures.refused_frames = links.refused_frames;
        figures.budget_moved_bytes = self.budget.moved_bytes;
        self.add_remote_figures(&mut figures);
        if let Some(usage) = self.usage.filter(|_| self.id == WorkerId(0)) {
            figures.disk_bytes = usage.database_bytes;
            figures.disk_free_bytes = usage.free_bytes;
            figures.database_memory_bytes = usage.memory_bytes;
        }
        let warm_ms = self.recovery.warm_ms.unwrap_or_else(|| {
            let started = self.recovery.started.unwrap_or(now.time);
            now.time.millis_since(started)
        });
        if self.settings.disk.is_some() {
            figures.recovered_ms = self.recovery.open_ms + warm_ms;
        }
        figures
    }

    fn reset_figures(&mut self) {
        self.shard.figures.reset();
        if let Some(figures) = self.forwarded_figures() {
            figures.reset();
        }
        self.shard.cache.reset_counters();
        let links = &mut self.links.figures;
        links.total_connections = 0;
        links.rejected_connections = 0;
        links.bytes_read = 0;
        links.bytes_written = 0;
        links.idle_kicks = 0;
    }

    fn render_stats(
        &self,
        now: Now,
        request: StatsRequest,
        gathered: &Gathered,
        output: &mut crate::session::output::Output,
    ) {
        let context = Context {
            settings: &self.settings,
            host: gathered.host,
            now,
            memory_bytes: self.memory_bytes,
            verbosity: self.verbosity,
            in_cluster: self.cluster.is_member,
        };
        let figures = &gathered.figures;
        match request {
            StatsRequest::General => figures::render_general(output, figures, &context),
            StatsRequest::Settings => figures::render_settings(output, figures, &context),
            StatsRequest::Items => figures::render_items(output, figures),
            StatsRequest::Slabs => figures::render_slabs(output, figures),
            StatsRequest::Sizes => figures::render_sizes(output),
            StatsRequest::Zufar => figures::render_zufar(output, figures, &context),
            StatsRequest::DetailDump => figures.detail.render(output),
            StatsRequest::Connections
            | StatsRequest::Reset
            | StatsRequest::DetailOn
            | StatsRequest::DetailOff => unreachable!("these have rounds of their own"),
        }
    }

    /// The lines of `stats conns` for this worker's connections.
    fn connections(&self, now: Now) -> Vec<u8> {
        let mut text = Vec::new();
        let host = self.settings.listen_host.as_deref().unwrap_or("127.0.0.1");
        let listen_address = alloc::format!("tcp:{host}:{}", self.settings.tcp_port);
        for session in self.links.sessions.iter().flatten() {
            let number = u64::from(session.conn.slot) * u64::from(self.settings.workers);
            let connection = ConnectionFigures {
                number: number + u64::from(self.id.0),
                address: &session.address,
                listen_address: &listen_address,
                state: if session.paused {
                    "conn_mwrite"
                } else {
                    "conn_read"
                },
                idle_s: now.time.millis_since(session.active_at) / 1000,
            };
            figures::render_connection(&mut text, &connection);
        }
        text
    }
}
