//! What happened, counted, so that nobody has to believe that the faults happen.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Fault,
    Notice,
    RequestError,
    NotSent,
    Cause,
    End,
}

/// How often, and in how many schedules.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) schedules: u64,
    pub(crate) times: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) schedules: u64,
    pub(crate) inputs: u64,
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    pub(crate) counts: BTreeMap<(Kind, String), Count>,
}

impl Tally {
    pub(crate) fn saw(&mut self, kind: Kind, what: &impl fmt::Debug) {
        let name = Name::of(what);
        self.counts.entry((kind, name.0)).or_default().times += 1;
    }

    /// The same, of something with a name of its own.
    pub(crate) fn saw_named(&mut self, kind: Kind, name: String) {
        self.counts.entry((kind, name)).or_default().times += 1;
    }

    /// Adds one schedule, or many.
    pub(crate) fn add(&mut self, other: Tally) {
        let single = other.schedules == 1;
        self.schedules += other.schedules;
        self.inputs += other.inputs;
        self.calls += other.calls;
        self.answered += other.answered;
        for (key, count) in other.counts {
            let sum = self.counts.entry(key).or_default();
            sum.times += count.times;
            sum.schedules += if single { 1 } else { count.schedules };
        }
    }

    pub(crate) fn count(&self, kind: Kind, name: &str) -> Count {
        self.counts.get(&(kind, name.to_owned())).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} schedules, {} inputs, {} calls, {} answered",
            self.schedules, self.inputs, self.calls, self.answered
        )?;
        for ((kind, name), count) in &self.counts {
            let kind = format!("{kind:?}");
            writeln!(f, "  {kind:<13} {name:<32} {:>9} schedules {:>11} times", count.schedules, count.times)?;
        }
        Ok(())
    }
}

/// The name of an enum's variant: what `Debug` writes up to the first sign that is no letter.
struct Name(String);

impl Name {
    fn of(what: &impl fmt::Debug) -> Self {
        let mut name = Name(String::new());
        // The error is how it stops the formatting.
        let _ = write!(name, "{what:?}");
        name
    }
}

impl fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let word = text.find(|sign: char| !sign.is_ascii_alphanumeric()).map_or(text, |end| &text[..end]);
        self.0.push_str(word);
        if word.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The variants of the public enum `name` in a source file of the crate.
pub(crate) fn variants(source: &str, name: &str) -> Vec<String> {
    let file = syn::parse_file(source).expect("the crate's own source");
    let of_enum = |item: &syn::Item| match item {
        syn::Item::Enum(found) if found.ident == name => {
            Some(found.variants.iter().map(|variant| variant.ident.to_string()).collect())
        }
        _ => None,
    };
    file.items.iter().find_map(of_enum).unwrap_or_else(|| panic!("no enum {name}"))
}
