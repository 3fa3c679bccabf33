use super::*;
use alloc::format;
use alloc::string::ToString;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

/// A share that owns its rack's name.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    guid: String,
    weight: u32,
    rack: String,
}

impl Member {
    fn new(guid: &str, weight: u32, rack: &str) -> Self {
        Self {
            guid: guid.to_string(),
            weight,
            rack: rack.to_string(),
        }
    }
}

fn shares(members: &[Member]) -> Vec<Share<'_>> {
    let shares = members.iter().map(|member| Share {
        guid: Guid::new(&member.guid).expect("a guid"),
        weight: NonZeroU32::new(member.weight).expect("a weight"),
        rack: &member.rack,
    });
    shares.collect()
}

fn placement(members: &[Member], replication_factor: u8) -> Placement {
    Placement::new(&shares(members), replication_factor)
}

fn guids(placement: &Placement, nodes: &[NodeIndex]) -> Vec<Guid> {
    nodes.iter().map(|node| placement.guid(*node)).collect()
}

fn owners(placement: &Placement, partition: u16) -> Vec<Guid> {
    guids(placement, placement.owners(partition))
}

fn voters(placement: &Placement, partition: u16) -> Vec<Guid> {
    guids(placement, placement.voters(partition))
}

/// Members of one weight in one rack, whose names differ in one place.
fn alike(count: usize) -> Vec<Member> {
    let member = |number| Member::new(&format!("node-{number}"), 1, "1");
    (0..count).map(member).collect()
}

/// FNV-1a of the indices, as golden.py has it.
fn fnv1a<'a>(nodes: impl Iterator<Item = &'a NodeIndex>) -> u64 {
    let bytes = nodes.flat_map(|node| node.0.to_be_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// One layout of golden.txt against what is found here.
fn check_golden(layout: &str) {
    let (head, lines) = layout.split_once('\n').expect("lines follow the head");
    let mut fields = head.split(' ');
    let counts = [(); 3].map(|()| fields.next().expect("a number"));
    let [factor, owner_count, voter_count] = counts.map(|field| field.parse().expect("a number"));
    let rest = |line: &str| line.split_once(' ').map(|(_, rest)| rest.to_string());
    let found = |word: &str| {
        let lines = lines.lines().filter(|line| line.starts_with(word));
        lines.filter_map(rest).collect::<Vec<String>>()
    };
    let members = found("node ").into_iter().map(|line| {
        let mut fields = line.split(' ');
        let (guid, weight) = (fields.next(), fields.next());
        let weight = weight.and_then(|weight| weight.parse().ok());
        let rack = fields.next().unwrap_or_default();
        Member::new(guid.expect("a guid"), weight.expect("a weight"), rack)
    });
    let placement = placement(&members.collect::<Vec<_>>(), factor);

    let LayoutDigest(digest) = placement.digest();
    let all: Vec<&[NodeIndex]> = partitions().map(|one| placement.voters(one)).collect();
    let rankings: Vec<_> = partitions().map(|one| placement.ranking(one)).collect();
    assert_eq!(found("digest "), [format!("{digest:016x}")], "{head}");
    for line in found("partition ") {
        let (partition, listed) = line.split_once(' ').expect("a partition");
        let partition: u16 = partition.parse().expect("its number");
        let ranking = guids(&placement, &rankings[usize::from(partition)]);
        let names = ranking.iter().take(10).map(Guid::as_str);
        assert_eq!(names.collect::<Vec<_>>().join(" "), listed, "{head}");
        assert_eq!(owners(&placement, partition), ranking[..owner_count.into()]);
        assert_eq!(voters(&placement, partition), ranking[..voter_count.into()]);
    }
    let voters = fnv1a(all.into_iter().flatten());
    assert_eq!(found("voters "), [format!("{voters:016x}")], "{head}");
    let rankings = fnv1a(rankings.iter().flatten());
    assert_eq!(found("rankings "), [format!("{rankings:016x}")], "{head}");
}

#[test]
fn a_second_implementation_finds_the_same() {
    let layouts: Vec<&str> = include_str!("golden.txt").split("\nlayout ").collect();
    assert_eq!(layouts.len(), 1 + 15);
    layouts[1..].iter().for_each(|layout| check_golden(layout));
}

#[test]
fn no_nodes_own_nothing() {
    let none = placement(&[], 2);
    let one = placement(&alike(1), 2);
    assert!(none.owners(0).is_empty() && none.voters(4095).is_empty());
    assert!(none.ranking(7).is_empty());
    assert_eq!(none.moved(&one).count(), PARTITIONS);
    assert_eq!(none.changed(&shares(&alike(1)), 2), one);
    assert_eq!(one.changed(&[], 2), none);
}

#[test]
#[should_panic(expected = "two shares of one node")]
fn no_node_has_two_shares() {
    let twice = [Member::new("a", 1, "1"), Member::new("a", 2, "2")];
    let _ = placement(&twice, 2);
}

#[test]
#[should_panic(expected = "a replication factor of 0")]
fn there_is_a_replica() {
    let _ = placement(&alike(3), 0);
}

#[test]
#[should_panic(expected = "a replication factor of 8")]
fn replicas_are_bounded() {
    let _ = placement(&alike(3), REPLICATION_FACTOR_MAX + 1);
}

#[test]
#[should_panic(expected = "the rack")]
fn racks_are_bounded() {
    let _ = placement(&[Member::new("a", 1, &"r".repeat(RACK_BYTES_MAX + 1))], 2);
}

#[test]
fn digests_differ_in_each_input() {
    let base = [Member::new("a", 1, "1"), Member::new("b", 1, "1")];
    let changed = |change: fn(&mut Member)| {
        let mut members = base.clone();
        change(&mut members[0]);
        placement(&members, 2).digest()
    };
    let digests = [
        placement(&base, 2).digest(),
        placement(&base, 3).digest(),
        placement(&base[..1], 2).digest(),
        placement(&[], 2).digest(),
        changed(|member| member.guid = "c".into()),
        changed(|member| member.weight = 256),
        changed(|member| member.rack = "".into()),
        changed(|member| member.rack = "11".into()),
    ];
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "{index}");
    }
}

#[test]
fn nodes_own_in_proportion_to_their_weights() {
    let weights = [1, 2, 4, 8, 1, 2, 4, 8];
    let members = weights.iter().enumerate();
    let members = members.map(|(at, weight)| Member::new(&format!("n{at}"), *weight, "1"));
    let placement = placement(&members.collect::<Vec<_>>(), 1);
    let mut owned = [0_u32; 8];
    for partition in partitions() {
        owned[usize::from(placement.owners(partition)[0].0)] += 1;
    }
    for (owned, weight) in owned.into_iter().zip(weights) {
        // Four standard deviations of a binomial distribution: 46, 64, 87 and 113.
        let (mean, bound) = (PARTITIONS as u32 * weight / 30, 46 + 22 * weight.ilog2());
        assert!(owned.abs_diff(mean) <= bound, "{owned} of {mean}");
    }
}

/// That the first says nothing of the second: a hash that is too weak for names that are alike
/// shows as pairs that come too often.
#[test]
fn names_that_are_alike_draw_independently() {
    let ends = |end: &str| format!("{}{end}", "0".repeat(31));
    let names = (0..5).map(|at| format!("node-{at}"));
    let names = names.chain((0..5).map(|at| ends(&at.to_string())));
    let members: Vec<Member> = names.map(|name| Member::new(&name, 1, "1")).collect();
    let placement = placement(&members, 2);
    let mut seen = [[0_i64; 10]; 10];
    for partition in partitions() {
        let owners = placement.owners(partition);
        seen[usize::from(owners[0].0)][usize::from(owners[1].0)] += 1;
    }
    let pairs = seen.iter().enumerate().flat_map(|(first, row)| {
        let row = row.iter().enumerate();
        row.filter(move |(second, _)| first != *second)
    });
    // Chi-squared with 89 degrees of freedom: 137 and more has a chance of 1 in 1000.
    let terms = pairs.map(|(_, seen)| (seen * 90 - PARTITIONS as i64).pow(2));
    let chi_squared = terms.sum::<i64>() / 90 / PARTITIONS as i64;
    assert!(chi_squared < 137, "{chi_squared}");
}

/// Up to ten members of few weights and racks, so that all that racks can do happens, and some
/// weights are as far apart as can be.
fn members() -> impl Strategy<Value = Vec<Member>> {
    let weight = prop_oneof![6 => Just(1), 3 => 1..5_u32, 1 => Just(u32::MAX)];
    let member = (weight, 0..4_u32);
    let members = proptest::collection::vec(member, 10);
    members.prop_flat_map(|members| {
        let members = members.into_iter().enumerate();
        let member = |(at, (weight, rack)): (usize, (u32, u32))| {
            Member::new(&format!("n{at}"), weight, &format!("{rack}"))
        };
        subsequence(members.map(member).collect::<Vec<_>>(), 1..=10)
    })
}

fn factor() -> impl Strategy<Value = u8> {
    1..=5_u8
}

/// Whether all of `some` but `left_out` are among `others`.
fn are_among(some: &[Guid], others: &[Guid], left_out: Guid) -> bool {
    let mut rest = some.iter().filter(|guid| **guid != left_out);
    rest.all(|guid| others.contains(guid))
}

/// How many of `nodes` stand in `rack`.
fn count_in(placement: &Placement, nodes: &[NodeIndex], rack: usize) -> usize {
    let racks = nodes
        .iter()
        .map(|node| placement.nodes[node.position()].rack);
    racks.filter(|other| usize::from(*other) == rack).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_the_members_does_not_matter(
        members in members().prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle())),
        factor in factor(),
    ) {
        prop_assert_eq!(placement(&members.0, factor), placement(&members.1, factor));
    }

    /// Read the other way: a node that comes takes only what it then owns.
    #[test]
    fn a_node_that_leaves_moves_only_what_it_had(
        members in members(), leaver in any::<Index>(), factor in factor(),
    ) {
        let leaver = leaver.index(members.len());
        let before = placement(&members, factor);
        let mut rest = members.clone();
        let leaver = Guid::new(&rest.remove(leaver).guid).expect("a guid");
        let after = placement(&rest, factor);
        for partition in partitions() {
            for list in [owners, voters] {
                let (before, after) = (list(&before, partition), list(&after, partition));
                if before.contains(&leaver) {
                    prop_assert!(are_among(&before, &after, leaver));
                } else {
                    prop_assert_eq!(before, after);
                }
            }
        }
        let had = |partition: &u16| owners(&before, *partition).contains(&leaver);
        let had: Vec<u16> = partitions().filter(had).collect();
        prop_assert_eq!(&before.moved(&after).collect::<Vec<_>>(), &had);
        prop_assert_eq!(&after.moved(&before).collect::<Vec<_>>(), &had);
    }

    #[test]
    fn a_greater_weight_takes_and_loses_nothing(
        members in members(), riser in any::<Index>(), by in 1..100_u32, factor in factor(),
    ) {
        let riser = riser.index(members.len());
        let before = placement(&members, factor);
        let mut raised = members.clone();
        raised[riser].weight = raised[riser].weight.saturating_add(by);
        let after = placement(&raised, factor);
        let riser = Guid::new(&raised[riser].guid).expect("a guid");
        let sorted = |placement, partition| {
            let mut owners = owners(placement, partition);
            owners.sort_unstable();
            owners
        };
        // Where the order alone changes, nothing moves.
        let differ = |partition: &u16| sorted(&before, *partition) != sorted(&after, *partition);
        prop_assert!(before.moved(&after).eq(partitions().filter(differ)));
        for partition in partitions() {
            let (before, after) = (owners(&before, partition), owners(&after, partition));
            if after.contains(&riser) {
                prop_assert!(are_among(&after, &before, riser));
            } else {
                prop_assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn replicas_share_a_rack_only_where_no_other_has_room(members in members(), factor in factor()) {
        let placement = placement(&members, factor);
        let all: Vec<NodeIndex> = placement.indices().collect();
        let racks = 0..placement.racks.len();
        let sizes: Vec<usize> = racks.map(|rack| count_in(&placement, &all, rack)).collect();
        for partition in partitions() {
            let ranking = placement.ranking(partition);
            for held in 1..=ranking.len() {
                let count = |rack| count_in(&placement, &ranking[..held], rack);
                let counts: Vec<usize> = (0..sizes.len()).map(count).collect();
                let fullest = counts.iter().copied().max().unwrap_or_default();
                let mut emptier = (0..sizes.len()).filter(|rack| counts[*rack] + 1 < fullest);
                prop_assert!(emptier.all(|rack| counts[rack] == sizes[rack]));
            }
        }
    }

    #[test]
    fn owners_lead_voters_and_voters_lead_the_ranking(members in members(), factor in factor()) {
        let placement = placement(&members, factor);
        let nodes = members.len();
        for partition in partitions() {
            let (owners, voters) = (placement.owners(partition), placement.voters(partition));
            let ranking = placement.ranking(partition);
            prop_assert_eq!(owners.len(), nodes.min(factor.into()));
            prop_assert_eq!(voters.len(), nodes.min(factor.max(3).into()));
            prop_assert!(voters.starts_with(owners) && ranking.starts_with(voters));
            let mut sorted = ranking;
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(placement.indices()));
        }
    }

    /// Of ten names each stays, goes, comes, or gets another weight and rack.
    #[test]
    fn a_changed_placement_is_as_a_new_one(
        before in members(), others in members(), from_others in any::<u16>(),
        factors in (factor(), factor()),
    ) {
        let is_from_others = |member: &Member| {
            let digit = member.guid.as_bytes()[1] - b'0';
            from_others >> digit & 1 == 1
        };
        let stay = before.iter().filter(|member| !is_from_others(member));
        let come = others.iter().filter(|member| is_from_others(member));
        let after: Vec<Member> = stay.chain(come).cloned().collect();
        let changed = placement(&before, factors.0).changed(&shares(&after), factors.1);
        prop_assert_eq!(changed, placement(&after, factors.1));
    }

    /// The common case of the above: all but one stay as they are.
    #[test]
    fn one_change_is_as_a_new_placement(
        members in members(), one in any::<Index>(), factor in factor(), other_factor in factor(),
    ) {
        let mut others = members.clone();
        let one = others.remove(one.index(members.len()));
        let (with, without) = (placement(&members, factor), placement(&others, factor));
        prop_assert_eq!(&with.changed(&shares(&others), factor), &without);
        prop_assert_eq!(&without.changed(&shares(&members), factor), &with);
        let refactored = placement(&members, other_factor);
        prop_assert_eq!(&with.changed(&shares(&members), other_factor), &refactored);
        others.push(Member { weight: one.weight / 2 + 1, rack: "0".into(), ..one });
        let reweighted = placement(&others, factor);
        prop_assert_eq!(&with.changed(&shares(&others), factor), &reweighted);
    }
}
