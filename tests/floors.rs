//! The floors of the house: which module may name which, and what each floor may not name at all.
//!
//! `src/` is parsed with `syn`; every path in it (imports with groups and renames, types, expressions, patterns,
//! attributes, and the tokens of macros) is resolved to the module or crate that it names and compared with the tables
//! below. The checker runs over small bad sources as well and must flag each, so that it cannot go blind unnoticed.

mod floors_parts {
    pub(crate) mod paths;
    pub(crate) mod proof;
    pub(crate) mod rules;
    pub(crate) mod table;
}

use std::fs;
use std::path::Path;

use floors_parts::rules::{Rule, Source, violations};

fn read_sources(dir: &Path, root: &Path, found: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(dir).expect("src is there").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_sources(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("below src").to_str().expect("UTF-8").replace('\\', "/");
            found.push(Source { name, text: fs::read_to_string(&path).expect("readable") });
        }
    }
}

#[test]
fn every_module_names_only_what_lies_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read_sources(&root, &root, &mut sources);
    let found = violations(&sources);
    let list: Vec<_> = found.iter().map(|v| format!("  src/{}: {:?}: {}", v.file, v.rule, v.what)).collect();
    assert!(found.is_empty(), "{} violations:\n{}", list.len(), list.join("\n"));
}

#[test]
fn no_source_files_at_all_is_a_failure() {
    assert_eq!(violations(&[]).iter().map(|v| v.rule).collect::<Vec<_>>(), [Rule::NoFiles]);
}
