//! tokio-postgres: one line for each check. With the argument "df" also what durproxy adds.

use std::env;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, poll_fn};
use futures_util::{pin_mut, SinkExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Notification, SimpleQueryMessage};

type Found = Result<String, Error>;

/// A session, and the notifications that it gets.
struct Session {
    client: Client,
    notifications: mpsc::UnboundedReceiver<Notification>,
}

async fn connect() -> Result<Session, Error> {
    let setting = |name: &str| env::var(name).unwrap_or_default();
    let (client, mut connection) = Config::new()
        .host(&setting("PGHOST"))
        .port(setting("PGPORT").parse().expect("PGPORT is a number"))
        .user(&setting("PGUSER"))
        .password(setting("PGPASSWORD"))
        .dbname(&setting("PGDATABASE"))
        .connect(NoTls)
        .await?;
    let (sender, notifications) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = sender.send(notification);
            }
        }
    });
    Ok(Session { client, notifications })
}

fn sqlstate(error: &Error) -> String {
    error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())
}

fn state_of<T>(outcome: Result<T, Error>) -> String {
    outcome.map_or_else(|error| sqlstate(&error), |_| "no error".to_owned())
}

async fn one<T>(client: &Client, text: &str, values: &[&(dyn ToSql + Sync)]) -> Result<T, Error>
where
    T: for<'a> FromSql<'a>,
{
    client.query_one(text, values).await?.try_get(0)
}

/// What a check found, and that the session is still good for a statement.
async fn and_goes_on(client: &Client, found: String) -> Found {
    let seven: i32 = one(client, "SELECT 7", &[]).await?;
    Ok(format!("{found} {seven}"))
}

async fn prepared(client: &Client) -> Found {
    let statement = client.prepare("SELECT $1::int + $2::int").await?;
    let mut sums = Vec::new();
    for n in 0..5 {
        let sum: i32 = client.query_one(&statement, &[&n, &10]).await?.get(0);
        sums.push(sum.to_string());
    }
    Ok(sums.join(" "))
}

async fn types(client: &Client) -> Found {
    let row = client
        .query_one(
            "SELECT $1::int8, $2::bytea, $3::text[], $4::float8",
            &[&9007199254740993_i64, &vec![0_u8, 255, 10], &vec![Some("é"), None], &0.1_f64],
        )
        .await?;
    let texts: Vec<Option<String>> = row.get(2);
    let (number, data, float): (i64, Vec<u8>, f64) = (row.get(0), row.get(1), row.get(3));
    Ok(format!("{number} {data:?} {texts:?} {float}"))
}

/// Futures that are polled together are sent without waiting for each other's answers.
async fn pipelined(client: &Client) -> Found {
    let statement = client.prepare("SELECT 10 / $1::int").await?;
    let divisors: Vec<i32> = (0..200).map(|n| n % 10).collect();
    let outcomes = join_all(divisors.iter().map(|divisor| {
        let statement = &statement;
        async move { client.query_one(statement, &[divisor]).await }
    }))
    .await;
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    and_goes_on(client, format!("{failed} of {} failed", outcomes.len())).await
}

async fn several_statements(client: &Client) -> Found {
    let answers = client.simple_query("SELECT 1; SELECT 'é'; SELECT").await?;
    let rows = answers.iter().filter(|answer| matches!(answer, SimpleQueryMessage::Row(_)));
    let state = state_of(client.batch_execute("SELECT 1; SELECT 1 / 0; SELECT 2").await);
    and_goes_on(client, format!("{} {state}", rows.count())).await
}

async fn error_in_a_transaction(client: &mut Client) -> Found {
    let mut outer = client.transaction().await?;
    let inner = outer.transaction().await?;
    let first = state_of(inner.query("SELECT 1 / $1::int", &[&0]).await);
    let second = state_of(inner.query("SELECT 1", &[]).await);
    inner.rollback().await?;
    let third = state_of(outer.query("SELECT nosuch", &[]).await);
    outer.rollback().await?;
    and_goes_on(client, format!("{first} {second} {third}")).await
}

async fn portal(client: &mut Client) -> Found {
    let transaction = client.transaction().await?;
    let portal = transaction.bind("SELECT generate_series(1, 1000)", &[]).await?;
    let mut sum = 0;
    loop {
        let rows = transaction.query_portal(&portal, 100).await?;
        if rows.is_empty() {
            break;
        }
        sum += rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>();
    }
    transaction.commit().await?;
    Ok(sum.to_string())
}

async fn copy(client: &Client) -> Found {
    client.batch_execute("CREATE TEMP TABLE copied (n int, t text)").await?;
    let lines: String = (0..50_000).map(|n| format!("{n}\trow {n} é\n")).collect();
    let sink = client.copy_in("COPY copied FROM STDIN").await?;
    pin_mut!(sink);
    for chunk in lines.as_bytes().chunks(10_000) {
        sink.send(Bytes::copy_from_slice(chunk)).await?;
    }
    let count = sink.finish().await?;
    let out = client.copy_out("COPY (SELECT * FROM copied ORDER BY n) TO STDOUT").await?;
    let chunks: Vec<Bytes> = out.try_collect().await?;
    Ok(format!("{count} {}", chunks.concat() == lines.as_bytes()))
}

async fn copy_with_an_error(client: &Client) -> Found {
    client.batch_execute("CREATE TEMP TABLE bad_copy (n int)").await?;
    let sink = client.copy_in("COPY bad_copy FROM STDIN").await?;
    pin_mut!(sink);
    sink.send(Bytes::from_static(b"1\nx\n")).await?;
    let state = state_of(sink.finish().await);
    and_goes_on(client, state).await
}

/// What is dropped before its end makes the server read a CopyFail.
async fn copy_given_up(client: &Client) -> Found {
    client.batch_execute("CREATE TEMP TABLE given_up (n int)").await?;
    {
        let sink = client.copy_in("COPY given_up FROM STDIN").await?;
        pin_mut!(sink);
        sink.send(Bytes::from_static(b"1\n")).await?;
    }
    let count: i64 = one(client, "SELECT count(*) FROM given_up", &[]).await?;
    Ok(count.to_string())
}

async fn large_value(client: &Client) -> Found {
    let value = "x".repeat(5_000_000);
    let back: String = one(client, "SELECT $1::text", &[&value]).await?;
    Ok((back == value).to_string())
}

async fn notification(session: &mut Session) -> Found {
    session.client.batch_execute("LISTEN checks").await?;
    let other = connect().await?;
    other.client.execute("SELECT pg_notify('checks', $1)", &[&"hello"]).await?;
    let message = session.notifications.recv().await.expect("the session is open");
    Ok(format!("{} {}", message.channel(), message.payload()))
}

/// The SQLSTATE of a statement that is cancelled; a cancel that comes before it has begun is lost.
async fn cancelled(
    client: &Client,
    text: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<String, Error> {
    let token = client.cancel_token();
    let running = client.query(text, values);
    pin_mut!(running);
    loop {
        match tokio::time::timeout(Duration::from_millis(200), &mut running).await {
            Ok(outcome) => return Ok(state_of(outcome)),
            Err(_) => token.cancel_query(NoTls).await?,
        }
    }
}

async fn cancel(client: &Client) -> Found {
    let state = cancelled(client, "SELECT pg_sleep($1)", &[&30.0_f64]).await?;
    and_goes_on(client, state).await
}

async fn df_start(client: &Client) -> Found {
    let start = client.prepare("SELECT df.start($1 |=> 'x' ~> $2, $3)").await?;
    let wait = client.prepare("SELECT df.await_instance($1, $2)").await?;
    let mut found = String::new();
    for _ in 0..3 {
        let values: [&(dyn ToSql + Sync); 3] = [&"SELECT 20 AS a", &"SELECT $x.a + 1 AS b", &"rust"];
        let id: String = client.query_one(&start, &values).await?.get(0);
        let state: String = client.query_one(&wait, &[&id, &20_i32]).await?.get(0);
        let status: String = one(client, "SELECT df.status($1)", &[&id]).await?;
        let result: String = one(client, "SELECT df.result($1)::text", &[&id]).await?;
        found = format!("{state} {status} {result}");
    }
    Ok(found)
}

async fn df_pipelined(client: &Client) -> Found {
    let start = client.prepare("SELECT df.start($1 ~> $2)").await?;
    let started = join_all((0..50).map(|_| {
        let start = &start;
        async move { client.query_one(start, &[&"SELECT 1", &"SELECT 2"]).await }
    }))
    .await;
    let mut completed = 0;
    for row in started {
        let id: String = row?.get(0);
        let state: String = one(client, "SELECT df.await_instance($1, 20)", &[&id]).await?;
        completed += i32::from(state == "completed");
    }
    Ok(completed.to_string())
}

async fn df_refused(client: &Client) -> Found {
    let values: [&(dyn ToSql + Sync); 2] = [&"SELECT 1", &"label"];
    let state = state_of(client.query("SELECT df.start($1 ~> df.break(), $2)", &values).await);
    and_goes_on(client, state).await
}

async fn df_rolled_back(client: &mut Client) -> Found {
    let transaction = client.transaction().await?;
    let id: String = transaction.query_one("SELECT df.start($1)", &[&"SELECT 1"]).await?.get(0);
    transaction.rollback().await?;
    let status: Option<String> = one(client, "SELECT df.status($1)", &[&id]).await?;
    Ok(status.unwrap_or_else(|| "gone".to_owned()))
}

async fn df_await_cancelled(client: &Client) -> Found {
    let id: String = one(client, "SELECT df.start(df.wait_for_signal('never'))", &[]).await?;
    let state = cancelled(client, "SELECT df.await_instance($1, 30)", &[&id]).await?;
    client.execute("SELECT df.cancel($1)", &[&id]).await?;
    and_goes_on(client, state).await
}

async fn run(name: &str) -> Found {
    let mut session = connect().await?;
    match name {
        "prepared" => prepared(&session.client).await,
        "types" => types(&session.client).await,
        "pipelined" => pipelined(&session.client).await,
        "several_statements" => several_statements(&session.client).await,
        "error_in_a_transaction" => error_in_a_transaction(&mut session.client).await,
        "portal" => portal(&mut session.client).await,
        "copy" => copy(&session.client).await,
        "copy_with_an_error" => copy_with_an_error(&session.client).await,
        "copy_given_up" => copy_given_up(&session.client).await,
        "large_value" => large_value(&session.client).await,
        "notification" => notification(&mut session).await,
        "cancel" => cancel(&session.client).await,
        "df.start" => df_start(&session.client).await,
        "df.pipelined" => df_pipelined(&session.client).await,
        "df.refused" => df_refused(&session.client).await,
        "df.rolled_back" => df_rolled_back(&mut session.client).await,
        "df.await_cancelled" => df_await_cancelled(&session.client).await,
        _ => unreachable!("a check is in the lists below"),
    }
}

const CHECKS: [&str; 12] = [
    "prepared", "types", "pipelined", "several_statements", "error_in_a_transaction", "portal",
    "copy", "copy_with_an_error", "copy_given_up", "large_value", "notification", "cancel",
];
const DF_CHECKS: [&str; 5] =
    ["df.start", "df.pipelined", "df.refused", "df.rolled_back", "df.await_cancelled"];

#[tokio::main]
async fn main() {
    let df = env::args().nth(1).as_deref() == Some("df");
    for name in CHECKS.iter().chain(DF_CHECKS.iter().filter(|_| df)) {
        let found = run(name).await.unwrap_or_else(|error| format!("unexpected {error:?}"));
        println!("{name}: {found}");
    }
}
