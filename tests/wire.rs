//! Doc comments refer to sections of `src/wire.md`; every section referred to exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every section in `text`: `§` with a number such as 2 or 2.1. The letter N stands for any and is none.
fn sections(text: &str) -> impl Iterator<Item = String> {
    text.split('§').skip(1).filter(|rest| !rest.starts_with('N')).map(|rest| {
        let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        digits.trim_end_matches('.').to_owned()
    })
}

/// References in the form (`` `wire` §N, §N ``): what stands between `` `wire` `` and the parenthesis that ends it.
fn references(text: &str) -> Vec<String> {
    let after = text.split("`wire` §").skip(1);
    after
        .flat_map(|rest| sections(&format!("§{}", rest.split(')').next().unwrap_or(rest))).collect::<Vec<_>>())
        .collect()
}

fn visit(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let name = path.display().to_string();
            found.extend(references(&text).into_iter().map(|section| (name.clone(), section)));
        }
    }
}

#[test]
fn every_section_referred_to_exists() {
    let account = include_str!("../src/wire.md");
    let headings: BTreeSet<_> = account.lines().filter(|line| line.starts_with('#')).flat_map(sections).collect();
    assert!(["0", "1.4", "2.4", "8"].iter().all(|section| headings.contains(*section)), "{headings:?}");
    let mut found = Vec::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 50, "only {} references were found: has their form changed?", found.len());
    let missing: Vec<_> = found.iter().filter(|(_, section)| !headings.contains(section)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let inner: Vec<_> = sections(account).filter(|section| !headings.contains(section)).collect();
    assert!(inner.is_empty(), "the account refers to {inner:?}, which it does not have");
}

#[test]
fn references_are_found_in_every_form() {
    assert_eq!(references("(`wire` §1.3) and (`wire` §2.1, §8) or (`wire` §4: text) §9"), ["1.3", "2.1", "8", "4"]);
}
