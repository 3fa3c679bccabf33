use zufar_core::protocol::peer::{Owner, Partitions};

use super::*;

fn owner(guid: &str, primaries: u16, replicas: u16) -> Owner<'_> {
    Owner {
        guid,
        primaries,
        replicas,
    }
}

#[test]
fn all_owners_are_shown_with_their_shares() {
    let partitions = Partitions {
        partition: None,
        primary: "",
        owners: vec![owner("a", 1024, 4096), owner("b\n", 3072, 4096)],
    };
    let expected = "Primaries  Replicas  Share    GUID
     1024      4096   25.0 %  a
     3072      4096   75.0 %  b?
";
    assert_eq!(table(&partitions), expected);
}

#[test]
fn the_holders_of_a_key_are_shown_as_placed_and_as_they_are() {
    let partitions = Partitions {
        partition: Some(7),
        primary: "b",
        owners: vec![owner("a", 1, 1), owner("b", 0, 1), owner("c", 0, 1)],
    };
    let expected = "Partition    7\nPrimary      a\nBackups      b, c\nPrimary now  b\n";
    assert_eq!(holders(7, &partitions), expected);
    let nobody = "Partition    8\nPrimary      ?\nBackups      none\nPrimary now  not known\n";
    assert_eq!(holders(8, &Partitions::default()), nobody);
}

#[test]
fn json_has_the_same() {
    let mut partitions = Partitions {
        partition: None,
        primary: "",
        owners: vec![owner("a", 1024, 4096), owner("b", 3072, 4096)],
    };
    let expected = r#"{"nodes":[{"guid":"a","primaries":1024,"replicas":4096},{"guid":"b","primaries":3072,"replicas":4096}]}"#;
    assert_eq!(json(&partitions), format!("{expected}\n"));
    partitions.partition = Some(7);
    let expected = r#"{"partition":7,"owners":["a","b"],"primary_now":null}"#;
    assert_eq!(json(&partitions), format!("{expected}\n"));
    partitions.primary = "b";
    assert!(json(&partitions).contains(r#""primary_now":"b""#));
}
