//! The cache against a model: a map of what was stored, and a map of what the disk has.

extern crate std;

use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::sync::OnceLock;
use std::vec;
use std::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::audit::{MIB, find, owned_keys, put, small_cache};
use super::*;

const KEYS: usize = 700;

fn keys() -> &'static [String] {
    static KEYS_OWNED: OnceLock<Vec<String>> = OnceLock::new();
    KEYS_OWNED.get_or_init(|| owned_keys(KEYS))
}

#[derive(Clone, Debug)]
enum Step {
    Insert {
        key: usize,
        value_bytes: usize,
        head: Fields,
        tombstone: bool,
    },
    Bump {
        key: usize,
    },
    Update {
        key: usize,
        head: Fields,
    },
    Remove {
        key: usize,
    },
    Disk {
        key: usize,
        disk: DiskState,
    },
    AllClean,
    Sweep {
        seconds: u32,
        flush: bool,
        segments: usize,
    },
    Limit {
        bytes: usize,
    },
    Charge {
        bytes: usize,
    },
    Discharge,
    BeginScan {
        key: usize,
    },
    EndScan,
}

/// Of so many changes `dirty` in a hundred are not yet on disk.
fn fields(dirty: u32) -> impl Strategy<Value = Fields> {
    let disk = prop_oneof![
        100 - dirty => Just(DiskState::Clean),
        dirty => Just(DiskState::Queued),
    ];
    (any::<[bool; 5]>(), 0..60u32, disk).prop_map(|(on, seconds, disk)| Fields {
        cas: if on[0] { 99 } else { 0 },
        flags: if on[1] { 7 } else { 0 },
        expires_s: if on[2] { seconds } else { 0 },
        stale: on[3],
        token_sent: on[4],
        disk,
        ..Fields::default()
    })
}

fn step(dirty: u32) -> impl Strategy<Value = Step> {
    let value_bytes = prop_oneof![
        6 => 0..300usize,
        6 => 1000..4097usize,
        1 => 4097..60_000usize,
        1 => 100_000..400_000usize,
    ];
    let insert = (
        0..KEYS,
        value_bytes,
        fields(dirty),
        proptest::bool::weighted(0.05),
    );
    let disk = prop_oneof![Just(DiskState::Submitted), Just(DiskState::Clean)];
    prop_oneof![
        40 => insert.prop_map(|(key, value_bytes, head, tombstone)| Step::Insert {
            key, value_bytes, head, tombstone
        }),
        20 => (0..KEYS).prop_map(|key| Step::Bump { key }),
        8 => (0..KEYS, fields(dirty)).prop_map(|(key, head)| Step::Update { key, head }),
        4 => (0..KEYS).prop_map(|key| Step::Remove { key }),
        12 => (0..KEYS, disk).prop_map(|(key, disk)| Step::Disk { key, disk }),
        1 => Just(Step::AllClean),
        2 => (0..3u32, proptest::bool::weighted(0.1), 0..20usize)
            .prop_map(|(seconds, flush, segments)| Step::Sweep { seconds, flush, segments }),
        1 => (MIB..3 * MIB).prop_map(|bytes| Step::Limit { bytes }),
        1 => (0..300_000usize).prop_map(|bytes| Step::Charge { bytes }),
        1 => Just(Step::Discharge),
        2 => (0..KEYS).prop_map(|key| Step::BeginScan { key }),
        2 => Just(Step::EndScan),
    ]
}

struct Known {
    fields: Fields,
    value: Vec<u8>,
}

/// What a shard would know, and a disk that has what was called clean.
struct Model {
    cache: Cache,
    stored: BTreeMap<usize, Known>,
    disk: BTreeSet<usize>,
    disk_used: bool,
    version: u64,
    now_s: u32,
    flushed: u64,
    charged: Vec<usize>,
    /// Partitions being scanned, with the tags that their scan collects.
    scanning: BTreeMap<u16, Vec<u32>>,
    /// Keys that have left memory in a partition since its scan began.
    left: BTreeSet<usize>,
}

fn partition_of(key: usize) -> u16 {
    KeyHash::of(keys()[key].as_bytes()).partition()
}

impl Model {
    fn new(evict: bool, disk: bool) -> Self {
        Self {
            cache: small_cache(MIB, evict, disk),
            stored: BTreeMap::new(),
            disk: BTreeSet::new(),
            disk_used: disk,
            version: 0,
            now_s: 10,
            flushed: 0,
            charged: Vec::new(),
            scanning: BTreeMap::new(),
            left: BTreeSet::new(),
        }
    }

    fn is_due(&self, fields: &Fields) -> bool {
        let expired = fields.expires_s != 0 && fields.expires_s <= self.now_s;
        !fields.tombstone && (expired || fields.version <= self.flushed)
    }

    fn prepare(&mut self, key: usize, mut head: Fields) -> Fields {
        self.version += 1;
        head.version = self.version;
        head.cas = if head.cas == 0 {
            self.version
        } else {
            head.cas
        };
        head.accessed_s = self.now_s;
        if head.expires_s != 0 {
            head.expires_s += self.now_s;
        }
        head.on_disk = self.disk.contains(&key);
        if !self.disk_used {
            head.disk = DiskState::Clean;
        } else if head.disk == DiskState::Clean {
            head.on_disk = true;
        }
        head
    }

    /// Updates what the disk has after `key` has come to this state.
    fn follow_disk(&mut self, key: usize, fields: &Fields) {
        if self.disk_used && fields.disk == DiskState::Clean {
            if fields.tombstone {
                self.disk.remove(&key);
            } else {
                self.disk.insert(key);
            }
        } else if fields.disk == DiskState::Submitted {
            self.disk.insert(key);
        }
    }

    fn insert(&mut self, key: usize, value_bytes: usize, head: Fields, tombstone: bool) {
        let mut head = self.prepare(key, head);
        let mut value = vec![(self.version % 251) as u8; value_bytes];
        if tombstone && self.disk_used {
            head = Fields {
                expires_s: 0,
                tombstone,
                disk: DiskState::Queued,
                ..head
            };
            value.clear();
        }
        let stored = if value.len() > INLINE_BYTES_MAX {
            Value::Large(Bytes::from(value.clone()))
        } else {
            Value::Small(&value)
        };
        let before = find(&self.cache, &keys()[key]).is_some();
        let result = put(&mut self.cache, &keys()[key], stored, head);
        match result {
            Ok(place) => {
                assert_eq!(self.cache.view(place).fields, head);
                self.stored.insert(
                    key,
                    Known {
                        fields: head,
                        value,
                    },
                );
                self.follow_disk(key, &head);
            }
            Err(NoRoom) => {
                let after = find(&self.cache, &keys()[key]).is_some();
                assert_eq!(before, after, "a failed insertion took the old item along");
            }
        }
    }

    fn update(&mut self, key: usize, head: Fields) {
        let Some(place) = find(&self.cache, &keys()[key]) else {
            return;
        };
        let was = self.cache.view(place).fields;
        let mut head = self.prepare(key, head);
        head.tombstone = was.tombstone;
        if was.tombstone {
            head.expires_s = 0;
            head.disk = DiskState::Queued;
        }
        let Ok(place) = self.cache.update(place, head) else {
            let place = find(&self.cache, &keys()[key]).expect("a failed update removes nothing");
            assert_eq!(self.cache.view(place).fields, was);
            return;
        };
        assert_eq!(self.cache.view(place).fields, head);
        self.stored.get_mut(&key).expect("it was found").fields = head;
        self.follow_disk(key, &head);
    }

    /// A removal as a shard does it: of what the disk does not have, or has no more.
    fn remove(&mut self, key: usize) {
        if let Some(place) = find(&self.cache, &keys()[key]) {
            assert_eq!((place.partition(), place.tag()), {
                let hash = KeyHash::of(keys()[key].as_bytes());
                (hash.partition(), hash.tag())
            });
            self.cache.remove(place);
            self.stored.remove(&key);
            self.disk.remove(&key);
            self.note_left(key);
        }
    }

    fn note_left(&mut self, key: usize) {
        if self.scanning.contains_key(&partition_of(key)) {
            self.left.insert(key);
        }
    }

    fn set_disk(&mut self, key: usize, disk: DiskState) {
        if !self.disk_used {
            return;
        }
        let hash = KeyHash::of(keys()[key].as_bytes());
        // As a shard does it: by tag.
        let mut after = None;
        while let Some(place) = self.cache.find_tag(hash.partition(), hash.tag(), after) {
            after = Some(place);
            let view = self.cache.view(place);
            if view.key != keys()[key].as_bytes() || view.fields.disk == DiskState::Clean {
                continue;
            }
            if view.fields.tombstone && disk == DiskState::Clean {
                self.remove(key);
                return;
            }
            self.cache.set_disk(place, disk, true);
            let known = self.stored.get_mut(&key).expect("it was found");
            known.fields.disk = disk;
            known.fields.on_disk = true;
            let fields = known.fields;
            self.follow_disk(key, &fields);
        }
    }

    fn end_scan(&mut self) {
        let Some((partition, mut tags)) = self.scanning.pop_first() else {
            return;
        };
        let of_partition = |key: &&usize| partition_of(**key) == partition;
        for key in self.left.iter().filter(of_partition) {
            let tag = KeyHash::of(keys()[*key].as_bytes()).tag();
            assert!(self.cache.tag_removed_during_scan(partition, tag));
        }
        self.left.retain(|key| partition_of(*key) != partition);
        if self.cache.end_scan(partition, &mut tags) {
            assert!(self.cache.partition(partition).known);
        }
        assert!(!self.cache.partition(partition).scanning && tags.is_empty());
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Insert {
                key,
                value_bytes,
                head,
                tombstone,
            } => {
                self.insert(key, value_bytes, head, tombstone);
            }
            Step::Bump { key } => {
                if let Some(place) = find(&self.cache, &keys()[key]) {
                    self.cache.bump(place, self.now_s);
                    let known = self.stored.get_mut(&key).expect("it was found");
                    known.fields.fetched = true;
                    known.fields.accessed_s = self.now_s;
                }
            }
            Step::Update { key, head } => self.update(key, head),
            Step::Remove { key } => self.remove(key),
            Step::Disk { key, disk } => self.set_disk(key, disk),
            Step::AllClean => {
                for key in 0..KEYS {
                    self.set_disk(key, DiskState::Clean);
                }
            }
            Step::Sweep {
                seconds,
                flush,
                segments,
            } => {
                self.now_s += seconds;
                if flush {
                    self.flushed = self.version;
                }
                self.cache.sweep(self.now_s, self.flushed, segments);
            }
            Step::Limit { bytes } => self.cache.set_limit_bytes(bytes),
            Step::Charge { bytes } => {
                if self.cache.charge(bytes).is_ok() {
                    self.charged.push(bytes);
                }
            }
            Step::Discharge => {
                if let Some(bytes) = self.charged.pop() {
                    self.cache.discharge(bytes);
                }
            }
            Step::BeginScan { key } => {
                let partition = partition_of(key);
                if self.disk_used && !self.scanning.contains_key(&partition) {
                    self.cache.begin_scan(partition);
                    let disk_only = self.disk.iter().filter(|key| {
                        partition_of(**key) == partition
                            && find(&self.cache, &keys()[**key]).is_none()
                    });
                    let tags = disk_only.map(|key| KeyHash::of(keys()[*key].as_bytes()).tag());
                    self.scanning.insert(partition, tags.collect());
                }
            }
            Step::EndScan => self.end_scan(),
        }
    }

    /// Compares memory with the model; forgets what has rightly gone.
    fn check(&mut self, evict: bool) {
        let mut gone = Vec::new();
        for (&key, known) in &self.stored {
            if let Some(place) = find(&self.cache, &keys()[key]) {
                let view = self.cache.view(place);
                assert_eq!(view.fields, known.fields);
                assert_eq!(view.value_slice(), &*known.value);
                assert_eq!(view.value().as_slice(), &*known.value);
                continue;
            }
            let fields = &known.fields;
            let due = self.is_due(fields);
            if !due {
                let pinned = fields.disk != DiskState::Clean || fields.tombstone;
                assert!(!pinned, "lost what the disk does not have: {fields:?}");
                assert!(evict, "evicted although eviction is off");
            } else if fields.version > self.flushed && self.disk.contains(&key) {
                let clean = fields.disk == DiskState::Clean;
                assert!(clean, "an older record on disk would come back: {fields:?}");
            }
            gone.push((key, due));
        }
        for (key, due) in gone {
            self.stored.remove(&key);
            self.note_left(key);
            if due {
                self.disk.remove(&key);
            }
        }
        for &key in &self.disk {
            let hash = KeyHash::of(keys()[key].as_bytes());
            let present = find(&self.cache, &keys()[key]).is_some();
            assert!(
                present || self.cache.may_be_on_disk(hash),
                "a miss would be final"
            );
        }
        let found = keys()
            .iter()
            .filter(|key| find(&self.cache, key).is_some())
            .count();
        let figures = self.cache.figures();
        assert_eq!(figures.items + figures.tombstones, found as u64);
        self.cache.audit();
    }
}

fn run(steps: &[Step], evict: bool, disk: bool) {
    let mut model = Model::new(evict, disk);
    for step in steps {
        let within = model.cache.used_bytes() <= model.cache.limit_bytes();
        let within = within && model.cache.has_reserve();
        let moved = model.cache.figures().moved_bytes;
        model.apply(step);
        let moved = model.cache.figures().moved_bytes - moved;
        assert!(moved <= 16 * MIB as u64, "{moved} bytes moved for {step:?}");
        let (used, limit) = (model.cache.used_bytes(), model.cache.limit_bytes());
        match step {
            Step::Limit { .. } if used > limit => {
                assert!(!evict || !model.cache.has_evictable(), "{used} of {limit}");
            }
            _ => assert!(!within || used <= limit, "{used} of {limit} after {step:?}"),
        }
        model.check(evict);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_map(
        steps in proptest::collection::vec(step(20), 1500),
        evict in any::<bool>(),
    ) {
        run(&steps, evict, true);
    }

    #[test]
    fn agrees_with_a_map_while_the_disk_lags(
        steps in proptest::collection::vec(step(97), 1500),
        evict in any::<bool>(),
    ) {
        run(&steps, evict, true);
    }

    #[test]
    fn agrees_with_a_map_without_a_disk(steps in proptest::collection::vec(step(20), 1500)) {
        run(&steps, true, false);
    }
}
