-- Arguments of failure handling, fan-out and waits that are refused.
SELECT df.retry('SELECT 1', 0);
--! 22023: max_attempts must be at least 1, got 0
SELECT df.retry('SELECT 1', backoff => '-1 second');
--! 22023: backoff must be positive, got -1.0 s
SELECT df.retry('SELECT 1', factor => 0.5);
--! 22023: factor must be at least 1 and at most 1000000, got 0.5
SELECT df.retry('SELECT 1', retry_on => '{}');
--! 22023: retry_on cannot be empty: without it the transient failures are retried
SELECT df.retry('SELECT 1', retry_on => '{40P0}');
--! 22023: retry_on takes SQLSTATEs such as 40001, classes such as 40, prefixes such as 57P0x, and http_5xx, http_429, timeout, network; got "40P0"
SELECT df.retry(NULL);
--! 22004: node of df.retry() must not be null
SELECT df.timeout('SELECT 1', '0');
--! 22023: timeout must be positive, got 0.0 s
SELECT df.timeout('SELECT 1', NULL);
--! 22004: timeout must be an interval, not null
SELECT df.parallel();
--! 22023: df.parallel() needs at least one node
SELECT df.any(VARIADIC '{}');
--! 22023: df.any() needs at least one node
SELECT df.parallel('SELECT 1', NULL);
--! 22004: node 2 of df.parallel() must not be null
SELECT df.any(VARIADIC NULL::text[]);
--! 22004: nodes of df.any() must not be null
SELECT df.transaction('SELECT 1', NULL);
--! 22004: node 2 of df.transaction() must not be null
SELECT df.map('SELECT 1', 'SELECT 2', 0);
--! 22023: max_concurrency must be at least 1, got 0
SELECT df.map('SELECT 1', 'SELECT 2', tolerate => -1);
--! 22023: tolerate must be at least 0, got -1
SELECT df.sleep(interval '-1 second');
--! 22023: sleep duration must be non-negative, got PT-1S
SELECT df.sleep('-1');
--! 22023: sleep duration must be non-negative, got -1
SELECT df.sleep('soon');
--! 22007: invalid input syntax for type interval: "soon"
SELECT df.sleep_until('infinity');
--! 22008: sleep_until needs a time between the years 1 and 9999, got infinity
SELECT df.wait_for_condition('');
--! 22023: query of df.wait_for_condition() cannot be empty
SELECT df.wait_for_condition('SELECT true', '0');
--! 22023: check_every must be positive, got 0.0 s
SELECT df.start(df.catch('SELECT 1', NULL));
--! 22004: durable function must not be null
