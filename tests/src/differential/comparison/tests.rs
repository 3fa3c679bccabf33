use super::*;
use crate::differential::keys;

fn line(text: &str, data: Option<&str>) -> Answer {
    Answer {
        lines: vec![Line {
            text: text.as_bytes().to_vec(),
            data: data.map(|data| data.as_bytes().to_vec()),
        }],
    }
}

fn request(command: &'static str, flags: &[&str]) -> Request {
    let mut request = Request::new(command);
    request.keys = vec![0];
    request.flags = flags.iter().map(|flag| flag.as_bytes().to_vec()).collect();
    request
}

/// Compares two lines under the flags of a meta get.
fn meta(flags: &[&str], memcached: &str, zufar: &str) -> Result<Vec<Listed>, String> {
    let keys = keys::all();
    let mut comparison = Comparison::new(&keys);
    comparison.set_slack_s(2);
    let (memcached, zufar) = (line(memcached, None), line(zufar, None));
    comparison.compare(&request("mg", flags), None, &memcached, &zufar)
}

#[test]
fn what_is_not_listed_differs() {
    assert_eq!(meta(&["s"], "HD s5", "HD s5"), Ok(Vec::new()));
    for (memcached, zufar) in [
        ("HD s5", "HD s6"),
        ("HD s5", "HD"),
        ("HD", "EN"),
        ("HD W", "HD"),
        ("HD Z X", "HD X W"),
        ("HD h1", "HD h0"),
        ("HD f1 s5", "HD s5 f1"),
        ("HD t100", "HD t97"),
        ("HD t-1", "HD t0"),
        ("HD l1", "HD l4"),
        ("HD c0", "HD c5"),
        ("CLIENT_ERROR invalid flag", "CLIENT_ERROR duplicate flag"),
    ] {
        assert!(
            meta(&["s"], memcached, zufar).is_err(),
            "{memcached} {zufar}"
        );
    }
}

#[test]
fn times_may_differ_a_little() {
    assert_eq!(meta(&["t"], "HD t100", "HD t98"), Ok(Vec::new()));
    assert_eq!(meta(&["l"], "HD l3", "HD l5"), Ok(Vec::new()));
    let absolute = meta(&["t"], "HD t351998039", "HD t351998036");
    assert_eq!(absolute, Ok(Vec::new()));
    assert!(meta(&["t"], "HD t351998039", "HD t2592000").is_err());
    assert_eq!(meta(&["l"], "HD l9", "HD l0"), Ok(vec![Listed::LastAccess]));
    let wrapped = meta(&["t"], "HD t4294967228", "HD t0");
    assert_eq!(wrapped, Ok(vec![Listed::WrappedTtl]));
}

#[test]
fn one_cas_unique_stands_for_one() {
    let keys = keys::all();
    let mut comparison = Comparison::new(&keys);
    let mut shown = |memcached: &str, zufar: &str| {
        let (memcached, zufar) = (line(memcached, None), line(zufar, None));
        let request = request("mg", &["c"]);
        comparison
            .compare(&request, None, &memcached, &zufar)
            .is_ok()
    };
    assert!(shown("HD c5", "HD c500"));
    assert!(shown("HD c5", "HD c500"));
    assert!(!shown("HD c5", "HD c501"));
    assert!(!shown("HD c6", "HD c500"));
}

#[test]
fn padding_and_marks_are_free_only_once_it_has_counted() {
    let keys = keys::all();
    let mut comparison = Comparison::new(&keys);
    let (padded, bare) = (line("VA 2 h1", Some("9 ")), line("VA 1 h0", Some("9")));
    let get = request("mg", &["v", "h"]);
    assert!(comparison.compare(&get, None, &padded, &bare).is_err());
    let nine = line("9", None);
    let count = request("decr", &[]);
    assert_eq!(
        comparison.compare(&count, None, &nine, &nine),
        Ok(Vec::new())
    );
    assert_eq!(
        comparison.compare(&get, None, &padded, &bare),
        Ok(vec![Listed::DecrPadding, Listed::CountedMarks])
    );
    let stored = line("STORED", None);
    let set = request("set", &[]);
    assert_eq!(
        comparison.compare(&set, None, &stored, &stored),
        Ok(Vec::new())
    );
    assert!(comparison.compare(&get, None, &padded, &bare).is_err());
}
