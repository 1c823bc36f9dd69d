-- The thing sold, and how many are left of it. Deliberately no CHECK on the
-- stock: a table must not quietly save a strategy that goes below zero.
CREATE TABLE stockbench_sku (
    id INTEGER PRIMARY KEY,
    stock INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 0
);

-- Every movement of stock, opening balance included. Append-only.
CREATE TABLE stockbench_ledger (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id INTEGER NOT NULL,
    sku_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    delta INTEGER NOT NULL,
    balance INTEGER,
    run_id INTEGER NOT NULL,
    UNIQUE (order_id, sku_id, kind)
);

-- Who moved the stock since it was last seeded, and where the audit looks.
CREATE TABLE stockbench_run (
    id INTEGER PRIMARY KEY,
    strategy TEXT NOT NULL,
    stock_query TEXT,
    ledger_table TEXT,
    started_ms INTEGER NOT NULL,
    since_seed INTEGER NOT NULL DEFAULT 1
);
