//! Keeps a server no longer than the process that started it.
//!
//! A small shell stands between: it is the server's parent, and it waits for
//! the end of its own standard input. However this process ends (return,
//! error, panic, SIGTERM, SIGKILL), the kernel closes the pipe, and the shell
//! ends the server and removes its folder. Both live in a process group of
//! their own, so that a Ctrl-C on the terminal reaches only stockbench.

use super::programs::{Owner, command};
use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;
use parking_lot::Mutex;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

/// While the data folder is still being made there is no server to signal: the
/// start script looks for the file `ending` before it becomes one. A server that
/// is to come back after a crash finds the file `again`; what the crash left
/// running may be in its way for a moment, so that it is tried more than once, until
/// the file `back` says that it is there.
///
/// `$1` the signal that ends the server, `$2` its folder, `$3` the script that
/// starts it.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
signal=$1 folder=$2 script=$3 tries=0
exec 3<&0
{
    cat <&3 >/dev/null
    : >"$folder/ending"
    until [ -e "$folder/server.ended" ]; do
        server=$(cat "$folder/server.pid" 2>/dev/null)
        if [ -e "$folder/serving" ] && [ -n "$server" ]; then
            kill -"$signal" "$server" 2>/dev/null
            kill -CONT "$server" 2>/dev/null
        fi
        sleep 0.1
    done
} &
keeper=$!
exec 3<&- </dev/null
while :; do
    /bin/sh "$script" >>"$folder/server.log" 2>&1 &
    server=$!
    echo $server >"$folder/server.pid"
    wait $server
    [ ! -e "$folder/ending" ] || break
    if [ -e "$folder/back" ]; then
        rm "$folder/back"
        tries=0
    fi
    if [ -e "$folder/again" ]; then
        rm "$folder/again"
        tries=50
    fi
    [ $tries -gt 0 ] || break
    tries=$((tries - 1))
    sleep 0.1
done
: >"$folder/server.ended"
wait $keeper
rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }
"#;

/// Mounts a disk in memory and hands over to the server's user. MySQL alone wants
/// 200 MB before anything is in it.
///
/// `$1` where, `$2` and `$3` the user's and the group's numbers, then the command.
const MOUNT: &str = r#"
disk=$1 user=$2 group=$3
shift 3
mkdir -p "$disk"
mount -t tmpfs -o "size=640m,mode=0700,uid=$user,gid=$group" stockbench-lab "$disk" || exit 1
setpriv --reuid "$user" --regid "$group" --clear-groups "$@"
umount -l "$disk"
rm -rf "${disk%/*}"
"#;

/// The shell that stands between us and a server.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Mutex<Child>,
    pipe: Option<ChildStdin>,
    folder: PathBuf,
}

impl Watchdog {
    /// Starts the shell, which starts the server; with a small disk at a place that
    /// only they see.
    pub(super) fn spawn(
        owner: &Owner,
        folder: &Path,
        signal: &str,
        script: &Path,
        disk: Option<&Path>,
    ) -> Result<Self> {
        let mut command = command(if disk.is_some() { "unshare" } else { "/bin/sh" });
        if let Some(disk) = disk {
            ensure!(Uid::effective().is_root(), "a disk that can be filled takes root (fill-disk)");
            command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", MOUNT, "stockbench-lab"]);
            command.arg(disk).args(owner.numbers().map(|number| number.to_string())).arg("/bin/sh");
        }
        command.args(["-c", SCRIPT, "stockbench-lab", signal]).arg(folder).arg(script);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        if disk.is_some() {
            // Not every root may mount: what the system says of it belongs to the log.
            let log = folder.join("server.log");
            command.stderr(File::create(&log)?);
            owner.take(&log)?;
        } else {
            command.stderr(Stdio::null());
            owner.run_as(&mut command);
        }
        let mut shell = command.spawn().context("cannot start a shell for the lab server")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell: Mutex::new(shell), pipe, folder: folder.to_owned() })
    }

    /// The shell's process id.
    pub(super) fn shell_pid(&self) -> u32 {
        self.shell.lock().id()
    }

    /// Where the server's own words go.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Whether the server has ended by itself, or was never started.
    pub(super) fn server_has_ended(&self) -> bool {
        let shell_has_ended = || matches!(self.shell.lock().try_wait(), Ok(Some(_)));
        self.folder.join("server.ended").exists() || shell_has_ended()
    }

    /// The server's process id.
    pub(super) fn server_pid(&self) -> Option<i32> {
        std::fs::read_to_string(self.folder.join("server.pid")).ok()?.trim().parse().ok()
    }

    /// Has the server started again when it ends the next time.
    pub(super) fn comes_back(&self) -> std::io::Result<()> {
        std::fs::write(self.folder.join("again"), "")
    }

    /// It is there: from here on it is not started again by itself.
    pub(super) fn is_back(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.folder.join("again")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::write(self.folder.join("back"), "")
    }

    /// Has it not started again, whatever was said before.
    pub(super) fn ends(&self) -> std::io::Result<()> {
        std::fs::write(self.folder.join("ending"), "")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Waits for server and folder to be gone; the shell cannot fail to end.
        drop(self.shell.get_mut().wait());
    }
}
