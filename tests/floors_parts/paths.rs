//! Finding every path of a file and resolving it.

use std::collections::{HashMap, HashSet};

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, Meta, UseTree, Visibility};

/// A path after resolving.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Named {
    /// Of this crate, from its root; a glob import ends in `*`.
    Internal(Vec<String>),
    /// Of another crate, whose name comes first.
    External(Vec<String>),
}

/// What a file names, and the few other things that the rules ask for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Every path and whether it stands in test code.
    pub(crate) named: HashSet<(Named, bool)>,
    /// Names of macros invoked outside test code.
    pub(crate) macros: HashSet<String>,
    /// Whether `unsafe` occurs.
    pub(crate) has_unsafe: bool,
    /// String and byte string literals outside test code.
    pub(crate) literals: HashSet<String>,
    /// What the names of the file's outermost module stand for.
    pub(crate) root_aliases: HashMap<String, Named>,
    /// `mod name;` and `mod name {}` of the outermost module, and whether each is test code.
    pub(crate) declared: Vec<(String, bool)>,
}

/// What is known of the whole crate when a file is read.
pub(crate) struct Crate {
    /// Every module by its path, such as `mqtt::packet`.
    pub(crate) modules: HashSet<String>,
    /// Names of other crates.
    pub(crate) externs: HashSet<String>,
}

pub(crate) fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| match &attr.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let mut words = Vec::new();
            words_of(TokenBuffer::new2(list.tokens.clone()).begin(), &mut |path| words.extend(path), &mut |_| {});
            words == ["test"] || words.starts_with(&["all".into(), "test".into()])
        }
        meta => meta.path().is_ident("test"),
    })
}

/// Reads `items`, the content of `module`.
pub(crate) fn read(krate: &Crate, module: &[String], items: &[Item], test: bool) -> Found {
    let mut found = Found::default();
    walk(krate, module, items, test, &HashMap::new(), &mut found, true);
    found
}

fn walk(
    krate: &Crate,
    module: &[String],
    items: &[Item],
    test: bool,
    inherited: &HashMap<String, Named>,
    found: &mut Found,
    outermost: bool,
) {
    let mut scope = Scope { krate, module, aliases: inherited.clone() };
    let mut uses = Uses::default();
    items.iter().for_each(|item| uses.visit_item(item));
    // Twice, because one import may begin with the name that another one brings in.
    for _ in 0..2 {
        for (path, name, _) in &uses.found {
            if let Some(named) = scope.resolve_import(path) {
                scope.aliases.insert(name.clone(), named);
            }
        }
    }
    for (path, _, use_test) in &uses.found {
        if let Some(named) = scope.resolve_import(path) {
            found.named.insert((named, test || *use_test));
        }
    }
    let mut visitor = Paths { scope: &scope, found, test };
    items.iter().for_each(|item| visitor.visit_item(item));
    if outermost {
        found.root_aliases = scope.aliases.clone();
        found.declared.extend(uses.mods.iter().map(|m| (m.ident.to_string(), is_test(&m.attrs))));
    }
    for inner in &uses.mods {
        if let Some((_, content)) = &inner.content {
            let mut path = module.to_vec();
            path.push(inner.ident.to_string());
            walk(krate, &path, content, test || is_test(&inner.attrs), &scope.aliases, found, false);
        }
    }
}

struct Scope<'a> {
    krate: &'a Crate,
    module: &'a [String],
    aliases: HashMap<String, Named>,
}

impl Scope<'_> {
    /// What `path` names; `None` for local names and for the prelude.
    fn resolve(&self, path: &[String], import: bool) -> Option<Named> {
        let (first, rest) = path.split_first()?;
        let with = |base: &[String], rest: &[String]| [base, rest].concat();
        match first.as_str() {
            "crate" | "thingif" => return Some(Named::Internal(rest.to_vec())),
            "self" => return Some(Named::Internal(with(self.module, rest))),
            "super" => {
                let ups = path.iter().take_while(|segment| *segment == "super").count();
                let depth = self.module.len().saturating_sub(ups);
                return Some(Named::Internal(with(&self.module[..depth], &path[ups..])));
            }
            "::" => return Some(Named::External(rest.to_vec())),
            _ => {}
        }
        // A name that an import brings in; an import does not begin with the very name that it brings in.
        match self.aliases.get(first) {
            Some(Named::Internal(base)) if !import || base.last() != Some(first) => {
                return Some(Named::Internal(with(base, rest)));
            }
            Some(Named::External(base)) if base.len() != 1 || base[0] != *first => {
                return Some(Named::External(with(base, rest)));
            }
            _ => {}
        }
        let child = with(self.module, std::slice::from_ref(first)).join("::");
        if self.krate.modules.contains(&child) {
            return Some(Named::Internal(with(self.module, path)));
        }
        self.krate.externs.contains(first).then(|| Named::External(path.to_vec()))
    }

    /// As [`resolve`](Self::resolve), for the path of an import.
    fn resolve_import(&self, path: &[String]) -> Option<Named> {
        self.resolve(path, true)
    }
}

/// Imports and inline modules of one module, those inside functions included.
#[derive(Default)]
struct Uses<'a> {
    /// Path, the name it brings in, and whether it stands in test code.
    found: Vec<(Vec<String>, String, bool)>,
    mods: Vec<&'a ItemMod>,
    test: bool,
}

impl<'a> Visit<'a> for Uses<'a> {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let mut prefix = Vec::new();
        if item.leading_colon.is_some() {
            prefix.push(String::from("::"));
        }
        let test = self.test || is_test(&item.attrs);
        flatten(&item.tree, &mut prefix, &mut |path, name| self.found.push((path, name, test)));
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        self.mods.push(item);
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        let outer = self.test;
        self.test |= is_test(&item.attrs);
        visit::visit_item_fn(self, item);
        self.test = outer;
    }
}

fn flatten(tree: &UseTree, prefix: &mut Vec<String>, found: &mut impl FnMut(Vec<String>, String)) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found(prefix.clone(), prefix.last().cloned().unwrap_or_default());
        }
        UseTree::Name(name) => found([prefix.as_slice(), &[name.ident.to_string()]].concat(), name.ident.to_string()),
        UseTree::Rename(rename) if rename.ident == "self" => found(prefix.clone(), rename.rename.to_string()),
        UseTree::Rename(rename) => {
            found([prefix.as_slice(), &[rename.ident.to_string()]].concat(), rename.rename.to_string());
        }
        UseTree::Glob(_) => found([prefix.as_slice(), &[String::from("*")]].concat(), String::from("*")),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, prefix, found)),
    }
}

struct Paths<'s, 'f> {
    scope: &'s Scope<'s>,
    found: &'f mut Found,
    test: bool,
}

impl Paths<'_, '_> {
    fn name(&mut self, path: &[String]) {
        // A single segment is local, or an import that was judged where it stands.
        if path.len() > 1
            && let Some(named) = self.scope.resolve(path, false)
        {
            self.found.named.insert((named, self.test));
        }
    }

    fn tokens(&mut self, cursor: Cursor<'_>) {
        let mut paths = Vec::new();
        let mut literals = Vec::new();
        words_of(cursor, &mut |path| paths.push(path), &mut |literal| literals.push(literal));
        for path in &paths {
            self.found.has_unsafe |= path.iter().any(|word| word == "unsafe");
            self.name(path);
        }
        for literal in literals {
            // `#[serde(with = "crate::…")]` and the like name a path in a string.
            if let Ok(path) = syn::parse_str::<syn::Path>(literal.trim_matches('"')) {
                let mut segments = segments(&path);
                segments.retain(|segment| !segment.is_empty());
                self.name(&segments);
            }
            if !self.test {
                self.found.literals.insert(literal);
            }
        }
    }

    fn in_test(&mut self, attrs: &[Attribute], inner: impl FnOnce(&mut Self)) {
        let outer = self.test;
        self.test |= is_test(attrs);
        inner(self);
        self.test = outer;
    }
}

fn segments(path: &syn::Path) -> Vec<String> {
    let lead = path.leading_colon.map(|_| String::from("::"));
    lead.into_iter().chain(path.segments.iter().map(|segment| segment.ident.to_string())).collect()
}

impl<'a> Visit<'a> for Paths<'_, '_> {
    fn visit_path(&mut self, path: &'a syn::Path) {
        self.name(&segments(path));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'a Macro) {
        if !self.test
            && let Some(last) = invoked.path.segments.last()
        {
            self.found.macros.insert(last.ident.to_string());
        }
        self.visit_path(&invoked.path);
        self.tokens(TokenBuffer::new2(invoked.tokens.clone()).begin());
    }

    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        if attribute.path().is_ident("doc") {
            return; // Links in documentation may point anywhere.
        }
        self.found.has_unsafe |= attribute.path().is_ident("unsafe");
        self.visit_path(attribute.path());
        if let Meta::List(list) = &attribute.meta {
            self.tokens(TokenBuffer::new2(list.tokens.clone()).begin());
        }
    }

    fn visit_item_mod(&mut self, _: &'a ItemMod) {}
    fn visit_item_use(&mut self, _: &'a ItemUse) {}
    fn visit_visibility(&mut self, _: &'a Visibility) {}

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.in_test(&item.attrs, |this| visit::visit_item_fn(this, item));
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        self.found.has_unsafe |= item.unsafety.is_some();
        self.in_test(&item.attrs, |this| visit::visit_item_impl(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.in_test(&item.attrs, |this| visit::visit_impl_item_fn(this, item));
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        self.found.has_unsafe |= item.unsafety.is_some();
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'a syn::ItemForeignMod) {
        self.found.has_unsafe = true;
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_signature(&mut self, signature: &'a syn::Signature) {
        self.found.has_unsafe |= signature.unsafety.is_some();
        visit::visit_signature(self, signature);
    }

    fn visit_expr_unsafe(&mut self, expr: &'a syn::ExprUnsafe) {
        self.found.has_unsafe = true;
        visit::visit_expr_unsafe(self, expr);
    }

    fn visit_lit_str(&mut self, literal: &'a syn::LitStr) {
        if !self.test {
            self.found.literals.insert(literal.value());
        }
    }

    fn visit_lit_byte_str(&mut self, literal: &'a syn::LitByteStr) {
        if !self.test {
            self.found.literals.insert(String::from_utf8_lossy(&literal.value()).into_owned());
        }
    }
}

/// Every `a::b::c` and every literal in a stream of tokens, groups included.
fn words_of(mut cursor: Cursor<'_>, path: &mut impl FnMut(Vec<String>), literal: &mut impl FnMut(String)) {
    while !cursor.eof() {
        if let Some((ident, mut rest)) = cursor.ident() {
            let mut segments = vec![ident.to_string()];
            while let Some((next, after)) = double_colon(rest).and_then(|after| after.ident()) {
                segments.push(next.to_string());
                rest = after;
            }
            path(segments);
            cursor = rest;
        } else if let Some((inside, _, _, rest)) = cursor.any_group() {
            words_of(inside, path, literal);
            cursor = rest;
        } else if let Some((value, rest)) = cursor.literal() {
            literal(value.to_string());
            cursor = rest;
        } else if let Some((_, rest)) = cursor.token_tree() {
            cursor = rest;
        } else {
            return;
        }
    }
}

fn double_colon(cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    let (first, rest) = cursor.punct()?;
    let (second, rest) = rest.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(rest)
}
