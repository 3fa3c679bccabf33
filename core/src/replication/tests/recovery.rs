//! One replica that recovers, with the messages of the other voter made by hand.

use super::*;

/// Both nodes run, the other one for the second time.
struct Two([Guid; 2]);

impl View for Two {
    fn liveness(&self, _: Guid) -> Liveness {
        Liveness::Alive(2)
    }

    fn owners(&self) -> &[Guid] {
        &self.0
    }

    fn voters(&self) -> &[Guid] {
        &self.0
    }
}

/// Lets time pass for at most `ms`, until something is sent to the other voter that `wanted` finds
/// its answer in.
fn after<T>(
    replica: &mut Replica,
    now: &mut Time,
    ms: u64,
    wanted: impl Fn(&Message) -> Option<T>,
) -> Option<T> {
    let end = now.plus_millis(ms);
    while *now < end {
        *now = now.plus_millis(10);
        if replica.next_deadline().is_some_and(|due| due <= *now) {
            let sent = handle(replica, *now, Input::Deadline);
            if let Some(found) = sent.iter().find_map(&wanted) {
                return Some(found);
            }
        }
    }
    None
}

fn handle(replica: &mut Replica, now: Time, input: Input) -> Vec<Message> {
    let sent = with(&mut Memory::default(), now, |context| {
        replica.handle(input, context);
    });
    sent.into_iter().map(|(_, message)| message).collect()
}

/// Lends a store for one call. What is sent, and to whom.
fn with(store: &mut Memory, now: Time, act: impl FnOnce(&mut Context<'_>)) -> Vec<(Guid, Message)> {
    let mut out = Output::default();
    act(&mut Context {
        now,
        view: &Two([guid("a"), guid("b")]),
        store,
        out: &mut out,
    });
    out.messages
}

/// A replica of `a` that has restarted, and has kept `record`.
fn restarted(record: Record, store: &mut Memory, now: Time) -> Replica {
    let start = Start::Restarted {
        promised: None,
        record,
    };
    let settings = Arc::new(Settings::default());
    let mut replica = None;
    with(store, now, |context| {
        replica = Some(Replica::new(run("a", 2), settings, 7, start, context));
    });
    replica.expect("it was made")
}

/// The second record, which names these as in sync.
fn record_of(in_sync: Vec<NodeId>) -> Record {
    Record {
        term: Term {
            counter: 2,
            node: in_sync[0],
        },
        in_sync,
        voters: vec![guid("a"), guid("b")],
        lineage: None,
    }
}

fn answer(replica: &mut Replica, now: Time, message: Message) -> Vec<Message> {
    let from = run("b", 2);
    handle(replica, now, Input::Message { from, message })
}

fn prepared(message: &Message) -> Option<Term> {
    match message {
        Message::Prepare { term, .. } => Some(*term),
        _ => None,
    }
}

fn is_accept(message: &Message) -> bool {
    matches!(message, Message::Accept { chosen: false, .. })
}

#[test]
fn a_recovery_whose_record_nobody_has_accepted_is_made_again() {
    let mut now = Time::from_millis(1000);
    let lost = record_of(vec![run("b", 1)]);
    let mut replica = restarted(lost.clone(), &mut Memory::default(), now);
    let promise = |term| Message::Promise {
        term,
        record: Some(lost.clone()),
        holding: Holding::Nothing,
        tail: Vec::new(),
    };

    let first = after(&mut replica, &mut now, 5000, prepared).expect("it recovers");
    let sent = answer(&mut replica, now, promise(first));
    assert!(sent.iter().any(is_accept), "it alone is in sync");
    assert!(!replica.is_open());

    // What it has asked, or the answer, is lost.
    let second = after(&mut replica, &mut now, 5000, prepared).expect("it claims again");
    assert!(second > first);
    now = now.plus_millis(200);
    let sent = answer(&mut replica, now, promise(second));
    assert!(sent.iter().any(is_accept));
    answer(&mut replica, now, Message::Accepted { term: second });
    assert!(replica.is_open());
}

/// The base may be another record than the one that was heard of: whoever votes in either and has
/// forgotten has to be listed, or never promises again (cluster seed 357). And all that are listed
/// have to promise, for one of them may know that its record was in force.
#[test]
fn a_recovery_lists_the_voters_of_its_own_record_too() {
    let mut now = Time::from_millis(1000);
    let record = |counter, node: NodeId, voters: [&str; 2]| Record {
        term: Term { counter, node },
        in_sync: vec![node],
        voters: voters.map(guid).to_vec(),
        lineage: None,
    };
    let own = record(2, run("b", 1), ["a", "b"]);
    let mut replica = restarted(own.clone(), &mut Memory::default(), now);
    let heard = Message::Nack {
        blank: false,
        promised: None,
        record: Some(record(3, run("d", 1), ["a", "d"])),
    };
    let from = run("d", 2);
    let message = heard;
    handle(&mut replica, now, Input::Message { from, message });

    let listing = |message: &Message| match message {
        Message::Prepare { term, listed } if !listed.is_empty() => Some((*term, listed.clone())),
        _ => None,
    };
    let (term, listed) = after(&mut replica, &mut now, 5000, listing).expect("it recovers");
    assert_eq!(listed, [run("a", 2), run("d", 2), run("b", 2)]);
    let promise = |record| Message::Promise {
        term,
        record,
        holding: Holding::Nothing,
        tail: Vec::new(),
    };
    let sent = answer(&mut replica, now, promise(Some(own)));
    assert!(!sent.iter().any(is_accept), "one is listed and silent");
    let message = promise(None);
    let sent = handle(&mut replica, now, Input::Message { from, message });
    assert!(sent.iter().any(is_accept));
}

/// However long it takes: what it has on disk would be discarded.
#[test]
fn a_recovery_does_not_do_without_a_voter_that_is_alive() {
    let mut now = Time::from_millis(1000);
    let mut replica = restarted(
        record_of(vec![run("a", 1), run("b", 1)]),
        &mut Memory::default(),
        now,
    );
    assert_eq!(Settings::default().split_brain, SplitBrain::Available);
    let nothing = |_: &Message| None::<()>;
    after(&mut replica, &mut now, 60_000, nothing);
    assert!(!replica.is_open());
    assert!(replica.figures().claims > 10, "it has tried");
}

/// All of it may have been deleted, and an older disk must not bring it back.
#[test]
fn what_an_earlier_run_has_kept_counts_be_it_nothing() {
    for (in_sync, expected) in [
        (vec![run("a", 1)], Holding::Something),
        (vec![run("b", 1)], Holding::Nothing),
    ] {
        let now = Time::from_millis(1000);
        let mut replica = restarted(record_of(in_sync), &mut Memory::default(), now);
        let term = Term {
            counter: 9,
            node: run("b", 2),
        };
        let listed = vec![run("a", 2), run("b", 2)];
        let sent = answer(&mut replica, now, Message::Prepare { term, listed });
        let held = sent.iter().find_map(|message| match message {
            Message::Promise { holding, .. } => Some(*holding),
            _ => None,
        });
        assert_eq!(held, Some(expected));
    }
}

#[test]
fn a_recovery_that_says_that_it_goes_on_is_not_disturbed() {
    let mut now = Time::from_millis(1000);
    let mut replica = restarted(
        record_of(vec![run("a", 1), run("b", 1)]),
        &mut Memory::default(),
        now,
    );
    let term = Term {
        counter: 9,
        node: run("b", 2),
    };
    let prepare = || Message::Prepare {
        term,
        listed: vec![run("a", 2), run("b", 2)],
    };
    answer(&mut replica, now, prepare());
    for _ in 0..20 {
        assert_eq!(after(&mut replica, &mut now, 500, prepared), None);
        answer(&mut replica, now, prepare());
    }
    let own = after(&mut replica, &mut now, 3000, prepared);
    assert!(own > Some(term), "it does not go on any more");
}

/// Of whom a node with a copy, or a mixture, gathers when it recovers, and whether it sets its own
/// aside, if the other two of three have this, and the record of that term.
fn gathers(
    named: &[&str],
    own: Option<bool>,
    others: [(Holding, Option<u64>); 2],
) -> (Vec<&'static str>, bool) {
    let mut now = Time::from_millis(1000);
    let record = |counter, named: &[&str]| Record {
        term: Term {
            counter,
            node: run("b", 1),
        },
        in_sync: named.iter().map(|name| run(name, 1)).collect(),
        voters: vec![guid("a"), guid("b"), guid("c")],
        lineage: None,
    };
    let lost = record(2, named);
    let mut store = Memory {
        mixed: own == Some(true),
        ..Memory::default()
    };
    if own.is_some() {
        store.apply(&entry("key", 1), Arrival::Merged);
    }
    let mut replica = restarted(lost.clone(), &mut store, now);
    let mut hear =
        |store: &mut Memory, now, input| with(store, now, |context| replica.handle(input, context));
    let mut asked = None;
    while asked.is_none() {
        now = now.plus_millis(10);
        let sent = hear(&mut store, now, Input::Deadline);
        asked = sent.iter().find_map(|(_, message)| prepared(message));
        assert!(now < Time::from_millis(20_000), "it recovers");
    }
    let term = asked.expect("it was asked");
    let mut sent = Vec::new();
    for (name, (holding, counter)) in ["b", "c"].into_iter().zip(others) {
        let of_term = |counter| match counter {
            2 => lost.clone(),
            older => record(older, &["a", "b", "c"]),
        };
        let message = Message::Promise {
            term,
            record: counter.map(of_term),
            holding,
            tail: Vec::new(),
        };
        let from = run(name, 2);
        sent = hear(&mut store, now, Input::Message { from, message });
    }
    let (aside, mut gathered) = (store.aside, Vec::new());
    for name in ["b", "c"] {
        let is_asked = |(to, message): &(Guid, Message)| {
            *to == guid(name) && matches!(message, Message::Gather { .. })
        };
        if sent.iter().any(is_asked) {
            gathered.push(name);
            let message = Message::Gathered {
                term,
                cursor: 0,
                entries: Vec::new(),
                next: None,
            };
            let from = run(name, 2);
            sent = hear(&mut store, now, Input::Message { from, message });
        }
    }
    assert!(sent.iter().any(|(_, message)| is_accept(message)));
    (gathered, aside)
}

/// A disk on which a fill has left a mixture may have what was deleted long ago (cluster seed 1003).
#[test]
fn a_mixture_counts_only_where_nobody_has_it_whole() {
    let (whole, mixed, empty) = (
        (Holding::Something, Some(2)),
        (Holding::Mixed, Some(2)),
        (Holding::Nothing, Some(2)),
    );
    let lost = (Holding::Nothing, None);
    let gathers = |own, others| gathers(&["a", "b", "c"], own, others);
    let (own_whole, own_mixed) = (Some(false), Some(true));
    assert_eq!(gathers(own_whole, [whole, whole]), (vec!["b", "c"], false));
    assert_eq!(gathers(own_whole, [whole, mixed]), (vec!["b"], false));
    assert_eq!(gathers(own_whole, [mixed, mixed]), (vec![], false));
    assert_eq!(
        gathers(None, [mixed, mixed]),
        (vec![], false),
        "it is empty"
    );
    assert_eq!(gathers(own_mixed, [whole, mixed]), (vec!["b"], true));
    assert_eq!(
        gathers(own_mixed, [empty, mixed]),
        (vec![], true),
        "so is it"
    );
    assert_eq!(gathers(own_mixed, [mixed, mixed]), (vec!["b", "c"], false));
    assert_eq!(gathers(own_mixed, [lost, mixed]), (vec!["c"], false));
}

/// Who is alive, and was in sync under an older record only, may have what was deleted since (cluster
/// seed 884): it counts only where nobody can know that the last record was in force.
#[test]
fn who_was_in_sync_before_counts_only_if_the_last_record_may_never_have_been_in_force() {
    let before = (Holding::Complete, Some(1));
    let (whole, has_not_heard) = ((Holding::Something, Some(2)), (Holding::Something, Some(1)));
    let gathers = |others| gathers(&["a", "b"], Some(false), others);
    assert_eq!(gathers([whole, before]), (vec!["b"], false));
    assert_eq!(gathers([has_not_heard, before]), (vec!["b", "c"], false));
}
