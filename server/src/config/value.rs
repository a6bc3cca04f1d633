//! Values as Go's `flag` package reads them.

use std::time::Duration;

pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

const SYNTAX: &str = "parse error";
const RANGE: &str = "value out of range";

/// An unsigned integer: base prefixes and `_` between digits are accepted.
pub fn parse_uint(text: &str, bits: u32) -> Result<u64, &'static str> {
    let (digits, radix, prefixed) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16, true),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8, true),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2, true),
        [b'0', _, ..] => (&text[1..], 8, true),
        _ => (text, 10, false),
    };
    let mut value: u64 = 0;
    let mut after_digit = prefixed;
    let mut digits_seen = false;
    let mut overflow = false;
    for c in digits.chars() {
        match c {
            '_' if after_digit => after_digit = false,
            _ => {
                let digit = u64::from(c.to_digit(radix).ok_or(SYNTAX)?);
                match value.checked_mul(u64::from(radix)).and_then(|value| value.checked_add(digit)) {
                    Some(next) => value = next,
                    None => overflow = true,
                }
                (after_digit, digits_seen) = (true, true);
            }
        }
    }
    if !digits_seen || !after_digit {
        return Err(SYNTAX);
    }
    if overflow || (bits < 64 && value >> bits != 0) {
        return Err(RANGE);
    }
    Ok(value)
}

/// A signed 64-bit integer.
pub fn parse_int(text: &str) -> Result<i64, &'static str> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_uint(digits, 64)?;
    let value = if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    value.ok_or(RANGE)
}

/// A Go duration in nanoseconds: `300ms`, `-1.5h`, `2h45m`, `0`.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, tail) = rest.split_at(number);
        let unit = tail.len() - tail.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.').len();
        let (unit, tail) = tail.split_at(unit);
        rest = tail;
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        // Digits beyond the nanosecond cannot matter.
        let (mut part, mut scale) = (0u128, 1u128);
        for digit in fraction.bytes().take(18) {
            part = part * 10 + u128::from(digit - b'0');
            scale *= 10;
        }
        total = total.checked_add((part * u128::from(unit) / scale) as u64)?;
    }
    if negative { 0i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() }
}

/// A duration of a flag for which less than nothing is nothing.
pub fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [
            ("0", Ok(0)),
            ("10000", Ok(10_000)),
            ("0x1F", Ok(31)),
            ("0b101", Ok(5)),
            ("0o17", Ok(15)),
            ("017", Ok(15)),
            ("1_000", Ok(1000)),
            ("0x_1", Ok(1)),
            ("", Err(SYNTAX)),
            ("_1", Err(SYNTAX)),
            ("1__0", Err(SYNTAX)),
            ("1_", Err(SYNTAX)),
            ("0x", Err(SYNTAX)),
            ("-1", Err(SYNTAX)),
            ("08", Err(SYNTAX)),
            ("1.5", Err(SYNTAX)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(RANGE)),
        ] {
            assert_eq!(parse_uint(text, 64), value, "{text:?}");
        }
        assert_eq!(parse_uint("4294967296", 32), Err(RANGE));
        assert_eq!(parse_int("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_int("9223372036854775808"), Err(RANGE));
        assert_eq!(parse_int("-0x10"), Ok(-16));
    }

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("300ms", Some(300_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("2h45m", Some(9_900_000_000_000)),
            ("-2s", Some(-2_000_000_000)),
            ("+.5s", Some(500_000_000)),
            ("1µs", Some(1_000)),
            ("5", None),
            ("", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("1.2.3s", None),
            ("9223372036854775807ns", Some(i64::MAX)),
            ("9223372036854775808ns", None),
        ] {
            assert_eq!(parse_duration(text), nanos, "{text:?}");
        }
    }
}
