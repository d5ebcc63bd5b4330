-- An order as a saga: a seat, a hotel, a payment. Each step says how it is undone; when a later one
-- fails, those that were done are undone in reverse order, each of them durably, before the customer
-- is told.

CREATE TABLE seats (seat text PRIMARY KEY, taken_by int);
CREATE TABLE rooms (room int PRIMARY KEY, taken_by int);
CREATE TABLE accounts (owner text PRIMARY KEY, balance numeric CHECK (balance >= 0));
CREATE TABLE trips (id int PRIMARY KEY, owner text, price numeric, state text DEFAULT 'new');
CREATE TABLE journal (n serial, trip int, what text);
INSERT INTO seats VALUES ('12A', NULL), ('12B', NULL);
INSERT INTO rooms VALUES (1, NULL), (2, NULL);
INSERT INTO accounts VALUES ('ann', 500), ('bob', 50);

CREATE FUNCTION book(trip int) RETURNS text LANGUAGE sql AS $$
    SELECT df.start(
        (format('SELECT id, owner, price FROM trips WHERE id = %s', trip) |=> 't')
     ~> df.catch(
            df.saga(
                (('UPDATE seats SET taken_by = $t.id WHERE seat = (SELECT min(seat) FROM seats WHERE taken_by IS NULL) RETURNING seat' |=> 's')
                    <-> df.transaction(
                        'UPDATE seats SET taken_by = NULL WHERE seat = $s.seat',
                        'INSERT INTO journal (trip, what) VALUES ($t.id, ''seat $s.seat is free again'')'))
             ~> (('UPDATE rooms SET taken_by = $t.id WHERE room = (SELECT min(room) FROM rooms WHERE taken_by IS NULL) RETURNING room' |=> 'r')
                    <-> df.transaction(
                        'UPDATE rooms SET taken_by = NULL WHERE room = $r.room',
                        'INSERT INTO journal (trip, what) VALUES ($t.id, ''room $r.room is free again'')'))
             ~> 'UPDATE accounts SET balance = balance - $t.price WHERE owner = $t.owner'
             ~> 'UPDATE trips SET state = ''booked'' WHERE id = $t.id'),
            df.transaction(
                'UPDATE trips SET state = ''refused'' WHERE id = $t.id',
                'INSERT INTO journal (trip, what) VALUES ($t.id, ''told $t.owner: $error.sqlstate'')')),
        'trip ' || trip)
$$;

INSERT INTO trips VALUES (1, 'ann', 300), (2, 'bob', 300);
SELECT book(1) AS first \gset
SELECT df.await_instance(:'first');
--> completed
SELECT book(2) AS second \gset
SELECT df.await_instance(:'second');
--> completed
SELECT id, state FROM trips ORDER BY id;
--> 1|booked
--> 2|refused
SELECT what FROM journal ORDER BY n;
--> room 2 is free again
--> seat 12B is free again
--> told bob: 23514
SELECT seat, taken_by FROM seats ORDER BY seat;
--> 12A|1
--> 12B|NULL
SELECT owner, balance FROM accounts ORDER BY owner;
--> ann|200
--> bob|50
