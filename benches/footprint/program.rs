//! The devices' programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure;

pub(crate) const MINIMAL: &str = "minimal-device";
pub(crate) const BARE: &str = "bare-device";

/// One that was built.
pub(crate) struct Program {
    pub(crate) file: PathBuf,
}

impl Program {
    /// Builds it with this feature and no others. Where it is only to be seen that everything works, any build of it does: one
    /// that shares what the tests have built.
    pub(crate) fn build(package: &str, feature: &str) -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--locked", "--package", package]);
        // What cargo has told this bench about itself would have dependencies that look at it built once more.
        for (name, _) in std::env::vars_os() {
            let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
            if told.iter().any(|told| name.to_string_lossy().starts_with(told)) {
                cargo.env_remove(name);
            }
        }
        let built = if measure::is_whole() {
            let target = target.join("footprint");
            cargo.args(["--profile", "device", "--no-default-features", "--features", feature]);
            cargo.arg("--target-dir").arg(&target);
            target.join("device")
        } else {
            cargo.args(["--package", "thingif", "--bins", "--example", "air_conditioner", "--target-dir"]).arg(target);
            target.join("debug")
        };
        assert!(cargo.status().expect("cargo is there").success(), "{package} with {feature} is built");
        let file = built.join(package);
        if !measure::is_whole() {
            return Self { file };
        }
        // The next one has the same name.
        let own = built.join(format!("{package}-{feature}"));
        std::fs::copy(&file, &own).expect("target is ours");
        Self { file: own }
    }
}

/// Of a file, or of what a link leads to, in bytes.
pub(crate) fn size(file: &Path) -> u64 {
    std::fs::metadata(file).expect("a file").len()
}
