import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.PSQLException;

/** pgjdbc: one line for each check. With the argument "df" also what durproxy adds. */
public final class Checks {
  interface Check {
    String run(Connection connection) throws Exception;
  }

  interface Action {
    void run() throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    Map<String, Check> checks = new LinkedHashMap<>();
    checks.put("prepared", Checks::prepared);
    checks.put("simple_mode", Checks::simpleMode);
    checks.put("batch", Checks::batch);
    checks.put("batch_with_an_error", Checks::batchWithAnError);
    checks.put("fetch_size", Checks::fetchSize);
    checks.put("error_in_a_transaction", Checks::errorInATransaction);
    checks.put("syntax_error", Checks::syntaxError);
    checks.put("copy", Checks::copy);
    checks.put("copy_with_an_error", Checks::copyWithAnError);
    checks.put("call", Checks::call);
    checks.put("large_object", Checks::largeObject);
    checks.put("large_value", Checks::largeValue);
    checks.put("notification", Checks::notification);
    checks.put("metadata", Checks::metadata);
    checks.put("cancel", Checks::cancel);
    checks.put("query_timeout", Checks::queryTimeout);
    if (arguments.length > 0 && arguments[0].equals("df")) {
      checks.put("df.start", Checks::dfStart);
      checks.put("df.pipelined", Checks::dfPipelined);
      checks.put("df.refused", Checks::dfRefused);
      checks.put("df.rolled_back", Checks::dfRolledBack);
      checks.put("df.await_cancelled", Checks::dfAwaitCancelled);
    }
    for (Map.Entry<String, Check> check : checks.entrySet()) {
      String found;
      try (Connection connection = connect(Map.of())) {
        found = check.getValue().run(connection);
      } catch (Exception error) {
        found = "unexpected " + error;
      }
      System.out.println(check.getKey() + ": " + found);
    }
  }

  static Connection connect(Map<String, String> options) throws SQLException {
    Map<String, String> environment = System.getenv();
    Properties properties = new Properties();
    properties.setProperty("user", environment.get("PGUSER"));
    properties.setProperty("password", environment.get("PGPASSWORD"));
    properties.putAll(options);
    String place = environment.get("PGHOST") + ":" + environment.get("PGPORT");
    String url = "jdbc:postgresql://" + place + "/" + environment.get("PGDATABASE");
    return DriverManager.getConnection(url, properties);
  }

  static void execute(Connection connection, String text) throws SQLException {
    try (Statement statement = connection.createStatement()) {
      statement.execute(text);
    }
  }

  static String one(Connection connection, String text, Object... values) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(text)) {
      for (int k = 0; k < values.length; k++) {
        statement.setObject(k + 1, values[k]);
      }
      try (ResultSet rows = statement.executeQuery()) {
        rows.next();
        return rows.getString(1);
      }
    }
  }

  static String sqlstate(Action action) throws Exception {
    try {
      action.run();
      return "no error";
    } catch (SQLException error) {
      return error.getSQLState();
    }
  }

  static String prepared(Connection connection) throws Exception {
    StringBuilder sums = new StringBuilder();
    try (PreparedStatement statement = connection.prepareStatement("SELECT ?::int + 10")) {
      for (int n = 0; n < 12; n++) { // from the fifth time on it has a name
        statement.setInt(1, n);
        try (ResultSet rows = statement.executeQuery()) {
          rows.next();
          sums.append(rows.getInt(1)).append(' ');
        }
      }
    }
    return sums.toString().strip();
  }

  static String simpleMode(Connection unused) throws Exception {
    try (Connection connection = connect(Map.of("preferQueryMode", "simple"))) {
      return one(connection, "SELECT ? || 'é'", "it's");
    }
  }

  static String batch(Connection connection) throws Exception {
    execute(connection, "CREATE TEMP TABLE batch (n int PRIMARY KEY, t text)");
    String text = "INSERT INTO batch VALUES (?, ?)";
    try (PreparedStatement statement = connection.prepareStatement(text)) {
      for (int n = 0; n < 5000; n++) {
        statement.setInt(1, n);
        statement.setString(2, "row " + n);
        statement.addBatch();
      }
      int[] counts = statement.executeBatch();
      return counts.length + " " + one(connection, "SELECT sum(n) FROM batch");
    }
  }

  static String batchWithAnError(Connection connection) throws Exception {
    execute(connection, "CREATE TEMP TABLE bad_batch (n int PRIMARY KEY)");
    String text = "INSERT INTO bad_batch VALUES (?)";
    try (PreparedStatement statement = connection.prepareStatement(text)) {
      for (int n : new int[] {1, 2, 1, 3}) {
        statement.setInt(1, n);
        statement.addBatch();
      }
      String state = sqlstate(statement::executeBatch);
      return state + " " + one(connection, "SELECT count(*) FROM bad_batch");
    }
  }

  static String fetchSize(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    long sum = 0;
    try (Statement statement = connection.createStatement()) {
      statement.setFetchSize(100);
      try (ResultSet rows = statement.executeQuery("SELECT generate_series(1, 1000)")) {
        while (rows.next()) {
          sum += rows.getLong(1);
        }
      }
    }
    connection.commit();
    return String.valueOf(sum);
  }

  static String errorInATransaction(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    Savepoint savepoint = connection.setSavepoint();
    String first = sqlstate(() -> one(connection, "SELECT 1 / ?::int", 0));
    String second = sqlstate(() -> one(connection, "SELECT 1"));
    connection.rollback(savepoint);
    String third = sqlstate(() -> one(connection, "SELECT nosuch"));
    connection.rollback();
    return first + " " + second + " " + third + " " + one(connection, "SELECT 7");
  }

  static String syntaxError(Connection connection) throws Exception {
    try {
      one(connection, "SELECT 'é', nosuch FROM pg_class");
      return "no error";
    } catch (PSQLException error) {
      return error.getSQLState() + " " + error.getServerErrorMessage().getPosition();
    }
  }

  static String copy(Connection connection) throws Exception {
    execute(connection, "CREATE TEMP TABLE copied (n int, t text)");
    StringBuilder lines = new StringBuilder();
    for (int n = 0; n < 50000; n++) {
      lines.append(n).append("\trow ").append(n).append(" é\n");
    }
    var manager = connection.unwrap(PGConnection.class).getCopyAPI();
    long count = manager.copyIn("COPY copied FROM STDIN", new StringReader(lines.toString()));
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    manager.copyOut("COPY (SELECT * FROM copied ORDER BY n) TO STDOUT", out);
    return count + " " + out.toString(StandardCharsets.UTF_8).contentEquals(lines);
  }

  static String copyWithAnError(Connection connection) throws Exception {
    execute(connection, "CREATE TEMP TABLE bad_copy (n int)");
    var manager = connection.unwrap(PGConnection.class).getCopyAPI();
    StringReader lines = new StringReader("1\nx\n");
    String state = sqlstate(() -> manager.copyIn("COPY bad_copy FROM STDIN", lines));
    return state + " " + one(connection, "SELECT 7");
  }

  static String call(Connection connection) throws Exception {
    try (var statement = connection.prepareCall("{? = call upper(?)}")) {
      statement.registerOutParameter(1, java.sql.Types.VARCHAR);
      statement.setString(2, "abc");
      statement.execute();
      return statement.getString(1);
    }
  }

  /** By the protocol's FunctionCall. */
  static String largeObject(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    var manager = connection.unwrap(PGConnection.class).getLargeObjectAPI();
    long oid = manager.createLO();
    byte[] data = "0123456789".repeat(50_000).getBytes(StandardCharsets.US_ASCII);
    try (var object = manager.open(oid)) {
      object.write(data);
    }
    try (var object = manager.open(oid)) {
      object.seek(499_990);
      return new String(object.read(100), StandardCharsets.US_ASCII) + " " + object.size();
    } finally {
      connection.rollback();
    }
  }

  static String largeValue(Connection connection) throws Exception {
    String value = "x".repeat(5_000_000);
    return String.valueOf(value.equals(one(connection, "SELECT ?::text", value)));
  }

  static String notification(Connection connection) throws Exception {
    execute(connection, "LISTEN checks");
    try (Connection other = connect(Map.of())) {
      one(other, "SELECT pg_notify('checks', ?)::text", "hello");
    }
    PGNotification[] found = connection.unwrap(PGConnection.class).getNotifications(10_000);
    return found.length + " " + found[0].getName() + " " + found[0].getParameter();
  }

  static String metadata(Connection connection) throws Exception {
    execute(connection, "CREATE TEMP TABLE described (n int PRIMARY KEY, t text NOT NULL)");
    StringBuilder columns = new StringBuilder();
    try (ResultSet rows = connection.getMetaData().getColumns(null, null, "described", null)) {
      while (rows.next()) {
        columns.append(rows.getString("COLUMN_NAME")).append(' ');
        columns.append(rows.getString("TYPE_NAME")).append(' ');
      }
    }
    return columns.toString().strip();
  }

  /** A cancel that comes before the statement has begun is lost. */
  static String cancelled(Connection connection, String text, Object... values) throws Exception {
    try (PreparedStatement statement = connection.prepareStatement(text)) {
      for (int k = 0; k < values.length; k++) {
        statement.setObject(k + 1, values[k]);
      }
      var running = CompletableFuture.supplyAsync(() -> {
        try {
          return sqlstate(statement::execute);
        } catch (Exception error) {
          return error.toString();
        }
      });
      while (true) {
        try {
          return running.get(200, TimeUnit.MILLISECONDS);
        } catch (TimeoutException stillRunning) {
          statement.cancel();
        }
      }
    }
  }

  static String cancel(Connection connection) throws Exception {
    String state = cancelled(connection, "SELECT pg_sleep(?)", 30.0);
    return state + " " + one(connection, "SELECT 7");
  }

  static String queryTimeout(Connection connection) throws Exception {
    try (Statement statement = connection.createStatement()) {
      statement.setQueryTimeout(1);
      String state = sqlstate(() -> statement.execute("SELECT pg_sleep(30)"));
      return state + " " + one(connection, "SELECT 7");
    }
  }

  static String dfStart(Connection connection) throws Exception {
    String found = "";
    for (int n = 0; n < 7; n++) {
      String id = one(connection, "SELECT df.start(? |=> 'x' ~> ?, ?)",
          "SELECT 20 AS a", "SELECT $x.a + 1 AS b", "java");
      found = one(connection, "SELECT df.await_instance(?, ?)", id, 20)
          + " " + one(connection, "SELECT df.status(?)", id)
          + " " + one(connection, "SELECT df.result(?)", id);
    }
    return found;
  }

  /** Statements of a batch that return nothing, sent without waiting for the answers. */
  static String dfPipelined(Connection connection) throws Exception {
    execute(connection, "CREATE TEMP TABLE started (id text)");
    String text = "INSERT INTO started SELECT df.start(? ~> ?)";
    try (PreparedStatement statement = connection.prepareStatement(text)) {
      for (int n = 0; n < 50; n++) {
        statement.setString(1, "SELECT 1");
        statement.setString(2, "SELECT 2");
        statement.addBatch();
      }
      statement.executeBatch();
    }
    String waits = "SELECT count(*) FROM started WHERE df.await_instance(id, 20) = 'completed'";
    return one(connection, waits);
  }

  static String dfRefused(Connection connection) throws Exception {
    String text = "SELECT df.start(? ~> df.break(), ?)";
    String state = sqlstate(() -> one(connection, text, "SELECT 1", "label"));
    return state + " " + one(connection, "SELECT 7");
  }

  static String dfRolledBack(Connection connection) throws Exception {
    connection.setAutoCommit(false);
    String id = one(connection, "SELECT df.start(?)", "SELECT 1");
    connection.rollback();
    String status = one(connection, "SELECT df.status(?)", id);
    return status == null ? "gone" : status;
  }

  static String dfAwaitCancelled(Connection connection) throws Exception {
    String id = one(connection, "SELECT df.start(df.wait_for_signal('never'))");
    String state = cancelled(connection, "SELECT df.await_instance(?, 30)", id);
    one(connection, "SELECT df.cancel(?)::text", id);
    return state + " " + one(connection, "SELECT 7");
  }
}
