//! Clients' bytes, cut into reads: the answers do not depend on the cuts.
//!
//! Decides which figures may: those that count reads.

use zufar_core::machine::Listener;

use crate::sessions::{Answer, Session, without_cas, without_counts};

/// What `stats` says of reads and writes, and not of commands.
const SEEN_BY_READ: &[&str] = &["bytes_read", "bytes_written", "0:state"];

/// Says `input` to a node whole and cut.
pub fn splitting(input: &[u8]) {
    let Some(session) = Session::of(input) else {
        return;
    };
    let seen = |cut| {
        let answer = session.answer(Listener::Client, cut);
        let mut bytes = without_counts(&answer.bytes, SEEN_BY_READ);
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
