//! A second look at the fixed headers of MQTT, slow and obvious.

/// The type and the remaining length of each MQTT packet, by the fixed headers alone, as far as those are whole and right.
pub(crate) fn packets(mut input: &[u8]) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    while let Some((first, rest)) = input.split_first() {
        let len = rest.iter().take(4).take_while(|&&byte| byte >= 128).count();
        if len == 4 || len >= rest.len() {
            break;
        }
        let remaining = rest[..=len].iter().rev().fold(0, |sum, &byte| sum * 128 + usize::from(byte % 128));
        found.push((first >> 4, remaining));
        input = rest.get(len + 1 + remaining..).unwrap_or_default();
    }
    found
}
