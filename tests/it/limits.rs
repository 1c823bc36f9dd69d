//! A system that gives little: no threads, or hardly any memory. Whatever is refused, the
//! run ends, and says why.

use crate::support::{Said, output};
use nix::unistd::Uid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Who may have no more threads than he is given: root may always.
const NOBODY: &str = "65534";

/// Runs stockbench as a user without rights, with limits as `prlimit` takes them, for a
/// minute at most.
fn limited(limits: &[&str], arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let binary = folder.path().join("stockbench");
    fs::copy(env!("CARGO_BIN_EXE_stockbench"), &binary).unwrap();

    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "60"]);
    if Uid::effective().is_root() {
        command.args(["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    }
    command.arg("prlimit").args(limits).arg(&binary).args(arguments);
    command.env_remove("DATABASE_URL").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    output(command.current_dir(folder.path()))
}

/// What is refused is refused in one line.
#[track_caller]
fn assert_ended(said: &Said, what: &str) {
    assert!([0, 1].contains(&said.code), "{what}: {said:?}");
    assert_eq!(said.stderr.lines().count(), usize::from(said.code == 1), "{what}: {said:?}");
}

#[test]
fn a_run_that_gets_no_thread_says_so_and_ends() {
    let mut refused = 0;
    // Threads of the runtime, of the lanes, of the connections and of the pacer.
    for threads in 1..=26 {
        let run = ["run", "-s", "atomic", "-n", "100", "-c", "20"];
        let open_loop = [&run[..], &["--rate", "500", "--warmup", "100ms"]].concat();
        for command in [&run[..], &open_loop, &["explore", "-s", "atomic"]] {
            let said = limited(&[&format!("--nproc={threads}")], command);
            assert_ended(&said, &format!("{threads} threads, {command:?}"));
            if said.code == 1 {
                refused += 1;
                assert!(said.stderr.contains("the system gives no more threads"), "{threads}: {said:?}");
            }
        }
    }
    assert!(refused >= 10, "only {refused} runs were refused a thread");
}

#[test]
fn a_run_without_address_space_ends() {
    for mebibytes in [100, 150, 200, 300, 500, 800, 1_200, 1_500, 2_000, 3_000] {
        for clients in ["50", "100000"] {
            let limit = format!("--as={}", mebibytes << 20);
            let said = limited(&[&limit], &["run", "-s", "atomic", "-n", "100", "-c", clients]);
            let what = format!("{mebibytes} MiB, {clients} clients");
            // Nobody can catch an allocation that fails: libraries and the runtime say so in
            // lines of their own and abort. But it ends, and nothing else goes wrong.
            let is_aborted = said.stderr.contains("memory") && [-1, 1, 134].contains(&said.code);
            if !is_aborted {
                assert_ended(&said, &what);
            }
            for wrong in ["panicked", "internal error"] {
                assert!(!said.stderr.contains(wrong), "{what}: {said:?}");
            }
        }
    }
}
