//! What the kernel says of a process.
//!
//! Decides which figures are read and in which units. Refuses to know whose process it is.

use std::fs;

/// Ticks a second of the CPU times in `/proc`; Linux has shown 100 on every machine since 2.6.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time that a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// In user mode, in seconds.
    pub user_s: f64,
    /// In the kernel, in seconds.
    pub system_s: f64,
}

impl Cpu {
    /// What has been used since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user_s: self.user_s - earlier.user_s,
            system_s: self.system_s - earlier.system_s,
        }
    }

    /// Both together, in seconds.
    #[must_use]
    pub fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }
}

/// CPU time of all threads of process `id`.
#[must_use]
pub fn cpu(id: u32) -> Option<Cpu> {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before the last parenthesis may hold spaces; user time is the 12th word after it.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |at: usize| -> Option<f64> {
        Some(fields.get(at)?.parse::<f64>().ok()? / TICKS_PER_SECOND)
    };
    Some(Cpu {
        user_s: seconds(11)?,
        system_s: seconds(12)?,
    })
}

/// Resident memory of process `id`, in bytes: all of it, or of one kind (`VmRSS`, `RssAnon`).
#[must_use]
pub fn resident_bytes(id: u32, kind: &str) -> Option<u64> {
    field_kib(&format!("/proc/{id}/status"), kind).map(|kib| kib * 1024)
}

/// Bytes that process `id` has caused to be written to storage.
#[must_use]
pub fn written_bytes(id: u32) -> Option<u64> {
    field_kib(&format!("/proc/{id}/io"), "write_bytes")
}

fn field_kib(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(':'))
    })?;
    line.split_whitespace().nth(1)?.parse().ok()
}
