//! Lets the databases check every statement of a program before it is used.

use crate::db::{Dialect, Session, Shape, Statement};
use crate::exit::usage;
use crate::strategy::program::{Slot, Transaction};
use crate::text;
use anyhow::Result;
use std::collections::BTreeMap;

/// Prepares statements on the databases they are for.
pub(super) struct Checker<'c> {
    pub(super) name: &'c str,
    pub(super) services: &'c [(String, Dialect)],
    pub(super) control: &'c mut dyn Session,
    pub(super) sessions: &'c mut BTreeMap<String, Box<dyn Session>>,
}

impl Checker<'_> {
    fn session(&mut self, service: Option<&String>) -> &mut dyn Session {
        match service.and_then(|name| self.sessions.get_mut(name)) {
            Some(session) => session.as_mut(),
            None => self.control,
        }
    }

    /// # Errors
    /// The query is refused.
    pub(super) async fn check_query(
        &mut self,
        service: Option<&String>,
        sql: &str,
        place: &str,
    ) -> Result<()> {
        let statement = Statement { sql: sql.into(), returns_rows: Some(true), ..Statement::default() };
        let place = format!("{}: {place}", self.name);
        let prepared = self.session(service).prepare(&statement).await;
        prepared.map(drop).map_err(|error| usage(format!("{place}: {error}")))
    }

    /// Completes the statements by what the database says of them.
    ///
    /// # Errors
    /// A statement is refused, or does not return what it is to yield.
    pub(super) async fn check(
        &mut self,
        transactions: &mut [Transaction],
        mut text_slots: Vec<Slot>,
    ) -> Result<()> {
        for tx in transactions {
            let service = tx
                .service
                .checked_sub(1)
                .and_then(|index| self.services.get(index))
                .map(|(name, _)| name.clone());
            for step in tx.steps.iter_mut().filter(|step| !step.statement.is_script) {
                let is_text =
                    |(position, slot): (usize, &Slot)| text_slots.contains(slot).then_some(position);
                step.statement.text_binds = step.binds.iter().enumerate().filter_map(is_text).collect();
                let place = format!("{}: {}", self.name, step.place);
                let prepared = self.session(service.as_ref()).prepare(&step.statement).await;
                let shape = prepared.map_err(|error| usage(format!("{place}: {error}")))?;
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

fn not_returned(column: &str, shape: &Shape) -> String {
    let names: Vec<&str> = shape.columns.iter().map(|shape| shape.name.as_str()).collect();
    let suggestion = text::did_you_mean(column, names.iter().copied());
    let returned = if names.is_empty() { "no columns".to_owned() } else { text::backquoted(&names) };
    format!("yields `{column}`{suggestion}, but returns {returned}")
}
