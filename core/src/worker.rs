//! One worker: the sessions of one thread and one shard, and the wiring between them.
//!
//! Decides where each request goes (own shard or another worker's), what is said to all workers,
//! and when a session goes on or pauses. One of the two places that route; it refuses to know
//! wire formats and item semantics, which belong to its children.

mod budget;
mod flushing;
mod gather;
mod keeping;
mod nodes;
mod outbox;
mod partitions;
pub(crate) mod peers;
mod requests;
mod routing;
mod status;
mod visits;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::command::Outcome;
use crate::disk::{Completion, Recovery, Request, Usage};
use crate::id::{ConnId, WorkerId};
use crate::machine::{Actions, Event, Listener, Machine};
use crate::member::Guid;
use crate::message::{Message, Token};
use crate::notice::{Notice, Severity};
use crate::planted::{self, Bug};
use crate::protocol::{ErrorLine, ParseLimits};
use crate::session::output::Buffers;
use crate::session::{Rendering, Session};
use crate::settings::Settings;
use crate::shard::Shard;
use crate::time::{Now, Time};

use budget::Budget;
use gather::Rounds;
use outbox::Outbox;
use peers::Cluster;
use routing::Router;

/// How often the disk is measured and the memory budget looked at, in milliseconds.
const HOUSEKEEPING_MS: u64 = 1000;
/// How long a stopping worker waits for a disk that takes nothing, in milliseconds.
const STOP_MS_MAX: u64 = 20_000;

/// One worker of a node.
pub struct Worker {
    settings: Arc<Settings>,
    id: WorkerId,
    shard: Shard,
    links: Links,
    cluster: Cluster,
    /// Peer connections to go on with.
    runnable_peers: Vec<ConnId>,
    rounds: Rounds,
    budget: Budget,
    housekeeping_at: Time,
    measuring: bool,
    usage: Option<Usage>,
    /// The node's memory limit, which cache_memlimit may have changed.
    memory_bytes: u64,
    /// 0 to 2; only shown.
    verbosity: u8,
    /// Unix milliseconds of a flush that is still to come; 0 for none. Worker 0 carries it out.
    flush_at_unix_ms: u64,
    /// The version at which that was said, or that was flushed since.
    flush_noted: u64,
    recovery: RecoveryFigures,
    stopping_since: Option<Time>,
    stopped: bool,
}

/// What the last start has found, for `stats zufar`.
#[derive(Clone, Copy, Debug)]
struct RecoveryFigures {
    open_ms: u64,
    /// When this worker first saw an event.
    started: Option<Time>,
    warm_ms: Option<u64>,
}

/// All that connects this worker with others: sessions, other workers, the driver.
struct Links {
    settings: Arc<Settings>,
    parse_limits: ParseLimits,
    id: WorkerId,
    sessions: Vec<Option<Session>>,
    open: u32,
    /// Nothing more is carried out, so that the disk can catch up.
    stopping: bool,
    outbox: Outbox,
    buffers: Buffers,
    /// Sessions to go on with.
    runnable: Vec<ConnId>,
    /// Sessions that wait until another worker has answered something.
    awaiting_credit: Vec<ConnId>,
    /// Sessions that wait for other workers to give memory.
    awaiting_memory: Vec<ConnId>,
    figures: LinkFigures,
}

/// Figures that the connections give.
#[derive(Clone, Copy, Debug, Default)]
struct LinkFigures {
    total_connections: u64,
    rejected_connections: u64,
    idle_kicks: u64,
    bytes_read: u64,
    bytes_written: u64,
    stale_events: u64,
    credit_waits: u64,
    /// Peers that were refused before they had shown that they know the secret.
    refused_peers: u64,
    /// Frames that have ended their connections.
    refused_frames: u64,
}

impl Links {
    fn rendering<'a>(settings: &'a Settings, parse_limits: &'a ParseLimits) -> Rendering<'a> {
        Rendering {
            parse_limits,
            guid: &settings.guid,
        }
    }

    /// The session of `conn`, if the connection is not gone.
    #[inline]
    fn session(&mut self, conn: ConnId) -> Option<&mut Session> {
        let session = self.sessions.get_mut(conn.slot as usize)?.as_mut()?;
        (session.conn == conn).then_some(session)
    }

    /// Another node has carried out what a slot of a session waits for.
    fn note_holder(&mut self, token: Token, holder: &Guid) {
        if let Some(session) = self.session(token.conn) {
            session.note_holder(token.sequence, holder);
        }
    }

    /// Puts an outcome, which `holder` has brought about if it was another node, into the slot that
    /// waits for it. Whether the connection is a session.
    fn answer(
        &mut self,
        now: Now,
        token: Token,
        outcome: &Outcome<'_>,
        holder: Option<&Guid>,
        actions: &mut Actions,
    ) -> bool {
        let rendering = Self::rendering(&self.settings, &self.parse_limits);
        let session = self
            .sessions
            .get_mut(token.conn.slot as usize)
            .and_then(Option::as_mut)
            .filter(|session| session.conn == token.conn || planted::has(Bug::StaleTicket));
        let Some(session) = session else {
            return false;
        };
        let buffers = &mut self.buffers;
        if let Some(holder) = holder {
            session.note_holder(token.sequence, holder);
        }
        let known = session.complete(token.sequence, outcome, now, &rendering, buffers);
        if !known {
            self.figures.stale_events += 1;
        }
        // Answers come in the order of requests: those of one connection mostly together.
        if actions.write.last() != Some(&token.conn) {
            actions.write.push(token.conn);
        }
        self.wake(token.conn);
        true
    }

    /// Goes on with a session before this turn ends, if it waits for anything.
    fn wake(&mut self, conn: ConnId) {
        let limits = self.settings.limits;
        let Some(session) = self.session(conn) else {
            return;
        };
        let waits = session.paused || session.draining || session.finishing || session.finished;
        if waits && session.has_room(&limits) {
            self.run(conn);
        }
    }

    /// Goes on with a session in this turn or the next.
    fn run(&mut self, conn: ConnId) {
        if let Some(session) = self.session(conn)
            && !session.runnable
        {
            session.runnable = true;
            self.runnable.push(conn);
        }
    }
}

impl Worker {
    /// A worker of the node that `settings` describe, which starts from what `recovery` found.
    #[must_use]
    pub fn new(settings: Arc<Settings>, id: WorkerId, recovery: &Recovery) -> Self {
        let parse_limits = ParseLimits::from(&*settings);
        Self {
            shard: Shard::new(Arc::clone(&settings), id, recovery),
            links: Links {
                parse_limits,
                id,
                sessions: Vec::new(),
                open: 0,
                stopping: false,
                outbox: Outbox::new(settings.workers, settings.limits.credit),
                buffers: Buffers::default(),
                runnable: Vec::new(),
                awaiting_credit: Vec::new(),
                awaiting_memory: Vec::new(),
                figures: LinkFigures::default(),
                settings: Arc::clone(&settings),
            },
            cluster: Cluster::alone(&settings),
            runnable_peers: Vec::new(),
            rounds: Rounds::default(),
            budget: Budget::default(),
            housekeeping_at: Time::ZERO,
            measuring: false,
            usage: None,
            memory_bytes: settings.memory_bytes,
            verbosity: settings.verbosity,
            flush_at_unix_ms: recovery.flush_at_unix_ms,
            flush_noted: 0,
            recovery: RecoveryFigures {
                open_ms: recovery.open_ms,
                started: None,
                warm_ms: None,
            },
            stopping_since: None,
            stopped: false,
            id,
            settings,
        }
    }

    fn handle_event(&mut self, now: Now, event: Event<'_>, actions: &mut Actions) {
        match event {
            Event::Accepted {
                conn,
                listener: Listener::Client,
                address,
                open,
            } => {
                let session = Session::new(conn, address, now);
                self.handle_accepted(session, open, actions);
            }
            Event::Received { conn, .. }
            | Event::Finished { conn }
            | Event::Closed { conn, .. }
                if self.links.session(conn).is_none() && self.cluster.peering.has(conn) =>
            {
                self.handle_peer_event(now, event, actions);
            }
            Event::Received { conn, bytes } => self.handle_received(now, conn, bytes, actions),
            Event::Finished { conn } => {
                if let Some(session) = self.links.session(conn) {
                    session.finished = true;
                }
                self.links.run(conn);
            }
            Event::Closed { conn, .. } => self.drop_session(conn),
            Event::Accepted { .. }
            | Event::Connected { .. }
            | Event::ConnectFailed { .. }
            | Event::Datagram { .. }
            | Event::Resolved { .. } => self.handle_peer_event(now, event, actions),
            Event::Deadline => {}
            Event::Disk(completion) => self.handle_disk(now, completion, actions),
            Event::Message { from, message } => self.handle_message(now, from, message, actions),
            Event::Host(figures) => self.handle_host(now, figures, actions),
            Event::Stop => self.begin_stop(now, actions),
        }
    }

    fn handle_accepted(&mut self, mut session: Session, open: u32, actions: &mut Actions) {
        let conn = session.conn;
        let slot = conn.slot as usize;
        if self.links.sessions.len() <= slot {
            self.links.sessions.resize_with(slot + 1, || None);
        }
        self.links.open += 1;
        self.links.figures.total_connections += 1;
        if open > self.settings.connections_max {
            self.links.figures.rejected_connections += 1;
            let text = ErrorLine::TooManyConnections.as_bytes();
            session.say(text, &mut self.links.buffers);
            session.finish();
            session.finished = true;
            session.runnable = true;
            actions.write.push(conn);
            self.links.runnable.push(conn);
        }
        let before = self.links.sessions[slot].replace(session);
        assert!(
            before.is_none(),
            "the driver reuses a slot only once it is closed"
        );
    }

    fn drop_session(&mut self, conn: ConnId) {
        if self.links.session(conn).is_none() {
            self.links.figures.stale_events += 1;
            return;
        }
        if let Some(mut session) = self.links.sessions[conn.slot as usize].take() {
            self.shard.cache.discharge(session.charged_bytes);
            session.dispose(&mut self.links.buffers);
            self.links.open -= 1;
        }
    }

    fn handle_disk(&mut self, now: Now, completion: Completion, actions: &mut Actions) {
        if let Completion::Measured { result } = completion {
            self.measuring = false;
            if let Ok(usage) = result {
                self.handle_measured(usage, actions);
            }
            return;
        }
        let mut router = Router {
            links: &mut self.links,
            cluster: &mut self.cluster,
            actions,
            now,
        };
        self.shard.handle_disk(now, completion, &mut router);
        self.take_kept(now, actions);
    }

    /// Worker 0 has measured the disk: tells all workers, and whether it is full.
    fn handle_measured(&mut self, usage: Usage, actions: &mut Actions) {
        let Some(disk) = &self.settings.disk else {
            return;
        };
        let reserve = usage.total_bytes / 100 * u64::from(disk.reserve_percent);
        let over_limit = disk.disk_bytes_max.map_or(0, |bytes_max| {
            usage.database_bytes.saturating_sub(bytes_max)
        });
        let over_bytes = over_limit.max(reserve.saturating_sub(usage.free_bytes));
        for worker in 1..self.settings.workers {
            let message = Message::Disk { usage, over_bytes };
            actions.messages.push((WorkerId(worker), message));
        }
        self.note_usage(usage, over_bytes, actions);
    }

    fn note_usage(&mut self, usage: Usage, over_bytes: u64, actions: &mut Actions) {
        let full = over_bytes > 0;
        if self.id == WorkerId(0) && full != self.shard.is_disk_full() {
            actions.notices.push(full_notice(full, &usage));
        }
        self.usage = Some(usage);
        self.shard.handle_usage(usage, over_bytes);
    }

    fn handle_message(
        &mut self,
        now: Now,
        from: WorkerId,
        message: Message,
        actions: &mut Actions,
    ) {
        match message {
            Message::Parcel(parcel) => self.handle_parcel(now, from, parcel, actions),
            Message::Ask { token, question } => {
                let answer = self.answer_question(now, question, actions);
                let message = Message::Tell { token, answer };
                actions.messages.push((from, message));
            }
            Message::Tell { token, answer } => self.handle_tell(now, token, answer, actions),
            Message::BudgetWanted {
                bytes,
                limit_bytes,
                urgent,
            } => self.handle_budget_wanted(from, bytes, limit_bytes, urgent, actions),
            Message::BudgetGiven { bytes, asked } => self.handle_budget_given(bytes, asked),
            Message::Disk { usage, over_bytes } => self.note_usage(usage, over_bytes, actions),
            Message::FlushEverywhere { token, at_unix_ms } => {
                self.flush_everywhere(now, token, at_unix_ms, actions);
            }
            Message::PeerFrame { .. }
            | Message::PeerSay { .. }
            | Message::PeerClosed { .. }
            | Message::LinkRefused(_)
            | Message::Replica { .. }
            | Message::Malformed { .. }
            | Message::View(_)
            | Message::Survey { .. }
            | Message::HoldsData => self.handle_peer_message(now, from, message, actions),
        }
    }

    fn handle_deadline(&mut self, now: Now, actions: &mut Actions) {
        if self.shard.next_deadline() <= now.time {
            let mut router = Router {
                links: &mut self.links,
                cluster: &mut self.cluster,
                actions,
                now,
            };
            self.shard.handle_deadline(now, &mut router);
        }
        self.handle_peer_deadline(now, actions);
        self.handle_remote_deadline(now, actions);
        if now.time >= self.housekeeping_at {
            self.keep_house(now, actions);
        }
    }

    fn keep_house(&mut self, now: Now, actions: &mut Actions) {
        self.housekeeping_at = now.time.plus_millis(HOUSEKEEPING_MS);
        if self.id == WorkerId(0) && self.settings.disk.is_some() && !self.measuring {
            self.measuring = true;
            actions.disk.push(Request::Measure);
        }
        if self.recovery.warm_ms.is_none() && self.shard.is_warm() {
            let started = self.recovery.started.unwrap_or(now.time);
            self.recovery.warm_ms = Some(now.time.millis_since(started));
        }
        if self.settings.idle_timeout_s > 0 {
            self.kick_idle(now, actions);
        }
        self.drive_budget(actions);
        self.tell_disk(now, actions);
    }

    /// Closes clients that have been silent for too long.
    fn kick_idle(&mut self, now: Now, actions: &mut Actions) {
        let idle_ms = u64::from(self.settings.idle_timeout_s) * 1000;
        let mut idle = Vec::new();
        for session in self.links.sessions.iter().flatten() {
            let silent = now.time.millis_since(session.active_at) > idle_ms;
            if silent && session.unanswered() == 0 {
                idle.push(session.conn);
            }
        }
        for conn in idle {
            self.links.figures.idle_kicks += 1;
            self.drop_session(conn);
            actions.close.push(conn);
        }
    }

    fn begin_stop(&mut self, now: Now, actions: &mut Actions) {
        if self.stopping_since.is_none() {
            self.leave_cluster(now, actions);
            self.stopping_since = Some(now.time);
            self.links.stopping = true;
            self.shard.begin_stop();
        }
    }

    /// Whether a stopping worker is done, or the disk will not have the rest.
    fn drive_stop(&mut self, now: Now, actions: &mut Actions) {
        let Some(since) = self.stopping_since else {
            return;
        };
        if self.stopped {
            return;
        }
        if self.shard.is_persisted() {
            self.stopped = true;
        } else if now.time.millis_since(since) >= STOP_MS_MAX {
            self.stopped = true;
            let items = self.shard.dirty_items();
            actions.notices.push(Notice {
                severity: Severity::Error,
                event: "stopped-dirty",
                text: alloc::format!(
                    "the disk took nothing for {} s: {items} items of worker {} are not on it",
                    STOP_MS_MAX / 1000,
                    self.id.0,
                ),
            });
        }
        actions.stopped = self.stopped;
    }
}

impl Machine for Worker {
    fn handle(&mut self, now: Now, event: Event<'_>, actions: &mut Actions) {
        let now = self.shard.clock.not_before_last_run(now);
        if self.recovery.started.is_none() {
            self.recovery.started = Some(now.time);
        }
        self.drive_pending_flush(now, actions);
        self.handle_event(now, event, actions);
        self.handle_deadline(now, actions);
        self.drive_runnable(now, actions);
        self.drive_runnable_peers(now, actions);
        self.drive_remote(now, actions);
        self.tell_data(now, actions);
        self.links.outbox.post(&mut actions.messages);
        self.drive_stop(now, actions);
    }

    fn next_deadline(&self) -> Option<Time> {
        if !self.links.runnable.is_empty() || !self.runnable_peers.is_empty() {
            return Some(Time::ZERO);
        }
        let own = self.shard.next_deadline().min(self.housekeeping_at);
        let peers = self.cluster.next_deadline();
        Some(peers.map_or(own, |at| at.min(own)))
    }

    fn unsent<'a>(&'a self, conn: ConnId, slices: &mut [&'a [u8]]) -> usize {
        let session = self.links.sessions.get(conn.slot as usize);
        match session.and_then(Option::as_ref) {
            Some(session) if session.conn == conn => session.output.slices(slices),
            Some(_) | None => {
                slices[0] = self.cluster.peering.unsent(conn);
                usize::from(!slices[0].is_empty())
            }
        }
    }

    fn sent(&mut self, conn: ConnId, bytes: usize) {
        let links = &mut self.links;
        links.figures.bytes_written += bytes as u64;
        let session = links
            .sessions
            .get_mut(conn.slot as usize)
            .and_then(Option::as_mut);
        if let Some(session) = session.filter(|session| session.conn == conn) {
            session.output.advance(bytes, &mut links.buffers);
            links.wake(conn);
        } else if self.cluster.peering.has(conn) {
            self.peer_sent(conn, bytes);
        }
    }
}

fn full_notice(full: bool, usage: &Usage) -> Notice {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let figures: String = alloc::format!(
        "the database takes {} MiB, {} MiB of {} MiB are free",
        mib(usage.database_bytes),
        mib(usage.free_bytes),
        mib(usage.total_bytes),
    );
    let (severity, event, text) = if full {
        (
            Severity::Warning,
            "disk-limit",
            alloc::format!("the disk is at its limit: {figures}"),
        )
    } else {
        (
            Severity::Info,
            "disk-limit-over",
            alloc::format!("the disk is below its limit again: {figures}"),
        )
    };
    Notice {
        severity,
        event,
        text,
    }
}
