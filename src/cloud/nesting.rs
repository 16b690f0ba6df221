//! How deeply the JSON of a request may be nested.

/// Objects and lists inside one another, at most. (`wire` §8) Answers show what is stored inside of up to five more, and
/// common readers, this crate's client among them, take no more than 127 or 128: what they could not read is not taken.
pub(crate) const MAX: usize = 100;

/// Whether `body` is JSON, as far as its first byte tells, that is nested deeper than [`MAX`]. Whether it is well formed is not
/// looked at.
pub(crate) fn is_too_deep(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    if !matches!(body.first(), Some(b'{' | b'[')) {
        return false;
    }
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => {
                depth += 1;
                if depth > MAX {
                    return true;
                }
            }
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(open: &str, close: &str, depth: usize) -> Vec<u8> {
        [open.repeat(depth), "1".to_owned(), close.repeat(depth)].concat().into_bytes()
    }

    #[test]
    fn a_hundred_levels_are_taken_and_one_more_is_not() {
        for (open, close) in [("[", "]"), (r#"{"":"#, "}"), (r#"[{"[":"#, "}]")] {
            let levels = if open.starts_with("[{") { MAX / 2 } else { MAX };
            assert!(!is_too_deep(&nested(open, close, levels)), "{open}");
            assert!(is_too_deep(&nested(open, close, levels + 1)), "{open}");
        }
        assert!(is_too_deep("[".repeat(MAX + 1).as_bytes()), "whether or not it ends");
        assert!(is_too_deep(&[b" \r\n".to_vec(), nested("[", "]", MAX + 1)].concat()));
    }

    #[test]
    fn what_stands_in_texts_or_side_by_side_is_not_nested() {
        let text = "[{".repeat(MAX);
        let side_by_side = format!("[{}0]", "[{}],".repeat(1_000));
        for body in [
            format!(r#"{{"a":"{text}"}}"#),
            format!(r#"["\"{text}\\","{text}"]"#),
            side_by_side,
            text.replace('{', "")[..MAX].to_owned(),
        ] {
            assert!(!is_too_deep(body.as_bytes()), "{body}");
        }
        assert!(!is_too_deep(format!("password={text}").as_bytes()), "no JSON");
        assert!(!is_too_deep(b""));
    }
}
