//! A node among clients that say anything, disks that fail, crashes and passing time.
//!
//! Decides how bytes become a course of events, and what must hold at its end: the node has come
//! to rest within its limits, answers whoever asks, closes whoever has said all, and loses
//! nothing by a stop. Refuses to know what the clients say.

use std::sync::Arc;

use zufar_core::disk::DiskError;
use zufar_core::machine::Listener;
use zufar_core::settings::{Limits, Settings};
use zufar_core::time::Now;
use zufar_simulator::rig::settings;
use zufar_simulator::{Client, ModelDisk, Rig};

/// Clients that one run has open at a time, at most.
const CLIENTS: usize = 4;
/// Every byte from here on is an action, and the byte behind it says more. All others are said
/// by the client whose turn it is.
const FIRST_ACTION: u8 = 0xf0;
/// What one client says between two actions, at most.
const SAID_BYTES_MAX: usize = 128 * 1024;
/// Virtual time that the actions of one run may take, in milliseconds.
const ACTIONS_MS_MAX: u64 = 60_000;
/// Crashes and stops of one run, at most: a start takes longer than all the rest.
const ENDS_MAX: u32 = 3;
/// After so long without faults nothing waits for anything any more, in milliseconds.
const PATIENCE_MS: u64 = 15_000;
/// Keys of which a stop must lose nothing.
const PROBED: &[&str] = &["a", "b", "n", "foo", "big", "fill0", "fill7"];
const MIB: u64 = 1 << 20;

/// Runs what `input` says: one byte for the node, then what happens to it.
pub fn sessions_and_faults(input: &[u8]) {
    let Some((&node, script)) = input.split_first() else {
        return;
    };
    let mut run = Run::new(node);
    let mut script = script.iter().copied();
    while let Some(byte) = script.next() {
        if byte < FIRST_ACTION {
            run.say(byte);
        } else {
            run.act(byte, script.next().unwrap_or_default());
        }
    }
    run.end();
}

struct Run {
    node: u8,
    rig: Rig,
    disk: Arc<ModelDisk>,
    clients: [Option<Client>; CLIENTS],
    /// Whose turn it is.
    turn: usize,
    said: Vec<u8>,
    /// Somebody has said `flush_all`.
    flushes: bool,
    actions_ms_left: u64,
    ends_left: u32,
}

impl Run {
    fn new(node: u8) -> Self {
        let disk = Arc::new(ModelDisk::new());
        let mut run = Self {
            node,
            rig: Rig::new(node_settings(node), Arc::clone(&disk)),
            disk,
            clients: [None; CLIENTS],
            turn: 0,
            said: Vec::new(),
            flushes: false,
            actions_ms_left: ACTIONS_MS_MAX,
            ends_left: ENDS_MAX,
        };
        run.turn_to(0);
        run
    }

    fn say(&mut self, byte: u8) {
        if self.said.len() < SAID_BYTES_MAX {
            self.said.push(byte);
        }
    }

    /// Has what was said arrive in one read.
    fn deliver(&mut self) {
        let said = std::mem::take(&mut self.said);
        self.flushes |= said.windows(6).any(|word| word == b"flush_");
        if let Some(client) = self.clients[self.turn]
            && !said.is_empty()
            && !self.rig.is_closed(client)
        {
            self.rig.send(client, &said);
        }
    }

    fn act(&mut self, action: u8, how: u8) {
        if action == 0xf1 {
            if let Some(&last) = self.said.last() {
                let grown = self.said.len() + usize::from(how) * 256;
                self.said.resize(grown.min(SAID_BYTES_MAX), last);
            }
            return;
        }
        self.deliver();
        let client = self.clients[self.turn].filter(|client| !self.rig.is_closed(*client));
        match (action, client) {
            (0xf0, _) => self.turn_to(how),
            (0xf2 | 0xf3, _) => self.pass(how),
            (0xf4 | 0xf5, _) => self.trouble(how),
            (0xf6, Some(client)) => self.rig.cut(client),
            (0xf7, Some(client)) => self.rig.finish(client),
            (0xf8, Some(client)) if self.rig.deaf.contains(&client) => self.rig.listen(client),
            (0xf8, Some(client)) => self.rig.deaf.push(client),
            (0xf9 | 0xfa, _) => self.fill(how),
            (0xfb, _) => self.crash(how),
            (0xfc, _) => self.restart(how),
            _ => {}
        }
        if matches!(action, 0xf6) {
            self.clients[self.turn] = None;
        }
    }

    /// Another client's turn; it connects if it has to.
    fn turn_to(&mut self, how: u8) {
        self.turn = usize::from(how) % CLIENTS;
        let connected = self.clients[self.turn].is_some_and(|client| !self.rig.is_closed(client));
        if !connected {
            let worker = u16::from(how >> 2) % self.workers();
            let listener = match how >> 6 {
                3 => Listener::Peer,
                _ => Listener::Client,
            };
            self.clients[self.turn] = Some(self.rig.accept(worker, listener));
        }
    }

    fn workers(&self) -> u16 {
        workers(self.node)
    }

    /// Time passes.
    fn pass(&mut self, how: u8) {
        let milliseconds = match u64::from(how) {
            short @ 0..128 => short,
            long => (long - 127) * 100,
        };
        let milliseconds = milliseconds.min(self.actions_ms_left);
        self.actions_ms_left -= milliseconds;
        self.rig.advance(milliseconds);
    }

    /// Something goes wrong with the disk, or goes right again.
    fn trouble(&mut self, how: u8) {
        match how % 7 {
            0 => self.disk.fail_writes(Some(DiskError::Full)),
            1 => self.disk.fail_writes(Some(DiskError::Failed)),
            2 => self.disk.fail_sync(DiskError::Failed),
            3 => self.rig.disk_held = true,
            4 => self.rig.disk_held = false,
            _ => self.disk.fail_writes(None),
        }
        self.rig.settle();
    }

    /// A client of its own stores so much that something has to go.
    fn fill(&mut self, how: u8) {
        let client = self.rig.connect(u16::from(how) % self.workers());
        let (count, bytes) = (u32::from(how >> 3) * 8, 1 << (how % 8 + 6));
        let value = "f".repeat(bytes);
        for key in 0..count {
            let request = format!("set fill{key} 0 0 {bytes}\r\n{value}\r\n");
            self.rig.deliver(client, request.as_bytes());
        }
        self.rig.settle();
        self.rig.cut(client);
    }

    /// The node ends without being asked, and starts again.
    fn crash(&mut self, how: u8) {
        if self.ends_left == 0 || !self.has_disk() {
            return;
        }
        self.ends_left -= 1;
        match how & 1 {
            0 => self.disk.crash(),
            _ => self.disk.cut_power(usize::from(how >> 5)),
        }
        let back_ms = u64::from(how >> 3 & 3) * 10_000;
        let now = self.rig.now();
        let unix_ms = now.unix_ms - back_ms;
        self.start(how, Now { unix_ms, ..now });
    }

    /// The node is asked to stop, and starts again.
    fn restart(&mut self, how: u8) {
        if self.ends_left == 0 || !self.has_disk() {
            return;
        }
        self.ends_left -= 1;
        self.heal();
        let (before, now) = (self.probe(), self.rig.now());
        for _ in 0..PATIENCE_MS {
            if self.rig.stop() {
                break;
            }
            self.rig.advance(1);
        }
        assert!(self.rig.stop(), "nothing is in the way of a stop");
        self.disk.cut_power(0);
        self.start(how, now);
        let after = self.probe();
        // A delayed flush may have come in between.
        assert!(
            before == after || self.flushes,
            "a stop has lost something: {before:?}, then {after:?}"
        );
    }

    fn has_disk(&self) -> bool {
        self.node & 4 != 0
    }

    /// A node starts from the disk, with any number of workers.
    fn start(&mut self, how: u8, now: Now) {
        self.node = self.node & !3 | how >> 1 & 3;
        let settings = node_settings(self.node);
        self.rig = Rig::at(settings, Arc::clone(&self.disk), now);
        self.clients = [None; CLIENTS];
        self.turn_to(how >> 4);
    }

    /// All troubles end, and what has waited for that is done.
    fn heal(&mut self) {
        self.disk.fail_writes(None);
        self.rig.disk_held = false;
        for client in std::mem::take(&mut self.rig.deaf) {
            self.rig.listen(client);
        }
        self.rig.advance(PATIENCE_MS);
    }

    /// What the node says of a few items. Asked twice: the first time may hand out tokens.
    fn probe(&mut self) -> Vec<String> {
        let client = self.rig.connect(0);
        let mut ask = |key: &&str| {
            let request = format!("mg {key} v f c s\r\n");
            self.rig.ask(client, &request);
            self.rig.ask(client, &request)
        };
        let answers = PROBED.iter().map(&mut ask).collect();
        self.rig.cut(client);
        answers
    }

    /// What must hold, however it went.
    fn end(mut self) {
        self.deliver();
        self.heal();
        let client = self.rig.connect(0);
        assert_eq!(self.rig.ask(client, "mn\r\n"), "MN\r\n");
        self.check_memory(client);
        for client in self.clients.into_iter().flatten() {
            if !self.rig.is_closed(client) {
                self.rig.finish(client);
                assert!(
                    self.rig.is_closed(client),
                    "a client that has said all is not closed"
                );
            }
        }
        self.ends_left = 1;
        self.restart(self.node);
    }

    fn check_memory(&mut self, client: Client) {
        let stats = self.rig.ask(client, "stats zufar\r\n");
        let figure = |name: &str| -> u64 {
            let line = stats.lines().find_map(|line| {
                let rest = line.strip_prefix("STAT ")?.strip_prefix(name)?;
                rest.strip_prefix(' ')?.parse().ok()
            });
            line.unwrap_or_else(|| panic!("{name} is not among {stats}"))
        };
        let limit = figure("memory_limit_bytes");
        let (shared, workers) = (figure("memory_shared_out_bytes"), figure("workers"));
        assert!(
            (limit - workers..=limit).contains(&shared),
            "{shared} of {limit} bytes are shared out"
        );
        let used = figure("memory_bytes");
        assert!(used <= shared, "{used} of {shared} bytes are used");
    }
}

fn workers(node: u8) -> u16 {
    1 + u16::from(node & 3)
}

fn node_settings(node: u8) -> Settings {
    let memory_bytes = if node & 8 == 0 { 8 * MIB } else { 64 * MIB };
    let mut settings = settings(workers(node), memory_bytes, node & 4 != 0);
    settings.idle_timeout_s = if node & 16 == 0 { 0 } else { 20 };
    settings.evict = node & 32 == 0;
    if node & 64 != 0 {
        settings.limits = Limits {
            line_bytes_max: 64,
            checked_line_bytes_max: 160,
            output_bytes_max: 200,
            slots_max: 3,
            credit: 2,
            loads_max: 2,
            batch_bytes_max: 1000,
            frame_bytes_max: 64,
        };
    }
    if let Some(disk) = &mut settings.disk
        && node & 128 != 0
    {
        disk.dirty_bytes_soft = 2000;
        disk.dirty_bytes_hard = 8000;
    }
    settings
}
