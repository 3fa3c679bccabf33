//! Fills.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;

use super::*;

/// Histories that are tried.
const SEEDS: u64 = 300;

/// What a key's last change has left: a value, and when it expires.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, u32)>;

/// A fill from `one` to `other`, and what both should serve.
struct Fill {
    random: Random,
    names: Vec<Vec<u8>>,
    one: Node,
    other: Node,
    may_evict: bool,
    model: Model,
    /// The newest version of each key that was sent, and that has come.
    sent: BTreeMap<Vec<u8>, u64>,
    came: BTreeMap<Vec<u8>, u64>,
    chunks: VecDeque<Vec<Entry>>,
    live: VecDeque<Entry>,
    lossy: bool,
    /// Things happen at moments that are bad for them, where those at random rarely do.
    biased: bool,
    written: u64,
    /// What is not as it should be.
    wrong: Option<String>,
}

fn newest(map: &mut BTreeMap<Vec<u8>, u64>, entry: &Entry) {
    let known = map.entry(entry.key.to_vec()).or_insert(0);
    *known = entry.version.max(*known);
}

impl Fill {
    fn new(seed: u64, broken: Option<Rule>, biased: bool) -> Self {
        let mut random = Random(seed);
        let names = keys(2 + random.below(12));
        let mut one = Node::new(random.bits() % 3, random.percent(60), true);
        let mut other = Node::new(random.bits() % 3, random.percent(60), true);
        one.shard.copies.broken = broken;
        other.shard.copies.broken = broken;
        Self {
            may_evict: random.percent(50),
            lossy: random.percent(10),
            random,
            names,
            one,
            other,
            model: Model::new(),
            sent: BTreeMap::new(),
            came: BTreeMap::new(),
            chunks: VecDeque::new(),
            live: VecDeque::new(),
            biased,
            written: 0,
            wrong: None,
        }
    }

    fn value(&mut self, word: &str) -> Vec<u8> {
        self.written += 1;
        let mut value = format!("{word}-{}", self.written).into_bytes();
        let bytes = *self.random.of(&[20, 20, 20, 200, 5_000]);
        value.resize(bytes, b'.');
        value
    }

    /// What `other` held in an earlier life.
    fn junk(&mut self) {
        for _ in 0..self.random.below(40) {
            let key = self.random.of(&self.names).clone();
            let value = self.value("junk");
            if self.random.percent(80) {
                self.other.set(&key, &value, 0);
            } else {
                self.other.delete(&key);
            }
            self.disturb();
        }
        match self.random.below(5) {
            0 => self.other.settle(),
            // A fill that came to its end, and whose purge did not.
            1 => {
                let entry = self.one.set(&self.names[0].clone(), b"once", 0);
                self.model
                    .insert(self.names[0].clone(), (b"once".to_vec(), 0));
                self.other.copy().set_aside();
                self.other.copy().apply(&entry, Arrival::Listed);
                self.other.copy().discard();
                self.disturb();
            }
            // One that did not, and was followed by a recovery.
            2 => {
                self.other.copy().set_aside();
                self.disturb();
                if self.random.percent(50) {
                    self.other.copy().bring_back();
                }
            }
            _ => {}
        }
    }

    /// A command on `one`.
    fn write(&mut self) -> Entry {
        let key = self.random.of(&self.names).clone();
        if self.random.percent(30) {
            self.model.remove(&key);
            return self.one.delete(&key);
        }
        let value = self.value("value");
        let now_s = self.one.now.unix_s() as u32;
        let expires_s = if self.random.percent(20) {
            now_s + self.random.below(4) as u32
        } else {
            0
        };
        self.model.insert(key.clone(), (value.clone(), expires_s));
        self.one.set(&key, &value, expires_s)
    }

    fn disturb(&mut self) {
        let may_evict = self.may_evict;
        for node in [&mut self.one, &mut self.other] {
            node.chaos(&mut self.random, &self.names, may_evict);
        }
        self.same_time();
    }

    /// One time for both, nearly.
    fn same_time(&mut self) {
        let unix_ms = self.one.now.unix_ms.max(self.other.now.unix_ms);
        self.one.now.unix_ms = unix_ms;
        self.other.now.unix_ms = unix_ms;
    }

    fn flush(&mut self) {
        let version = self.one.shard.clock.last();
        self.one.flush(version);
        self.other.flush(version);
        self.model.clear();
    }

    fn is_lost(&mut self) -> bool {
        self.lossy && self.random.percent(5)
    }

    /// Sends all of it, however long it takes.
    fn send(&mut self) {
        if self.is_bad_moment() {
            // A write is on its way to the disk, and will stay there for as long as the fill lasts.
            let key = self.random.of(&self.names).clone();
            let value = self.value("junk");
            self.other.set(&key, &value, 0);
            self.other.pass(60);
            self.other.writes_held = true;
            self.same_time();
        }
        self.other.copy().set_aside();
        self.one.copy().begin_fill();
        let mut cursor = Some(0);
        let mut turns = 0;
        while cursor.is_some() || !self.chunks.is_empty() || !self.live.is_empty() {
            turns += 1;
            if turns > 100_000 {
                return self.find_wrong("it never ends".into());
            }
            match self.random.below(12) {
                0..3 => {
                    if let Some(at) = cursor {
                        cursor = self.scan(at);
                    }
                }
                3..5 => {
                    if let Some(chunk) = self.chunks.pop_front() {
                        for entry in chunk {
                            self.take(&entry, Arrival::Listed);
                        }
                    }
                }
                5..8 => {
                    if let Some(entry) = self.live.pop_front() {
                        self.take(&entry, Arrival::Live);
                    }
                }
                8 if self.written < 150 => {
                    let entry = self.write();
                    newest(&mut self.sent, &entry);
                    self.live.push_back(entry);
                }
                9 if self.random.percent(3) => self.flush(),
                _ => self.disturb(),
            }
        }
    }

    fn scan(&mut self, at: u64) -> Option<u64> {
        let mut entries = Vec::new();
        let bytes_max = *self.random.of(&[1, 300, 100_000]);
        let scan = self.one.copy().scan(at, bytes_max, &mut entries);
        self.one.drive();
        for entry in &entries {
            newest(&mut self.sent, entry);
        }
        self.chunks.push_back(entries);
        let next = match scan {
            Scan::Next(next) => Some(next),
            Scan::End => None,
            Scan::Wait => {
                assert_eq!(self.chunks.pop_back(), Some(vec![]));
                Some(at)
            }
        };
        if self.is_bad_moment() {
            // Something moves into memory, where the scan may have been already.
            let key = self.random.of(&self.names).clone();
            self.one.get(&key);
        }
        next
    }

    fn is_bad_moment(&mut self) -> bool {
        self.biased && self.random.percent(50)
    }

    /// The target applies an entry; at a bad moment while an old record of its key is being read,
    /// and the new one is out of memory before that has come.
    fn apply_live(&mut self, entry: &Entry) {
        let is_bad = self.other.has_disk && self.is_bad_moment();
        if is_bad {
            self.other.settle();
            self.other.evict();
            self.other.peek(&entry.key);
            self.other.read_all();
        }
        self.other.copy().apply(entry, Arrival::Live);
        self.other.drive();
        if is_bad {
            self.other.write_all();
            self.other.evict();
            self.same_time();
        }
    }

    fn take(&mut self, entry: &Entry, arrival: Arrival) {
        if self.is_lost() {
            return;
        }
        newest(&mut self.came, entry);
        self.other.copy().apply(entry, arrival);
        self.other.drive();
    }

    fn find_wrong(&mut self, words: String) {
        self.wrong.get_or_insert(words);
    }

    fn compare(&mut self) {
        let exact = !self.one.has_lost && !self.other.has_lost;
        for key in self.names.clone() {
            let now_s = self.one.now.unix_s() as u32;
            let alive = |(_, at): &&(Vec<u8>, u32)| *at == 0 || *at > now_s;
            let wanted = self.model.get(&key).filter(alive).map(|it| it.0.clone());
            let has = [self.one.get(&key), self.other.get(&key)];
            for (node, has) in ["source", "target"].into_iter().zip(has) {
                let words = |bytes: &Option<Vec<u8>>| {
                    let bytes = bytes.as_deref().unwrap_or(b"nothing");
                    String::from_utf8_lossy(&bytes[..12.min(bytes.len())]).into_owned()
                };
                if has != wanted && (exact || has.is_some()) {
                    let (has, wanted) = (words(&has), words(&wanted));
                    self.find_wrong(format!("the {node} has {has} and should have {wanted}"));
                }
            }
        }
    }

    /// The target is in sync: what is written is applied there at once.
    fn go_on(&mut self) {
        for _ in 0..60 {
            match self.random.below(10) {
                0..2 if self.written < 250 => {
                    let entry = self.write();
                    self.apply_live(&entry);
                }
                2 if self.random.percent(3) => self.flush(),
                3 if self.random.percent(30) => self.compare(),
                _ => self.disturb(),
            }
        }
        self.compare();
    }
}

/// Runs one history. Returns what is wrong, and whether all came.
fn run(seed: u64, broken: Option<Rule>, biased: bool) -> (Option<String>, bool) {
    let mut fill = Fill::new(seed, broken, biased);
    fill.junk();
    for _ in 0..fill.random.below(60) {
        fill.write();
        fill.disturb();
    }
    if fill.random.percent(40) {
        fill.one.settle();
        if fill.one.has_disk {
            fill.one.evict();
        }
    }
    fill.send();
    let same = fill.one.copy().digest() == fill.other.copy().digest();
    if same != (fill.sent == fill.came) {
        fill.find_wrong("digests".into());
    }
    if !same {
        return (fill.wrong, false);
    }
    fill.other.copy().discard();
    fill.one.copy().end_fill();
    fill.other.drive();
    if fill.other.writes_held {
        // The purge is through before the write comes.
        fill.other.purge_all();
        fill.other.writes_held = false;
        fill.other.settle();
        fill.other.find_out_anew();
        fill.same_time();
    }
    fill.go_on();
    // With all buried nothing is kept in mind, and nothing comes back.
    fill.other.settle();
    fill.one.settle();
    let is_kept = |node: &Node| {
        let copies = &node.shard.copies;
        !copies.parts.is_empty() || copies.charged_bytes > 0
    };
    if is_kept(&fill.one) || is_kept(&fill.other) {
        fill.find_wrong("something is kept for good".into());
    }
    fill.other.evict();
    fill.one.evict();
    fill.compare();
    (fill.wrong, true)
}

#[test]
fn a_target_serves_what_its_source_serves_and_nothing_it_held_before() {
    let mut unequal = 0;
    for seed in 0..SEEDS {
        let (wrong, came) = run(seed, None, false);
        assert_eq!(wrong, None, "seed {seed}");
        unequal += u64::from(!came);
        let (wrong, _) = run(seed, None, true);
        assert_eq!(wrong, None, "seed {seed} at bad moments");
    }
    assert!(unequal > SEEDS / 50, "{unequal} lossy ones are too few");
}

/// Histories within which a rule that is broken has to be noticed.
const NOTICED_BY: u64 = 1_000;

/// Each rule, whether it takes histories in which things happen at bad moments (where they happen at
/// random they are too rare), and the first seed that notices that it is broken. Whoever changes
/// what is drawn finds the new ones in what the test says.
const BROKEN: [(Rule, bool, u64); 10] = [
    (Rule::AsideIsAbsent, false, 9),
    (Rule::CameIsKnown, false, 0),
    (Rule::DoomedIsHidden, false, 46),
    (Rule::DoomedIsBuried, false, 0),
    (Rule::DeletedIsBuried, false, 13),
    (Rule::LiveCounts, false, 0),
    (Rule::BurialWinsNothing, false, 2),
    (Rule::UnderWayIsUndone, true, 0),
    (Rule::OvertakenIsReadAgain, true, 0),
    (Rule::MovedIsHandedOut, true, 4),
];

#[test]
fn each_rule_that_is_broken_is_noticed() {
    let found = BROKEN.map(|(rule, biased, _)| {
        let noticed = |seed: &u64| run(*seed, Some(rule), biased).0.is_some();
        (rule, biased, (0..NOTICED_BY).find(noticed))
    });
    let wanted = BROKEN.map(|(rule, biased, seed)| (rule, biased, Some(seed)));
    assert_eq!(found, wanted);
}

/// The disk still has what is doomed: what is written in its place and deleted again must not let
/// it come back.
#[test]
fn a_purge_hides_nothing_from_what_is_written_meanwhile() {
    let mut node = Node::new(1, true, true);
    let names = keys(5);
    for key in &names {
        node.set(key, b"junk", 0);
    }
    node.settle();
    node.copy().set_aside();
    node.copy().discard();
    node.drive();
    let entry = node.set(&names[2], b"value", 0);
    node.settle();
    let gone = Entry {
        version: entry.version + 1,
        state: State::Tombstone,
        ..entry
    };
    assert!(node.copy().apply(&gone, Arrival::Live));
    node.settle();
    node.evict();
    assert_eq!((node.get(&names[2]), node.on_disk()), (None, 0));
}

/// What is written while a partition is purged, and evicted before the purge comes to it, stays.
#[test]
fn a_purge_leaves_what_is_written_meanwhile() {
    for broken in [None, Some(Rule::WrittenIsKept)] {
        let mut node = Node::new(1, true, true);
        node.shard.copies.broken = broken;
        let names = keys(5);
        for key in &names {
            node.set(key, b"junk", 0);
        }
        node.settle();
        node.copy().set_aside();
        node.copy().discard();
        node.drive();
        node.set(&names[2], b"value", 0);
        node.write_all();
        node.evict();
        node.settle();
        let has = node.get(&names[2]);
        assert_eq!(has.is_some(), broken.is_none());
        assert_eq!(node.get(&names[3]), None);
    }
}

#[test]
fn what_is_brought_back_is_what_was_set_aside() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut node = Node::new(1, random.percent(70), true);
        let names = keys(8);
        for (at, key) in names.iter().enumerate() {
            node.set(key, format!("{at}").as_bytes(), 0);
            node.chaos(&mut random, &names, false);
        }
        node.copy().set_aside();
        for _ in 0..30 {
            node.chaos(&mut random, &names, false);
        }
        node.copy().bring_back();
        for (at, key) in names.iter().enumerate() {
            node.chaos(&mut random, &names, false);
            assert_eq!(node.get(key), Some(format!("{at}").into_bytes()), "{seed}");
        }
    }
}

#[test]
fn what_nobody_wants_any_more_is_gone_from_both_tiers() {
    let mut node = Node::new(1, true, true);
    for key in keys(50) {
        node.set(&key, b"value", 0);
    }
    node.settle();
    assert_eq!(node.on_disk(), 50);
    assert!(!node.copy().is_empty());
    node.copy().set_aside();
    assert!(!node.copy().is_empty(), "set aside is not gone");
    node.copy().discard();
    assert!(node.copy().is_empty());
    for key in keys(50) {
        assert_eq!(node.get(&key), None);
    }
    node.settle();
    assert_eq!(node.on_disk(), 0);
    assert!(node.copy().is_empty());
    assert_eq!(node.shard.cache.partition(PARTITION).records, 0);
}

#[test]
fn a_new_node_scans_nothing_when_it_is_filled() {
    let (mut one, mut other) = (Node::new(1, false, true), Node::new(2, true, true));
    other.settle();
    assert!(other.copy().is_empty());
    other.copy().set_aside();
    assert!(other.copy().is_empty());
    let entry = one.set(&keys(1)[0], b"value", 0);
    other.copy().apply(&entry, Arrival::Listed);
    assert!(!other.copy().is_empty());
    other.copy().discard();
    assert!(other.shard.copies.parts.is_empty());
    assert_eq!(other.get(&keys(1)[0]), Some(b"value".to_vec()));
}

/// It is as warm as it was, and not written again.
#[test]
fn what_memory_has_in_just_this_state_stays_as_it_is() {
    let names = keys(3);
    let three = |last: &[u8]| -> Vec<Entry> {
        let mut node = Node::new(1, true, true);
        let values: [&[u8]; 3] = [b"one", b"two", last];
        let pairs = names.iter().zip(values);
        pairs
            .map(|(name, value)| node.set(name, value, 0))
            .collect()
    };
    let (here, elsewhere) = (three(b"three"), three(b"another"));
    assert_eq!(here[2].version, elsewhere[2].version);
    let mut target = Node::new(2, true, true);
    for entry in &here {
        target.copy().apply(entry, Arrival::Live);
    }
    target.settle();
    assert_eq!(target.shard.dirty_items(), 0);
    target.copy().set_aside();
    for (entry, dirty) in elsewhere.iter().zip([0, 0, 1]) {
        assert!(target.copy().apply(entry, Arrival::Listed));
        assert_eq!(target.shard.dirty_items(), dirty);
    }
    target.copy().discard();
    target.settle();
    assert_eq!(target.get(&names[1]).as_deref(), Some(&b"two"[..]));
    assert_eq!(target.get(&names[2]).as_deref(), Some(&b"another"[..]));
}
