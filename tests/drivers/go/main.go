// pgx: one line for each check. With the argument "df" also what durproxy adds.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

type check struct {
	name string
	run  func(context.Context, *pgx.Conn) (string, error)
}

func sqlstate(err error) string {
	var failed *pgconn.PgError
	if errors.As(err, &failed) {
		return failed.Code
	}
	return fmt.Sprint(err)
}

func one[T any](ctx context.Context, conn *pgx.Conn, text string, values ...any) (T, error) {
	var value T
	err := conn.QueryRow(ctx, text, values...).Scan(&value)
	return value, err
}

// What a check found, and that the session is still good for a statement.
func andGoesOn(ctx context.Context, conn *pgx.Conn, found string) (string, error) {
	seven, err := one[int](ctx, conn, "SELECT 7")
	return fmt.Sprintf("%s %d", found, seven), err
}

func prepared(ctx context.Context, conn *pgx.Conn) (string, error) {
	if _, err := conn.Prepare(ctx, "sum", "SELECT $1::int + $2::int"); err != nil {
		return "", err
	}
	var sums []string
	for n := range 5 {
		sum, err := one[int](ctx, conn, "sum", n, 10)
		if err != nil {
			return "", err
		}
		sums = append(sums, fmt.Sprint(sum))
	}
	return strings.Join(sums, " "), conn.Deallocate(ctx, "sum")
}

func modes(ctx context.Context, conn *pgx.Conn) (string, error) {
	var found []string
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		value, err := one[string](ctx, conn, "SELECT $1::text || 'é'", mode, mode.String())
		if err != nil {
			return "", err
		}
		found = append(found, value)
	}
	return strings.Join(found, "; "), nil
}

func types(ctx context.Context, conn *pgx.Conn) (string, error) {
	var (
		number  int64
		decimal string
		at      time.Time
		json    map[string]any
		data    []byte
		texts   []*string
	)
	first := "é"
	err := conn.QueryRow(ctx,
		"SELECT $1::int8, $2::numeric::text, $3::timestamptz, $4::jsonb, $5::bytea, $6::text[]",
		int64(9007199254740993), "1.50", time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC),
		map[string]any{"a": []any{1, nil}}, []byte{0, 255, 10}, []*string{&first, nil},
	).Scan(&number, &decimal, &at, &json, &data, &texts)
	return fmt.Sprint(number, decimal, at.UTC(), json, data, len(texts)), err
}

func batch(ctx context.Context, conn *pgx.Conn) (string, error) {
	if _, err := conn.Exec(ctx, "CREATE TEMP TABLE batch (n int PRIMARY KEY)"); err != nil {
		return "", err
	}
	queue := &pgx.Batch{}
	for n := range 2000 {
		queue.Queue("INSERT INTO batch VALUES ($1)", n)
	}
	queue.Queue("SELECT sum(n) FROM batch")
	sent := conn.SendBatch(ctx, queue)
	for range 2000 {
		if _, err := sent.Exec(); err != nil {
			return "", err
		}
	}
	var sum int
	if err := sent.QueryRow().Scan(&sum); err != nil {
		return "", err
	}
	return fmt.Sprint(sum), sent.Close()
}

func batchWithAnError(ctx context.Context, conn *pgx.Conn) (string, error) {
	if _, err := conn.Exec(ctx, "CREATE TEMP TABLE bad_batch (n int PRIMARY KEY)"); err != nil {
		return "", err
	}
	queue := &pgx.Batch{}
	for _, n := range []int{1, 2, 1, 3} {
		queue.Queue("INSERT INTO bad_batch VALUES ($1)", n)
	}
	state := sqlstate(conn.SendBatch(ctx, queue).Close())
	left, err := one[int](ctx, conn, "SELECT count(*) FROM bad_batch")
	return fmt.Sprint(state, " ", left), err
}

func pipeline(ctx context.Context, conn *pgx.Conn) (string, error) {
	var found []string
	pipe := conn.PgConn().StartPipeline(ctx)
	for _, divisor := range []string{"1", "0", "2"} {
		pipe.SendQueryParams("SELECT 10 / $1::int", [][]byte{[]byte(divisor)}, nil, nil, nil)
		if err := pipe.Sync(); err != nil {
			return "", err
		}
	}
	for {
		results, err := pipe.GetResults()
		switch {
		case err != nil:
			found = append(found, sqlstate(err))
			continue
		case results == nil:
			return strings.Join(found, " "), pipe.Close()
		}
		if reader, ok := results.(*pgconn.ResultReader); ok {
			if read := reader.Read(); read.Err == nil {
				found = append(found, string(read.Rows[0][0]))
			} else {
				found = append(found, sqlstate(read.Err))
			}
		}
	}
}

func errorInATransaction(ctx context.Context, conn *pgx.Conn) (string, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return "", err
	}
	inner, err := tx.Begin(ctx) // a savepoint
	if err != nil {
		return "", err
	}
	_, first := inner.Exec(ctx, "SELECT 1 / $1::int", 0)
	_, second := inner.Exec(ctx, "SELECT 1")
	if err := inner.Rollback(ctx); err != nil {
		return "", err
	}
	_, third := tx.Exec(ctx, "SELECT nosuch")
	if err := tx.Rollback(ctx); err != nil {
		return "", err
	}
	return andGoesOn(ctx, conn, sqlstate(first)+" "+sqlstate(second)+" "+sqlstate(third))
}

func copyBothWays(ctx context.Context, conn *pgx.Conn) (string, error) {
	if _, err := conn.Exec(ctx, "CREATE TEMP TABLE copied (n int, t text)"); err != nil {
		return "", err
	}
	const count = 50000
	rows := pgx.CopyFromSlice(count, func(n int) ([]any, error) {
		return []any{n, fmt.Sprintf("row %d é", n)}, nil
	})
	if _, err := conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"n", "t"}, rows); err != nil {
		return "", err
	}
	var out bytes.Buffer
	_, err := conn.PgConn().CopyTo(ctx, &out, "COPY (SELECT * FROM copied ORDER BY n) TO STDOUT")
	var expected bytes.Buffer
	for n := range count {
		fmt.Fprintf(&expected, "%d\trow %d é\n", n, n)
	}
	return fmt.Sprint(bytes.Equal(out.Bytes(), expected.Bytes())), err
}

func copyWithAnError(ctx context.Context, conn *pgx.Conn) (string, error) {
	if _, err := conn.Exec(ctx, "CREATE TEMP TABLE bad_copy (n int)"); err != nil {
		return "", err
	}
	_, err := conn.PgConn().CopyFrom(ctx, strings.NewReader("1\nx\n"), "COPY bad_copy FROM STDIN")
	return andGoesOn(ctx, conn, sqlstate(err))
}

func largeValue(ctx context.Context, conn *pgx.Conn) (string, error) {
	value := strings.Repeat("x", 5_000_000)
	back, err := one[string](ctx, conn, "SELECT $1::text", value)
	return fmt.Sprint(back == value), err
}

func notification(ctx context.Context, conn *pgx.Conn) (string, error) {
	if _, err := conn.Exec(ctx, "LISTEN checks"); err != nil {
		return "", err
	}
	other, err := pgx.Connect(ctx, "")
	if err != nil {
		return "", err
	}
	defer other.Close(ctx)
	if _, err := other.Exec(ctx, "SELECT pg_notify('checks', $1)", "hello"); err != nil {
		return "", err
	}
	message, err := conn.WaitForNotification(ctx)
	if err != nil {
		return "", err
	}
	return message.Channel + " " + message.Payload, nil
}

// The SQLSTATE of a statement that is cancelled; a cancel that comes before it has begun is lost.
func cancelled(ctx context.Context, conn *pgx.Conn, text string, values ...any) string {
	ended := make(chan error)
	go func() {
		_, err := conn.Exec(ctx, text, values...)
		ended <- err
	}()
	for {
		select {
		case err := <-ended:
			return sqlstate(err)
		case <-time.After(200 * time.Millisecond):
			if err := conn.PgConn().CancelRequest(ctx); err != nil {
				return fmt.Sprint(err)
			}
		}
	}
}

func cancel(ctx context.Context, conn *pgx.Conn) (string, error) {
	return andGoesOn(ctx, conn, cancelled(ctx, conn, "SELECT pg_sleep($1::int)", 30))
}

func dfStart(ctx context.Context, conn *pgx.Conn) (string, error) {
	var found string
	for range 3 {
		id, err := one[string](ctx, conn, "SELECT df.start($1 |=> 'x' ~> $2, $3)",
			"SELECT 20 AS a", "SELECT $x.a + 1 AS b", "go")
		if err != nil {
			return "", err
		}
		state, err := one[string](ctx, conn, "SELECT df.await_instance($1, $2)", id, 20)
		if err != nil {
			return "", err
		}
		status, err := one[string](ctx, conn, "SELECT df.status($1)", id)
		if err != nil {
			return "", err
		}
		result, err := one[string](ctx, conn, "SELECT df.result($1)::text", id)
		if err != nil {
			return "", err
		}
		found = state + " " + status + " " + result
	}
	return found, nil
}

func dfPipelined(ctx context.Context, conn *pgx.Conn) (string, error) {
	queue := &pgx.Batch{}
	for range 50 {
		queue.Queue("SELECT df.start($1 ~> $2)", "SELECT 1", "SELECT 2 AS b")
	}
	sent := conn.SendBatch(ctx, queue)
	var ids []string
	for range 50 {
		var id string
		if err := sent.QueryRow().Scan(&id); err != nil {
			return "", err
		}
		ids = append(ids, id)
	}
	if err := sent.Close(); err != nil {
		return "", err
	}
	completed := 0
	for _, id := range ids {
		state, err := one[string](ctx, conn, "SELECT df.await_instance($1, 20)", id)
		if err != nil {
			return "", err
		}
		if state == "completed" {
			completed++
		}
	}
	return fmt.Sprint(completed), nil
}

func dfRefused(ctx context.Context, conn *pgx.Conn) (string, error) {
	_, err := conn.Exec(ctx, "SELECT df.start($1 ~> df.break(), $2)", "SELECT 1", "label")
	return andGoesOn(ctx, conn, sqlstate(err))
}

func dfRolledBack(ctx context.Context, conn *pgx.Conn) (string, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return "", err
	}
	var id string
	if err := tx.QueryRow(ctx, "SELECT df.start($1)", "SELECT 1").Scan(&id); err != nil {
		return "", err
	}
	if err := tx.Rollback(ctx); err != nil {
		return "", err
	}
	status, err := one[*string](ctx, conn, "SELECT df.status($1)", id)
	if status == nil {
		return "gone", err
	}
	return *status, err
}

func dfAwaitCancelled(ctx context.Context, conn *pgx.Conn) (string, error) {
	id, err := one[string](ctx, conn, "SELECT df.start(df.wait_for_signal('never'))")
	if err != nil {
		return "", err
	}
	state := cancelled(ctx, conn, "SELECT df.await_instance($1, 30)", id)
	if _, err := conn.Exec(ctx, "SELECT df.cancel($1)", id); err != nil {
		return "", err
	}
	return andGoesOn(ctx, conn, state)
}

func main() {
	checks := []check{
		{"prepared", prepared}, {"modes", modes}, {"types", types}, {"batch", batch},
		{"batch_with_an_error", batchWithAnError}, {"pipeline", pipeline},
		{"error_in_a_transaction", errorInATransaction}, {"copy", copyBothWays},
		{"copy_with_an_error", copyWithAnError}, {"large_value", largeValue},
		{"notification", notification}, {"cancel", cancel},
	}
	if len(os.Args) > 1 && os.Args[1] == "df" {
		checks = append(checks, check{"df.start", dfStart}, check{"df.pipelined", dfPipelined},
			check{"df.refused", dfRefused}, check{"df.rolled_back", dfRolledBack},
			check{"df.await_cancelled", dfAwaitCancelled})
	}
	ctx := context.Background()
	for _, check := range checks {
		conn, err := pgx.Connect(ctx, "")
		found := ""
		if err == nil {
			found, err = check.run(ctx, conn)
			conn.Close(ctx)
		}
		if err != nil {
			found = fmt.Sprint("unexpected ", err)
		}
		fmt.Printf("%s: %s\n", check.name, found)
	}
}
