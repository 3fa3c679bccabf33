//! Names of hosts, and who asks for them.
//!
//! Decides how long an answer takes and that it may fail. Refuses to know what names are for.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use zufar_core::id::Ticket;
use zufar_core::machine::{ADDRESSES_MAX, RESOLVES_MAX};

use super::process::{Mail, Process};
use super::{Happening, Run, World};

/// What names, with their ports, stand for. Addresses need not be here.
pub type Names = BTreeMap<String, Vec<SocketAddr>>;

impl World {
    /// Begins to look up all that a worker's machine wants to know.
    pub(super) fn resolve_all(&mut self, process: &mut Process, worker: u16) {
        let mut wanted = std::mem::take(&mut process.seat(worker).actions.resolve);
        for (ticket, name) in wanted.drain(..) {
            if process.resolving == RESOLVES_MAX {
                let addresses = Err("too many names at a time".to_owned());
                process.tell(worker, Mail::Resolved { ticket, addresses });
                continue;
            }
            process.resolving += 1;
            let delay_us = self.random.between(1, self.peers.resolve_us_max);
            let run = process.run;
            let resolve = Happening::Resolve {
                run,
                worker,
                ticket,
                name,
            };
            self.plan(delay_us, resolve);
        }
        process.seat(worker).actions.resolve = wanted;
    }

    pub(super) fn answer_name(&mut self, run: Run, worker: u16, ticket: Ticket, name: &str) {
        self.with_run(run, |world, process| {
            process.resolving -= 1;
            let addresses = world.look_up(name);
            process.tell(worker, Mail::Resolved { ticket, addresses });
            world.wake(process, worker);
        });
    }

    fn look_up(&mut self, name: &str) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let failed_percent = self.peers.resolve_failed_percent;
        if failed_percent > 0 && self.random.chance(failed_percent) {
            self.count("names not found for a while");
            return Err("nobody answers".to_owned());
        }
        match self.names.get(name) {
            Some(all) if !all.is_empty() => Ok(all.iter().copied().take(ADDRESSES_MAX).collect()),
            Some(_) | None => Err("no such name".to_owned()),
        }
    }
}
