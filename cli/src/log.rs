//! Log lines on standard error, in the shape of etcd's.

use std::time::{SystemTime, UNIX_EPOCH};

use ferrite_client::Unreachable;

use crate::print::json::push_text;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For those who look.
    Info,
    /// Something is not as it should be.
    Warn,
    /// The command ends because of it.
    Fatal,
}

/// Prints one line.
pub fn line(level: Level, caller: &str, message: &str, fields: &[(&str, &str)]) {
    let level_text = match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Fatal => "fatal",
    };
    let mut text = format!("{{\"level\":\"{level_text}\",\"ts\":\"{}\",\"caller\":", timestamp(SystemTime::now()));
    push_text(&mut text, caller);
    text.push_str(",\"msg\":");
    push_text(&mut text, message);
    for (name, value) in fields {
        text.push(',');
        push_text(&mut text, name);
        text.push(':');
        push_text(&mut text, value);
    }
    if level == Level::Fatal {
        text.push_str(",\"stacktrace\":\"\"");
    }
    eprintln!("{text}}}");
}

/// Says which endpoints could not be connected to: a deadline alone tells nobody what to mend.
pub fn unreachable(endpoints: &[Unreachable]) {
    for Unreachable { endpoint, why } in endpoints {
        line(Level::Warn, "client/pool.rs:1", "cannot connect", &[("endpoint", endpoint), ("error", why)]);
    }
}

/// `2006-01-02T15:04:05.000000Z`.
fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days as i64);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// The date of a day, counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_767_322_445, "2026-01-02T02:54:05.000000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + std::time::Duration::from_secs(seconds)), text);
        }
    }
}
