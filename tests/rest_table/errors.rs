//! The error rows of `wire` §5, as they stand there.

use std::collections::{BTreeMap, BTreeSet};

/// What is written of errors.
pub(crate) struct Account {
    /// Every code, and its status.
    pub(crate) statuses: BTreeMap<String, u16>,
    /// Those that this service never gives, and why not.
    pub(crate) never: BTreeMap<String, String>,
}

/// The cells of the table that follows the line that begins with `title`.
fn table<'t>(text: &'t str, title: &str) -> impl Iterator<Item = [&'t str; 2]> {
    let (_, after) = text.split_once(title).unwrap_or_else(|| panic!("nothing begins with {title:?}"));
    let rows = after.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        cells.try_into().unwrap_or_else(|_| panic!("two cells: {row}"))
    })
}

fn codes(cell: &str) -> impl Iterator<Item = String> {
    cell.split(',').map(|code| code.trim().trim_matches('`').to_owned())
}

pub(crate) fn account() -> Account {
    let text = include_str!("../../src/wire.md");
    let mut account = Account { statuses: BTreeMap::new(), never: BTreeMap::new() };
    for [status, all] in table(text, "\nThe status of an `errorCode`") {
        for code in codes(all) {
            let known = account.statuses.insert(code.clone(), status.parse().expect("a status"));
            assert_eq!(known, None, "{code} is there twice");
        }
    }
    for [all, why] in table(text, "\nThe service here never gives") {
        assert!(!why.is_empty(), "{all}: no reason");
        account.never.extend(codes(all).map(|code| (code, why.to_owned())));
    }
    let unknown: BTreeSet<_> = account.never.keys().filter(|code| !account.statuses.contains_key(*code)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    account
}
