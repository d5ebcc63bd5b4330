"""psql through the proxy, the way people use it."""

from __future__ import annotations

from pathlib import Path

from tests.fix_serve import Visitor

START = "SELECT df.start('SELECT 20 AS a' |=> 'x' ~> 'SELECT $x.a + 1 AS b', 'psql')"


def test_start_await_result(visitor: Visitor) -> None:
    script = f"{START} AS id \\gset\nSELECT df.await_instance(:'id', 20);\nSELECT df.result(:'id');"
    assert visitor.psql(script).splitlines() == ["completed", '{"rows":[{"b":21}],"row_count":1}']


def test_start_with_bound_parameters(visitor: Visitor) -> None:
    version = visitor.run_psql("\\bind", "-V").stdout
    if int(version.split()[2].split(".")[0]) < 16:
        return  # \bind came with 16; the other drivers bind on every version
    script = (
        "SELECT df.start($1 |=> 'x' ~> $2, $3) AS id"
        " \\bind 'SELECT 20 AS a' 'SELECT $x.a + 1 AS b' bound \\gset\n"
        "SELECT df.await_instance($1) \\bind :id \\g\nSELECT df.result(:'id');"
    )
    assert visitor.psql(script).splitlines() == ["completed", '{"rows":[{"b":21}],"row_count":1}']


def test_copy_both_ways(visitor: Visitor, tmp_path: Path) -> None:
    there, back = tmp_path / "there.csv", tmp_path / "back.csv"
    there.write_text("".join(f"{n},name {n}\n" for n in range(20_000)))
    visitor.psql(
        "CREATE TABLE t (n int, name text);\n"
        f"\\copy t FROM '{there}' CSV\n\\copy (SELECT * FROM t ORDER BY n) TO '{back}' CSV\n"
    )
    assert back.read_text() == there.read_text()


def test_describe_commands(visitor: Visitor) -> None:
    visitor.psql("CREATE TABLE t (n int PRIMARY KEY)")
    assert "t_pkey" in visitor.psql("\\di")
    assert visitor.role.name in visitor.psql("\\conninfo")


def test_notification_arrives(visitor: Visitor) -> None:
    answer = visitor.psql("LISTEN c;\nNOTIFY c, 'hello';\nSELECT 1;")
    assert 'Asynchronous notification "c" with payload "hello"' in answer


def test_error_shows_the_line_as_the_user_wrote_it(visitor: Visitor) -> None:
    statement = "SELECT df.start('a' ~> 'SELECT 1'), nosuch;"
    done = visitor.run_psql(statement)
    line, caret = next(
        (first, second)
        for first, second in zip(
            done.stderr.splitlines(), done.stderr.splitlines()[1:], strict=False
        )
        if first.startswith("LINE 1:")
    )
    assert line == f"LINE 1: {statement}"
    assert caret.index("^") == line.index("nosuch")


def test_transaction_commands(visitor: Visitor) -> None:
    script = (
        "CREATE TABLE t (n int);\nBEGIN;\nINSERT INTO t VALUES (1);\nSAVEPOINT s;\n"
        "INSERT INTO t VALUES (2);\nROLLBACK TO s;\nCOMMIT;\nSELECT count(*) FROM t;"
    )
    assert visitor.psql(script).splitlines()[-1] == "1"
