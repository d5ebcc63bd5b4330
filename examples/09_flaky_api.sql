-- A service that is often away: each call is tried again with waits in between, and when all tries have
-- failed, the row is put aside for a person.

CREATE TABLE letters (id int PRIMARY KEY, name text, answer text, trouble text);
INSERT INTO letters (id, name) VALUES (1, 'sometimes'), (2, 'never'), (3, 'ann');

SELECT df.start(
    df.map(
        'SELECT id, name FROM letters ORDER BY id',
        df.catch(
            (df.retry(
                df.http('http://127.0.0.1:8080/hook', body => '{"name": "$item.name"}',
                        headers => '{"Content-Type": "application/json"}'),
                3, '10 milliseconds', retry_on => '{http_5xx,network,timeout}') |=> 'reply')
         ~> 'UPDATE letters SET answer = $reply.body WHERE id = $item.id',
            'UPDATE letters SET trouble = ''attempt $error.attempt: $error.message'' WHERE id = $item.id'),
        max_concurrency => 2),
    'letters') AS id \gset
SELECT df.await_instance(:'id');
--> completed
SELECT id, answer, trouble FROM letters ORDER BY id;
--> 1|hello sometimes|NULL
--> 2|NULL|attempt 3: HTTP status 503
--> 3|hello ann|NULL
