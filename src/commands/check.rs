//! Lets the databases check every statement of a program before it is used.

use crate::audit::unread::why_unread;
use crate::db::bounds::why_unbounded;
use crate::db::{DbError, Dialect, ErrorClass, Session, Shape, Statement};
use crate::exit::usage;
use crate::strategy::program::{AuditSource, Slot, Transaction};
use crate::strategy::{Program, guard};
use crate::text;
use anyhow::Result;
use std::collections::BTreeMap;

/// Prepares statements on the databases they are for.
pub(super) struct Checker<'c> {
    pub(super) control: &'c mut dyn Session,
    /// Sessions of services that have a database of their own, by name.
    pub(super) sessions: BTreeMap<String, Box<dyn Session>>,
}

impl Checker<'_> {
    /// Completes a program, and its background programs, by what the databases say
    /// of its statements.
    ///
    /// # Errors
    /// A statement is refused, or does not return what it is to yield.
    pub(super) async fn program(&mut self, program: &mut Program) -> Result<()> {
        let (name, services) = (&program.name, &program.services);
        self.transactions(name, services, &mut program.transactions, &program.text_slots).await?;
        for flow in &mut program.flows {
            let text_slots = &flow.program.text_slots;
            self.transactions(name, services, &mut flow.program.transactions, text_slots).await?;
            if let Some(pending) = &flow.pending {
                self.query(name, None, pending, "pending").await?;
            }
        }
        Ok(())
    }

    /// Whatever an audit will ask on behalf of the strategy so called.
    ///
    /// # Errors
    /// A query is refused.
    pub(super) async fn audit(&mut self, name: &str, audit: &AuditSource) -> Result<()> {
        for (place, sql) in audit.queries() {
            self.query(name, None, &sql, place).await?;
        }
        for (index, invariant) in audit.invariants.iter().enumerate() {
            let place = format!("invariant {}", index + 1);
            for query in std::iter::once(&invariant.query).chain(&invariant.same_as) {
                self.query(name, query.service.as_ref(), &query.sql, &place).await?;
            }
        }
        Ok(())
    }

    /// Refuses programs that write what their audit does not read.
    ///
    /// # Errors
    /// They do, or the catalogue cannot be read.
    pub(super) async fn is_read(
        &mut self,
        programs: &[Program],
        audit: &AuditSource,
        dialect: Dialect,
    ) -> Result<()> {
        match why_unread(self.control, dialect, programs, audit).await? {
            None => Ok(()),
            Some(why) => Err(usage(why)),
        }
    }

    /// Refuses what a program may do beyond reading, and writing our own tables, on the
    /// database of a service: all names are looked up.
    ///
    /// # Errors
    /// A statement has no bounds, or the catalogue cannot be read.
    pub(super) async fn bounds(&mut self, program: &Program, service: usize) -> Result<()> {
        let name = service.checked_sub(1).and_then(|index| program.services.get(index)).map(|(name, _)| name);
        let dialect = program.dialect_of(service);

        for (place, sql) in guard::queries(program, service) {
            let statement = Statement { sql: sql.into(), ..Statement::default() };
            bounded(self.session(name), dialect, &program.name, &place, &statement).await?;
        }
        let there = program.all_transactions().filter(|tx| tx.service == service);
        for step in there.flat_map(|tx| &tx.steps).filter(|step| !step.statement.is_script) {
            bounded(self.session(name), dialect, &program.name, &step.place, &step.statement).await?;
        }
        Ok(())
    }

    /// Says goodbye to the services.
    pub(super) async fn close(self) {
        for session in self.sessions.into_values() {
            session.close().await;
        }
    }

    fn session(&mut self, service: Option<&String>) -> &mut dyn Session {
        match service.and_then(|name| self.sessions.get_mut(name)) {
            Some(session) => session.as_mut(),
            None => self.control,
        }
    }

    async fn query(&mut self, name: &str, service: Option<&String>, sql: &str, place: &str) -> Result<()> {
        let statement = Statement { sql: sql.into(), returns_rows: Some(true), ..Statement::default() };
        let prepared = self.session(service).prepare(&statement).await;
        prepared.map(drop).map_err(|error| refused(&format!("{name}: {place}"), error))
    }

    async fn transactions(
        &mut self,
        name: &str,
        services: &[(String, Dialect)],
        transactions: &mut [Transaction],
        text_slots: &[Slot],
    ) -> Result<()> {
        let mut text_slots = text_slots.to_vec();
        for tx in transactions {
            let service = tx.service.checked_sub(1).and_then(|index| services.get(index));
            let service = service.map(|(name, _)| name);
            for step in tx.steps.iter_mut().filter(|step| !step.statement.is_script) {
                let is_text =
                    |(position, slot): (usize, &Slot)| text_slots.contains(slot).then_some(position);
                step.statement.text_binds = step.binds.iter().enumerate().filter_map(is_text).collect();
                let place = format!("{name}: {}", step.place);
                let prepared = self.session(service).prepare(&step.statement).await;
                let shape = prepared.map_err(|error| refused(&place, error))?;
                for (index, column) in step.statement.columns.iter().enumerate() {
                    let Some(known) = shape.columns.iter().find(|known| known.name == *column) else {
                        return Err(usage(format!("{place}: {}", not_returned(column, &shape))));
                    };
                    text_slots.extend(step.yields.get(index).filter(|_| known.is_text));
                }
                step.statement.returns_rows = Some(!shape.columns.is_empty());
            }
        }
        Ok(())
    }
}

/// Refuses a statement that may do more than read, and write our own tables, once its
/// names are looked up.
pub(super) async fn bounded(
    session: &mut dyn Session,
    dialect: Dialect,
    program: &str,
    place: &str,
    statement: &Statement,
) -> Result<()> {
    let judgement = guard::judge(&statement.sql, dialect);
    match why_unbounded(session, dialect, statement, &judgement).await? {
        None => Ok(()),
        Some(why) => Err(usage(format!(
            "strategy {program} may do more than read, and write stockbench's own tables: {place} {}; if the \
             database may be changed so, name it with --allow-writes",
            text::one_line(&why)
        ))),
    }
}

/// A statement that the database does not take. Whoever wrote it is told to mend it,
/// but not where the server is gone, or has no room or no right of way for it now.
pub(super) fn refused(place: &str, error: DbError) -> anyhow::Error {
    match error.class {
        ErrorClass::Statement | ErrorClass::Check => usage(format!("{place}: {error}")),
        _ => anyhow::Error::new(error).context(place.to_owned()),
    }
}

fn not_returned(column: &str, shape: &Shape) -> String {
    let names: Vec<&str> = shape.columns.iter().map(|shape| shape.name.as_str()).collect();
    let suggestion = text::did_you_mean(column, names.iter().copied());
    let returned = if names.is_empty() { "no columns".to_owned() } else { text::backquoted(&names) };
    format!("yields `{column}`{suggestion}, but returns {returned}")
}
