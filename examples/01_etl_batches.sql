-- Moves raw events into a daily table, 1000 at a time, until none is left. Each batch is one step:
-- it is deleted and counted in one transaction, so a crash in the middle repeats nothing.

CREATE TABLE raw_events (id bigint PRIMARY KEY, day date, amount int);
CREATE TABLE daily (day date PRIMARY KEY, events bigint NOT NULL, amount bigint NOT NULL);
INSERT INTO raw_events SELECT n, date '2026-01-01' + n % 3, n % 10 FROM generate_series(1, 4500) n;

SELECT df.start(
    df.loop(
        'WITH batch AS (
             DELETE FROM raw_events
             WHERE id IN (SELECT id FROM raw_events ORDER BY id LIMIT 1000)
             RETURNING day, amount
         ), loaded AS (
             INSERT INTO daily SELECT day, count(*), sum(amount) FROM batch GROUP BY day
             ON CONFLICT (day) DO UPDATE SET events = daily.events + excluded.events,
                                             amount = daily.amount + excluded.amount
         )
         SELECT coalesce($moved?, 0) + count(*) AS moved, count(*) AS now FROM batch' |=> 'moved',
        '$moved.now > 0')
 ~> 'SELECT $moved AS moved, count(*) AS days FROM daily',
    'load events') AS id \gset

SELECT df.await_instance(:'id', 60);
--> completed
SELECT df.result(:'id');
--> {"rows":[{"moved":4500,"days":3}],"row_count":1}
SELECT * FROM daily ORDER BY day;
--> 2026-01-01|1500|6750
--> 2026-01-02|1500|6750
--> 2026-01-03|1500|6750
SELECT count(*) FROM raw_events;
--> 0
