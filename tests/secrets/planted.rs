//! Secrets that cannot be mistaken for anything else, and the search for them.

use std::fmt::Write;

/// So much of a secret's beginning or end is a leak already. Nothing that is not one has it.
const PART: usize = 9;

/// What was planted, by what it is.
#[derive(Clone, Default)]
pub(crate) struct Planted(Vec<(String, String)>);

impl Planted {
    /// Plants `value` as `what`.
    pub(crate) fn plant(&mut self, what: &str, value: &str) {
        assert!(value.len() >= 2 * PART, "{what} is too short to be told from other text");
        self.0.push((what.to_owned(), value.to_owned()));
    }

    /// Makes a value of `what`, unlike any other, out of `odd` and characters that nothing escapes, and plants it.
    pub(crate) fn make(&mut self, what: &str, odd: &str) -> String {
        let number = fastrand::u64(..);
        let value = format!("Zq{:08x}{odd}{:08x}Kx", number >> 32, number & 0xffff_ffff);
        self.plant(what, &value);
        value
    }

    /// What was planted and stands in `text`, in whatever form.
    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        let lower = text.to_ascii_lowercase();
        let mut found = Vec::new();
        for (what, value) in &self.0 {
            let written = parts(value).into_iter().flat_map(forms);
            let mut seen = written.filter(|(form, written)| match form.ignores_case() {
                true => lower.contains(written),
                false => text.contains(written),
            });
            // One is enough; the others stand beside it.
            found.extend(seen.next().map(|(form, written)| format!("{what}, {form:?}: {}", around(text, &written))));
        }
        found
    }

    /// Fails with what was found, if anything was.
    #[track_caller]
    pub(crate) fn assert_absent(&self, place: &str, text: &str) {
        assert!(!self.0.is_empty(), "nothing was planted");
        let found = self.found_in(text);
        assert!(found.is_empty(), "in {place}:\n{}", found.join("\n"));
    }
}

fn parts(value: &str) -> Vec<&str> {
    let at = |from: usize| (0..=from).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
    vec![value, &value[..at(PART)], &value[at(value.len() - PART)..]]
}

/// How a secret may be written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    Raw,
    Json,
    Debug,
    Base64,
    Percent,
    Plus,
    Hexadecimal,
    Numbers,
}

impl Form {
    fn ignores_case(self) -> bool {
        matches!(self, Form::Percent | Form::Hexadecimal)
    }
}

/// `value` in every form.
pub(crate) fn forms(value: &str) -> Vec<(Form, String)> {
    let percent: String = value
        .bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') => char::from(b).to_string(),
            b => format!("%{b:02x}"),
        })
        .collect();
    let hexadecimal = value.bytes().fold(String::new(), |mut text, b| {
        write!(text, "{b:02x}").expect("a String");
        text
    });
    let json = serde_json::to_string(value).expect("a string");
    let mut forms = vec![
        (Form::Raw, value.to_owned()),
        (Form::Json, json[1..json.len() - 1].to_owned()),
        (Form::Debug, format!("{value:?}").trim_matches('"').to_owned()),
        (Form::Debug, value.as_bytes().escape_ascii().to_string()),
        (Form::Percent, percent.to_ascii_lowercase()),
        (Form::Plus, percent.replace("%20", "+")),
        (Form::Hexadecimal, hexadecimal),
        (Form::Numbers, format!("{:?}", value.as_bytes()).trim_matches(['[', ']']).to_owned()),
    ];
    forms.extend(base64(value).into_iter().map(|text| (Form::Base64, text)));
    forms
}

/// What Base64 makes of `value` wherever it stands in what is encoded: six bits straddle its edges, so those are left out.
fn base64(value: &str) -> Vec<String> {
    const ALPHABETS: [&[u8; 64]; 2] = [
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    ];
    let mut all = Vec::new();
    for alphabet in ALPHABETS {
        for skipped in 0..3 {
            // The value's bits from the first byte that begins a group of three.
            let bytes = &value.as_bytes()[skipped..];
            let encoded = bytes.chunks_exact(3).flat_map(|three| {
                let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
                [18, 12, 6, 0].map(|shift| char::from(alphabet[(bits >> shift & 63) as usize]))
            });
            all.push(encoded.collect());
        }
    }
    all
}

/// Where `written` stands in `text`, without going on about it.
fn around(text: &str, written: &str) -> String {
    let Some(at) = text.to_ascii_lowercase().find(&written.to_ascii_lowercase()) else { return String::new() };
    let boundary = |at: usize| (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (from, to) = (boundary(at.saturating_sub(160)), boundary((at + written.len() + 60).min(text.len())));
    text[from..to].to_owned()
}

/// A search that cannot find anything would make every test here pass.
#[test]
fn every_form_of_a_secret_is_found_wherever_it_stands() {
    let mut planted = Planted::default();
    let value = planted.make("the password", " \"\\/é%+&=");
    for (form, written) in forms(&value) {
        for before in ["", "a", "ab", "{\"x\":\""] {
            assert!(!planted.found_in(&format!("{before}{written} and more")).is_empty(), "{form:?} {written}");
        }
    }
    for encoded in [value.clone(), format!("a{value}"), format!("ab:{value}:c")] {
        use bytes::Bytes;
        let debug = format!("{:?}", Bytes::from(encoded.clone()));
        assert!(!planted.found_in(&debug).is_empty(), "{debug}");
        let header = http::HeaderValue::from_bytes(encoded.as_bytes()).expect("no control bytes");
        assert!(!planted.found_in(&format!("{header:?}")).is_empty(), "{header:?}");
    }
    assert!(!planted.found_in(&value[..PART + 3]).is_empty(), "its beginning");
    assert!(!planted.found_in(&value[value.len() - PART..]).is_empty(), "its end");
    assert_eq!(planted.found_in("[redacted] Authorization: Bearer xxxxxxxxxxxxxxxxx"), Vec::<String>::new());
}

/// RFC 4648's own example, and an `Authorization` as it is really sent.
#[test]
fn base64_is_found_as_others_write_it() {
    assert_eq!(base64("foobar")[0], "Zm9vYmFy");
    let mut planted = Planted::default();
    planted.plant("the key", "0123456789abcdef0123456789abcdef");
    let basic = "Basic YzFrOWFiY2RlZjEyOjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm";
    assert!(!planted.found_in(basic).is_empty());
}
