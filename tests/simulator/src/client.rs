//! One client: a connection, what it has asked, and what came back.
//!
//! Decides that answers come in the order of the requests, each exactly once. Refuses to know
//! what requests ask and whether answers are right.

use std::collections::VecDeque;

use zufar_core::machine::Listener;

use crate::history::CommandId;
use crate::request::{Looked, Reading, Request};
use crate::trace::Excerpt;
use crate::world::{HostId, LinkId, World};

/// A request that is not answered yet.
#[derive(Debug)]
pub struct Asked {
    /// The request.
    pub request: Request,
    /// Where its commands are noted.
    pub commands: Vec<CommandId>,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    link: Option<LinkId>,
    /// Bytes of requests that the connection has not taken as a whole.
    unsent: Vec<u8>,
    /// How many of them the connection has taken by now.
    sent: usize,
    /// Bytes of all requests on this connection.
    asked_bytes: u64,
    asked: VecDeque<Asked>,
    received: Vec<u8>,
    /// Without so many of them there is no answer.
    needed: usize,
    /// The node has accepted the connection.
    opened: bool,
    /// It sends no more on this connection.
    finished: bool,
    /// It reads no more than this at a time, in bytes.
    reads_bytes_max: usize,
}

/// What came of looking for answers.
#[derive(Debug)]
pub enum Progress {
    /// An answer, whole.
    Answered(Asked, Reading),
    /// Nothing yet.
    Waiting,
    /// The connection is over; these will not be answered.
    Ended(Vec<Asked>),
}

impl Client {
    /// A client without a connection, which reads no more than so many bytes at a time.
    #[must_use]
    pub const fn new(reads_bytes_max: usize) -> Self {
        Self {
            link: None,
            unsent: Vec::new(),
            sent: 0,
            asked_bytes: 0,
            asked: VecDeque::new(),
            received: Vec::new(),
            needed: 0,
            opened: false,
            finished: false,
            reads_bytes_max,
        }
    }

    /// The connection, if there is one.
    #[must_use]
    pub const fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// Bytes of all requests so far on this connection.
    #[must_use]
    pub const fn asked_bytes(&self) -> u64 {
        self.asked_bytes
    }

    /// Requests that are owed an answer.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        let owed = |asked: &&Asked| !asked.request.is_silent();
        self.asked.iter().filter(owed).count()
    }

    /// What it waits for, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let asked = self.asked.iter().map(|asked| Excerpt(&asked.request.bytes));
        let asked: Vec<Excerpt<'_>> = asked.collect();
        format!("{:?} waits for {asked:?}", self.link)
    }

    /// Whether requests can be sent.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.opened && !self.finished && self.unsent.is_empty()
    }

    /// Begins to connect.
    pub fn connect(&mut self, world: &mut World) -> LinkId {
        self.connect_to(world, HostId(0))
    }

    /// Begins to connect to the node on `host`.
    pub fn connect_to(&mut self, world: &mut World, host: HostId) -> LinkId {
        let link = world.connect_to(host, Listener::Client);
        self.link = Some(link);
        self.finished = false;
        link
    }

    /// The node has accepted the connection: now there can be requests.
    pub const fn open(&mut self) {
        self.opened = true;
    }

    /// Sends a request, or as much of it as the connection takes for now.
    pub fn ask(&mut self, world: &mut World, asked: Asked) {
        self.unsent.extend_from_slice(&asked.request.bytes);
        self.asked_bytes += asked.request.bytes.len() as u64;
        self.asked.push_back(asked);
        self.send(world);
    }

    /// Goes on sending.
    pub fn send(&mut self, world: &mut World) {
        let Some(link) = self.link else {
            return;
        };
        self.sent += world.send(link, &self.unsent[self.sent..]);
        if self.sent == self.unsent.len() {
            self.sent = 0;
            self.unsent.clear();
        }
    }

    /// Says that no more requests come on this connection.
    pub fn finish(&mut self, world: &mut World) {
        if let Some(link) = self.link
            && self.opened
            && self.unsent.is_empty()
            && !self.finished
        {
            self.finished = true;
            world.finish(link);
        }
    }

    /// Breaks the connection.
    pub fn reset(&mut self, world: &mut World) -> Vec<Asked> {
        if let Some(link) = self.link {
            world.reset(link);
        }
        self.forget()
    }

    fn forget(&mut self) -> Vec<Asked> {
        self.link = None;
        self.opened = false;
        self.asked_bytes = 0;
        self.sent = 0;
        self.unsent.clear();
        self.received.clear();
        self.needed = 0;
        self.asked.drain(..).collect()
    }

    /// Reads what has come and looks for the answer that is due.
    ///
    /// # Errors
    /// When something came that is no answer to what was asked.
    pub fn progress(&mut self, world: &mut World) -> Result<Progress, String> {
        let Some(link) = self.link else {
            return Ok(Progress::Waiting);
        };
        let mut reads = 0;
        loop {
            if let Some(answered) = self.take_answer()? {
                return Ok(answered);
            }
            if self.asked.is_empty() && !self.received.is_empty() {
                return Err(format!(
                    "nobody has asked for {:?}",
                    Excerpt(&self.received)
                ));
            }
            if self.is_slow() && reads > 0 {
                return Ok(Progress::Waiting);
            }
            let (bytes, ended) = world.receive(link, self.reads_bytes_max);
            reads += 1;
            if bytes.is_empty() {
                return Ok(if ended {
                    Progress::Ended(self.forget())
                } else {
                    Progress::Waiting
                });
            }
            self.received.extend(bytes);
        }
    }

    fn take_answer(&mut self) -> Result<Option<Progress>, String> {
        if self.asked.is_empty() || self.received.len() < self.needed {
            return Ok(None);
        }
        // Silence is known to be one once a later answer has come.
        let Some(first) = self.asked.iter().find(|asked| !asked.request.is_silent()) else {
            return Ok(None);
        };
        let reading = match first.request.read(&self.received)? {
            Looked::Whole(reading) => reading,
            Looked::Short(needed) => {
                self.needed = needed;
                return Ok(None);
            }
        };
        self.needed = 0;
        let asked = self.asked.pop_front().expect("it is there");
        if !asked.request.is_silent() {
            self.received.drain(..reading.bytes);
            return Ok(Some(Progress::Answered(asked, reading)));
        }
        match asked.request.read(&[])? {
            Looked::Whole(silence) => Ok(Some(Progress::Answered(asked, silence))),
            Looked::Short(_) => unreachable!("silence is there at once"),
        }
    }

    /// From now on it reads all there is.
    pub const fn read_all(&mut self) {
        self.reads_bytes_max = usize::MAX;
    }

    /// Whether it reads so little at a time that it has to come back for the rest.
    #[must_use]
    pub const fn is_slow(&self) -> bool {
        self.reads_bytes_max < usize::MAX
    }
}
