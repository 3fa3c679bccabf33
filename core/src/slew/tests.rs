use super::*;

const S: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * S;

#[test]
fn follows_a_system_clock_that_runs_true() {
    let mut slew = Slew::new(START);
    for elapsed in (0..100 * S).step_by(S as usize / 10) {
        slew.steer(elapsed, START + elapsed);
        assert_eq!(slew.unix_ns(elapsed), START + elapsed);
    }
}

#[test]
fn reaches_a_clock_that_was_stepped_forward_at_the_slew_rate() {
    let mut slew = Slew::new(START);
    let step = 3 * S;
    for elapsed in (0..=300 * S).step_by(S as usize / 10) {
        slew.steer(elapsed, START + step + elapsed);
    }
    // 300 s at one part in 200 are 1.5 s.
    assert_eq!(slew.unix_ns(300 * S), START + 300 * S + 3 * S / 2);
    for elapsed in (300 * S..=700 * S).step_by(S as usize / 10) {
        slew.steer(elapsed, START + step + elapsed);
    }
    assert_eq!(slew.unix_ns(700 * S), START + 700 * S + step);
}

#[test]
fn never_steps_back_when_the_clock_was_stepped_back() {
    let mut slew = Slew::new(START);
    let mut last = 0;
    for elapsed in (0..=600 * S).step_by(S as usize / 10) {
        slew.steer(elapsed, START - 2 * S + elapsed);
        let unix = slew.unix_ns(elapsed);
        assert!(unix > last, "{unix} after {last}");
        last = unix;
    }
    assert_eq!(last, START - 2 * S + 600 * S);
}

#[test]
fn a_long_sleep_allows_as_much_as_many_short_ones() {
    let (mut sleepy, mut busy) = (Slew::new(START), Slew::new(START));
    for elapsed in (0..=3600 * S).step_by(S as usize) {
        busy.steer(elapsed, START + 3600 * S + elapsed);
    }
    sleepy.steer(3600 * S, START + 7200 * S);
    assert_eq!(sleepy.unix_ns(3600 * S), busy.unix_ns(3600 * S));
}

#[test]
fn a_system_clock_before_the_epoch_is_survived() {
    let mut slew = Slew::new(0);
    slew.steer(S, 0);
    assert_eq!(slew.unix_ns(S), S);
    slew.steer(2 * S, u64::MAX);
    assert!(slew.unix_ns(2 * S) > 2 * S);
}

#[test]
fn the_system_s_clock_is_read_seldom_and_followed() {
    let mut slew = Slew::new(START);
    let mut readings = 0;
    for elapsed in (0..=10 * S).step_by(S as usize / 1000) {
        let now = slew.now(elapsed, || {
            readings += 1;
            START + S + elapsed
        });
        assert_eq!(now.time, Time::from_nanos(elapsed));
    }
    assert_eq!(readings, 100, "ten times a second");
    // 10 s at one part in 200 are 50 ms.
    let now = slew.now(10 * S, || unreachable!("it has just been read"));
    assert_eq!(now.unix_ms, (START + 10 * S + S / 20) / NS_PER_MS);
}
