//! A first mapping for a database: the tables and columns whose names and
//! types look like a stock and a ledger, with everything that has to be
//! decided by a person left as a comment.

use crate::db::catalogue::{self, Column, Holds, Table};
use crate::db::{Dialect, Session};
use crate::escape::{self, toml_string};
use crate::text;
use anyhow::{Result, bail};
use std::fmt::Write as _;

/// Names by what they usually hold, the likeliest first.
const UNITS: [&str; 11] = [
    "on_hand",
    "stock",
    "stock_quantity",
    "available",
    "actual_qty",
    "inventory",
    "quantity_on_hand",
    "quantity",
    "qty",
    "units",
    "amount",
];
const MOVED: [&str; 13] = [
    "change_amount",
    "delta",
    "change",
    "quantity_change",
    "qty_change",
    "actual_qty",
    "adjustment",
    "movement",
    "moved",
    "quantity",
    "qty",
    "units",
    "amount",
];
const SKUS: [&str; 9] = [
    "sku_id",
    "product_id",
    "item_id",
    "variant_id",
    "sku",
    "item_code",
    "product",
    "article_id",
    "goods_id",
];
const ORDERS: [&str; 7] =
    ["order_id", "order_no", "voucher_no", "reference_id", "ref_id", "order_number", "document_id"];
const BALANCES: [&str; 9] = [
    "remaining",
    "balance",
    "balance_after",
    "qty_after_transaction",
    "stock_after",
    "after_stock",
    "quantity_after",
    "running_balance",
    "new_stock",
];
const TIMES: [&str; 8] =
    ["created_at", "moved_at", "occurred_at", "posting_datetime", "created", "timestamp", "ts", "date"];
const KINDS: [&str; 8] =
    ["movement_type", "kind", "type", "reason", "change_type", "voucher_type", "operation", "action"];
const STATES: [&str; 5] = ["status", "state", "docstatus", "is_cancelled", "cancelled"];

/// Values of a column that are listed for the vocabulary.
const WORDS_MAX: usize = 20;

/// How likely a name is: 0 for none of the known ones.
fn rank(name: &str, known: &[&str]) -> usize {
    let name = name.to_lowercase();
    let exact = known.iter().position(|known| name == *known).map(|at| 2 * (known.len() - at));
    let part = known.iter().position(|known| name.contains(known)).map(|at| known.len() - at);
    exact.or(part).unwrap_or(0)
}

fn best<'t>(table: &'t Table, known: &[&str], fits: impl Fn(&Column) -> bool) -> Option<&'t Column> {
    let columns = table.columns.iter().filter(|column| fits(column) && rank(&column.name, known) > 0);
    columns.max_by_key(|column| rank(&column.name, known))
}

fn is_number(column: &Column) -> bool {
    matches!(column.holds, Holds::Int | Holds::Decimal)
}

/// How much a table looks like a ledger.
fn as_ledger(table: &Table) -> usize {
    let Some(moved) = best(table, &MOVED, |column| is_number(column) && !is_key(table, column)) else {
        return 0;
    };
    let Some(sku) = best(table, &SKUS, |column| !is_primary(table, column)) else { return 0 };
    let more = |known: &[&str]| best(table, known, |_| true).map_or(0, |column| rank(&column.name, known));
    let by_name = ["ledger", "log", "movement", "transaction", "history", "entry", "entries", "moves"];
    let named = by_name.iter().any(|part| table.name.to_lowercase().contains(part));
    rank(&moved.name, &MOVED)
        + rank(&sku.name, &SKUS)
        + more(&BALANCES)
        + more(&TIMES)
        + if named { 20 } else { 0 }
}

/// How much a table looks like the stock.
fn as_stock(table: &Table) -> usize {
    let Some(units) = best(table, &UNITS, |column| is_number(column) && !is_key(table, column)) else {
        return 0;
    };
    let by_name = ["product", "stock", "sku", "inventory", "item", "variant", "bin"];
    let named = by_name.iter().any(|part| table.name.to_lowercase().contains(part));
    let has_key = sku_of_stock(table).is_some();
    if has_key { 2 * rank(&units.name, &UNITS) + if named { 12 } else { 0 } } else { 0 }
}

fn is_primary(table: &Table, column: &Column) -> bool {
    table.unique.first().is_some_and(|key| key.as_slice() == [column.name.clone()])
}

fn is_key(table: &Table, column: &Column) -> bool {
    is_primary(table, column) || column.name.to_lowercase().ends_with("_id")
}

fn sku_of_stock(table: &Table) -> Option<&str> {
    let unique = |column: &&Column| table.unique.iter().any(|key| key.as_slice() == [column.name.clone()]);
    let named = table.columns.iter().filter(unique).max_by_key(|column| rank(&column.name, &SKUS));
    named.or_else(|| best(table, &SKUS, |_| true)).map(|column| column.name.as_str())
}

/// Proposes a mapping, as commented TOML.
///
/// # Errors
/// The catalogue cannot be read, or nothing in it looks like a stock.
pub async fn propose(session: &mut dyn Session, dialect: Dialect) -> Result<String> {
    let mut tables = Vec::new();
    for name in catalogue::table_names(session, dialect).await? {
        tables.extend(catalogue::table(session, dialect, None, &name).await?);
    }
    let ledger = tables.iter().filter(|table| as_ledger(table) > 0).max_by_key(|table| as_ledger(table));
    let is_ledger = |table: &Table| ledger.is_some_and(|ledger| ledger.name == table.name);
    let stock = tables.iter().filter(|table| as_stock(table) > 0 && !is_ledger(table));
    let Some(stock) = stock.max_by_key(|table| as_stock(table)) else {
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        bail!(
            "no table here looks like a stock, with a key and a number of units (this user sees {})",
            if names.is_empty() { "none".to_owned() } else { text::backquoted(&names) }
        );
    };
    let mut text = String::from(
        "# A proposal, by the names and types of columns alone: read every line, correct it, and\n\
         # run `stockbench audit --mapping FILE`. Nothing is ever written to these tables.\n\n",
    );
    let write = &mut text;
    stock_part(write, stock, &tables)?;
    match ledger {
        Some(ledger) => ledger_part(write, ledger, session, dialect).await?,
        None => write.push_str(
            "# No table looks like a ledger. Several tables can make one, each with what it means:\n\
             # [[ledger]]\n# table = \"order_line\"\n# sku = \"product_id\"\n# order = \"order_id\"\n\
             # quantity = \"quantity\"\n# sign = \"out\"\n# is = \"sale\"\n\
             # [[ledger]]\n# table = \"receipt\"\n# sku = \"product_id\"\n# quantity = \"quantity\"\n\
             # sign = \"in\"\n# is = \"restock\"\n\n",
        ),
    }
    write.push_str(
        "# Where opening balances are, unless the ledger begins at 0 with its own entries:\n\
         # [opening]\n\
         # column = \"opening_stock\"   # a column of the stock table, or\n\
         # from = \"derive\"            # what the first entry's balance came from\n\n\
         # [reservations]\n\
         # settle_within = \"30min\"    # an open reservation is reported only after this time\n",
    );
    Ok(text)
}

fn stock_part(text: &mut String, stock: &Table, tables: &[Table]) -> Result<()> {
    let units = best(stock, &UNITS, |column| is_number(column) && !is_key(stock, column));
    let others: Vec<&str> = tables
        .iter()
        .filter(|table| as_stock(table) > 0 && table.name != stock.name)
        .map(|table| table.name.as_str())
        .collect();
    writeln!(text, "[stock]")?;
    let also = if others.is_empty() {
        String::new()
    } else {
        format!("   # or: {}", escape::line(&others.join(", ")))
    };
    writeln!(text, "table = {}{also}", toml_string(&stock.name))?;
    writeln!(text, "sku = {}", toml_string(sku_of_stock(stock).unwrap_or_default()))?;
    let numbers: Vec<&str> = stock
        .columns
        .iter()
        .filter(|column| {
            is_number(column) && Some(column.name.as_str()) != units.map(|units| units.name.as_str())
        })
        .map(|column| column.name.as_str())
        .collect();
    let also = if numbers.is_empty() {
        String::new()
    } else {
        format!("   # other numbers: {}", escape::line(&numbers.join(", ")))
    };
    writeln!(text, "units = {}{also}\n", toml_string(units.map_or("", |units| &units.name)))?;
    Ok(())
}

async fn ledger_part(
    text: &mut String,
    ledger: &Table,
    session: &mut dyn Session,
    dialect: Dialect,
) -> Result<()> {
    let moved = best(ledger, &MOVED, |column| is_number(column) && !is_key(ledger, column));
    let is_other = |column: &Column| moved.is_none_or(|moved| moved.name != column.name);
    let find = |known: &[&str]| best(ledger, known, is_other).map(|column| column.name.as_str());
    let line = |text: &mut String, key: &str, name: Option<&str>, about: &str| {
        let about = if about.is_empty() { String::new() } else { format!("   # {about}") };
        match name {
            Some(name) => writeln!(text, "{key} = {}{about}", toml_string(name)),
            None => writeln!(text, "# {key} = \"\"{about}"),
        }
    };
    let primary = ledger.unique.first().filter(|key| key.len() == 1).map(|key| key[0].as_str());
    let sku = best(ledger, &SKUS, |column| is_other(column) && Some(column.name.as_str()) != primary);
    writeln!(text, "[[ledger]]\ntable = {}", toml_string(&ledger.name))?;
    line(text, "id", primary, "the primary key: the ledger is read along it, in parts")?;
    line(text, "sku", sku.map(|sku| sku.name.as_str()), "")?;
    line(text, "order", find(&ORDERS), "the order an entry belongs to")?;
    line(text, "quantity", moved.map(|moved| moved.name.as_str()), "")?;
    let lowest = match moved {
        Some(moved) => {
            let sql = format!(
                "SELECT {} FROM {}",
                super::sql::integer(dialect, &format!("MIN({})", dialect.quote(&moved.name))),
                ledger.quoted(dialect)
            );
            crate::db::first_row(session, &sql).await?.and_then(|row| row[0].as_int())
        }
        None => None,
    };
    let kind = best(ledger, &KINDS, |column| {
        is_other(column)
            && matches!(column.holds, Holds::Text | Holds::Int | Holds::Other)
            && !is_key(ledger, column)
    });
    match (lowest, kind) {
        (Some(lowest), Some(_)) if lowest >= 0 => {
            writeln!(text, "sign = \"by-kind\"   # no quantity is below zero: the kind says in or out")?;
        }
        (Some(lowest), None) if lowest >= 0 => {
            writeln!(text, "sign = \"out\"   # no quantity is below zero: what says in or out?")?;
        }
        _ => writeln!(text, "sign = \"signed\"   # or in, out, by-kind, by-direction")?,
    }
    line(text, "balance", find(&BALANCES), "the stock after the entry")?;
    line(text, "time", find(&TIMES), "")?;
    if let Some(kind) = kind {
        let words = words(session, dialect, ledger, kind).await?;
        writeln!(text, "kind = {}", toml_string(&kind.name))?;
        writeln!(text, "# Move each value to what it means; what moves no stock goes to ignore.")?;
        writeln!(
            text,
            "kinds = {{ sale = [], restock = [], return = [], reserve = [], confirm = [], release = [], count = [], \
             opening = [], ignore = [] }}"
        )?;
        writeln!(
            text,
            "# Its values: {}",
            if words.is_empty() { "none yet".to_owned() } else { words.join(", ") }
        )?;
    }
    if let Some(state) = find(&STATES) {
        writeln!(text, "# status = {}   # which of its values count?", toml_string(state))?;
        writeln!(text, "# counts = []")?;
    }
    text.push('\n');
    Ok(())
}

/// The values of a column, as TOML.
async fn words(
    session: &mut dyn Session,
    dialect: Dialect,
    table: &Table,
    column: &Column,
) -> Result<Vec<String>> {
    let name = dialect.quote(&column.name);
    let value = super::sql::as_text(dialect, &name);
    let sql = format!(
        "SELECT DISTINCT {value} AS word FROM {} WHERE {name} IS NOT NULL ORDER BY 1 LIMIT {WORDS_MAX}",
        table.quoted(dialect)
    );
    let mut words = Vec::new();
    let mut add = |row: &[crate::db::Value]| {
        let word = row[0].to_text();
        words.push(if column.holds == Holds::Int { word } else { toml_string(&word) });
        Ok(())
    };
    session.for_each_row(&sql, &mut add).await?;
    Ok(words)
}
