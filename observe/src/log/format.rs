//! How a line is written: JSON in zap's order of keys, or the console's columns.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Level, Value};

/// The meaning of `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Json,
    Console,
}

/// The parts of a line that is about to be written.
pub(super) struct Parts<'a> {
    pub level: Level,
    pub at: SystemTime,
    pub logger: &'a str,
    pub caller: &'a str,
    pub message: &'a str,
    pub fields: &'a [&'static str],
    pub values: &'a [Value<'a>],
}

impl Format {
    pub(super) fn write(self, out: &mut String, parts: &Parts<'_>) {
        match self {
            Format::Json => json(out, parts),
            Format::Console => console(out, parts),
        }
        out.push('\n');
    }
}

fn json(out: &mut String, parts: &Parts<'_>) {
    let _ = write!(out, "{{\"level\":\"{}\",\"ts\":\"{}\",", parts.level.name(), GoTime(parts.at));
    if !parts.logger.is_empty() {
        let _ = write!(out, "\"logger\":\"{}\",", parts.logger);
    }
    let _ = write!(out, "\"caller\":\"{}\",\"msg\":", parts.caller);
    text(out, parts.message);
    for (field, value) in parts.fields.iter().zip(parts.values) {
        let _ = write!(out, ",\"{field}\":");
        self::value(out, *value);
    }
    out.push('}');
}

fn console(out: &mut String, parts: &Parts<'_>) {
    let _ = write!(out, "{}\t{}\t", GoTime(parts.at), parts.level.name());
    if !parts.logger.is_empty() {
        let _ = write!(out, "{}\t", parts.logger);
    }
    let _ = write!(out, "{}\t{}", parts.caller, parts.message);
    for (i, (field, value)) in parts.fields.iter().zip(parts.values).enumerate() {
        let _ = write!(out, "{}\"{field}\": ", if i == 0 { "\t{" } else { ", " });
        self::value(out, *value);
    }
    if !parts.values.is_empty() {
        out.push('}');
    }
}

fn value(out: &mut String, value: Value<'_>) {
    let _ = match value {
        Value::Text(value) => return text(out, value),
        Value::Shown(value) => return text(out, &value.to_string()),
        Value::Signed(value) => write!(out, "{value}"),
        Value::Unsigned(value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{value}"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Duration(value) => write!(out, "\"{}\"", GoDuration(value)),
        Value::Id(id) => write!(out, "\"{:x}\"", id.0),
        Value::List(list) => {
            out.push('[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                text(out, item);
            }
            out.push(']');
            Ok(())
        }
    };
}

fn text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' => write!(out, "\\\""),
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => write!(out, "\\u{:04x}", c as u32),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
}

/// `2026-01-31T23:59:59.000001Z`: always six digits of the second, always UTC.
#[derive(Clone, Copy, Debug)]
pub struct GoTime(pub SystemTime);

impl std::fmt::Display for GoTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = civil(since.as_secs() / 86_400);
        let second = since.as_secs() % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let micros = since.subsec_micros();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Days since 1970 as a date: Howard Hinnant's `civil_from_days`, for years from 1970 on.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// A duration as Go prints it: `1h2m3.5s`, `100ms`, `1.5µs`, `0s`.
#[derive(Clone, Copy, Debug)]
pub struct GoDuration(pub Duration);

impl std::fmt::Display for GoDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.0.as_nanos();
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", fraction(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", fraction(nanos, 1_000_000)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", fraction(nanos % 60_000_000_000, 1_000_000_000))
            }
        }
    }
}

fn fraction(nanos: u128, unit: u128) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", nanos / unit, nanos % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_like_go() {
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(7), "7ns"),
            (Duration::from_nanos(1500), "1.5µs"),
            (Duration::from_millis(100), "100ms"),
            (Duration::from_millis(1500), "1.5s"),
            (Duration::from_secs(60), "1m0s"),
            (Duration::from_secs(7200), "2h0m0s"),
            (Duration::from_millis(3_723_004), "1h2m3.004s"),
        ] {
            assert_eq!(GoDuration(duration).to_string(), text);
        }
    }

    #[test]
    fn timestamps() {
        for (seconds, micros, text) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000001Z"),
            (1_767_225_599, 999_999, "2025-12-31T23:59:59.999999Z"),
            (1_772_323_200, 0, "2026-03-01T00:00:00.000000Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
            assert_eq!(GoTime(at).to_string(), text);
        }
    }

    #[test]
    fn lines_in_both_formats() {
        let error = std::io::Error::other("bad \"thing\"\n");
        let parts = Parts {
            level: Level::Warn,
            at: UNIX_EPOCH,
            logger: "raft",
            caller: "server/run.rs:7",
            message: "tab\there",
            fields: &["id", "error", "took", "urls", "n", "ok"],
            values: &[
                super::super::value::Id(0xbeef).into(),
                Value::Shown(&error),
                Duration::from_millis(5).into(),
                Value::List(&["a".to_owned(), "b".to_owned()]),
                Value::Signed(-3),
                true.into(),
            ],
        };
        let mut out = String::new();
        Format::Json.write(&mut out, &parts);
        assert_eq!(
            out,
            "{\"level\":\"warn\",\"ts\":\"1970-01-01T00:00:00.000000Z\",\"logger\":\"raft\",\
             \"caller\":\"server/run.rs:7\",\"msg\":\"tab\\there\",\"id\":\"beef\",\
             \"error\":\"bad \\\"thing\\\"\\n\",\"took\":\"5ms\",\"urls\":[\"a\",\"b\"],\"n\":-3,\"ok\":true}\n"
        );
        out.clear();
        Format::Console.write(&mut out, &parts);
        assert_eq!(
            out,
            "1970-01-01T00:00:00.000000Z\twarn\traft\tserver/run.rs:7\ttab\there\t{\"id\": \"beef\", \
             \"error\": \"bad \\\"thing\\\"\\n\", \"took\": \"5ms\", \"urls\": [\"a\",\"b\"], \"n\": -3, \"ok\": true}\n"
        );
    }
}
