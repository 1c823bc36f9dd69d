//! A system that gives little: no threads, or hardly any memory. Whatever is refused, the
//! run ends, and says why.

use crate::support::{Said, output};
use nix::unistd::Uid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Users without rights, who may have no more threads than they are given: root may always. The
/// system counts a user's threads over all processes, so each test has one of its own.
#[derive(Clone, Copy)]
enum Nobody {
    WithoutThreads = 65_534,
    WithoutMemory = 65_533,
}

/// Runs stockbench as a user without rights, with limits as `prlimit` takes them, for a
/// minute at most.
fn limited(user: Nobody, limits: &[&str], arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let binary = folder.path().join("stockbench");
    fs::copy(env!("CARGO_BIN_EXE_stockbench"), &binary).unwrap();

    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "60"]);
    if Uid::effective().is_root() {
        let id = (user as u32).to_string();
        command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    command.arg("prlimit").args(limits).arg(&binary).args(arguments);
    command.env_remove("DATABASE_URL").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    output(command.current_dir(folder.path()))
}

/// What is refused is refused in one line. What is refused in the middle of a run is an error
/// that its report counts.
#[track_caller]
fn assert_ended(said: &Said, what: &str) {
    let lines = said.stderr.lines().count();
    let is_reported = said.stdout.lines().count() > 1;
    let is_told = match said.code {
        0 => lines == 0,
        1 => lines == 1 || lines == 0 && is_reported,
        _ => false,
    };
    assert!(is_told, "{what}: {said:?}");
}

#[test]
fn a_run_that_gets_no_thread_says_so_and_ends() {
    let mut refused = 0;
    // Threads of the runtime, of the lanes, of the connections and of the pacer.
    for threads in 1..=26 {
        let run = ["run", "-s", "atomic", "-n", "100", "-c", "20"];
        let open_loop = [&run[..], &["--rate", "500", "--warmup", "100ms"]].concat();
        for command in [&run[..], &open_loop, &["explore", "-s", "atomic"]] {
            let said = limited(Nobody::WithoutThreads, &[&format!("--nproc={threads}")], command);
            assert_ended(&said, &format!("{threads} threads, {command:?}"));
            if !said.stderr.is_empty() {
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
            let run = ["run", "-s", "atomic", "-n", "100", "-c", clients];
            let said = limited(Nobody::WithoutMemory, &[&limit], &run);
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
