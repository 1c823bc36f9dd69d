//! Clusters of lab servers: three nodes on loopback, started one after the other,
//! each in a folder of its own.
//!
//! Sources: Galera Cluster documentation, "Starting a Galera Cluster" and "Galera
//! Parameters"; MySQL Reference Manual, "Group Replication". Every node has ports
//! of its own for the group and for the transfer of its state.

use super::{LabKind, LabOptions, LabServer, Ports, Setup};
use crate::db::{Database, DatabaseUrl, Session, SessionSettings};
use anyhow::{Context, Result, bail};
use rand::RngExt;
use rand::distr::Alphanumeric;
use std::path::Path;
use std::time::{Duration, Instant};

/// Nodes of a cluster.
const NODES: usize = 3;

/// How long the nodes may take to find each other. A group under load takes minutes to let
/// go of a member that is gone.
const JOINED_WITHIN: Duration = Duration::from_secs(600);

/// How often they are asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What one node knows of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// From 0; the first one begins the cluster.
    pub(super) number: usize,
    /// The cluster's name.
    name: String,
    /// The port that clients connect to.
    pub(super) port: u16,
    /// The port that each node's part of the group listens on.
    group_ports: Vec<u16>,
    /// Two more of this node's own.
    own_ports: [u16; 2],
    /// Whether every node may write.
    is_multi_primary: bool,
}

impl Node {
    /// Whether its data folder is made by itself: Galera's others get it from the
    /// first one.
    pub(super) fn makes_its_data(&self, kind: LabKind) -> bool {
        self.number == 0 || kind != LabKind::Galera
    }

    /// What the server is told when it starts for the first time only, and what it
    /// is told when it comes back.
    pub(super) fn once_and_again(&self, kind: LabKind) -> (Option<String>, Option<String>) {
        match kind {
            LabKind::Galera => ((self.number == 0).then(|| "--wsrep-new-cluster".to_owned()), None),
            // Nobody writes there as long as it is alone.
            _ => (None, Some("--super-read-only=ON".to_owned())),
        }
    }

    /// What the server is told of its cluster.
    pub(super) fn options(&self, kind: LabKind, port: u16) -> Result<Vec<String>> {
        match kind {
            LabKind::Galera => self.galera(),
            _ => Ok(self.group_replication(port)),
        }
    }

    fn galera(&self) -> Result<Vec<String>> {
        let library = ["/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context("no Galera library on this machine: install it (apt-get install galera-4)")?;
        let [transfer, increments] = self.own_ports;
        let group = self.group_ports[self.number];
        let seeds: Vec<String> = self.group_ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Ok(vec![
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={library}"),
            format!("--wsrep-cluster-name={}", self.name),
            format!("--wsrep-cluster-address=gcomm://{}", seeds.join(",")),
            format!("--wsrep-node-name=node{}", self.number),
            format!("--wsrep-node-address=127.0.0.1:{group}"),
            "--wsrep-sst-method=rsync".to_owned(),
            format!("--wsrep-sst-receive-address=127.0.0.1:{transfer}"),
            format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group};\
                 ist.recv_addr=127.0.0.1:{increments};gcache.size=64M"
            ),
            "--binlog-format=ROW".to_owned(),
            "--innodb-autoinc-lock-mode=2".to_owned(),
        ])
    }

    fn group_replication(&self, port: u16) -> Vec<String> {
        let seeds: Vec<String> = self.group_ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let of_group = |name: &str, value: &str| format!("--group-replication-{name}={value}");
        let (single, checks) = if self.is_multi_primary { ("OFF", "ON") } else { ("ON", "OFF") };
        vec![
            format!("--server-id={}", self.number + 1),
            "--gtid-mode=ON".to_owned(),
            "--enforce-gtid-consistency=ON".to_owned(),
            "--plugin-load-add=group_replication.so".to_owned(),
            "--report-host=127.0.0.1".to_owned(),
            format!("--report-port={port}"),
            of_group("group-name", &self.name),
            // When the others have let its old self go, see `join_again`.
            of_group("start-on-boot", "OFF"),
            of_group("local-address", &format!("127.0.0.1:{}", self.group_ports[self.number])),
            of_group("group-seeds", &seeds.join(",")),
            of_group("ip-allowlist", "127.0.0.1/8"),
            of_group("single-primary-mode", single),
            of_group("enforce-update-everywhere-checks", checks),
            of_group("recovery-get-public-key", "ON"),
        ]
    }
}

/// Starts the nodes and waits until all of them are in step.
///
/// # Errors
/// The binaries are not on this machine, a node does not start, or the nodes do not
/// find each other.
pub(super) async fn start(kind: LabKind, options: LabOptions) -> Result<LabServer> {
    let ports = Ports::<{ 4 * NODES }>::free()?;
    let (group_ports, own_ports) = ports.numbers.split_at(NODES);
    let name = match kind {
        LabKind::Galera => "stockbench".to_owned(),
        // A group's name is a UUID.
        _ => {
            format!("{:08x}-5b0c-4000-8000-{:012x}", rand::rng().random::<u32>(), rand::rng().random::<u32>())
        }
    };
    let password: String = rand::rng().sample_iter(Alphanumeric).take(24).map(char::from).collect();
    let mut nodes: Vec<LabServer> = Vec::new();
    for (number, own) in own_ports.chunks(NODES).enumerate() {
        let node = Node {
            number,
            name: name.clone(),
            port: own[0],
            group_ports: group_ports.to_vec(),
            own_ports: [own[1], own[2]],
            is_multi_primary: kind != LabKind::GroupReplicationSingle,
        };
        let setup = Setup::of_node(kind, options, node, &password)?;
        let server = setup.start_or_clear().await?;
        if kind != LabKind::Galera {
            join_group(&server, &password)
                .await
                .with_context(|| format!("node {number} cannot join the group"))?;
        }
        nodes.push(server);
    }
    let url = nodes.iter().map(|node| node.url.as_str()).collect::<Vec<_>>().join(",");
    for node in &nodes {
        in_step(kind, node).await?;
    }
    let mut first = nodes.remove(0);
    first.url = url;
    first.others = nodes;
    first.ports = ports.held;
    Ok(first)
}

/// The first node makes the group, the others join it; after a crash they do so by
/// themselves.
async fn join_group(server: &LabServer, password: &str) -> Result<()> {
    let database =
        Database::connect(&DatabaseUrl::parse(&server.url)?, &SessionSettings::default(), Duration::ZERO)
            .await?;
    let mut session = database.open(&SessionSettings::default()).await?;
    let is_first = server.node.as_ref().is_some_and(|node| node.number == 0);
    let source = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_USER = '{}', SOURCE_PASSWORD = '{password}' \
         FOR CHANNEL 'group_replication_recovery'",
        super::NAME
    );
    session.control(&source).await?;
    if is_first {
        session.control("SET GLOBAL group_replication_bootstrap_group = ON").await?;
    }
    session.control("START GROUP_REPLICATION").await?;
    if is_first {
        session.control("SET GLOBAL group_replication_bootstrap_group = OFF").await?;
    }
    session.close().await;
    Ok(())
}

/// Brings a member back into its group: once the others do not count its old self
/// any more, which they wait for a while, and not before.
pub(super) async fn join_again(home: &LabServer, node: &LabServer) -> Result<()> {
    let port = DatabaseUrl::parse(&node.url)?.address().context("a node has an address")?.1;
    let counted = format!(
        "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_port = {port}"
    );
    let deadline = Instant::now() + JOINED_WITHIN;
    loop {
        let is_counted = ask(home, &counted).await.is_none_or(|count| count > 0);
        if !is_counted && tell(node, "START GROUP_REPLICATION").await.is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("a member of the {} lab cluster cannot join again", home.kind.as_str());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn session_on(node: &LabServer) -> Result<Box<dyn Session>> {
    let url = DatabaseUrl::parse(&node.url)?.nodes().remove(0);
    let settings = SessionSettings::default();
    Ok(Database::connect(&url, &settings, Duration::ZERO).await?.open(&settings).await?)
}

/// The number that a query gives on a node; nothing if it does not answer.
async fn ask(node: &LabServer, sql: &str) -> Option<i64> {
    let mut session = session_on(node).await.ok()?;
    let row = crate::db::first_row(session.as_mut(), sql).await;
    session.close().await;
    row.ok()??.first()?.as_int()
}

async fn tell(node: &LabServer, sql: &str) -> Result<()> {
    let mut session = session_on(node).await?;
    let told = session.control(sql).await;
    session.close().await;
    Ok(told?)
}

/// Waits until a node sees all the others and takes statements.
pub(super) async fn in_step(kind: LabKind, node: &LabServer) -> Result<()> {
    let deadline = Instant::now() + JOINED_WITHIN;
    let sql = match kind {
        LabKind::Galera => {
            "SELECT CAST(SUM(variable_name = 'wsrep_cluster_size' AND variable_value = 3 \
             OR variable_name = 'wsrep_local_state' AND variable_value = 4) AS SIGNED) \
             FROM information_schema.global_status"
        }
        _ => {
            "SELECT CAST(COUNT(*) - 1 AS SIGNED) FROM performance_schema.replication_group_members \
             WHERE member_state = 'ONLINE'"
        }
    };
    loop {
        // Two of two conditions, or two others beside this one.
        if ask(node, sql).await == Some(2) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the nodes of the {} lab cluster did not find each other", kind.as_str());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
