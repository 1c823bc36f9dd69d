-- The thing sold, and how many are left of it. Deliberately no CHECK on the
-- stock: a table must not quietly save a strategy that goes below zero.
CREATE TABLE stockbench_sku (
    id BIGINT PRIMARY KEY,
    stock BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- Every movement of stock, opening balance included. Append-only.
CREATE TABLE stockbench_ledger (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    order_id BIGINT NOT NULL,
    sku_id BIGINT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL,
    delta BIGINT NOT NULL,
    balance BIGINT,
    run_id BIGINT NOT NULL,
    UNIQUE (order_id, sku_id, kind)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- Who moved the stock since it was last seeded, and where the audit looks.
CREATE TABLE stockbench_run (
    id BIGINT PRIMARY KEY,
    strategy VARCHAR(255) NOT NULL,
    stock_query TEXT,
    ledger_table VARCHAR(64),
    started_ms BIGINT NOT NULL,
    since_seed BIGINT NOT NULL DEFAULT 1
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
