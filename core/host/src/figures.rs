//! Figures that only the host knows.
//!
//! Decides where they come from. Refuses to know who shows them.

use zufar_core::machine::HostFigures;

/// What the process has used, with `open_connections` filled in.
pub(crate) fn host(open_connections: u32) -> HostFigures {
    let usage = usage();
    HostFigures {
        user_us: microseconds(usage.ru_utime),
        system_us: microseconds(usage.ru_stime),
        open_connections,
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
        let before = host(7);
        assert_eq!(before.open_connections, 7);
        let spent = |figures: HostFigures| figures.user_us + figures.system_us;
        while spent(host(0)) == spent(before) {}
        assert!(host(0).user_us >= before.user_us);
        assert!(host(0).system_us >= before.system_us);
    }
}
