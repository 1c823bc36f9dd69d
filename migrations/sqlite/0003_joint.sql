-- A run that several processes share: what they agreed on, as JSON.
ALTER TABLE stockbench_run ADD COLUMN joint TEXT;
