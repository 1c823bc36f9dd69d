//! `stockbench seed`: replace the stock and its ledger.

use super::open::{Purpose, open};
use super::to_stdout;
use crate::cli::SeedArgs;
use crate::db::SessionSettings;
use crate::db::schema::{self, Seed, SkuIds};
use crate::exit::{Exit, usage};
use crate::report::progress::Progress;
use crate::report::terminal;
use crate::text;
use crate::workload::Replay;
use anyhow::Result;
use std::time::Instant;

pub(super) async fn seed(args: SeedArgs) -> Result<Exit> {
    let sku_ids = match &args.replay {
        Some(path) => {
            SkuIds::These(Replay::read(path).map_err(|error| usage(format!("{error:#}")))?.sku_ids())
        }
        None => SkuIds::UpTo(i64::try_from(args.skus)?),
    };
    let seed = Seed { sku_ids, stock: i64::from(args.stock) };
    let opened = open(&args.database, &SessionSettings::default(), Purpose::Seed).await?;
    to_stdout(|out| writeln!(out, "{}", terminal::database_line(&opened.database.info)))?;
    let lock = opened.database.lock().await?;
    let started = Instant::now();
    let seeding =
        Progress::preparing(&format!("seeding {} SKUs", text::thousands(seed.sku_ids.len() as u64)));
    let seeded = async {
        schema::migrate(&opened.database).await?;
        schema::seed(&opened.database, &seed).await
    }
    .await;
    seeding.finish();
    lock.release().await;
    seeded?;
    let skus = text::count(seed.sku_ids.len() as u64, "SKU");
    let took = started.elapsed().as_secs_f64();
    to_stdout(|out| writeln!(out, "seeded {skus} with {} units each in {took:.2} s", seed.stock))?;
    Ok(Exit::Held)
}
