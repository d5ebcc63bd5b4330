"""Who may give and take the use of df: as far as the role that asks may, whoever carries it out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from tests.fix_postgres import Database, Role
from tests.store.asking import refusal, rows, value
from tests.store.conftest import Connect
from tests.waiting import wait_until

HTTP = "has_function_privilege(%s, 'df.http(text, text, text, jsonb, integer)', 'EXECUTE')"
USES = "has_table_privilege(%s, 'df.instances', 'SELECT')"


@pytest.fixture
def manager(store: Database, owner: psycopg.Connection) -> Role:
    """May pass on the use of df."""
    role = store.add_role()
    owner.execute("SELECT df.grant_usage(%s, with_grant => true)", [role.name])
    return role


def has(session: psycopg.Connection, right: str, role: Role) -> bool:
    return bool(value(session, f"SELECT {right}", [role.name]))


@pytest.mark.one_postgres
def test_http_is_passed_on_only_by_who_may_pass_it_on(
    store: Database, connect: Connect, owner: psycopg.Connection, manager: Role
) -> None:
    managing, other = connect(manager), store.add_role()
    give = "SELECT df.grant_usage(%s, include_http => true, with_grant => %s)"
    by_hand = "INSERT INTO df._commands (verb, name, payload) VALUES ('grant_usage', %s, %s)"
    for step in ("nothing", "the use of it"):
        for role in (manager, other):
            for and_more in (False, True):
                refused = refusal(managing, give, [role.name, and_more])
                assert refused.sqlstate == "42501", step
                assert "function http" in (refused.message_primary or "")
            assert refusal(managing, by_hand, [role.name, "include_http"]).sqlstate == "42501"
        owner.execute("SELECT df.grant_usage(%s, include_http => true)", [manager.name])
    assert not has(owner, HTTP, other)
    owner.execute(give.encode(), [manager.name, True])
    managing.execute(give.encode(), [other.name, False])
    assert has(owner, HTTP, other)


@pytest.mark.one_postgres
def test_who_may_give_it_may_not_make_others_give_it_without_the_option(
    store: Database, connect: Connect, owner: psycopg.Connection, user: Role
) -> None:
    function = "FUNCTION df.grant_usage(text, boolean, boolean)"
    owner.execute(f"GRANT EXECUTE ON {function} TO {user.name}".encode())
    session, other = connect(user), store.add_role()
    refused = refusal(session, "SELECT df.grant_usage(%s, false, true)", [other.name])
    assert refused.message_primary == "permission denied to let others pass on the use of df"
    session.execute("SELECT df.grant_usage(%s)", [other.name])
    assert has(owner, USES, other)


def powerful(store: Database, owner: psycopg.Connection, kind: str) -> Role:
    """A role that has more than the use of df."""
    if kind in ("superuser", "owner"):
        return Role("postgres", "") if kind == "superuser" else store.owner
    role = store.add_role()
    if kind in ("one of the owners", "engine"):
        group, member = (role.name, store.role) if kind == "engine" else (store.role, role.name)
        store.psql(f"GRANT {group} TO {member}", "postgres")
    if kind == "manager":
        owner.execute("SELECT df.grant_usage(%s, with_grant => true)", [role.name])
    elif kind != "one of the owners":
        owner.execute(f"SELECT df.grant_{kind}(%s)".encode(), [role.name])
    return role


@pytest.mark.parametrize(
    "kind",
    ["viewer", "operator", "engine", "manager", "owner", "superuser", "one of the owners"],
)
def test_from_the_powerful_only_the_owner_takes(
    store: Database, connect: Connect, owner: psycopg.Connection, manager: Role, kind: str
) -> None:
    target = powerful(store, owner, kind)
    refused = refusal(connect(manager), "SELECT df.revoke_usage(%s)", [target.name])
    assert refused.sqlstate == "42501"
    assert has(owner, "has_schema_privilege(%s, 'df', 'USAGE')", target)
    if kind in ("viewer", "operator", "engine", "manager"):
        owner.execute("SELECT df.revoke_usage(%s)", [target.name])
        assert not has(owner, "has_schema_privilege(%s, 'df', 'USAGE')", target)


@pytest.mark.one_postgres
def test_who_passes_it_on_takes_no_more_than_it_could_give(
    connect: Connect, owner: psycopg.Connection, manager: Role, user: Role
) -> None:
    owner.execute("SELECT df.grant_usage(%s, include_http => true)", [user.name])
    connect(manager).execute("SELECT df.revoke_usage(%s)", [user.name])
    assert not has(owner, USES, user)
    assert has(owner, HTTP, user)  # of no use without the rest
    owner.execute("SELECT df.revoke_usage(%s)", [user.name])
    assert not has(owner, HTTP, user)


VERBS = ("grant_usage", "grant_viewer", "grant_operator", "grant_engine", "revoke_usage")


@pytest.mark.one_postgres
@pytest.mark.parametrize("verb", VERBS)
def test_an_order_by_hand_takes_the_right_to_the_function(
    connect: Connect, session: psycopg.Connection, user: Role, manager: Role, verb: str
) -> None:
    order = "INSERT INTO df._commands (verb, name) VALUES (%s, %s)"
    refused = refusal(session, order, [verb, user.name])
    assert refused.message_primary == f"permission denied for function {verb}"
    if verb in VERBS[1:4]:
        assert refusal(connect(manager), order, [verb, manager.name]).sqlstate == "42501"
    forged = "INSERT INTO df._commands (verb, name, who) VALUES (%s, %s, 'postgres')"
    assert refusal(connect(manager), forged, [verb, user.name]).sqlstate == "42501"


def test_it_is_the_role_that_asks_which_counts(
    store: Database, connect: Connect, owner: psycopg.Connection, user: Role, manager: Role
) -> None:
    """Under SET ROLE, in functions of others, and by membership."""
    superuser, viewer = connect("postgres"), store.add_role()
    owner.execute("SELECT df.grant_viewer(%s)", [viewer.name])
    take = f"SELECT df.revoke_usage('{viewer.name}')"
    # a login that becomes the manager is the manager
    superuser.execute(f"SET ROLE {manager.name}".encode())
    assert refusal(superuser, take).sqlstate == "42501"
    superuser.execute("RESET ROLE")
    # the owner, in a function of somebody else's, is somebody else
    superuser.execute(f"GRANT CREATE ON SCHEMA public TO {user.name}, {manager.name}".encode())
    for role in (user, manager):
        body = f"LANGUAGE sql SECURITY DEFINER AS $$ {take} $$"
        name = f"public.lend_{role.name}()"
        connect(role).execute(f"CREATE FUNCTION {name} RETURNS void {body}".encode())
        for session in (owner, superuser):
            assert refusal(session, f"SELECT {name}").sqlstate == "42501"
    # who inherits from the owner may what the owner may; who does not must become the owner
    heir, stranger = store.add_role(), store.add_role("NOINHERIT")
    superuser.execute(f"GRANT {store.role} TO {heir.name}, {stranger.name}".encode())
    session = connect(stranger)
    assert refusal(session, take).sqlstate == "42501"
    session.execute(f"SET ROLE {store.role}".encode())
    session.execute(take.encode())
    connect(heir).execute("SELECT df.grant_viewer(%s)", [viewer.name])
    connect(heir).execute(take.encode())
    assert not has(owner, USES, viewer)


def test_an_old_snapshot_shows_no_old_rights(
    store: Database, connect: Connect, owner: psycopg.Connection, manager: Role, user: Role
) -> None:
    other = store.add_role()
    with closing(store.connect(manager)) as managing:
        managing.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        managing.execute("SELECT count(*) FROM df.instances")  # takes the snapshot
        owner.execute("SELECT df.grant_viewer(%s)", [user.name])
        assert refusal(managing, "SELECT df.revoke_usage(%s)", [user.name]).sqlstate == "42501"
        managing.execute("ROLLBACK")
        managing.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        managing.execute("SELECT count(*) FROM df.instances")
        owner.execute("SELECT df.revoke_usage(%s)", [manager.name])
        assert refusal(managing, "SELECT df.grant_usage(%s)", [other.name]).sqlstate == "42501"


def test_a_right_that_is_taken_while_its_order_waits_is_gone(
    store: Database, connect: Connect, manager: Role
) -> None:
    managing, other = connect(manager), store.add_role()
    waits = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"
    with closing(store.connect(autocommit=False)) as owning, ThreadPoolExecutor(1) as pool:
        owning.execute("SELECT df.revoke_usage(%s)", [manager.name])
        refused = pool.submit(refusal, managing, "SELECT df.grant_usage(%s)", [other.name])
        pid = managing.info.backend_pid
        wait_until(lambda: owning.execute(waits, [pid]).fetchone() is not None, "it waits")
        owning.commit()
        assert refused.result().sqlstate == "42501"


@pytest.mark.one_postgres
def test_what_was_given_and_taken_is_in_the_audit(
    store: Database,
    connect: Connect,
    owner: psycopg.Connection,
    manager: Role,
    session: psycopg.Connection,
) -> None:
    other = store.add_role()
    managing = connect(manager)
    managing.execute("SELECT df.grant_usage(%s, with_grant => true)", [other.name])
    mine = "SELECT action, owner, role, detail FROM df.audit ORDER BY at"
    me, they = manager.name, other.name
    given = [("grant_usage", they, me, "with_grant")]
    assert rows(connect(other), mine) == given
    assert rows(managing, mine) == [("grant_usage", me, store.role, "with_grant"), *given]
    assert rows(session, f"SELECT FROM ({mine}) a WHERE owner = '{they}'") == []
    owner.execute("SELECT df.revoke_usage(%s)", [they])
    last = "SELECT action, role FROM df.audit WHERE owner = %s ORDER BY at DESC LIMIT 1"
    assert rows(owner, last, [they]) == [("revoke_usage", store.role)]


@pytest.mark.one_postgres
def test_it_is_told_when_a_role_has_the_use_of_df_still(
    connect: Connect, owner: psycopg.Connection, manager: Role, add_user: Callable[[], Role]
) -> None:
    user = add_user()
    by_hand = f"GRANT USAGE ON SCHEMA df TO {user.name}"
    connect(manager).execute(by_hand.encode())
    told: list[str | None] = []
    owner.add_notice_handler(lambda notice: told.append(notice.message_primary))
    owner.execute("SELECT df.revoke_usage(%s)", [user.name])
    assert told == [f'role "{user.name}" may still use df']
