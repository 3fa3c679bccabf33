//! Clients' bytes, cut into reads: the answers do not depend on the cuts.
//!
//! Decides which figures may: those of reads and writes, and of the disk.

use zufar_core::machine::Listener;

use crate::sessions::{Answer, Session, without_cas, without_counts};

/// What `stats` says that depends on the cuts by right: how a name begins.
const VARYING: &[&str] = &[
    // Of reads and writes, not of commands.
    "bytes_read",
    "bytes_written",
    "0:state",
    "credit_waits",
    // Two commands of one key that come in one read wait behind one read of the disk, and what
    // the disk has been given by the time of the answer depends on when that was.
    "disk_",
    "dirty_",
];

/// Says `input` to a node whole and cut.
pub fn splitting(input: &[u8]) {
    let Some(session) = Session::of(input) else {
        return;
    };
    let seen = |cut| {
        let answer = session.answer(Listener::Client, cut);
        let mut bytes = without_counts(&answer.bytes, VARYING);
        if session.cas_vary() {
            bytes = without_cas(&bytes);
        }
        Answer { bytes, ..answer }
    };
    let (whole, cut) = (seen(false), seen(true));
    assert!(
        whole == cut,
        "whole: {}\ncut: {}",
        shown(&whole),
        shown(&cut)
    );
}

fn shown(answer: &Answer) -> String {
    let Answer {
        bytes,
        closed,
        closed_at_end,
    } = answer;
    let bytes = bytes.escape_ascii();
    format!("closed {closed}, at the end {closed_at_end}, {bytes}")
}
