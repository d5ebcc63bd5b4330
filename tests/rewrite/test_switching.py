"""Texts that would be another role, and texts that only look so."""

from __future__ import annotations

import pytest

from durproxy.rewrite.switching import switch_in


@pytest.mark.parametrize(
    "step",
    [
        "RESET ROLE",
        "SET ROLE bob",
        "SET LOCAL ROLE NONE",
        "SELECT 1; set session\n role to 'bob'",
        "SET SESSION AUTHORIZATION bob",
        "RESET SESSION AUTHORIZATION",
        "SET role = 'bob'",
        "SET session_authorization TO DEFAULT",
        "DISCARD ALL",
        "SELECT set_config('role', 'bob', false)",
        "SELECT pg_catalog.set_config('Role', 'none', true)",
        "SELECT set_config('ro' || 'le', 'none', true)",
        "SELECT set_config($name, 'none', true)",
        "UPDATE pg_settings SET setting = 'none' WHERE name = 'role'",
        "WITH x AS (SELECT set_config('role', 'bob', false)) SELECT * FROM x",
        "DO $$ BEGIN SET ROLE bob; END $$",
        "DO $$ BEGIN RESET /* x */ ROLE; END $$",
        "DO 'BEGIN EXECUTE ''RES'' || ''ET ROLE''; END'",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; END $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET role = 'bob' AS 'SELECT 1'",
        "ALTER FUNCTION f() SET role = 'bob'",
        "NOT SQL, reset role",
    ],
)
def test_what_changes_the_role_is_found(step: str) -> None:
    assert switch_in(step) is not None


@pytest.mark.parametrize(
    "step",
    [
        "SELECT role FROM users WHERE id = $id",
        "INSERT INTO notes VALUES ('SET ROLE bob')",
        "UPDATE users SET role = 'admin' WHERE name = $who.name",
        "SET LOCAL statement_timeout = '5s'",
        "RESET ALL",
        "SELECT set_config('search_path', 'a', true)",
        "CREATE ROLE bob",
        "GRANT bob TO ann",
        "DISCARD TEMP",
        "DO $$ BEGIN UPDATE users SET name = 'x'; END $$",
        "SELECT current_setting('role'), $rows.n FROM $all.* AS t",
    ],
)
def test_what_only_looks_so_is_not(step: str) -> None:
    assert switch_in(step) is None
