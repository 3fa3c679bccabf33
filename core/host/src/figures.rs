//! Figures that only the host knows.
//!
//! Decides where they come from. Refuses to know who shows them.

use zufar_core::machine::HostFigures;

/// What the process has used, with what its threads have counted.
pub(crate) fn host(open_connections: u32, datagrams_lost: u64) -> HostFigures {
    let usage = usage();
    HostFigures {
        user_us: microseconds(usage.ru_utime),
        system_us: microseconds(usage.ru_stime),
        open_connections,
        datagrams_lost,
    }
}

#[allow(unsafe_code)] // No safe crate among ours wraps getrusage.
fn usage() -> libc::rusage {
    // SAFETY: rusage consists of integers, for which all zeroes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for a write of one rusage, which is all that getrusage does.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    assert_eq!(result, 0, "getrusage fails only on wrong arguments");
    usage
}

fn microseconds(time: libc::timeval) -> u64 {
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000 + part(time.tv_usec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spent_shows() {
        let now = || host(7, 8);
        let before = now();
        assert_eq!((before.open_connections, before.datagrams_lost), (7, 8));
        let spent = |figures: HostFigures| figures.user_us + figures.system_us;
        while spent(now()) == spent(before) {}
        assert!(now().user_us >= before.user_us);
        assert!(now().system_us >= before.system_us);
    }
}
