//! Go's numbers and truth values, with the errors of `strconv`.

use super::quote::quote;

fn error(function: &str, text: &str, reason: &str) -> String {
    format!("strconv.{function}: parsing {}: {reason}", quote(text.as_bytes()))
}

/// The digits of `text` and their radix, if its prefix may choose it (`0x`, `0o`, `0b`, `0`, underscores between digits).
fn digits(text: &str) -> Option<(String, u32)> {
    let lower = text.to_ascii_lowercase();
    let (rest, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    let prefixed = rest.len() < lower.len();
    let misplaced = rest.ends_with('_') || rest.contains("__") || (rest.starts_with('_') && !prefixed);
    let digits = rest.replace('_', "");
    (!misplaced && !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix))).then_some((digits, radix))
}

/// `strconv.ParseInt(text, 0, 64)`, or with a fixed `radix`.
pub fn parse_int(text: &str, radix: Option<u32>) -> Result<i64, String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = magnitude(rest, radix).map_err(|reason| error("ParseInt", text, reason))?;
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(value).map_err(|_| error("ParseInt", text, OUT_OF_RANGE))
}

/// `strconv.ParseUint(text, 0, 64)`, or with a fixed `radix`.
pub fn parse_uint(text: &str, radix: Option<u32>) -> Result<u64, String> {
    magnitude(text, radix).map_err(|reason| error("ParseUint", text, reason))
}

const INVALID: &str = "invalid syntax";
const OUT_OF_RANGE: &str = "value out of range";

fn magnitude(text: &str, radix: Option<u32>) -> Result<u64, &'static str> {
    let (digits, radix) = match radix {
        Some(radix) if !text.is_empty() && text.chars().all(|c| c.is_digit(radix)) => (text.to_string(), radix),
        Some(_) => return Err(INVALID),
        None => digits(text).ok_or(INVALID)?,
    };
    // All digits are good, so what fails is the size.
    u64::from_str_radix(&digits, radix).map_err(|_| OUT_OF_RANGE)
}

/// `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(error("ParseBool", text, INVALID)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_does() {
        for (text, radix, value) in [
            ("10", None, Ok(10)),
            ("-0x1F", None, Ok(-31)),
            ("0o17", None, Ok(15)),
            ("017", None, Ok(15)),
            ("0b11", None, Ok(3)),
            ("1_000", None, Ok(1000)),
            ("0x_1", None, Ok(1)),
            ("+5", None, Ok(5)),
            ("0", None, Ok(0)),
            ("-9223372036854775808", None, Ok(i64::MIN)),
            ("ff", Some(16), Ok(255)),
            ("0xff", Some(16), Err(INVALID)),
            ("1__0", None, Err(INVALID)),
            ("1_", None, Err(INVALID)),
            ("_1", None, Err(INVALID)),
            ("08", None, Err(INVALID)),
            ("1.5", None, Err(INVALID)),
            ("", None, Err(INVALID)),
            ("--1", None, Err(INVALID)),
            ("9223372036854775808", None, Err(OUT_OF_RANGE)),
            ("ffffffffffffffff", Some(16), Err(OUT_OF_RANGE)),
        ] {
            let expected = value.map_err(|reason| format!("strconv.ParseInt: parsing {:?}: {reason}", text));
            assert_eq!(parse_int(text, radix), expected, "{text}");
        }
        assert_eq!(parse_uint("ffffffffffffffff", Some(16)), Ok(u64::MAX));
        assert_eq!(parse_uint("-1", None), Err("strconv.ParseUint: parsing \"-1\": invalid syntax".into()));
    }
}
