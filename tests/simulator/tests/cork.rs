//! What is answered at once leaves with the answer of another worker behind it, or soon without.

use std::sync::Arc;

use zufar_core::disk::Recovery;
use zufar_core::hash::KeyHash;
use zufar_core::id::{ConnId, WorkerId};
use zufar_core::machine::{Actions, Event, Listener, Machine};
use zufar_core::message::Message;
use zufar_core::time::{Now, Time};
use zufar_core::worker::Worker;
use zufar_simulator::rig::{START_UNIX_MS, settings};

const CONN: ConnId = ConnId {
    slot: 0,
    generation: 1,
};

fn at(milliseconds: u64) -> Now {
    Now {
        time: Time::from_millis(milliseconds),
        unix_ms: START_UNIX_MS + milliseconds,
    }
}

/// A key of this worker, of two.
fn key_of(worker: u16) -> String {
    let names = (0..).map(|number| format!("key:{number}"));
    let mut own = names.filter(|it| KeyHash::of(it.as_bytes()).partition() % 2 == worker);
    own.next().expect("there is one")
}

/// The first of two workers, with a client, and the second.
fn workers() -> [Worker; 2] {
    let settings = Arc::new(settings(2, 64 << 20, false));
    let worker = |id| Worker::new(Arc::clone(&settings), WorkerId(id), &Recovery::default());
    let mut workers = [0, 1].map(worker);
    let accepted = Event::Accepted {
        conn: CONN,
        listener: Listener::Client,
        address: "tcp:127.0.0.1:1",
        open: 1,
    };
    workers[0].handle(at(1), accepted, &mut Actions::default());
    workers
}

fn receive(worker: &mut Worker, now: Now, bytes: &str) -> Actions {
    let mut actions = Actions::default();
    let bytes = bytes.as_bytes();
    worker.handle(now, Event::Received { conn: CONN, bytes }, &mut actions);
    actions
}

/// Carries a message of the first worker to the second, and what that answers back.
fn answer(workers: &mut [Worker; 2], now: Now, actions: Actions) -> Actions {
    let (mut answers, mut last) = (Actions::default(), Actions::default());
    for (_, message) in actions.messages {
        let from = WorkerId(0);
        workers[1].handle(now, Event::Message { from, message }, &mut answers);
    }
    for (_, message) in answers.messages {
        assert!(matches!(message, Message::Parcel(_)));
        let from = WorkerId(1);
        workers[0].handle(now, Event::Message { from, message }, &mut last);
    }
    last
}

fn write(worker: &mut Worker) -> String {
    let mut slices: [&[u8]; 8] = [&[]; 8];
    let filled = worker.unsent(CONN, &mut slices);
    let bytes = slices[..filled].concat();
    worker.sent(CONN, bytes.len());
    String::from_utf8(bytes).expect("text")
}

#[test]
fn answers_wait_for_those_behind_them_and_leave_with_them() {
    let mut workers = workers();
    let request = format!("mg {} s\r\nmg {} s\r\n", key_of(0), key_of(1));
    let before = workers[0].next_deadline();
    let actions = receive(&mut workers[0], at(1), &request);
    assert!(actions.write.is_empty(), "one answer is there, and waits");
    assert!(
        workers[0].next_deadline() <= Some(at(2).time),
        "not for long"
    );
    let actions = answer(&mut workers, at(1), actions);
    assert_eq!(actions.write, [CONN]);
    assert_eq!(write(&mut workers[0]), "EN\r\nEN\r\n");
    assert_eq!(workers[0].next_deadline(), before, "nobody is woken for it");
}

#[test]
fn answers_do_not_wait_for_long() {
    let mut workers = workers();
    let request = format!("mg {} s\r\nmg {} s\r\n", key_of(0), key_of(1));
    let messages = receive(&mut workers[0], at(1), &request);
    let mut actions = Actions::default();
    workers[0].handle(at(2), Event::Deadline, &mut actions);
    assert_eq!(actions.write, [CONN]);
    assert_eq!(write(&mut workers[0]), "EN\r\n");
    let actions = answer(&mut workers, at(2), messages);
    assert_eq!(actions.write, [CONN]);
    assert_eq!(write(&mut workers[0]), "EN\r\n");
}

#[test]
fn answers_wait_for_nothing_else() {
    let mut workers = workers();
    let actions = receive(&mut workers[0], at(1), &format!("mg {} s\r\n", key_of(0)));
    assert_eq!(actions.write, [CONN]);
    assert_eq!(write(&mut workers[0]), "EN\r\n");
    let value = "v".repeat(20_000);
    let (own, other) = (key_of(0), key_of(1));
    let set = format!("set {own} 0 0 20000\r\n{value}\r\n");
    assert_eq!(receive(&mut workers[0], at(1), &set).write, [CONN]);
    assert_eq!(write(&mut workers[0]), "STORED\r\n");
    let request = format!("mg {own} v\r\nmg {other} s\r\n");
    let actions = receive(&mut workers[0], at(1), &request);
    assert_eq!(actions.write, [CONN], "so much is worth a write");
}
