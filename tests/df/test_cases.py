"""The language, case by case: each script of ``cases/`` prints what stands in it.

Every script runs through the proxy in both flows of the protocol with no search_path set, and
straight to the server with df on the search_path; one whose first line has ``only:`` and names of
ways runs in these. With DURPROXY_RECORD_CASES set, a run writes what it sees into the
scripts instead, to be read before it is committed.
"""

from __future__ import annotations

import os
import re
from contextlib import closing
from difflib import unified_diff
from pathlib import Path

import psycopg
import pytest

from tests.df.script import Session, transcript
from tests.fix_postgres import Role
from tests.fix_serve import Serve

CASES = sorted((Path(__file__).parent / "cases").glob("*.sql"))
WAYS = ("simple", "extended", "direct")
# the flows differ in what the proxy does, which is the same before every server
MARKS = {"extended": pytest.mark.one_postgres}
RECORDING = "DURPROXY_RECORD_CASES" in os.environ


class Cast:
    """The roles of a script: ``me`` and ``other`` may use df, ``nobody`` not; ``admin`` owns it."""

    def __init__(self, serve: Serve) -> None:
        self._home = serve.home
        self.roles: dict[str, Role] = {"admin": serve.home.owner}
        with serve.home.connect("postgres") as superuser:
            for name in ("me", "other", "nobody"):
                role = self.roles[name] = serve.home.add_role()
                superuser.execute(f"CREATE SCHEMA AUTHORIZATION {role.name}".encode())
                if name != "nobody":
                    superuser.execute("SELECT df.grant_usage(%s)", [role.name])
        self.roles["root"] = serve.home.add_role("SUPERUSER")

    def variables(self) -> dict[str, str]:
        names = {name: role.name for name, role in self.roles.items()}
        return {**names, "database": self._home.name, "group": f"group_of_{names['me']}"}


@pytest.fixture
def cast(shared_serve: Serve) -> Cast:
    return Cast(shared_serve)


def session_of(cast: Cast, serve: Serve, way: str) -> Session:
    def connect(name: str) -> psycopg.Connection:
        role = cast.roles[name]
        if way != "direct":
            return serve.connect(role)
        connection = serve.home.connect(role)
        connection.execute('SET search_path = "$user", public, df')
        return connection

    return Session(connect, cast.variables(), extended=way == "extended")


def difference(expected: str, printed: str) -> str:
    lines = expected.splitlines(), printed.splitlines()
    return "\n".join(unified_diff(*lines, "expected", "printed", n=2, lineterm=""))


def ways_of(case: Path) -> tuple[str, ...]:
    only = re.search(r"only: ([a-z, ]+)\.", case.read_text().splitlines()[0])
    return tuple(only[1].split(", ")) if only else WAYS


@pytest.mark.parametrize(
    ("case", "way"),
    [
        pytest.param(case, way, id=f"{case.stem}-{way}", marks=MARKS.get(way, ()))
        for case in CASES
        for way in ways_of(case)
    ],
)
def test_script_prints_what_stands_in_it(
    shared_serve: Serve, cast: Cast, case: Path, way: str
) -> None:
    script = case.read_text()
    with closing(session_of(cast, shared_serve, way)) as session:
        printed = transcript(script, session)
    if RECORDING and way == ways_of(case)[0]:
        case.write_text(printed)
        return
    assert printed == script, "\n" + difference(script, printed)


def test_each_number_is_used_once() -> None:
    numbers = [case.name[:3] for case in CASES]
    assert all(number.isdigit() for number in numbers)
    assert len(numbers) == len(set(numbers))
