use super::*;

fn notice(text: &str) -> Notice {
    Notice {
        severity: Severity::Warning,
        event: "disk-full",
        text: text.to_owned(),
    }
}

#[test]
fn times_are_rfc_3339() {
    for (millis, shown) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199_500, "2024-02-29T23:59:59.500Z"),
        (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(timestamp(Duration::from_millis(millis)), shown);
    }
}

#[test]
fn a_text_line_stays_one_line() {
    let line = line(
        LogFormat::Text,
        Duration::ZERO,
        &notice("no\nroom\r\x1b[2J"),
    );
    assert_eq!(
        line,
        "1970-01-01T00:00:00.000Z warning disk-full: no room  [2J\n"
    );
}

#[test]
fn a_json_line_is_one_object() {
    let line = line(LogFormat::Json, Duration::ZERO, &notice("no \"room\"\n"));
    assert_eq!(line.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
    assert_eq!(value["severity"], "warning");
    assert_eq!(value["event"], "disk-full");
    assert_eq!(value["text"], "no \"room\"\n");
}

#[test]
fn only_a_dirty_stop_fails_a_stop() {
    let log = Log::new(LogFormat::Text);
    assert!(log.begin_stop());
    assert!(!log.begin_stop());
    log.error("disk-full", "for a while".to_owned());
    assert!(!log.has_stopped_dirty());
    log.error(STOPPED_DIRTY, "5 items".to_owned());
    assert!(log.has_stopped_dirty());
}
