use clap::Parser;

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    memcached: MemcachedFlags,
}

fn take(line: &str) -> Result<Taken, String> {
    let words = std::iter::once("memcached").chain(line.split_whitespace());
    let flags = Flags::try_parse_from(words).expect("flags that memcached has");
    flags.memcached.take().map_err(|error| error.0)
}

#[test]
fn no_flag_says_nothing() {
    assert_eq!(take(""), Ok(Taken::default()));
    assert_eq!(Taken::default().warning(), None);
}

#[test]
fn udp_off_and_ascii_are_what_zufar_does() {
    assert_eq!(take("-U 0"), Ok(Taken::default()));
    assert_eq!(take("-U0 -B ascii"), Ok(Taken::default()));
}

#[test]
fn idle_timeout_works() {
    let taken = take("-o idle_timeout=30").expect("known");
    assert_eq!(taken.idle_timeout, Some(30));
    assert_eq!(taken.warning(), None);
    assert!(
        take("-o idle_timeout")
            .expect_err("no number")
            .contains("idle_timeout")
    );
    assert!(take("-o idle_timeout=x").is_err());
}

#[test]
fn tuning_gets_one_warning_that_names_each() {
    let taken = take("-f 1.25 -n 48 -L -k -R 20 -C -B auto -o modern,no_lru_crawler -o slab_automove=1,idle_timeout=5")
        .expect("known");
    assert_eq!(taken.idle_timeout, Some(5));
    let warning = taken.warning().expect("a warning");
    for flag in [
        "-f",
        "-n",
        "-L",
        "-k",
        "-R",
        "-C",
        "-B auto",
        "-o modern",
        "-o no_lru_crawler",
        "-o slab_automove=1",
    ] {
        assert!(warning.contains(flag), "{flag} in {warning}");
    }
    assert!(!warning.contains('\n'));
}

#[test]
fn what_would_change_the_meaning_is_refused_by_name() {
    for (line, name) in [
        ("-U 11211", "-U 11211"),
        ("-B binary", "-B binary"),
        ("-B gopher", "-B gopher"),
        ("-S", "-S"),
        ("-Y /etc/users", "-Y"),
        ("-Z", "-Z"),
        ("-e /mnt/pmem", "-e"),
        ("-o ext_path=/mnt/x:1G", "-o ext_path"),
        ("-o no_ext_drop_unread", "-o no_ext_drop_unread"),
        ("-o ssl_chain_cert=x", "-o ssl_chain_cert"),
        ("-o modern,nonsense", "-o nonsense"),
        ("-o proxy_config=x", "-o proxy_config"),
    ] {
        let error = take(line).expect_err(line);
        assert!(error.starts_with(name), "{error}");
    }
}
