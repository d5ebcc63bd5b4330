-- Three figures at the same time, each its own query on its own connection, then one report.

CREATE TABLE sales (region text, amount int);
INSERT INTO sales SELECT (ARRAY['north', 'south', 'east'])[1 + n % 3], n FROM generate_series(1, 30) n;
CREATE TABLE reports (n serial, report jsonb);

SELECT df.start(
    df.join3(
        'SELECT sum(amount) AS total FROM sales' |=> 'all',
        'SELECT region, sum(amount) AS total FROM sales GROUP BY region ORDER BY 2 DESC LIMIT 1' |=> 'best',
        'SELECT region, count(*) AS n FROM sales GROUP BY region ORDER BY region' |=> 'counts')
 ~> 'INSERT INTO reports (report)
     SELECT jsonb_build_object(''total'', $all, ''best'', $best.region,
         ''counts'', (SELECT jsonb_object_agg(region, n) FROM $counts.*))
     RETURNING report',
    'report') AS id \gset

SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"rows":[{"report":{"best": "north", "total": 465, "counts": {"east": 10, "north": 10, "south": 10}}}],"row_count":1}

-- the same from a function, one workflow for each region
SELECT count(df.start(format('INSERT INTO reports (report) SELECT to_jsonb(sum(amount)) FROM sales WHERE region = %L', region), 'by region'))
FROM (SELECT DISTINCT region FROM sales) r;
--> 3
SELECT count(*) FROM df.instances WHERE label = 'by region' AND df.await_instance(id) = 'completed';
--> 3
SELECT report FROM reports WHERE n > 1 ORDER BY report;
--> 145
--> 155
--> 165
