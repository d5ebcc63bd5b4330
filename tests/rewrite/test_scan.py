"""The search that decides which statements are looked at."""

from __future__ import annotations

import pytest

from durproxy.rewrite.scan import mentions_df


@pytest.mark.parametrize(
    "text",
    [
        "SELECT df.start('x')",
        "select DF.status($1)",
        'SELECT "df".x',
        'SELECT "df" \n . x',
        "SELECT Df  .x",
        "x=df.y",
        "SELECT 'df.x'",
        "CREATE EXTENSION IF NOT EXISTS pg_durable",
        'drop extension "pg_durable"',
    ],
)
def test_df_before_a_dot_is_seen(text: str) -> None:
    assert mentions_df(text.encode())
    assert mentions_df(bytearray(text.encode()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT 1",
        "SELECT pdf.x",
        "SELECT _df.x, x$df.y, 1df.y",
        "SELECT édf.x",
        "SELECT df",
        "SELECT df_held.x",
        "SELECT 'a' ~> 'b'",
        "<?xml version='1.0'?>",
        "CREATE EXTENSION hstore; SELECT 'pg_durable'",
        "SET pg_durable.max_user_connections = 1",
        "INSERT INTO t VALUES ('" + "x" * 10_000 + "'); CREATE EXTENSION pg_durable",
    ],
)
def test_everything_else_is_not(text: str) -> None:
    assert not mentions_df(text.encode())
