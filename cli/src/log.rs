//! The log: one line a notice, on standard error.
//!
//! Decides how a line looks. Refuses to know what is worth one.

#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use zufar_core::notice::{Notice, Severity};

use crate::options::LogFormat;

/// What the core says when it stops and not everything is on disk.
const STOPPED_DIRTY: &str = "stopped-dirty";

/// Writes notices, from any thread.
#[derive(Debug)]
pub(crate) struct Log {
    format: LogFormat,
    stopping: AtomicBool,
    stopped_dirty: AtomicBool,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    severity: &'a str,
    event: &'a str,
    text: &'a str,
}

impl Log {
    pub(crate) const fn new(format: LogFormat) -> Self {
        Self {
            format,
            stopping: AtomicBool::new(false),
            stopped_dirty: AtomicBool::new(false),
        }
    }

    /// Writes `notice`.
    pub(crate) fn notice(&self, notice: &Notice) {
        if notice.event == STOPPED_DIRTY {
            self.stopped_dirty.store(true, Relaxed);
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = line(self.format, since_epoch.unwrap_or_default(), notice);
        // With standard error gone there is nobody left to tell.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    pub(crate) fn info(&self, event: &'static str, text: String) {
        self.notice(&Notice {
            severity: Severity::Info,
            event,
            text,
        });
    }

    pub(crate) fn warning(&self, event: &'static str, text: String) {
        self.notice(&Notice {
            severity: Severity::Warning,
            event,
            text,
        });
    }

    pub(crate) fn error(&self, event: &'static str, text: String) {
        self.notice(&Notice {
            severity: Severity::Error,
            event,
            text,
        });
    }

    /// True the first time: the node has been told to stop.
    pub(crate) fn begin_stop(&self) -> bool {
        !self.stopping.swap(true, Relaxed)
    }

    /// Whether the core has said that it stopped without having everything on disk.
    pub(crate) fn has_stopped_dirty(&self) -> bool {
        self.stopped_dirty.load(Relaxed)
    }
}

fn line(format: LogFormat, since_epoch: Duration, notice: &Notice) -> String {
    let time = timestamp(since_epoch);
    let severity = match notice.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let event = notice.event;
    match format {
        LogFormat::Text => {
            let text = notice.text.replace(char::is_control, " ");
            format!("{time} {severity} {event}: {text}\n")
        }
        LogFormat::Json => {
            let line = Line {
                time,
                severity,
                event,
                text: &notice.text,
            };
            let mut line = serde_json::to_string(&line).expect("four strings are JSON");
            line.push('\n');
            line
        }
    }
}

/// RFC 3339 in UTC, with milliseconds.
fn timestamp(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since_epoch.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The Gregorian date that lies `days` after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // Whole cycles of 400 years first, so that no clock makes this loop long.
    const CYCLE_DAYS: u64 = 146_097;
    let mut year = 1970 + 400 * (days / CYCLE_DAYS);
    let mut rest = days % CYCLE_DAYS;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if rest < length {
            break;
        }
        rest -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}
