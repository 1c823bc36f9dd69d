//! What a run stands on: its databases and Redis, its programs compiled and
//! checked by them, its tables made.

use super::super::check::{Checker, bounded, refused};
use super::super::open::{check_no_pooler, start_lab};
use super::sabotage::RedisDeath;
use crate::audit::{self, Source, scope};
use crate::cli::RunArgs;
use crate::db::redis::Redis;
use crate::db::relay::Wire;
use crate::db::schema;
use crate::db::{
    Database, DatabaseInfo, DatabaseUrl, Dialect, ErrorClass, Isolation, Session, SessionSettings, Statement,
    Value,
};
use crate::engine::Service;
use crate::engine::recovery::Recovery;
use crate::exit::usage;
use crate::fault::{Blow, FaultSpec, Faults, TimedFault};
use crate::lab::{LabKind, LabOptions, LabServer};
use crate::report::model::RedisInfo;
use crate::scenario::Plan;
use crate::strategy::program::{AuditSource, Invariant, Setup, Slot};
use crate::strategy::{Program, Setting, guard};
use crate::text;
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Connections kept back for the audit and for whoever watches the server.
pub(super) const CONNECTIONS_SPARE: u32 = 3;

/// Setup scripts that are on their way at once.
const SCRIPTS_AT_ONCE: usize = 64;

/// The programs of a run, and the databases they run on.
pub(super) struct Stage {
    pub(super) programs: Vec<Program>,
    pub(super) audit: AuditSource,
    pub(super) services: Vec<Service>,
    pub(super) redis: Option<RedisStage>,
    /// What every session is opened with.
    pub(super) settings: SessionSettings,
    /// Databases that strategies may write other tables in than our own.
    allowed_writes: Vec<String>,
}

/// The Redis of a run; a private one goes with it.
pub(super) struct RedisStage {
    pub(super) redis: Redis,
    lab: Option<Arc<LabServer>>,
}

impl RedisStage {
    pub(super) fn info(&self) -> RedisInfo {
        RedisInfo {
            version: self.redis.version.clone(),
            url_redacted: self.redis.url_redacted.clone(),
            private: self.lab.is_some(),
        }
    }

    /// How it is killed on purpose: only a private one is.
    pub(super) fn death(&self, recovery: &Arc<Recovery>) -> Option<RedisDeath> {
        let lab = Arc::clone(self.lab.as_ref()?);
        // One that is gone already needs no killing.
        Some(RedisDeath::new(Arc::new(move || lab.kill().unwrap_or_default()), recovery))
    }
}

/// A file that cannot run anywhere near the expected database is found before
/// one is looked for.
pub(super) fn check_early(args: &RunArgs, plan: &Plan, expected: Option<Dialect>) -> Result<()> {
    check_blows(args, plan)?;
    let Some(dialect) = expected else { return Ok(()) };
    check_named(plan, dialect)?;
    if !args.service.is_empty() {
        // Which SQL a service speaks only its database can tell.
        return Ok(());
    }
    let setting = Setting { dialect, services: BTreeMap::new(), params: plan.params.clone() };
    for (strategy, _) in &plan.mix {
        let program = strategy.compile(&setting).map_err(usage)?;
        check_faults(plan, std::slice::from_ref(&program)).or_else(|error| {
            // In a mix another program may have the transaction.
            if plan.mix.len() > 1 { Ok(Faults::default()) } else { Err(error) }
        })?;
    }
    Ok(())
}

/// What a cluster cannot do is said before it answers with a riddle.
fn check_cluster(database: &Database, isolation: Option<Isolation>) -> Result<()> {
    let is_multi_primary = database.info.single_primary() == Some(false);
    ensure_usage(!is_multi_primary || isolation != Some(Isolation::Serializable), || {
        "Group Replication refuses SERIALIZABLE where every member takes writes: use a group with one primary, \
         or a strategy that does not need it"
            .to_owned()
    })
}

/// What reaches for sessions by the server's numbers would hit a pooler's other clients.
fn check_pooler(args: &RunArgs, plan: &Plan, database: &Database) -> Result<()> {
    if args.segment.is_some() {
        check_no_pooler(database, "--segment")?;
    }
    if plan.has_blow(Blow::EndSession) {
        check_no_pooler(database, "--fault end-session")?;
    }
    Ok(())
}

/// What befalls servers befalls only those that may be hurt.
fn check_blows(args: &RunArgs, plan: &Plan) -> Result<()> {
    for spec in &plan.faults {
        let FaultSpec::Timed(TimedFault { blow, .. }) = spec else { continue };
        let is_nothing = args.database.database_url.as_deref() == Some("null:");
        ensure_usage(!is_nothing || *blow == Blow::KillRedis, || {
            format!("--fault {spec}: null: is no server and keeps nothing")
        })?;
        ensure_usage(!blow.needs_lab() || args.database.lab.is_some(), || {
            format!("--fault {spec} is for a server that the run has started itself: use --lab")
        })?;
        let is_server = |url: &String| DatabaseUrl::parse(url).is_ok_and(|url| url.address().is_some());
        let has_server =
            args.database.lab.is_some() || args.database.database_url.as_ref().is_some_and(is_server);
        let is_cluster = args.database.lab.as_ref().is_some_and(|lab| lab.kind.is_cluster());
        ensure_usage(!is_cluster || *blow != Blow::FillDisk, || {
            format!("--fault {spec} is for one server, not for a cluster")
        })?;
        let needs_server = matches!(blow, Blow::EndSession | Blow::TakeConnections);
        ensure_usage(!needs_server || has_server, || format!("--fault {spec}: SQLite has no server"))?;
    }
    Ok(())
}

fn check_named(plan: &Plan, dialect: Dialect) -> Result<()> {
    if plan.databases.is_empty() || plan.databases.contains(&dialect) {
        return Ok(());
    }
    let named: Vec<&str> = plan.databases.iter().map(|dialect| dialect.title()).collect();
    Err(usage(format!("the scenario is for {}, not for {}", named.join(", "), dialect.title())))
}

/// The faults of a run, on transactions that its programs really have.
pub(super) fn check_faults(plan: &Plan, programs: &[Program]) -> Result<Faults> {
    let names: Vec<&str> = programs.iter().flat_map(Program::transaction_names).collect();
    Faults::new(plan.faults.clone(), &names).map_err(usage)
}

/// Compiles the programs for the databases that are there, connects to what
/// else they need, and refuses what must not be.
pub(super) async fn prepare(args: &RunArgs, plan: &Plan, database: &mut Database) -> Result<Stage> {
    check_named(plan, database.dialect())?;
    let settings = SessionSettings {
        isolation: plan.isolation,
        lock_timeout: plan.lock_timeout,
        statement_timeout: plan.statement_timeout,
        read_only: false,
        wire: wire(plan, database)?,
        writes_on_node: database.url().node_count() > 1,
        pooler: None,
    };
    check_pooler(args, plan, database)?;
    if plan.statement_timeout.is_some() && database.dialect() == Dialect::Sqlite {
        return Err(usage(
            "SQLite limits no statement: leave --statement-timeout out (--lock-timeout limits waits)",
        ));
    }
    let named = named_services(&args.service)?;
    check_services(&named, plan)?;
    let segments = args.segment.map_or(1, |segment| usize::try_from(segment.of).unwrap_or(1));
    let services = services(&named, &settings, segments).await?;
    let setting = Setting {
        dialect: database.dialect(),
        services: services.iter().map(|service| (service.name.clone(), service.database.dialect())).collect(),
        params: plan.params.clone(),
    };
    let programs: Result<Vec<Program>> =
        plan.mix.iter().map(|(strategy, _)| strategy.compile(&setting)).collect();
    let mut programs = programs.map_err(usage)?;
    ensure_usage(
        database.dialect() != Dialect::Null
            || programs.iter().all(|program| program.batch.is_none() && program.flows.is_empty()),
        || "null: has no answers for a batch and no work for a [[flow]]: take a strategy without".to_owned(),
    )?;
    ensure_usage(args.segment.is_none() || programs.iter().all(|program| program.flows.is_empty()), || {
        "--segment: the strategy has a [[flow]], which runs once beside a run: take a strategy without"
            .to_owned()
    })?;
    let settings =
        SessionSettings { isolation: isolation(&mut programs, plan, database.dialect())?, ..settings };
    if settings.isolation != plan.isolation {
        database.reread(&settings).await?;
    }
    let mut audit = common_audit(&programs)?;
    audit.services = services.iter().map(|service| service.name.clone()).collect();
    check_cluster(database, settings.isolation)?;
    guard_writes(&programs, database, &services, &args.allow_writes)?;
    check_faults(plan, &programs)?;
    let locks = plan.has_blow(Blow::LockRows);
    ensure_usage(!locks || database.url().node_count() == 1 || !database.info.is_multi_primary(), || {
        "lock-rows locks rows on one node, and the others of this cluster write them all the same: use one \
         server, or a cluster with one primary"
            .to_owned()
    })?;
    ensure_usage(audit.stock.is_none() || !locks, || {
        "lock-rows locks the rows of stockbench_sku, and the strategy keeps its stock elsewhere".to_owned()
    })?;
    let redis = redis(args, plan, &programs).await?;
    let allowed_writes = args.allow_writes.clone();
    Ok(Stage { programs, audit, services, redis, settings, allowed_writes })
}

/// The network between the clients and the database, where it is to be ours.
fn wire(plan: &Plan, database: &Database) -> Result<Option<Wire>> {
    if plan.rtt.is_zero() && !plan.faults.iter().any(FaultSpec::needs_wire) {
        return Ok(None);
    }
    ensure_usage(database.url().address().is_some(), || {
        format!(
            "{} is reached over no network: leave --rtt, cut-… and add-latency faults out",
            database.dialect().title()
        )
    })?;
    ensure_usage(!database.url().checks_host(), || {
        "--rtt, cut-… and add-latency faults go through a relay on 127.0.0.1, which is not the name that the \
         URL has the server's certificate checked for: use sslmode=verify-ca, which checks the certificate alone \
         (MySQL and MariaDB: ssl-mode=VERIFY_CA)"
            .to_owned()
    })?;
    Ok(Some(Wire::new(plan.rtt)))
}

/// `NAME=URL`, as `--service` takes it. Nothing of it is quoted back: it may
/// hold a password.
pub(in crate::commands) fn named_services(given: &[String]) -> Result<Vec<(String, String)>> {
    let mut named: Vec<(String, String)> = Vec::new();
    for text in given {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        };
        let (name, url) = text
            .split_once('=')
            .filter(|(name, _)| is_name(name))
            .ok_or_else(|| usage("--service takes NAME=URL, as in orders=sqlite:orders.db"))?;
        ensure_usage(named.iter().all(|(known, _)| known != name), || {
            format!("--service {name} is given twice")
        })?;
        named.push((name.to_owned(), url.to_owned()));
    }
    Ok(named)
}

async fn services(
    named: &[(String, String)],
    settings: &SessionSettings,
    segments: usize,
) -> Result<Vec<Service>> {
    let mut services: Vec<Service> = Vec::new();
    for (name, url) in named {
        let url =
            DatabaseUrl::asked_for(url).map_err(|error| usage(format!("--service {name}: {error:#}")))?;
        let database = Database::connect(&url, settings, std::time::Duration::ZERO).await?;
        // Services may share a server with each other and with the stock, and all that
        // with other segments.
        let free = database.info.free_connections.saturating_sub(CONNECTIONS_SPARE);
        let connections = usize::try_from(free)? / (named.len() + 1) / segments;
        services.push(Service { name: name.clone(), database, connections: connections.max(1) });
    }
    Ok(services)
}

fn ensure_usage(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(usage(otherwise())) }
}

fn check_services(named: &[(String, String)], plan: &Plan) -> Result<()> {
    let files = || plan.mix.iter().map(|(strategy, _)| &strategy.file);
    let of_transactions = files().flat_map(|file| &file.transaction).filter_map(|tx| tx.service.as_deref());
    let of_flows = files().flat_map(|file| &file.flow).flat_map(|flow| &flow.transaction);
    let of_transactions = of_transactions.chain(of_flows.filter_map(|tx| tx.service.as_deref()));
    let of_setup = files().flat_map(|file| &file.setup).filter_map(|setup| setup.service.as_deref());
    let invariants = files().flat_map(|file| &file.invariant);
    let of_invariants = invariants.flat_map(|invariant| [&invariant.service, &invariant.same_as_service]);
    let of_invariants = of_invariants.filter_map(|service| service.as_deref());
    let known: Vec<&str> = of_transactions.chain(of_setup).chain(of_invariants).collect();
    for (name, _) in named {
        ensure_usage(known.contains(&name.as_str()), || {
            let suggestion = text::did_you_mean(name, known.iter().copied());
            format!("--service {name}: the strategy has no such service{suggestion}")
        })?;
    }
    Ok(())
}

/// The isolation level of the sessions. Programs of a mix that depend on
/// different levels ask for theirs transaction by transaction.
fn isolation(programs: &mut [Program], plan: &Plan, dialect: Dialect) -> Result<Option<Isolation>> {
    let first = programs.first().and_then(|program| program.isolation);
    let all_alike = programs.iter().all(|program| program.isolation == first);
    for program in programs.iter_mut() {
        check_isolation(program, plan.isolation, dialect)?;
        if !all_alike {
            program.pin_isolation();
        }
    }
    Ok(if all_alike { first.or(plan.isolation) } else { plan.isolation })
}

/// Refuses a level that the program, or the database, cannot have.
pub(in crate::commands) fn check_isolation(
    program: &Program,
    asked: Option<Isolation>,
    dialect: Dialect,
) -> Result<()> {
    if let (Some(pinned), Some(asked)) = (program.isolation, asked)
        && pinned != asked
    {
        return Err(usage(format!(
            "strategy {} depends on isolation {}: leave --isolation out",
            program.name,
            pinned.as_str()
        )));
    }
    let is_serializable = asked.is_none_or(|level| level == Isolation::Serializable);
    ensure_usage(dialect != Dialect::Sqlite || is_serializable, || {
        "SQLite has one isolation level, serializable: leave --isolation out".to_owned()
    })
}

/// Programs of a mix move the same stock and write the same ledger, or no
/// audit could judge them together.
fn common_audit(programs: &[Program]) -> Result<AuditSource> {
    let mut common = programs.first().map(|program| program.audit.clone()).unwrap_or_default();
    for program in programs.iter().skip(1) {
        ensure_usage(program.audit.stock == common.stock && program.audit.ledger == common.ledger, || {
            format!(
                "{} and {} keep their stock or ledger in different tables: they cannot be mixed",
                programs[0].name, program.name
            )
        })?;
    }
    // Sales of one program need not hold what another one promises of its own.
    let mut sellers = programs.iter().filter(|program| program.sells());
    let first = sellers.next();
    for program in sellers {
        ensure_usage(first.is_none_or(|first| first.audit.invariants == program.audit.invariants), || {
            format!(
                "{} and {} bring different invariants, which judge every sale: they cannot be mixed",
                first.map_or("", |first| first.name.as_str()),
                program.name
            )
        })?;
    }
    for program in programs {
        let new = program.audit.invariants.iter().filter(|invariant| !common.invariants.contains(invariant));
        let new: Vec<Invariant> = new.cloned().collect();
        common.invariants.extend(new);
    }
    Ok(common)
}

/// Nothing outside our own prefix is written unless the user names the
/// database it is in.
fn guard_writes(
    programs: &[Program],
    database: &Database,
    services: &[Service],
    allowed: &[String],
) -> Result<()> {
    for program in programs {
        let own = program
            .services
            .iter()
            .filter_map(|(name, _)| services.iter().find(|service| service.name == *name));
        let databases = std::iter::once(database).chain(own.map(|service| &service.database));
        for (service, database) in databases.enumerate() {
            let foreign = guard::foreign_writes(program, service);
            let named: Vec<String> = foreign.iter().map(ToString::to_string).collect();
            let name = &database.url().database;
            ensure_usage(foreign.is_empty() || allowed.contains(name), || {
                format!(
                    "strategy {} may write outside stockbench's own tables: {}; if database {name} may be changed so, \
                     say --allow-writes {name}",
                    program.name,
                    named.join(", ")
                )
            })?;
        }
    }
    Ok(())
}

async fn redis(args: &RunArgs, plan: &Plan, programs: &[Program]) -> Result<Option<RedisStage>> {
    let is_counted = |fault: &FaultSpec| matches!(fault, FaultSpec::KillRedis { .. });
    let kills = plan.has_blow(Blow::KillRedis) || plan.faults.iter().any(is_counted);
    ensure_usage(!kills || plan.warmup.is_none(), || {
        "kill-redis counts the orders of the measured window: leave --warmup out".to_owned()
    })?;
    if !programs.iter().any(Program::needs_redis) {
        ensure_usage(!kills, || "kill-redis: the strategy uses no Redis".to_owned())?;
        return Ok(None);
    }
    for program in programs {
        let foreign = guard::foreign_scripts(program);
        ensure_usage(
            foreign.is_empty() || args.allow_writes.iter().any(|name| name == guard::REDIS),
            || {
                format!(
                    "strategy {} may write keys that are not stockbench's own: {}; if they may be, say --allow-writes {}",
                    program.name,
                    foreign.join(", "),
                    guard::REDIS
                )
            },
        )?;
    }
    if let Some(url) = &args.redis_url {
        ensure_usage(!kills, || {
            "kill-redis ends only a Redis that was started for the run: leave --redis-url out".to_owned()
        })?;
        Redis::check_url(url).map_err(usage)?;
        return Ok(Some(RedisStage { redis: Redis::connect(url).await?, lab: None }));
    }
    ensure_usage(args.segment.is_none(), || {
        "--segment: the strategy needs a Redis that all segments share: name it with --redis-url".to_owned()
    })?;
    let lab = start_lab(LabKind::Redis, LabOptions::default())
        .await
        .context("the strategy needs a Redis (--redis-url)")?;
    let redis = Redis::connect(&lab.url).await?;
    Ok(Some(RedisStage { redis, lab: Some(Arc::new(lab)) }))
}

impl Stage {
    /// What the services are, by their names.
    pub(super) fn service_infos(&self) -> BTreeMap<String, DatabaseInfo> {
        let info = |service: &Service| (service.name.clone(), service.database.info.clone());
        self.services.iter().map(info).collect()
    }

    /// Runs what makes the strategies' own tables and keys.
    pub(super) async fn set_up(
        &self,
        plan: &Plan,
        control: &mut dyn Session,
        database: &Database,
    ) -> Result<()> {
        let mut done: Vec<(Option<&str>, &Setup)> = Vec::new();
        for program in &self.programs {
            for setup in &program.setup {
                let service = match setup {
                    Setup::Sql { service, .. } => self.service(program, *service),
                    Setup::Script { .. } => None,
                };
                let name = service.map(|service| service.name.as_str());
                // Programs of a mix share what they both make.
                if done.contains(&(name, setup)) {
                    continue;
                }
                if let Setup::Sql { sql, .. } = setup
                    && self.is_guarded(program, service.map_or(database, |service| &service.database))
                {
                    self.check_setup(program, sql, service, control).await?;
                }
                self.run_setup(plan, setup, service, (control, database.dialect()))
                    .await
                    .with_context(|| format!("{}: a setup statement failed", program.name))?;
                done.push((name, setup));
            }
        }
        Ok(())
    }

    /// Whether a program must keep to our own tables on a database, by its names as well:
    /// those of the built-in ones are known.
    fn is_guarded(&self, program: &Program, database: &Database) -> bool {
        !program.is_built_in() && !self.allowed_writes.contains(&database.url().database)
    }

    /// Looks up the names in a setup statement before it is run.
    async fn check_setup(
        &self,
        program: &Program,
        sql: &str,
        service: Option<&Service>,
        control: &mut dyn Session,
    ) -> Result<()> {
        let statement = Statement { sql: sql.into(), ..Statement::default() };
        let Some(service) = service else {
            return bounded(control, program.dialect, &program.name, "setup", &statement).await;
        };
        let mut session = service.database.open(&self.settings).await?;
        let dialect = service.database.dialect();
        let checked = bounded(session.as_mut(), dialect, &program.name, "setup", &statement).await;
        session.close().await;
        checked
    }

    async fn run_setup(
        &self,
        plan: &Plan,
        setup: &Setup,
        service: Option<&Service>,
        (control, dialect): (&mut dyn Session, Dialect),
    ) -> Result<()> {
        match (setup, service) {
            (Setup::Sql { sql, .. }, None) => schema::run_setup(control, dialect, sql).await?,
            (Setup::Sql { sql, .. }, Some(service)) => {
                let mut session = service.database.open(&self.settings).await?;
                schema::run_setup(session.as_mut(), service.database.dialect(), sql).await?;
                session.close().await;
            }
            (Setup::Script { script, binds }, _) => self.run_script(plan, script, binds).await?,
        }
        Ok(())
    }

    async fn run_script(&self, plan: &Plan, script: &Arc<str>, binds: &[Slot]) -> Result<()> {
        let redis = &self.redis.as_ref().context("a script, and no Redis")?.redis;
        let statement = &Statement { sql: Arc::clone(script), is_script: true, ..Statement::default() };
        let per_sku = binds.iter().any(|slot| matches!(slot, Slot::SkuId | Slot::Quantity));
        let skus: Vec<i64> = if per_sku { plan.seed.sku_ids.iter().collect() } else { vec![0] };
        let stock = plan.seed.stock;
        let calls = skus.into_iter().map(|sku_id| {
            let value = move |slot: &Slot| match slot {
                Slot::SkuId => Value::Int(sku_id),
                Slot::Quantity => Value::Int(stock),
                Slot::Const(number) => Value::Int(*number),
                _ => Value::Null,
            };
            let values: Vec<Value> = binds.iter().map(value).collect();
            async move { redis.execute(statement, &values).await.map(drop) }
        });
        stream::iter(calls).buffer_unordered(SCRIPTS_AT_ONCE).try_collect::<()>().await?;
        Ok(())
    }

    /// The database of a program's service, if it has one of its own.
    fn service(&self, program: &Program, service: usize) -> Option<&Service> {
        let (name, _) = program.services.get(service.checked_sub(1)?)?;
        self.services.iter().find(|service| service.name == *name)
    }

    /// What the audit reads of this run.
    pub(super) fn source(&self, run: &schema::RunRow) -> Source {
        let services = self.services.iter();
        Source {
            reads: self.audit.clone(),
            run_id: run.id,
            services: services.map(|service| (service.name.clone(), service.database.clone())).collect(),
        }
    }

    /// The tables of the stock's database whose engine has no transactions, where a strategy
    /// cannot do what it says.
    pub(super) async fn without_transactions(
        &self,
        control: &mut dyn Session,
        dialect: Dialect,
    ) -> Result<Vec<String>> {
        let statements = self.programs.iter().flat_map(Program::sql_on_stock);
        scope::without_transactions(control, dialect, statements).await
    }

    /// A service that follows another server knows of the tables a while after that one.
    async fn wait_for_replica(&self, service: &Service, database: &Database) -> Result<()> {
        let replica = &service.database;
        let to_write = SessionSettings { writes_on_node: true, ..SessionSettings::default() };
        match replica.open_on(0, &to_write).await {
            Ok(session) => {
                session.close().await;
                return Ok(());
            }
            // It takes no writes: it follows somebody.
            Err(error) if error.class == ErrorClass::NotReady => {}
            Err(error) => return Err(error.into()),
        }
        let source = Source { reads: self.audit.clone(), run_id: 0, services: BTreeMap::new() };
        let agree = audit::nodes::must_agree(&database.beside(replica), &source).await;
        agree.with_context(|| {
            format!(
                "service {}: {} follows a server and does not hold what {} does: it is behind, or follows another one",
                service.name,
                replica.url(),
                database.url()
            )
        })
    }

    /// Lets the databases check every statement before any load is put on them.
    pub(super) async fn verify(&mut self, control: &mut dyn Session, database: &Database) -> Result<()> {
        if let Some(stage) = &self.redis {
            for program in &self.programs {
                for step in program.steps().filter(|step| step.statement.is_script) {
                    let checked = stage.redis.check(&step.statement).await;
                    let place = || format!("{}: {}", program.name, step.place);
                    checked.map_err(|error| refused(&place(), error))?;
                }
            }
        }
        for service in &self.services {
            self.wait_for_replica(service, database).await?;
        }
        let mut sessions = BTreeMap::new();
        for service in &self.services {
            sessions.insert(service.name.clone(), service.database.open(&self.settings).await?);
        }
        let mut checker = Checker { control, sessions };
        for program in &mut self.programs {
            checker.program(program).await?;
        }
        checker.audit(self.programs.first().map_or("", |program| &program.name), &self.audit).await?;
        for program in &self.programs {
            let own = (1..=program.services.len()).map(|number| (number, self.service(program, number)));
            let databases = own.filter_map(|(number, service)| Some((number, &service?.database)));
            for (number, database) in std::iter::once((0, database)).chain(databases) {
                if self.is_guarded(program, database) {
                    checker.bounds(program, number).await?;
                }
            }
        }
        checker.is_read(&self.programs, &self.audit, database.dialect()).await?;
        checker.close().await;
        Ok(())
    }
}

/// A strategy with tables of its own cannot go on from stock that another
/// strategy moved, nor the other way round.
pub(super) async fn check_unseeded(control: &mut dyn Session, stage: &Stage) -> Result<()> {
    let latest = schema::latest_run(control).await?;
    let latest = Source::of_run(latest.as_ref())?.reads;
    let name = stage.programs.first().map_or("", |program| program.name.as_str());
    ensure!(
        latest.stock == stage.audit.stock && latest.ledger == stage.audit.ledger,
        "the stock was last moved by a strategy with other tables than {name}: leave --no-seed out"
    );
    Ok(())
}
