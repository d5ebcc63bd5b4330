-- only: direct. Nobody is there who could act before the caller commits.
\verbose
SET pg_durable.new_transaction_start_timeout = 1;
SELECT df.start('SELECT 1', transaction_mode => 'new');
--# INFO: durproxy is asked to act
--! WF011: df.start() with transaction_mode "new" was not answered within 1 s
--! detail: Nothing was done, and nothing will be.
--! hint: Does this session go through durproxy? Only the proxy of this database can act before a transaction commits.
SELECT count(*) FROM df.instances;
--> 0
