//! A process that stores, replaces or removes a credential is killed at each of its system calls, and has each of them
//! fail: the next start finds the old credential or the new one, whole.
//!
//! The process is this program itself, with one thread and no test harness, so that its system calls can be counted.

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    crash::main()
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod crash {
    use std::collections::{BTreeSet, HashMap};
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, ExitCode, Output, Stdio};

    use libtest_mimic::{Arguments, Failed, Trial};
    use thingif::client::vault::{FileVault, VaultKey};
    use thingif::thing_if::{Credential, ThingIdentity};

    /// Tells the child what to do, and so tells it that it is one: `store` or `forget`.
    const TASK: &str = "THINGIF_TEST_VAULT_TASK";
    /// Where the child does it.
    const DIRECTORY: &str = "THINGIF_TEST_VAULT_DIRECTORY";
    /// Names that do not exist; looking at them marks where the work begins and ends.
    const BEGIN: &str = "/thingif-work-begins";
    const END: &str = "/thingif-work-ends";

    /// Exit status of a child whose vault reported an error.
    const REPORTED: i32 = 3;

    /// Calls of the file system, which may fail for want of space or because of a broken disk.
    const OF_FILES: &[&str] = &[
        "open",
        "openat",
        "mkdir",
        "mkdirat",
        "stat",
        "lstat",
        "fstat",
        "statx",
        "newfstatat",
        "read",
        "pread64",
        "write",
        "lseek",
        "fsync",
        "fdatasync",
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "chmod",
        "fchmod",
        "fchmodat",
        "flock",
        "ftruncate",
        "getdents64",
        "close",
    ];

    type Test = fn() -> Result<(), Failed>;

    pub(super) fn main() -> ExitCode {
        if let Ok(task) = std::env::var(TASK) {
            return child(&task, Path::new(&std::env::var_os(DIRECTORY).expect("given by the parent")));
        }
        let tests: [(&str, Test); 8] = [
            ("a_first_store_is_there_or_not", || killed_everywhere(Task::Store, Before::Nothing)),
            ("a_store_over_an_old_one_leaves_one_of_them", || killed_everywhere(Task::Store, Before::Old)),
            ("forgetting_leaves_it_whole_or_nothing", || killed_everywhere(Task::Forget, Before::Old)),
            ("a_first_store_that_fails_says_so", || fails_everywhere(Task::Store, Before::Nothing)),
            ("a_store_that_fails_leaves_the_old_one", || fails_everywhere(Task::Store, Before::Old)),
            ("forgetting_that_fails_says_so", || fails_everywhere(Task::Forget, Before::Old)),
            ("content_is_synced_before_the_rename_and_the_directory_after_it", order_of_a_store),
            ("the_directory_is_synced_after_a_removal", order_of_a_removal),
        ];
        let trials = tests.into_iter().map(|(name, test)| Trial::test(name, test)).collect();
        libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Task {
        Store,
        Forget,
    }

    /// What is there before the child starts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Before {
        Nothing,
        Old,
    }

    fn key() -> VaultKey {
        let thing = ThingIdentity::VendorThing("thermostat-17".parse().expect("valid"));
        VaultKey::new("app".parse().expect("valid"), thing, "mqtts://iot.example.org".parse().expect("valid"))
    }

    fn credential(token: &str) -> Credential {
        let endpoint = r#"{"username":"u","password":"pw","mqttTopic":"me","host":"h","portTCP":1883}"#;
        Credential::from_json(format!(
            r#"{{"appID":"app","thingID":"th.1","accessToken":"{token}","mqttEndpoint":{endpoint}}}"#
        ))
        .expect("complete")
    }

    /// The work that is killed.
    fn child(task: &str, directory: &Path) -> ExitCode {
        let (key, new) = (key(), credential("new"));
        let _ = std::fs::metadata(BEGIN);
        let done = FileVault::open(directory).and_then(|vault| match task {
            "store" => vault.blocking_store(&key, &new),
            _ => vault.blocking_forget(&key),
        });
        let _ = std::fs::metadata(END);
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(REPORTED as u8)
            }
        }
    }

    /// A vault's directory in a temporary one, with what is in it before.
    struct Scene {
        parent: tempfile::TempDir,
    }

    impl Scene {
        fn new(before: Before) -> Self {
            let scene = Self { parent: tempfile::tempdir().expect("a temporary directory") };
            if before == Before::Old {
                let vault = FileVault::open(scene.directory()).expect("opens");
                vault.blocking_store(&key(), &credential("old")).expect("stored");
            }
            scene
        }

        fn directory(&self) -> PathBuf {
            self.parent.path().join("deep/vault")
        }

        /// Runs the child under strace with `flags`.
        fn run(&self, task: Task, flags: &[&str]) -> Output {
            let mut command = Command::new("strace");
            command.arg("-o").arg(self.trace()).args(["-e", "signal=none"]).args(flags);
            command.arg(std::env::current_exe().expect("this program"));
            let task = if task == Task::Store { "store" } else { "forget" };
            command.env(TASK, task).env(DIRECTORY, self.directory()).stdin(Stdio::null());
            command.output().expect("strace runs")
        }

        fn trace(&self) -> PathBuf {
            self.parent.path().join("trace")
        }

        /// The token of what the next start finds. It opens without error, tidies up, and can store again.
        fn found(&self) -> Option<String> {
            let vault = FileVault::open(self.directory()).expect("opens after a crash");
            let found = vault.blocking_load(&key()).expect("whole, whatever happened");
            let names: Vec<_> = std::fs::read_dir(self.directory())
                .expect("listed")
                .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
                .collect();
            assert!(names.iter().all(|name| !name.ends_with(".new")), "left over: {names:?}");
            vault.blocking_store(&key(), &credential("next")).expect("stores after a crash");
            let next = vault.blocking_load(&key()).expect("whole").expect("there");
            assert_eq!(next.access_token.expose().as_str(), "next");
            found.map(|found| found.access_token.expose().as_str().to_owned())
        }
    }

    /// A system call of the work: the how manieth of its name since the process began, and its text.
    #[derive(Debug, Clone)]
    struct Call {
        name: String,
        ordinal: usize,
        text: String,
    }

    /// The calls between the two marks of a run that nothing disturbs.
    fn calls(task: Task, before: Before) -> Vec<Call> {
        let scene = Scene::new(before);
        let ran = scene.run(task, &["-y"]);
        assert!(ran.status.success(), "{ran:?}");
        let mut ordinals: HashMap<String, usize> = HashMap::new();
        let mut calls = Vec::new();
        for text in std::fs::read_to_string(scene.trace()).expect("a trace").lines() {
            let Some((name, _)) = text.split_once('(') else { continue };
            let ordinal = ordinals.entry(name.to_owned()).or_default();
            *ordinal += 1;
            calls.push(Call { name: name.to_owned(), ordinal: *ordinal, text: text.to_owned() });
        }
        let mark = |wanted: &str| {
            calls.iter().position(|call| call.text.contains(wanted)).unwrap_or_else(|| panic!("no {wanted}"))
        };
        let (begin, end) = (mark(BEGIN), mark(END));
        calls[begin + 1..=end].to_vec()
    }

    /// Whether strace is there and may trace. Where everything must run, it must be there.
    fn strace_works() -> bool {
        let output = tempfile::NamedTempFile::new().expect("a temporary file");
        let tried = Command::new("strace").arg("-o").arg(output.path()).arg("true").stderr(Stdio::null()).status();
        let required = std::env::var_os("THINGIF_FOREIGN_PROGRAMS").is_some_and(|value| value == "required")
            || std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
        match tried {
            Ok(status) if status.success() => return true,
            Ok(_) => eprintln!("SKIPPED: strace may not trace here"),
            Err(error) => {
                assert!(!required, "strace does not start, and this run must not skip what needs it: {error}");
                eprintln!("SKIPPED: strace is not installed");
            }
        }
        false
    }

    fn expected(task: Task, before: Before) -> BTreeSet<Option<String>> {
        let after = match task {
            Task::Store => Some(String::from("new")),
            Task::Forget => None,
        };
        let before = match before {
            Before::Nothing => None,
            Before::Old => Some(String::from("old")),
        };
        BTreeSet::from([before, after])
    }

    fn killed_everywhere(task: Task, before: Before) -> Result<(), Failed> {
        if !strace_works() {
            return Ok(());
        }
        let (calls, expected) = (calls(task, before), expected(task, before));
        let mut seen = BTreeSet::new();
        let mut killed = 0;
        for call in &calls {
            let scene = Scene::new(before);
            let inject = format!("inject={}:signal=SIGKILL:when={}", call.name, call.ordinal);
            let ran = scene.run(task, &["-e", &format!("trace={}", call.name), "-e", &inject]);
            // The loader and the allocator need not make the same calls in every run.
            assert!(ran.status.success() || ran.status.signal() == Some(9), "{call:?}: {ran:?}");
            killed += usize::from(!ran.status.success());
            let found = scene.found();
            assert!(expected.contains(&found), "{call:?} left {found:?}");
            seen.insert(found);
        }
        assert_eq!(seen, expected, "some were killed before it counted, some after");
        assert!(killed * 10 >= calls.len() * 9, "only {killed} of {} were killed", calls.len());
        println!("killed at {killed} system calls");
        Ok(())
    }

    fn fails_everywhere(task: Task, before: Before) -> Result<(), Failed> {
        if !strace_works() {
            return Ok(());
        }
        let calls = calls(task, before);
        // From here on the new state may be what is found.
        let turn = calls
            .iter()
            .position(|call| call.name.starts_with(if task == Task::Store { "rename" } else { "unlink" }))
            .expect("it ends in one");
        let untouched = match before {
            Before::Nothing => None,
            Before::Old => Some(String::from("old")),
        };
        let mut reported = 0;
        for errno in ["ENOSPC", "EIO"] {
            for (at, call) in calls.iter().enumerate().filter(|(_, call)| may_fail(call)) {
                let scene = Scene::new(before);
                let inject = format!("inject={}:error={errno}:when={}", call.name, call.ordinal);
                let ran = scene.run(task, &["-e", &format!("trace={}", call.name), "-e", &inject]);
                let said = String::from_utf8_lossy(&ran.stderr);
                let found = scene.found();
                match ran.status.code() {
                    // Some need not succeed, such as closing what is synced.
                    Some(0) => {
                        let done = (task == Task::Store).then(|| String::from("new"));
                        assert_eq!(found, done, "{errno} at {call:?} was not reported");
                    }
                    Some(REPORTED) => {
                        reported += 1;
                        assert!(said.contains("cannot ") && said.contains("deep"), "{errno} at {call:?}: {said}");
                        if at <= turn {
                            assert_eq!(found, untouched, "{errno} at {call:?}: {said}");
                        }
                    }
                    _ => panic!("{errno} at {call:?}: {ran:?}"),
                }
                assert!(expected(task, before).contains(&found), "{errno} at {call:?} left {found:?}");
            }
        }
        assert!(reported > 5, "only {reported} were reported");
        Ok(())
    }

    /// Linux closes a directory without fail, and the standard library panics if it does not; what was written may be lost
    /// when it is closed, on network file systems.
    fn may_fail(call: &Call) -> bool {
        OF_FILES.contains(&call.name.as_str()) && (call.name != "close" || call.text.contains(".new>"))
    }

    /// Where in `calls` the first one at or after `from` is that fits.
    #[track_caller]
    fn after(calls: &[Call], from: usize, what: &str, fits: impl Fn(&Call) -> bool) -> usize {
        let at = calls.iter().skip(from).position(fits).map(|at| from + at);
        at.unwrap_or_else(|| panic!("no {what} after call {from} of {calls:#?}"))
    }

    fn is_sync_of(call: &Call, end_of_name: &str) -> bool {
        call.name.starts_with("fsync") && call.text.contains(&format!("{end_of_name}>)")) && call.text.ends_with("= 0")
    }

    fn order_of_a_store() -> Result<(), Failed> {
        if !strace_works() {
            return Ok(());
        }
        for before in [Before::Nothing, Before::Old] {
            let calls = calls(Task::Store, before);
            let created = after(&calls, 0, "creation", |call| call.text.contains(".new\", O_WRONLY|O_CREAT|O_EXCL"));
            assert!(calls[created].text.contains(", 0600)"), "{:?}", calls[created]);
            if before == Before::Nothing {
                let made =
                    after(&calls, 0, "mkdir", |call| call.name.starts_with("mkdir") && call.text.contains("vault\""));
                assert!(calls[made].text.contains(", 0700)"), "{:?}", calls[made]);
                assert!(after(&calls, made, "sync of its parent", |call| is_sync_of(call, "/deep")) < created);
            }
            let renamed = after(&calls, created, "rename", |call| call.name.starts_with("rename"));
            let written = calls[..renamed].iter().rposition(|call| call.name == "write").expect("content");
            assert!(created < written && calls[written].text.contains(".new>"), "{:?}", calls[written]);
            let synced = after(&calls, written, "sync of the content", |call| is_sync_of(call, ".new"));
            assert!(synced < renamed, "the name must not come before the content");
            after(&calls, renamed, "sync of the directory", |call| is_sync_of(call, "/vault"));
        }
        Ok(())
    }

    fn order_of_a_removal() -> Result<(), Failed> {
        if !strace_works() {
            return Ok(());
        }
        let calls = calls(Task::Forget, Before::Old);
        let removed = after(&calls, 0, "unlink", |call| call.name.starts_with("unlink"));
        after(&calls, removed, "sync of the directory", |call| is_sync_of(call, "/vault"));
        Ok(())
    }
}
