//! What the router of the cloud has.

use std::collections::BTreeSet;

use syn::visit::Visit;

/// The routes that the router has, read from its source: method (`ANY` for all of them) and path.
pub(crate) fn routes() -> BTreeSet<(String, String)> {
    #[derive(Default)]
    struct Routes(BTreeSet<(String, String)>);

    #[derive(Default)]
    struct Methods(Vec<String>);

    impl Visit<'_> for Methods {
        fn visit_expr_call(&mut self, call: &syn::ExprCall) {
            if let syn::Expr::Path(path) = &*call.func {
                self.0.extend(path.path.segments.last().map(|last| last.ident.to_string()));
            }
            syn::visit::visit_expr_call(self, call);
        }

        fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
            self.0.push(call.method.to_string());
            syn::visit::visit_expr_method_call(self, call);
        }
    }

    impl Visit<'_> for Routes {
        fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
            if call.method == "route" {
                let (Some(path), Some(handlers)) = (call.args.first(), call.args.get(1)) else {
                    panic!("a bare route")
                };
                let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = path else {
                    panic!("a route whose path is not written out: this test cannot read it")
                };
                let mut methods = Methods::default();
                methods.visit_expr(handlers);
                assert!(!methods.0.is_empty(), "{}: no method", path.value());
                self.0.extend(methods.0.into_iter().map(|method| (method.to_uppercase(), path.value())));
            }
            assert!(
                !["route_service", "nest", "nest_service", "fallback_service"].iter().any(|name| call.method == name),
                "{}: this test cannot read it",
                call.method
            );
            syn::visit::visit_expr_method_call(self, call);
        }

        fn visit_item_mod(&mut self, module: &syn::ItemMod) {
            // Tests make routers of their own.
            if module.ident != "tests" {
                syn::visit::visit_item_mod(self, module);
            }
        }
    }

    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cloud/rest");
    let mut routes = Routes::default();
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        routes.visit_file(&syn::parse_file(&text).expect("Rust"));
    }
    routes.0
}
