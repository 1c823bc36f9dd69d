//! Orders from a file: `order_id,sku_id,quantity[,ordered_at]`, one line per
//! order line, the lines of one order together.

use super::{Line, Order, QUANTITY_MAX};
use crate::input::{Input, ORDERS_MAX};
use anyhow::{Context, Result, anyhow, ensure};
use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The orders of a file, in its order.
#[derive(Debug)]
pub struct Replay {
    orders: Vec<Order>,
}

impl Replay {
    /// Reads a file.
    ///
    /// # Errors
    /// One line that names the file, the line and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let file = Input::open_lines(path, ORDERS_MAX).with_context(|| format!("cannot read {name}"))?;
        Self::parse(&name.to_string(), file)
    }

    /// Reads orders from text; `name` is how errors call it.
    ///
    /// # Errors
    /// As [`Replay::read`].
    pub fn parse(name: &str, text: impl Read) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text);
        let header = reader.headers().map_err(|error| anyhow!("{name}:1: {error}"))?;
        let wanted = ["order_id", "sku_id", "quantity"];
        ensure!(
            header.len() <= 4
                && header.iter().take(3).eq(wanted)
                && header.get(3).is_none_or(|last| last == "ordered_at"),
            "{name}:1: expected the header `order_id,sku_id,quantity[,ordered_at]`"
        );
        let columns = header.len();
        let mut orders: Vec<Order> = Vec::new();
        let mut seen = HashSet::new();
        for record in reader.records() {
            let record = record.map_err(|error| {
                let line = error.position().map_or(0, csv::Position::line);
                anyhow!("{name}:{line}: {}", crate::text::one_line(&error.to_string()))
            })?;
            let line_number = record.position().map_or(0, csv::Position::line);
            let at = || format!("{name}:{line_number}");
            ensure!(record.len() == columns, "{}: {} fields, the header has {columns}", at(), record.len());
            let number = |index: usize| {
                let text = &record[index];
                let column = wanted[index];
                text.parse::<i64>().map_err(|_| {
                    anyhow!("{}: {column} `{}` is not a whole number", at(), crate::text::one_line(text))
                })
            };
            let (order_id, line) = (number(0)?, Line { sku_id: number(1)?, quantity: number(2)? });
            ensure!(
                (1..=QUANTITY_MAX).contains(&line.quantity),
                "{}: quantity {} is not from 1 to {QUANTITY_MAX}",
                at(),
                line.quantity
            );
            ensure!(order_id != 0, "{}: order_id 0 is kept for opening entries", at());
            match orders.last_mut() {
                Some(order) if order.id == order_id => {
                    ensure!(
                        order.lines.iter().all(|known| known.sku_id != line.sku_id),
                        "{}: order {order_id} names SKU {} twice: add the quantities up",
                        at(),
                        line.sku_id
                    );
                    order.lines.push(line);
                }
                _ => {
                    ensure!(
                        seen.insert(order_id),
                        "{}: order {order_id} comes back: the lines of one order must stand together",
                        at()
                    );
                    orders.push(Order { id: order_id, lines: vec![line] });
                }
            }
        }
        ensure!(!orders.is_empty(), "{name}: no orders in it");
        Ok(Self { orders })
    }

    /// Every SKU that an order names, ascending.
    pub fn sku_ids(&self) -> Arc<[i64]> {
        let ids: BTreeSet<i64> =
            self.orders.iter().flat_map(|order| &order.lines).map(|line| line.sku_id).collect();
        ids.into_iter().collect()
    }

    /// Lines of the longest order.
    pub fn most_lines(&self) -> i64 {
        let most = self.orders.iter().map(|order| order.lines.len()).max();
        most.and_then(|lines| i64::try_from(lines).ok()).unwrap_or(0)
    }

    /// How many orders there are.
    pub fn len(&self) -> u64 {
        self.orders.len() as u64
    }

    /// Whether there are none; a file that was read has at least one.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// The n-th order of the file.
    ///
    /// # Panics
    /// When `n` is not below [`Replay::len`].
    pub fn order(&self, n: u64) -> Order {
        self.orders[usize::try_from(n).expect("an index of a Vec")].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        Replay::parse("f.csv", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn lines_of_one_order_are_put_together() {
        let text = "order_id,sku_id,quantity,ordered_at\n5,1,2,t\n5,3,1,t\n4,1,1,t\n";
        let replay = Replay::parse("f.csv", text.as_bytes()).unwrap();
        assert_eq!(replay.len(), 2);
        assert_eq!(replay.order(0).lines, [Line { sku_id: 1, quantity: 2 }, Line { sku_id: 3, quantity: 1 }]);
        assert_eq!(*replay.sku_ids(), [1, 3]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let header = "order_id,sku_id,quantity\n";
        assert!(error_of("order,sku,quantity\n").starts_with("f.csv:1: expected the header"));
        assert!(error_of(&format!("{header}1,2,3\n1,x,3\n")).starts_with("f.csv:3: sku_id `x`"));
        assert!(error_of(&format!("{header}1,2,0\n")).starts_with("f.csv:2: quantity 0"));
        assert!(error_of(&format!("{header}1,2\n")).starts_with("f.csv:2: 2 fields"));
        assert!(
            error_of(&format!("{header}1,2,1\n2,2,1\n1,3,1\n")).starts_with("f.csv:4: order 1 comes back")
        );
        assert!(
            error_of(&format!("{header}1,2,1\n1,2,1\n")).starts_with("f.csv:3: order 1 names SKU 2 twice")
        );
        assert!(error_of(header).contains("no orders"));
    }
}
