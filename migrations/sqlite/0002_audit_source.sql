-- What the audit reads of a run has outgrown two columns: it is kept as JSON.
ALTER TABLE stockbench_run DROP COLUMN stock_query;
ALTER TABLE stockbench_run DROP COLUMN ledger_table;
ALTER TABLE stockbench_run ADD COLUMN audit_source TEXT;
