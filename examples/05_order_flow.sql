-- An order: stock is reserved and the card charged in parallel. Where the charge is declined, the
-- reservation is undone. Each step takes effect exactly once; the order and its workflow are there
-- together, because the trigger starts it in the transaction of the INSERT.

CREATE TABLE stock (item text PRIMARY KEY, n int CHECK (n >= 0));
CREATE TABLE cards (card text PRIMARY KEY, credit numeric);
CREATE TABLE orders (id int PRIMARY KEY, item text, card text, price numeric, state text DEFAULT 'new', instance text);
INSERT INTO stock VALUES ('lamp', 5);
INSERT INTO cards VALUES ('good', 100), ('empty', 0);

CREATE FUNCTION process() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    o constant text := format('SELECT id, item, card, price FROM orders WHERE id = %s', NEW.id);
BEGIN
    NEW.instance := df.start(
        (o |=> 'o')
     ~> (   ('UPDATE stock SET n = n - 1 WHERE item = $o.item AND n > 0 RETURNING item' |=> 'reserved')
          & ('UPDATE cards SET credit = credit - $o.price WHERE card = $o.card AND credit >= $o.price RETURNING card' |=> 'charged'))
     ~> ('(SELECT count(*) FROM $reserved.*) + (SELECT count(*) FROM $charged.*) = 2'
            ?> 'UPDATE orders SET state = ''shipped'' WHERE id = $o.id'
            !> (   df.if_rows('reserved', 'UPDATE stock SET n = n + 1 WHERE item = $o.item', 'SELECT 1')
                ~> df.if_rows('charged', 'UPDATE cards SET credit = credit + $o.price WHERE card = $o.card', 'SELECT 1')
                ~> 'UPDATE orders SET state = ''declined'' WHERE id = $o.id')),
        'order ' || NEW.id);
    RETURN NEW;
END $$;
CREATE TRIGGER process BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION process();

INSERT INTO orders VALUES (1, 'lamp', 'good', 40), (2, 'lamp', 'empty', 40), (3, 'sofa', 'good', 40);
BEGIN;
INSERT INTO orders VALUES (4, 'lamp', 'good', 40);
ROLLBACK;

SELECT count(*) FROM orders WHERE df.await_instance(instance) = 'completed';
--> 3
SELECT id, state FROM orders ORDER BY id;
--> 1|shipped
--> 2|declined
--> 3|declined
SELECT (SELECT n FROM stock) AS lamps, (SELECT credit FROM cards WHERE card = 'good') AS credit;
--> 4|60
SELECT count(*) FROM df.instances WHERE label = 'order 4';
--> 0
