use alloc::string::String;
use alloc::vec;

use proptest::prelude::*;

use super::*;

fn any_guid() -> impl Strategy<Value = Guid> {
    // Few, so that entries meet.
    (0..4_u8).prop_map(|number| Guid::new(&alloc::format!("node-{number}")).expect("a guid"))
}

fn any_text(bytes_max: usize) -> impl Strategy<Value = String> {
    proptest::string::string_regex(&alloc::format!("[a-z0-9.:-]{{0,{bytes_max}}}"))
        .expect("a regex")
}

fn any_state() -> impl Strategy<Value = LayoutState> {
    (0..5_u8).prop_map(|code| LayoutState::of(code).expect("a known code"))
}

fn any_entry() -> impl Strategy<Value = LayoutEntry> {
    (
        any_guid(),
        // Small numbers, so that stamps tie.
        (0..3_u64, 0..3_u64),
        any_state(),
        0..3_u32,
        any_text(2),
        proptest::collection::vec(any::<u8>(), 0..2),
    )
        .prop_map(
            |(guid, (generation, sequence), state, weight, rack, later)| LayoutEntry {
                guid,
                generation,
                sequence,
                state,
                weight,
                rack: rack.into(),
                later: later.into(),
            },
        )
}

fn any_descriptor() -> impl Strategy<Value = Descriptor> {
    (
        any_guid(),
        (any::<u64>(), any::<u64>(), any::<u16>()),
        proptest::array::uniform3(any_text(60)),
        proptest::collection::vec(any::<u8>(), 0..20),
    )
        .prop_map(|(guid, (generation, sequence, health), texts, later)| {
            let [client, peer, version] = texts;
            Descriptor {
                guid,
                generation,
                sequence,
                health: Health(health),
                client_address: client.into(),
                peer_address: peer.into(),
                version: version.into(),
                later: later.into(),
            }
        })
}

fn merged<'a>(entries: impl IntoIterator<Item = &'a LayoutEntry>) -> Layout {
    let mut layout = Layout::default();
    for entry in entries {
        layout.merge(entry.clone());
    }
    layout
}

proptest! {
    #[test]
    fn the_order_of_merging_does_not_matter(
        mut entries in proptest::collection::vec(any_entry(), 0..12),
        cut in 0..12_usize,
        turn in 0..12_usize,
    ) {
        let whole = merged(&entries);
        // Idempotent.
        let twice = merged(entries.iter().chain(&entries));
        prop_assert_eq!(&twice, &whole);
        // Associative: two halves that are merged apart.
        let cut = cut.min(entries.len());
        let (one, other) = (merged(&entries[..cut]), merged(&entries[cut..]));
        let joined = merged(one.entries().chain(other.entries()));
        prop_assert_eq!(&joined, &whole);
        // Commutative.
        let turned = merged(other.entries().chain(one.entries()));
        prop_assert_eq!(&turned, &whole);
        let turn = turn.min(entries.len());
        entries.rotate_left(turn);
        entries.reverse();
        prop_assert_eq!(merged(&entries), whole);
    }

    #[test]
    fn digests_tell_layouts_apart(
        one in proptest::collection::vec(any_entry(), 0..6),
        other in proptest::collection::vec(any_entry(), 0..6),
    ) {
        let (one, other) = (merged(&one), merged(&other));
        prop_assert_eq!(one.digest() == other.digest(), one == other);
    }

    #[test]
    fn of_two_entries_just_one_wins(one in any_entry(), other in any_entry()) {
        prop_assume!(one.guid == other.guid);
        let equal = one == other;
        prop_assert_eq!(one.supersedes(&other) ^ other.supersedes(&one), !equal);
    }

    #[test]
    fn entries_and_descriptors_come_back_as_they_were(
        entry in any_entry(), descriptor in any_descriptor(),
    ) {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes).expect("short");
        prop_assert_eq!(LayoutEntry::decode(&bytes), Some(entry));
        bytes.clear();
        descriptor.encode(&mut bytes).expect("short");
        prop_assert!(bytes.len() <= DESCRIPTOR_BYTES_MAX);
        prop_assert_eq!(Descriptor::decode(&bytes), Some(descriptor));
    }

    #[test]
    fn what_is_cut_off_is_no_entry(entry in any_entry(), cut in 0..30_usize) {
        let mut bytes = Vec::new();
        let known = LayoutEntry { later: Box::default(), ..entry };
        known.encode(&mut bytes).expect("short");
        let cut = cut % bytes.len();
        prop_assert_eq!(LayoutEntry::decode(&bytes[..cut]), None);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        for decoded in [LayoutEntry::decode(&bytes).map(|entry| {
            let mut again = Vec::new();
            entry.encode(&mut again).map(|()| again)
        }), Descriptor::decode(&bytes).map(|descriptor| {
            let mut again = Vec::new();
            descriptor.encode(&mut again).map(|()| again)
        })].into_iter().flatten() {
            prop_assert_eq!(decoded, Ok(bytes.clone()));
        }
    }
}

fn example() -> Descriptor {
    Descriptor {
        guid: Guid::new("a").expect("a guid"),
        generation: 1,
        sequence: 2,
        health: Health::HOLDS_DATA.with(Health::DISK_FULL, true),
        client_address: "h:1".into(),
        peer_address: "h:2".into(),
        version: "0.1".into(),
        later: Box::default(),
    }
}

#[test]
fn a_descriptor_is_these_bytes() {
    let mut bytes = Vec::new();
    example().encode(&mut bytes).expect("short");
    let expected = b"\x01a\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\x03\x03h:1\x03h:2\x030.1";
    assert_eq!(bytes, expected);
}

#[test]
fn an_entry_is_these_bytes() {
    let entry = LayoutEntry {
        guid: Guid::new("a").expect("a guid"),
        generation: 1,
        sequence: 2,
        state: LayoutState::Leaving,
        weight: 100,
        rack: "r1".into(),
        later: Box::default(),
    };
    let mut bytes = Vec::new();
    entry.encode(&mut bytes).expect("short");
    let expected = b"\x01a\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\x03\0\0\0\x64\x02r1";
    assert_eq!(bytes, expected);
}

#[test]
fn what_is_too_long_is_refused_and_leaves_nothing_behind() {
    let mut bytes = b"before".to_vec();
    let descriptor = Descriptor {
        client_address: "h".repeat(200).into(),
        peer_address: "h".repeat(200).into(),
        ..example()
    };
    let refused = descriptor.encode(&mut bytes).expect_err("over the bound");
    assert_eq!(refused.bytes_max, DESCRIPTOR_BYTES_MAX);
    let descriptor = Descriptor {
        version: "v".repeat(256).into(),
        ..example()
    };
    assert!(descriptor.encode(&mut bytes).is_err());
    assert_eq!(bytes, b"before");
    assert_eq!(Descriptor::decode(&[0; DESCRIPTOR_BYTES_MAX + 1]), None);
}

#[test]
fn a_layout_has_room_for_so_many_nodes() {
    let mut layout = Layout::default();
    let entry = |number: usize| LayoutEntry {
        guid: Guid::new(&alloc::format!("n{number}")).expect("a guid"),
        generation: 1,
        sequence: 1,
        state: LayoutState::Normal,
        weight: 1,
        rack: "r".into(),
        later: Box::default(),
    };
    for number in 0..NODES_MAX {
        assert_eq!(layout.merge(entry(number)), Merged::Changed);
    }
    assert_eq!(layout.merge(entry(NODES_MAX)), Merged::NoRoom);
    let newer = LayoutEntry {
        sequence: 2,
        ..entry(7)
    };
    assert_eq!(layout.merge(newer), Merged::Changed);
    assert_eq!(layout.merge(entry(7)), Merged::Known);
    assert_eq!(layout.entries().len(), NODES_MAX);
}

#[test]
fn health_flags_are_set_and_cleared_one_by_one() {
    let both = Health::NONE
        .with(Health::DISK_FULL, true)
        .with(Health::HOLDS_DATA, true);
    assert!(both.has(Health::DISK_FULL) && both.has(Health::HOLDS_DATA));
    let one = both.with(Health::DISK_FULL, false);
    assert!(!one.has(Health::DISK_FULL) && one.has(Health::HOLDS_DATA));
    assert_eq!(vec![one], vec![Health::HOLDS_DATA]);
}
