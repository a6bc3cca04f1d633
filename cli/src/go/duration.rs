//! Go's durations: `1h2m3.5s`.

use std::fmt;
use std::time::Duration;

use super::quote::quote;

/// A span of time in nanoseconds, which may be negative, as in Go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// What `text` means; the error is Go's.
    pub fn parse(text: &str) -> Result<GoDuration, String> {
        let invalid = || format!("time: invalid duration {}", quote(text.as_bytes()));
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(GoDuration(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(number_end);
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
                return Err(invalid());
            }
            let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_end);
            if unit.is_empty() {
                return Err(format!("time: missing unit in duration {}", quote(text.as_bytes())));
            }
            let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| u128::from(*scale));
            let scale = scale.ok_or_else(|| {
                format!("time: unknown unit {} in duration {}", quote(unit.as_bytes()), quote(text.as_bytes()))
            })?;
            let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
            // Digits beyond these are below a nanosecond, whatever the unit.
            let digits = &fraction[..fraction.len().min(18)];
            let fraction: u128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| invalid())? };
            total += u128::from(whole) * scale + fraction * scale / 10u128.pow(digits.len() as u32);
            if total > i64::MAX as u128 {
                return Err(invalid());
            }
            rest = after;
        }
        Ok(GoDuration(if negative { -(total as i64) } else { total as i64 }))
    }

    /// As a time to wait, which cannot be negative.
    pub fn to_std(self) -> Duration {
        Duration::from_nanos(self.0.max(0) as u64)
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> GoDuration {
        GoDuration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(nanos, 1_000_000)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", decimal(nanos % 60_000_000_000, 1_000_000_000))
            }
        }
    }
}

/// `value / unit`, without trailing zeros.
fn decimal(value: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        //    read             nanoseconds                 written
        check("0", Ok((0, "0s")));
        check("-0s", Ok((0, "0s")));
        check("1ns", Ok((1, "1ns")));
        check("2.095242ms", Ok((2_095_242, "2.095242ms")));
        check("903138ns", Ok((903_138, "903.138µs")));
        check("1m0.5s", Ok((60_500_000_000, "1m0.5s")));
        check("1h", Ok((3_600_000_000_000, "1h0m0s")));
        check("-1.5h", Ok((-5_400_000_000_000, "-1h30m0s")));
        check(".5s", Ok((500_000_000, "500ms")));
        check("5", Err(r#"time: missing unit in duration "5""#));
        check("5x", Err(r#"time: unknown unit "x" in duration "5x""#));
        check("x", Err(r#"time: invalid duration "x""#));
        check("", Err(r#"time: invalid duration """#));
        check("1.2.3s", Err(r#"time: invalid duration "1.2.3s""#));
        check("9999999h", Err(r#"time: invalid duration "9999999h""#));
    }

    fn check(text: &str, expected: Result<(i64, &str), &str>) {
        let found = GoDuration::parse(text).map(|duration| (duration.0, duration.to_string()));
        assert_eq!(found, expected.map(|(n, s)| (n, s.to_string())).map_err(str::to_string), "{text}");
    }
}
