//! Go's quoted strings (`%q`, `strconv.Unquote`) and the words of a line, as etcdctl cuts it up.

/// `bytes` in Go's double quotes.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_quoted(&mut out, c));
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

fn push_quoted(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        c if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
        c if is_print(c) => out.push(c),
        c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
        c => out.push_str(&format!("\\U{:08x}", c as u32)),
    }
}

/// Letters, marks, numbers, punctuation, symbols and the blank. Rust's `Debug` for strings draws the same line, except for a mark that
/// comes first, so the question is put with a letter before it.
fn is_print(c: char) -> bool {
    let text: String = ['x', c].iter().collect();
    c == '\'' || text.escape_debug().nth(1) != Some('\\')
}

/// A quoted string that is no string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid syntax")]
pub struct BadQuotes;

/// The content of a Go string literal, in double quotes or in back quotes.
pub fn unquote(literal: &[u8]) -> Result<Vec<u8>, BadQuotes> {
    match literal {
        [b'`', content @ .., b'`'] if !content.contains(&b'`') => {
            Ok(content.iter().copied().filter(|&byte| byte != b'\r').collect())
        }
        [b'"', content @ .., b'"'] => unescape(content),
        _ => Err(BadQuotes),
    }
}

fn unescape(mut content: &[u8]) -> Result<Vec<u8>, BadQuotes> {
    let mut out = Vec::with_capacity(content.len());
    while let Some((&byte, rest)) = content.split_first() {
        content = rest;
        match byte {
            b'"' | b'\n' => return Err(BadQuotes),
            b'\\' => content = unescape_one(content, &mut out)?,
            byte => out.push(byte),
        }
    }
    Ok(out)
}

/// What follows a backslash. Returns what follows that.
fn unescape_one<'a>(content: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], BadQuotes> {
    let (&letter, rest) = content.split_first().ok_or(BadQuotes)?;
    let number = |digits: &[u8], radix| {
        let text = std::str::from_utf8(digits).map_err(|_| BadQuotes)?;
        if text.starts_with('+') {
            return Err(BadQuotes);
        }
        u32::from_str_radix(text, radix).map_err(|_| BadQuotes)
    };
    let mut rune = |length: usize| -> Result<&'a [u8], BadQuotes> {
        let digits = rest.get(..length).ok_or(BadQuotes)?;
        let c = char::from_u32(number(digits, 16)?).ok_or(BadQuotes)?;
        out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(&rest[length..])
    };
    let byte = match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' => letter,
        b'u' => return rune(4),
        b'U' => return rune(8),
        b'x' => {
            out.push(number(rest.get(..2).ok_or(BadQuotes)?, 16)? as u8);
            return Ok(&rest[2..]);
        }
        b'0'..=b'7' => {
            let value = number(content.get(..3).ok_or(BadQuotes)?, 8)?;
            out.push(u8::try_from(value).map_err(|_| BadQuotes)?);
            return Ok(&content[3..]);
        }
        _ => return Err(BadQuotes),
    };
    out.push(byte);
    Ok(rest)
}

/// The length of the quoted string at the start of `text`, quotes included; `None` if it has no end or there is none.
pub fn quoted_length(text: &[u8]) -> Option<usize> {
    let quote = *text.first()?;
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// The words of a line: `"..."` with Go's escapes, `'...'` as it is, or what lies between blanks. A quote that is never closed is left out;
/// one within a bare word is part of it.
pub fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, BadQuotes> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(&first) = rest.first() {
        let length = match first {
            b'"' | b'\'' => quoted_length(rest),
            byte if is_blank(byte) => None,
            _ => Some(rest.iter().position(|&byte| is_blank(byte)).unwrap_or(rest.len())),
        };
        let Some(length) = length else {
            rest = &rest[1..];
            continue;
        };
        let word = &rest[..length];
        words.push(match first {
            b'"' => unquote(word)?,
            b'\'' => word[1..length - 1].to_vec(),
            _ => word.to_vec(),
        });
        rest = &rest[length..];
    }
    Ok(words)
}

pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_gos() {
        for (bytes, quoted) in [
            (&b"foo"[..], r#""foo""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\x00\x07\x1b\x7f\n", r#""\x00\a\x1b\x7f\n""#),
            (b"\xff\xc3", r#""\xff\xc3""#),
            ("ü世'".as_bytes(), "\"ü世'\""),
            ("\u{a0}\u{200b}\u{e000}\u{10ffff}".as_bytes(), r#""\u00a0\u200b\ue000\U0010ffff""#),
            ("\u{301}".as_bytes(), "\"\u{301}\""),
        ] {
            assert_eq!(quote(bytes), quoted);
        }
    }

    #[test]
    fn unquoting_is_gos() {
        for (literal, content) in [
            (r#""a\n\x41\101\u00e9\U0001F600""#, Ok("a\nAA\u{e9}\u{1F600}")),
            (r#""""#, Ok("")),
            (r"`a\n`", Ok(r"a\n")),
            (r#""\q""#, Err(BadQuotes)),
            (r#""\'""#, Err(BadQuotes)),
            (r#""\400""#, Err(BadQuotes)),
            (r#""\ud800""#, Err(BadQuotes)),
            (r#""\x+1""#, Err(BadQuotes)),
            (r#""a"#, Err(BadQuotes)),
            (r#""a"b""#, Err(BadQuotes)),
            ("\"", Err(BadQuotes)),
        ] {
            assert_eq!(unquote(literal.as_bytes()), content.map(|text| text.as_bytes().to_vec()), "{literal}");
        }
        assert_eq!(unquote(br#""\xff""#), Ok(vec![0xff]));
    }

    #[test]
    fn a_line_is_cut_into_words() {
        for (line, expected) in [
            ("put foo bar", &["put", "foo", "bar"][..]),
            (r#" put  "a b" 'c "d' "#, &["put", "a b", r#"c "d"#]),
            (r#"put a'b "" ''"#, &["put", "a'b", "", ""]),
            (r#"put "a\"b" x"y z"#, &["put", "a\"b", "x\"y", "z"]),
            (r#"put "open end"#, &["put", "open", "end"]),
            ("", &[]),
        ] {
            let expected = expected.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
            assert_eq!(words(line.as_bytes()), Ok(expected), "{line}");
        }
        assert_eq!(words(br#"put "\q""#), Err(BadQuotes));
    }
}
