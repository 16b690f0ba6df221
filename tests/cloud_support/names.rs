//! Names in tables of requests.

/// What a table may name: a text, and what stands for it.
#[derive(Default)]
pub(crate) struct Names(Vec<(String, String)>);

impl Names {
    pub(crate) fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value.into()));
        // Longer names first: `$gw2` is not `$gw` followed by something.
        self.0.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    /// The text with what stands for its names.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// The reverse: the text with names for what stands for them.
    pub(crate) fn unfill(&self, text: &str) -> String {
        let mut values: Vec<_> = self.0.iter().filter(|(_, value)| value.len() > 8).collect();
        values.sort_by_key(|(name, value)| (std::cmp::Reverse(value.len()), name));
        values.into_iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name))
    }
}
