//! The rules, applied to what the files name.

use std::collections::HashSet;

use super::paths::{self, Crate, Found, Named};
use super::table::{
    CRATE_HOMES, IMPURE, IMPURE_MACROS, INNER_MODULES, MAX_LINES, MODULES, PACKET_MARK, PURE, PURE_CRATES, UNSAFE_HOMES,
};

/// A source file; `name` is its path below `src/`.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A broken rule.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) file: String,
    pub(crate) rule: Rule,
    pub(crate) what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// There is nothing to check.
    NoFiles,
    /// The file is not Rust.
    NotRust,
    /// A top-level module is not in the table.
    UnknownModule,
    /// The table itself allows a module to name a later one.
    TableCycle,
    /// A module names one that does not lie below it.
    Upwards,
    /// An import of everything at the crate's root, or a name there that no module is known for.
    CrateRoot,
    /// A pure module names I/O, a clock or a runtime.
    Impure,
    /// A crate is named outside its folder.
    CrateHome,
    /// A module is named that only some may name.
    InnerModule,
    /// MQTT packets are read or written outside their module.
    PacketCode,
    /// `unsafe` outside its home.
    Unsafe,
    /// A file is too long.
    TooLong,
}

/// Every broken rule in `sources`, which together are a crate.
pub(crate) fn violations(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    if sources.is_empty() {
        let what = String::from("no source files found");
        return vec![Violation { file: String::from("."), rule: Rule::NoFiles, what }];
    }
    check_table(&mut found);
    let mut files = Vec::new();
    for source in sources {
        match syn::parse_file(&source.text) {
            Ok(file) => files.push((source, module_of(&source.name), file)),
            Err(error) => found.push(violation(source, Rule::NotRust, error.to_string())),
        }
    }
    let krate = Crate { modules: all_modules(&files), externs: externs() };
    let tests = test_modules(&files);
    let reads: Vec<_> = files
        .iter()
        .map(|(source, module, file)| {
            let in_test = (1..=module.len()).any(|depth| tests.contains(&module[..depth].join("::")));
            (*source, module, in_test, paths::read(&krate, module, &file.items, in_test))
        })
        .collect();
    let root = reads.iter().find(|(source, ..)| source.name == "lib.rs").map(|(.., read)| read);
    for (source, module, in_test, read) in &reads {
        if !in_test {
            check_length(source, &mut found);
        }
        check_file(source, module, read, root, &mut found);
    }
    found.sort_by(|a, b| (&a.file, &a.what).cmp(&(&b.file, &b.what)));
    found
}

fn violation(source: &Source, rule: Rule, what: impl Into<String>) -> Violation {
    Violation { file: source.name.clone(), rule, what: what.into() }
}

fn check_table(found: &mut Vec<Violation>) {
    for (at, (module, allowed)) in MODULES.iter().enumerate() {
        for name in *allowed {
            if !MODULES[..at].iter().any(|(earlier, _)| earlier == name) {
                let what = format!("{module} may name {name}, which does not stand before it");
                found.push(Violation { file: String::from("(table)"), rule: Rule::TableCycle, what });
            }
        }
    }
}

/// `mqtt/packet/mod.rs` is `mqtt::packet`; `lib.rs` is the root, which has no name.
fn module_of(name: &str) -> Vec<String> {
    let mut segments: Vec<_> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(segments.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        segments.pop();
    }
    segments
}

type File<'a> = (&'a Source, Vec<String>, syn::File);

fn all_modules(files: &[File<'_>]) -> HashSet<String> {
    fn declare(module: &[String], items: &[syn::Item], all: &mut HashSet<String>) {
        for item in items {
            if let syn::Item::Mod(inner) = item {
                let path = [module, &[inner.ident.to_string()]].concat();
                all.insert(path.join("::"));
                declare(&path, inner.content.as_ref().map_or(&[], |(_, items)| items), all);
            }
        }
    }
    let mut all = HashSet::new();
    for (_, module, file) in files {
        all.insert(module.join("::"));
        declare(module, &file.items, &mut all);
    }
    all
}

/// Modules in files of their own that are declared under `#[cfg(test)]`.
fn test_modules(files: &[File<'_>]) -> HashSet<String> {
    let declared = |(_, module, file): &File<'_>| {
        let of_file = module.clone();
        let mods = file.items.iter().filter_map(|item| match item {
            syn::Item::Mod(inner) if inner.content.is_none() && paths::is_test(&inner.attrs) => Some(inner),
            _ => None,
        });
        mods.map(move |inner| [of_file.as_slice(), &[inner.ident.to_string()]].concat().join("::")).collect::<Vec<_>>()
    };
    files.iter().flat_map(declared).collect()
}

/// The crates of Cargo.toml, as they are named in code.
fn externs() -> HashSet<String> {
    let manifest = include_str!("../../Cargo.toml");
    let mut names: HashSet<String> = ["std", "core", "alloc"].map(String::from).into();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.starts_with("dependencies]") || section.starts_with("dev-dependencies]");
        } else if inside && let Some((name, _)) = line.split_once('=') {
            names.insert(name.split('.').next().unwrap_or(name).trim().replace('-', "_"));
        }
    }
    names
}

fn check_length(source: &Source, found: &mut Vec<Violation>) {
    let lines = source.text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    if lines > MAX_LINES {
        found.push(violation(source, Rule::TooLong, format!("{lines} lines before its tests, more than {MAX_LINES}")));
    }
}

fn check_file(source: &Source, module: &[String], read: &Found, root: Option<&Found>, found: &mut Vec<Violation>) {
    let mut flag = |rule, what: String| found.push(violation(source, rule, what));
    let path = module.join("::");
    if read.has_unsafe && !UNSAFE_HOMES.iter().any(|home| within(&path, home)) {
        flag(Rule::Unsafe, String::from("`unsafe` outside its home"));
    }
    if read.literals.iter().any(|text| text.contains(PACKET_MARK.0)) && !within(&path, PACKET_MARK.1) {
        flag(Rule::PacketCode, format!("has `{}`, the mark of MQTT packet code", PACKET_MARK.0));
    }
    let Some(own) = module.first() else {
        for (name, _) in read.declared.iter().filter(|(name, _)| row(name).is_none()) {
            flag(Rule::UnknownModule, format!("module `{name}` is not in the table"));
        }
        return;
    };
    let Some(allowed) = row(own) else {
        flag(Rule::UnknownModule, format!("module `{own}` is not in the table"));
        return;
    };
    if PURE.contains(&own.as_str()) {
        for name in read.macros.iter().filter(|name| IMPURE_MACROS.contains(&name.as_str())) {
            flag(Rule::Impure, format!("`{name}!` is I/O"));
        }
    }
    for (named, test) in &read.named {
        match named {
            Named::Internal(target) => {
                if let Some((rule, what)) = check_internal(own, allowed, target, root) {
                    flag(rule, what);
                }
            }
            Named::External(target) => {
                if let Some((rule, what)) = check_external(own, &path, target, *test) {
                    flag(rule, what);
                }
            }
        }
    }
}

fn row(module: &str) -> Option<&'static [&'static str]> {
    MODULES.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed)
}

/// Whether `path` is `home` or inside it.
fn within(path: &str, home: &str) -> bool {
    path.strip_prefix(home).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn check_internal(own: &str, allowed: &[&str], target: &[String], root: Option<&Found>) -> Option<(Rule, String)> {
    let shown = format!("`crate::{}`", target.join("::"));
    let mut target = target.to_vec();
    // A name that `lib.rs` re-exports stands for what it was imported from.
    if let Some(first) = target.first()
        && row(first).is_none()
        && let Some(Named::Internal(base)) = root.and_then(|root| root.root_aliases.get(first))
    {
        target.splice(..1, base.iter().cloned());
    }
    let Some(top) = target.first().filter(|top| row(top).is_some()) else {
        return Some((Rule::CrateRoot, format!("{shown} is no known module")));
    };
    if top != own && !allowed.contains(&top.as_str()) {
        return Some((Rule::Upwards, format!("`{own}` may not name {shown}")));
    }
    let joined = target.join("::");
    for (inner, users) in INNER_MODULES {
        if within(&joined, inner) && !users.contains(&own) {
            return Some((Rule::InnerModule, format!("`{own}` may not name {shown}")));
        }
    }
    None
}

fn check_external(own: &str, path: &str, target: &[String], test: bool) -> Option<(Rule, String)> {
    let name = target.first()?;
    let joined = target.join("::");
    for (krate, home) in CRATE_HOMES {
        if name == krate && !within(path, home) {
            return Some((Rule::CrateHome, format!("`{joined}`: only `{home}` names {krate}")));
        }
    }
    // Tests of pure modules may use what they like.
    if test || !PURE.contains(&own) {
        return None;
    }
    let known = PURE_CRATES.contains(&name.as_str());
    let standard = joined.replacen("core::", "std::", 1).replacen("alloc::", "std::", 1);
    let impure = IMPURE.iter().any(|bad| match standard.strip_suffix("::*") {
        Some(prefix) => within(bad, prefix),
        None => within(&standard, bad),
    });
    // The free functions of fastrand draw from a generator that nobody seeded.
    let unseeded = name == "fastrand" && target.get(1).is_some_and(|item| item != "Rng");
    (!known || impure || unseeded).then(|| (Rule::Impure, format!("`{own}` is pure and may not name `{joined}`")))
}
