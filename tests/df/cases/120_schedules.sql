-- df.wait_for_schedule: five fields, checked where they are written.

SELECT df.wait_for_schedule('30 5 * * mon-fri');
--> {"node_type":"WAIT_SCHEDULE","query":"{\"cron_expr\":\"30 5 * * mon-fri\"}"}
SELECT df.wait_for_schedule(NULL) IS NULL;
--> t
SELECT count(df.wait_for_schedule(cron)) FROM unnest(ARRAY['* * * * *', '*/5 0-6,12 1,15 jan-mar *', '0 0 * * 7', '0 0 * * FRI-mon', '59 23 31 12 *']) cron;
--> 5
SELECT df.wait_for_schedule('');
--! 22023: Invalid cron expression "": it must have five fields
SELECT df.wait_for_schedule('* * * *');
--! 22023: Invalid cron expression "* * * *": it must have five fields
SELECT df.wait_for_schedule('* * * * * *');
--! 22023: Invalid cron expression "* * * * * *": it must have five fields
SELECT df.wait_for_schedule('60 * * * *');
--! 22023: Invalid cron expression "60 * * * *": its minute "60" is not valid
SELECT df.wait_for_schedule('* 24 * * *');
--! 22023: Invalid cron expression "* 24 * * *": its hour "24" is not valid
SELECT df.wait_for_schedule('* * 0 * *');
--! 22023: Invalid cron expression "* * 0 * *": its day of month "0" is not valid
SELECT df.wait_for_schedule('* * * 13 *');
--! 22023: Invalid cron expression "* * * 13 *": its month "13" is not valid
SELECT df.wait_for_schedule('* * * * moon');
--! 22023: Invalid cron expression "* * * * moon": its day of week "moon" is not valid
SELECT df.wait_for_schedule('*/0 * * * *');
--! 22023: Invalid cron expression "*/0 * * * *": its minute "*/0" is not valid
'{"node_type":"WAIT_SCHEDULE","query":"{\"cron_expr\":\"never\"}"}' \run
--! 22023: Invalid cron expression "never": it must have five fields

-- it waits, can lose a race, and can be cancelled
df.wait_for_schedule('0 0 29 2 *') | 'SELECT 1 AS won' \run
--> completed: {"rows":[{"won":1}],"row_count":1}
SELECT df.start(df.wait_for_schedule('0 0 29 2 *') ~> 'SELECT 1', 'leap') AS id \gset
SELECT df.cancel(:'id', 'no leap') IS NULL;
--> f
SELECT df.explain(:'id');
--> Instance: :id (leap)
--> Status:   ✗ Cancelled
--> Error:    no leap
-->
--> WAIT SCHEDULE 0 0 29 2 * ⊘
--> → SQL: SELECT 1 ⊘
