-- Tells a web service about each new customer. The call is part of the transaction that inserts:
-- rolled back, it is never made; committed, it is made even if everything crashes now. The
-- receiver can tell a repeated call by the instance's id.

CREATE TABLE customers (id int PRIMARY KEY, name text, told text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM df.start(
        (format('SELECT id, name FROM customers WHERE id = %s', NEW.id) |=> 'c')
     ~> (df.http('http://127.0.0.1:8080/hooks/customer', 'POST', '{"id": $c.id, "name": "$c.name"}',
                 '{"Content-Type": "application/json", "Idempotency-Key": "{sys_instance_id}"}') |=> 'reply')
     ~> ('$reply.ok' ?> 'UPDATE customers SET told = $reply.body WHERE id = $c.id'
                     !> 'UPDATE customers SET told = ''refused: $reply.status'' WHERE id = $c.id'),
        'customer ' || NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION tell();

INSERT INTO customers VALUES (1, 'Ann "the boss" O''Hara'), (2, 'Bob');
BEGIN;
INSERT INTO customers VALUES (3, 'Nobody');
ROLLBACK;

SELECT count(*) FROM df.instances WHERE label LIKE 'customer %' AND df.await_instance(id) = 'completed';
--> 2
SELECT id, name, told FROM customers ORDER BY id;
--> 1|Ann "the boss" O'Hara|hello Ann "the boss" O'Hara
--> 2|Bob|hello Bob
