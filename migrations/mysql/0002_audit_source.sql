-- What the audit reads of a run has outgrown two columns: it is kept as JSON.
ALTER TABLE stockbench_run
    DROP COLUMN stock_query,
    DROP COLUMN ledger_table,
    MODIFY COLUMN strategy TEXT NOT NULL,
    ADD COLUMN audit_source TEXT;
