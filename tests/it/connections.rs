//! The way to a server: TLS, sockets, and parameters that name another address.

use crate::support::{
    Backend, Said, assert_one_line, block_on, command, execute, place, query, stockbench, until,
};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use stockbench::lab::{LabKind, LabServer};

/// A few orders on a server, and the report of them.
const FEW: [&str; 7] = ["run", "-o", "json", "--orders", "20", "--stock", "10"];

/// What a run says of the TLS of its connections must be this, in both its forms.
#[track_caller]
fn assert_tls(said: &Said, mode: &str, verified: &str, line: &str) {
    assert_eq!(said.code, 0, "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let tls = &report["database"]["tls"];
    assert_eq!((&tls["mode"], &tls["verified"]), (&mode.into(), &verified.into()), "{tls}");
    let version = if line.starts_with("no TLS") { "none" } else { "TLSv1.3" };
    assert_eq!(tls["version"], version);
    assert!(said.stderr.lines().next().unwrap().ends_with(line), "{}", said.stderr);
}

/// Gives a PostgreSQL server a certificate for 127.0.0.1 and has it offer TLS; the file
/// of the CA that signed it.
fn offer_tls(url: &str) -> PathBuf {
    let data = PathBuf::from(query(url, "SHOW data_directory"));
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(&data).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=ca -keyout ca.key -out ca.crt"));
    openssl(&format!("req {key} -subj /CN=server -keyout server.key -out server.csr"));
    std::fs::write(data.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
    );
    // The server reads a key of its own user only.
    let owner = std::fs::metadata(&data).unwrap();
    for file in ["server.key", "server.crt"] {
        chown(data.join(file), Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    execute(url, "ALTER SYSTEM SET ssl = on");
    execute(url, "SELECT pg_reload_conf()");
    until("TLS is on", || query(url, "SHOW ssl") == "on");
    data.join("ca.crt")
}

#[test]
fn tls_options_are_honoured_and_stated_on_postgres() {
    if place(Backend::Postgres).is_none() {
        return;
    }
    let server = block_on(LabServer::start(LabKind::Postgres)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = |parameters: &str| {
        let url = format!("{}?{parameters}", server.url);
        stockbench(folder.path(), &[&FEW[..], &["--database-url", &url]].concat())
    };
    assert_tls(&run("sslmode=prefer"), "prefer", "none", "no TLS (sslmode=prefer)");
    assert_one_line(&run("sslmode=require"), 1, &["server does not support TLS"]);

    let ca = offer_tls(&server.url);
    let trusting = format!("sslrootcert={}", ca.display());
    let verified = |mode: &str| run(&format!("sslmode={mode}&{trusting}"));
    let line = "TLSv1.3 (sslmode=require, certificate not verified)";
    assert_tls(&run("sslmode=require"), "require", "none", line);
    let line = "TLSv1.3 (sslmode=verify-ca, certificate verified, host name not)";
    assert_tls(&verified("verify-ca"), "verify-ca", "ca", line);
    let line = "TLSv1.3 (sslmode=verify-full, certificate and host name verified)";
    assert_tls(&verified("verify-full"), "verify-full", "identity", line);
    assert_one_line(
        &run("sslmode=verify-ca"),
        1,
        &["certificate is not accepted, UnknownIssuer", "sslrootcert="],
    );

    // What the URL leaves open is the environment's.
    let by_environment = |arguments: &[&str], ca: &Path| {
        let arguments = [&FEW[..], arguments, &["--database-url", &server.url]].concat();
        let mut command = command(folder.path(), &arguments);
        command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", ca).output().unwrap()
    };
    let output = by_environment(&[], &ca);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["database"]["tls"]["mode"], "verify-full");
    // A word that is no mode is not taken for the weakest one.
    let arguments = ["run", "--database-url", &server.url];
    let output = command(folder.path(), &arguments).env("PGSSLMODE", "verify_full").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.contains("PGSSLMODE is \"verify_full\": expected disable,"), "{stderr}");
    // A relay has another name.
    let output = by_environment(&["--rtt", "1ms"], &ca);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn tls_options_are_honoured_and_stated_on_mysql() {
    let Some(place) = place(Backend::MySql) else { return };
    let run = |parameters: &str| {
        let (server, _) = place.url.split_once('?').unwrap();
        let url = format!("{server}?{parameters}");
        stockbench(place.folder.path(), &[&FEW[..], &["--database-url", &url]].concat())
    };
    assert_tls(&run("ssl-mode=disabled"), "DISABLED", "none", "no TLS (sslmode=DISABLED)");
    let line = "TLSv1.3 (sslmode=REQUIRED, certificate not verified)";
    assert_tls(&run("ssl-mode=required"), "REQUIRED", "none", line);
    assert_one_line(
        &run("ssl-mode=verify_ca"),
        1,
        &["certificate is not accepted, UnknownIssuer", "ssl-ca="],
    );
    // The server has made a CA of its own with its data.
    let ca = Path::new(&query(&place.url, "SELECT @@datadir")).join("ca.pem");
    let line = "TLSv1.3 (sslmode=VERIFY_CA, certificate verified, host name not)";
    let said = run(&format!("ssl-mode=verify_ca&ssl-ca={}", ca.display()));
    assert_tls(&said, "VERIFY_CA", "ca", line);
}

#[test]
fn a_wire_is_refused_where_the_server_is_reached_by_a_socket() {
    let Some(place) = place(Backend::MySql) else { return };
    // Over a socket, the server takes us for another user.
    execute(&place.url, "CREATE USER IF NOT EXISTS nearby@localhost");
    let database = query(&place.url, "SELECT DATABASE()");
    execute(&place.url, &format!("GRANT ALL ON {database}.* TO nearby@localhost"));
    let socket = query(&place.url, "SELECT @@socket");
    let url = format!("mysql://nearby@127.0.0.1:1/{database}?socket={socket}");
    let said = stockbench(place.folder.path(), &["run", "--rtt", "1ms", "--database-url", &url]);
    assert_one_line(&said, 2, &["reached over no network"]);
}

#[test]
fn a_relay_stands_before_a_server_that_a_parameter_names() {
    let Some(place) = place(Backend::Postgres) else { return };
    let port = url::Url::parse(&place.url).unwrap().port().unwrap();
    let elsewhere = place.url.replace(&format!("127.0.0.1:{port}"), "nowhere.invalid:1");
    let url = format!("{elsewhere}?host=127.0.0.1&port={port}");
    let arguments = [&FEW[..], &["-c", "1", "--rtt", "20ms", "--database-url", &url]].concat();
    let said = stockbench(place.folder.path(), &arguments);
    assert_eq!(said.code, 0, "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let fastest = report["latency_us"]["order"]["deducted"]["min"].as_u64().unwrap();
    assert!(fastest >= 20_000, "{fastest} us is less than one round trip");
}
