use core::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::member::Guid;
use crate::protocol::peer::TEXT_BYTES_MAX;

fn id(guid: &str, generation: u64) -> NodeId {
    let guid = Guid::new(guid).expect("a guid");
    NodeId { guid, generation }
}

fn address(last: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, last), 7946).into()
}

fn formation(number: u64) -> Option<Formation> {
    Formation::from_wire(number)
}

fn standing(guid: &str, last: u8) -> Standing<'static> {
    Standing {
        id: id(guid, 5),
        address: address(last),
        cluster: "c",
        formation: formation(9),
        partitions: 4096,
        replication_factor: 2,
        serving: true,
        holds_data: true,
    }
}

const VERSIONS: (u16, u16) = (VERSION_LOWEST, VERSION_HIGHEST);

fn reason(result: Result<Agreement, Refusal>) -> Reason {
    result.expect_err("refused").reason
}

#[test]
fn strangers_are_refused_in_this_order() {
    let mine = standing("a", 1);
    let theirs = standing("b", 2);
    assert_eq!(
        agree(&mine, &theirs, VERSIONS, None),
        Ok(Agreement::Together)
    );
    let fewer = Standing {
        partitions: 256,
        ..theirs
    };
    assert_eq!(
        reason(agree(&mine, &fewer, VERSIONS, None)),
        Reason::Partitions
    );
    let more = Standing {
        replication_factor: 3,
        ..theirs
    };
    let refusal = agree(&mine, &more, VERSIONS, None).expect_err("refused");
    assert!(
        refusal
            .ours
            .contains("replication-factor 3, and this node 2")
    );
    let other = Standing {
        cluster: "d",
        ..fewer
    };
    assert_eq!(
        reason(agree(&mine, &other, VERSIONS, None)),
        Reason::Cluster
    );
    for (lowest, highest) in [(VERSION_HIGHEST + 1, u16::MAX), (0, VERSION_LOWEST - 1)] {
        let refused = agree(&mine, &other, (lowest, highest), None);
        assert_eq!(reason(refused), Reason::Version);
    }
    let wide = agree(&mine, &theirs, (0, u16::MAX), None);
    assert_eq!(wide, Ok(Agreement::Together));
}

#[test]
fn a_node_that_meets_itself_takes_no_offence() {
    let mine = standing("a", 1);
    assert_eq!(
        agree(&mine, &mine, VERSIONS, None),
        Ok(Agreement::Ourselves)
    );
}

#[test]
fn of_two_nodes_of_one_name_exactly_one_gives_way() {
    let mine = standing("a", 1);
    // serving, generation, address, and whether we give way
    for (serving, generation, last, expected) in [
        (true, 6, 2, true),
        (true, 4, 2, false),
        (true, 5, 2, true),
        (true, 5, 0, false),
        (false, 6, 2, false),
    ] {
        let theirs = Standing {
            id: id("a", generation),
            serving,
            ..standing("a", last)
        };
        let ours = agree(&mine, &theirs, VERSIONS, None).expect_err("refused");
        let other = agree(&theirs, &mine, VERSIONS, None).expect_err("refused");
        let reasons = match expected {
            true => (Reason::Busy, Reason::Guid),
            false => (Reason::Guid, Reason::Busy),
        };
        assert_eq!((ours.reason, other.reason), reasons);
        assert_eq!((ours.we_give_way, other.we_give_way), (expected, !expected));
    }
}

#[test]
fn a_name_that_answers_elsewhere_is_taken_and_a_restart_is_none() {
    let mine = standing("a", 1);
    let known = |generation, last| Identity {
        id: id("b", generation),
        renewal: 0,
        address: address(last),
    };
    // the member that is known, whether the other one serves, and whether it is turned away
    for (known, serving, taken) in [
        (None, false, false),
        (Some(known(4, 2)), false, false),
        (Some(known(6, 2)), false, false),
        (Some(known(4, 3)), false, true),
        (Some(known(4, 3)), true, false),
        (Some(known(5, 3)), true, true),
        (Some(known(6, 3)), true, true),
    ] {
        let theirs = Standing {
            serving,
            ..standing("b", 2)
        };
        let result = agree(&mine, &theirs, VERSIONS, known.as_ref());
        assert_eq!(result.is_err(), taken, "{known:?}");
        if let Err(refusal) = result {
            assert_eq!(refusal.reason, Reason::Guid);
            assert!(!refusal.we_give_way);
        }
    }
}

/// mine, holds data; theirs, holds data; what comes of it.
#[test]
fn formations_are_joined_by_who_has_less_to_lose() {
    let begun = Agreement::Begin(Formation::of(id("a", 5)));
    let join = |number| Agreement::WeJoin(formation(number).expect("not 0"));
    let (stay, apart) = (Agreement::TheyJoin, None);
    for (mine, my_data, theirs, their_data, expected) in [
        (0, false, 0, false, Some(begun)),
        (0, true, 0, false, Some(begun)),
        (0, true, 0, true, apart),
        (0, false, 7, false, Some(join(7))),
        (0, false, 7, true, Some(join(7))),
        (0, true, 7, false, Some(join(7))),
        (0, true, 7, true, apart),
        (7, false, 0, true, Some(stay)),
        (7, true, 0, true, apart),
        (7, true, 7, true, Some(Agreement::Together)),
        (7, false, 8, false, Some(stay)),
        (8, false, 7, false, Some(join(7))),
        (8, true, 7, false, Some(stay)),
        (7, false, 8, true, Some(join(8))),
        (7, true, 8, true, apart),
    ] {
        let with = |guid, last, number, holds_data| Standing {
            formation: formation(number),
            holds_data,
            ..standing(guid, last)
        };
        let one = with("a", 1, mine, my_data);
        let other = with("b", 2, theirs, their_data);
        let result = agree(&one, &other, VERSIONS, None);
        assert_eq!(
            result.as_ref().ok(),
            expected.as_ref(),
            "{mine} {my_data} {theirs} {their_data}"
        );
        if let Err(refusal) = result {
            assert_eq!(refusal.reason, Reason::Formation);
        }
    }
}

#[test]
fn texts_of_refusals_fit_in_a_frame() {
    let long = "ä".repeat(127);
    let guid = "g".repeat(32);
    let far: SocketAddr = (Ipv6Addr::new(!0, !0, !0, !0, !0, !0, !0, !0), 65535).into();
    let mine = Standing {
        cluster: &long,
        address: far,
        id: id(&guid, u64::MAX),
        ..standing("a", 1)
    };
    let other_cluster = "ö".repeat(127);
    let known = Identity {
        id: mine.id,
        renewal: 0,
        address: address(9),
    };
    let named = Standing {
        id: id(&"h".repeat(32), u64::MAX),
        ..mine
    };
    let cases = [
        (
            Standing {
                cluster: &other_cluster,
                ..named
            },
            VERSIONS,
            None,
        ),
        (
            Standing {
                partitions: u32::MAX,
                replication_factor: u8::MAX,
                ..named
            },
            VERSIONS,
            None,
        ),
        (named, (u16::MAX, u16::MAX), None),
        (named, VERSIONS, Some(&known)),
        (
            Standing {
                id: id(&guid, u64::MAX - 1),
                ..mine
            },
            VERSIONS,
            None,
        ),
        (
            Standing {
                formation: formation(1),
                ..named
            },
            VERSIONS,
            None,
        ),
    ];
    for (theirs, versions, known) in cases {
        let refusal = agree(&mine, &theirs, versions, known).expect_err("refused");
        assert!(refusal.ours.len() <= TEXT_BYTES_MAX, "{}", refusal.ours);
        assert!(refusal.theirs.len() <= TEXT_BYTES_MAX, "{}", refusal.theirs);
    }
}

fn any_standing(guid: &'static str, last: u8) -> impl Strategy<Value = Standing<'static>> {
    (0..4_u64, any::<(bool, bool)>()).prop_map(move |(number, (serving, holds_data))| Standing {
        formation: formation(number),
        serving,
        holds_data,
        ..standing(guid, last)
    })
}

proptest! {
    /// Whatever two nodes are, both sides come to one formation, or both refuse.
    #[test]
    fn both_sides_come_to_the_same(
        one in any_standing("a", 1), other in any_standing("b", 2),
    ) {
        let after = |mine: &Standing<'_>, theirs| {
            agree(mine, theirs, VERSIONS, None).map(|agreement| match agreement {
                Agreement::WeJoin(formation) | Agreement::Begin(formation) => Some(formation),
                _ => mine.formation,
            })
        };
        match (after(&one, &other), after(&other, &one)) {
            (Ok(one), Ok(other)) => {
                prop_assert_eq!(one, other);
                prop_assert!(one.is_some());
            }
            (Err(one), Err(other)) => {
                prop_assert_eq!(one.reason, other.reason);
                prop_assert_eq!(one.ours, other.theirs);
            }
            (one, other) => prop_assert!(false, "{:?} but {:?}", one, other),
        }
    }
}
