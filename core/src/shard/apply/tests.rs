//! What changes of items do to memory, seen from the shard.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Dress;
use crate::cache::{DiskState, Fields, NewItem, NoRoom, Place};
use crate::command::{Failure, Outcome, Value};
use crate::disk::Recovery;
use crate::hash::KeyHash;
use crate::id::WorkerId;
use crate::settings::{DiskSettings, Limits, Settings, WhenFull};
use crate::shard::{SEGMENT_BYTES, Shard};
use crate::time::{Now, Time};

const NOW: Now = Now {
    time: Time::ZERO,
    unix_ms: 1_800_000_000_000,
};

/// The one of 16 workers whose memory tier has so many bytes, over a disk.
fn shard(memory_bytes: u64) -> Shard {
    let workers = 16;
    let settings = Settings {
        version: String::new(),
        guid: String::new(),
        rack: String::new(),
        peer_address: String::new(),
        process_id: 1,
        started_unix_s: 0,
        workers,
        memory_bytes: memory_bytes * u64::from(workers),
        evict: true,
        value_bytes_max: 1 << 20,
        connections_max: 1,
        idle_timeout_s: 0,
        flush_enabled: true,
        shutdown_enabled: false,
        verbosity: 0,
        tcp_port: 0,
        listen_host: None,
        unix_socket: None,
        unix_socket_mode: 0,
        backlog: 1,
        disk: Some(DiskSettings {
            data_dir: String::new(),
            write_interval_ms: 50,
            sync_interval_ms: 1000,
            dirty_bytes_soft: u64::MAX,
            dirty_bytes_hard: u64::MAX,
            dirty_age_soft_ms: u64::MAX,
            dirty_age_hard_ms: u64::MAX,
            stall_ms_max: 1000,
            disk_bytes_max: None,
            reserve_percent: 0,
            when_full: WhenFull::Evict,
        }),
        limits: Limits::default(),
    };
    Shard::new(Arc::new(settings), WorkerId(0), &Recovery::default())
}

fn hash(key: &str) -> KeyHash {
    KeyHash::of(key.as_bytes())
}

fn find(shard: &Shard, key: &str) -> Option<Place> {
    shard.cache.find(hash(key), key.as_bytes())
}

/// Stores a value that the disk does not have, though it may have an older one.
fn put(shard: &mut Shard, key: &str, value: &[u8]) -> Result<Place, NoRoom> {
    let version = shard.clock.next(NOW);
    shard.cache.insert(NewItem {
        hash: hash(key),
        key: key.as_bytes(),
        head: Fields {
            version,
            cas: version,
            on_disk: true,
            disk: DiskState::Queued,
            ..Fields::default()
        },
        value: Value::Small(value),
    })
}

/// The search for a tombstone's room may move the very item that it is for, and find none.
#[test]
fn an_item_that_moves_while_room_is_sought_for_its_tombstone_is_buried_where_it_lies() {
    let mut shard = shard(2 << 20);
    let mut keys = (0..)
        .map(|number: u32| format!("key-{number}"))
        .filter(|key| hash(key).partition().is_multiple_of(16));
    let mut take = |count| keys.by_ref().take(count).collect::<Vec<_>>();
    // The item, what will leave gaps behind it, and then nothing but what has to stay.
    let (item, gaps, others) = (take(1).remove(0), take(20), take(10_000));
    put(&mut shard, &item, b"item").expect("room");
    for key in &gaps {
        put(&mut shard, key, &[1; 4000]).expect("room");
    }
    let stored = |key: &&String| put(&mut shard, key, key.repeat(40).as_bytes()).is_ok();
    let others: Vec<&String> = others.iter().take_while(stored).collect();
    // What is free beside whole segments goes, and with it one of those.
    let cache = &mut shard.cache;
    let rest = (cache.limit_bytes() - cache.used_bytes()) % SEGMENT_BYTES;
    cache.set_limit_bytes(cache.limit_bytes() - rest - 1);
    for key in &gaps {
        let place = find(&shard, key).expect("nothing was evicted");
        shard.cache.remove(place);
    }

    let place = find(&shard, &item).expect("nothing was evicted");
    shard.drop_item(NOW, hash(&item), item.as_bytes(), place);

    let buried = find(&shard, &item).expect("a tombstone");
    assert_ne!(buried, place, "the search for room has moved the item");
    let view = shard.cache.view(buried);
    assert!(view.fields.tombstone);
    assert_eq!(view.fields.disk, DiskState::Queued);
    assert_eq!(
        view.value_slice(),
        b"item",
        "there was no room for a new record"
    );
    for key in others {
        let place = find(&shard, key).expect("nothing was evicted");
        let view = shard.cache.view(place);
        assert!(!view.fields.tombstone);
        assert_eq!(view.value_slice(), key.repeat(40).as_bytes());
    }
}

#[test]
fn a_value_that_finds_no_room_takes_with_it_what_only_the_disk_has_of_its_key() {
    let mut shard = shard(2 << 20);
    let mut keys = (0..)
        .map(|number: u32| format!("key-{number}"))
        .filter(|key| hash(key).partition().is_multiple_of(16));
    for key in keys.by_ref().take(300) {
        put(&mut shard, &key, &[1; 4000]).expect("room");
    }
    let (old, new) = (keys.next().expect("endless"), [2; 1 << 20]);
    assert!(shard.may_have_record(hash(&old)), "nothing is known yet");
    assert_eq!(find(&shard, &old), None);

    let dress = Dress::plain(0, 0, None);
    let value = Value::Large(Bytes::copy_from_slice(&new));
    let outcome = shard.put_or_drop(NOW, hash(&old), old.as_bytes(), value, &dress);

    assert!(matches!(outcome, Outcome::Failed(Failure::OutOfMemory)));
    let buried = find(&shard, &old).expect("a tombstone");
    let fields = shard.cache.view(buried).fields;
    assert!(fields.tombstone && fields.on_disk);
    assert_eq!(fields.disk, DiskState::Queued);
}
