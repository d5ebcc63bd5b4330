-- df.schedule, df.unschedule, df.schedules.

SELECT df.schedule('nightly', '0 3 * * *', 'SELECT 1' ~> 'SELECT 2') AS id \gset
SELECT name, cron, tz, overlap, instance_id = :'id', status IN ('pending', 'running'), last_instance FROM df.schedules;
--> nightly|0 3 * * *|UTC|skip|t|t|NULL
SELECT df.explain(:'id') LIKE '%WAIT SCHEDULE 0 3 * * *%' AS told;
--> t
SELECT df.schedule('nightly', '30 2 * * *', 'SELECT 3', 'Europe/Berlin', overlap => 'queue') AS again \gset
SELECT df.status(:'id'), name, cron, tz, overlap, instance_id = :'again' FROM df.schedules;
--> cancelled|nightly|30 2 * * *|Europe/Berlin|queue|t
SELECT workflow FROM df.schedules;
--> 'SELECT 3'

-- transactional
BEGIN;
SELECT df.unschedule('nightly');
--> OK
ROLLBACK;
SELECT count(*) FROM df.schedules;
--> 1

-- refused
SELECT df.schedule('x', '0 0 0 * *', 'SELECT 1');
--! 22023: Invalid cron expression "0 0 0 * *": its day of month "0" is not valid
SELECT df.schedule('x', '* * * * *', 'SELECT 1', tz => 'Mars/Olympus');
--! 22023: time zone "Mars/Olympus" not recognized
SELECT df.schedule('x', '* * * * *', 'SELECT 1', tz => NULL);
--! 22023: time zone "<NULL>" not recognized
SELECT df.schedule('x', '* * * * *', 'SELECT 1', overlap => 'maybe');
--! 22023: invalid overlap "maybe"
SELECT df.schedule('', '* * * * *', 'SELECT 1');
--! 22023: schedule name "" is not valid
SELECT df.schedule(NULL, '* * * * *', 'SELECT 1');
--! 22023: schedule name NULL is not valid
SELECT df.schedule('x', NULL, 'SELECT 1');
--! 22004: durable function and cron expression of a schedule must not be null
SELECT df.schedule('x', '* * * * *', NULL);
--! 22004: durable function and cron expression of a schedule must not be null
SELECT df.schedule('x', '* * * * *', '{"node_type":"SQL"}');
--! 22023: a SQL node needs a query
SELECT df.unschedule('x');
--! 42704: schedule "x" does not exist
SELECT df.unschedule(NULL) IS NULL;
--> t
INSERT INTO df._commands (verb, instance_id, name, payload) VALUES ('schedule', '00000000', 'x', '{}');
--! 42704: instance "00000000" not found or access denied

-- nobody else's
\as other
SELECT count(*) FROM df.schedules;
--> 0
SELECT df.unschedule('nightly');
--! 42704: schedule "nightly" does not exist
\as me
SELECT df.unschedule('nightly');
--> OK
SELECT count(*) FROM df.schedules;
--> 0
SELECT df.status(:'again');
--> cancelled
