-- Embeds new documents over HTTP into a pgvector column, in batches, and answers a search.
-- needs: the extension vector

CREATE TABLE documents (id serial PRIMARY KEY, body text, embedding public.vector(3));
INSERT INTO documents (body) VALUES
    ('cats purr and sleep'), ('dogs bark at cats'), ('rockets fly to the moon'), ('the moon is far, say rockets');

SELECT df.start(
    df.loop(
        ('SELECT json_agg(d) AS inputs, count(*) AS n
          FROM (SELECT id, body FROM documents WHERE embedding IS NULL ORDER BY id LIMIT 3) d' |=> 'batch')
     ~> ('$batch.n > 0' ?> (
            (df.http('http://127.0.0.1:8080/embed', 'POST', '{"inputs": $batch.inputs}',
                     '{"Content-Type": "application/json"}') |=> 'reply')
         ~> 'UPDATE documents SET embedding = (e->>''embedding'')::public.vector
             FROM json_array_elements($reply.body::json) e WHERE documents.id = (e->>''id'')::int')),
        '$batch.n > 0'),
    'embed') AS id \gset

SELECT df.await_instance(:'id');
--> completed
SELECT count(*) FROM documents WHERE embedding IS NOT NULL;
--> 4

-- a question is embedded the same way
SELECT df.start(
    (df.http('http://127.0.0.1:8080/embed', 'POST', '{"inputs": [{"id": 0, "body": "how far do rockets fly"}]}') |=> 'q')
 ~> 'SELECT body FROM documents
     ORDER BY embedding OPERATOR(public.<->) ($q.body::json->0->>''embedding'')::public.vector, id LIMIT 2') AS id \gset
SELECT df.await_instance(:'id');
--> completed
SELECT df.result(:'id');
--> {"rows":[{"body":"rockets fly to the moon"},{"body":"the moon is far, say rockets"}],"row_count":2}
