use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::layout::LayoutState;
use crate::member::NodeId;

fn guid(text: &str) -> Guid {
    Guid::new(text).expect("a guid")
}

fn entry(name: &str, sequence: u64) -> LayoutEntry {
    LayoutEntry {
        guid: guid(name),
        generation: 7,
        sequence,
        state: LayoutState::Normal,
        weight: 100,
        rack: "r1".into(),
        later: [1, 2].as_slice().into(),
    }
}

fn term(counter: u64, name: &str) -> Term {
    let node = NodeId {
        guid: guid(name),
        generation: 3,
    };
    Term { counter, node }
}

fn voted(counter: u64) -> Record {
    let term = term(counter, "a");
    Record {
        term,
        in_sync: vec![term.node],
        voters: vec![guid("a"), guid("b")],
        lineage: Some(term),
    }
}

fn formed(number: u64) -> Formation {
    Formation(NonZeroU64::new(number).expect("not 0"))
}

/// All notes that there are, with their names.
fn all() -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = [entry("a", 1), entry("b", 2)];
    let others = [(guid("b"), "127.0.0.2:1"), (guid("c"), "host:2")];
    vec![
        (formation_name(WorkerId(0)), formation(1, 2, formed(5))),
        (NOTE_GENERATION.to_vec(), generation(6)),
        (NOTE_LAYOUT.to_vec(), layout(entries.iter())),
        (NOTE_MEMBERS.to_vec(), members(others.into_iter())),
        (record_name(0), record(None, &voted(1))),
        (record_name(4095), record(Some(term(9, "b")), &voted(2))),
        (mixed_name(0), mixed(false)),
        (mixed_name(4095), mixed(true)),
    ]
}

fn taken(notes: &[(Vec<u8>, Vec<u8>)]) -> ClusterNotes {
    let mut found = ClusterNotes::default();
    for (name, content) in notes {
        assert!(found.take(name, content), "{}", shown(name));
    }
    found
}

#[test]
fn notes_come_back_as_they_were() {
    let found = taken(&all());
    let expected = ClusterNotes {
        formation: Some(formed(5)),
        formation_order: (1, 2),
        generation: 6,
        layout: vec![entry("a", 1), entry("b", 2)],
        members: vec![
            (guid("b"), "127.0.0.2:1".to_string()),
            (guid("c"), "host:2".to_string()),
        ],
        records: vec![(0, None, voted(1)), (4095, Some(term(9, "b")), voted(2))],
        mixed: vec![4095],
        damaged: Vec::new(),
    };
    assert_eq!(found, expected);
    let none = taken(&[
        (NOTE_LAYOUT.to_vec(), layout([].iter())),
        (NOTE_MEMBERS.to_vec(), members([].into_iter())),
    ]);
    assert_eq!(none, ClusterNotes::default());
}

#[test]
fn other_notes_are_left_alone() {
    let mut found = ClusterNotes::default();
    for name in [&b"flushed"[..], b"hot/\0\0", b"cluste", b""] {
        assert!(!found.take(name, &[0; 8]));
    }
    assert_eq!(found, ClusterNotes::default());
}

/// Every note that lacks its end, or has one bit turned, counts as none and is named.
#[test]
fn a_damaged_note_counts_as_none() {
    for (name, content) in all() {
        let only = |content: &[u8]| {
            let mut found = ClusterNotes::default();
            assert!(found.take(&name, content));
            found
        };
        let expected = ClusterNotes {
            damaged: vec![shown(&name)],
            ..ClusterNotes::default()
        };
        for length in 0..content.len() {
            assert_eq!(only(&content[..length]), expected, "cut at {length}");
        }
        for bit in 0..content.len() * 8 {
            let mut turned = content.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(only(&turned), expected, "bit {bit}");
        }
        let mut longer = content.clone();
        longer.push(0);
        assert_eq!(only(&longer), expected, "longer");
    }
}

#[test]
fn what_was_sealed_and_is_no_note_counts_as_none() {
    let word = |bytes: &[u8]| sealed(|body| body.extend_from_slice(bytes));
    let no_partition = [NOTE_RECORD, &[0x10, 0]].concat();
    let long_name = [NOTE_RECORD, &[0, 0, 0]].concat();
    let right = record(None, &voted(1));
    for (name, content) in [
        (NOTE_FORMATION, word(&[0; 24])),
        (NOTE_FORMATION, word(&[1; 23])),
        (NOTE_GENERATION, word(&[1; 9])),
        (NOTE_LAYOUT, word(&[0, 0])),
        (NOTE_MEMBERS, word(&[0, 1, 9])),
        (&record_name(1), word(&[2])),
        (&mixed_name(1), word(&[2])),
        (&mixed_name(1), word(&[])),
        (&mixed_name(4096), word(&[1])),
        (&no_partition, right.clone()),
        (&long_name, right),
        (b"cluster/later", word(b"")),
    ] {
        let found = taken(&[(name.to_vec(), content)]);
        assert_eq!(found.damaged.len(), 1, "{}", shown(name));
        let nothing = ClusterNotes {
            damaged: Vec::new(),
            ..found
        };
        assert_eq!(nothing, ClusterNotes::default(), "{}", shown(name));
    }
    assert_eq!(shown(&record_name(17)), "replica/17");
    assert_eq!(shown(&mixed_name(17)), "mixed/17");
}

proptest! {
    #[test]
    fn arbitrary_bodies_do_not_panic(
        which in 0_usize..8,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let (name, _) = all().swap_remove(which);
        let content = sealed(|body| body.extend_from_slice(&bytes));
        prop_assert!(ClusterNotes::default().take(&name, &content));
        prop_assert!(ClusterNotes::default().take(&name, &bytes));
    }
}

#[test]
fn the_latest_formation_of_all_workers_counts() {
    let note = |worker, generation, order, number| {
        let content = formation(generation, order, formed(number));
        (formation_name(WorkerId(worker)), content)
    };
    let late = note(2, 8, 1, 5);
    let mut notes = vec![note(0, 8, 2, 6), note(1, 7, 9, 4), late];
    for _ in 0..notes.len() {
        notes.rotate_left(1);
        assert_eq!(taken(&notes).formation, Some(formed(6)));
    }
}
