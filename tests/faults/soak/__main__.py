"""`./scripts/soak`: three workers, random workflows, random faults, exact accounting at the end.

Exit code 0: every workflow that was started has ended, and has done what it should, once. With
`--weaken` a rule of the protocol is taken away first, to see that the accounting notices.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from random import Random

import psycopg

from tests.faults.relay import Relay
from tests.faults.soak.faults import Faults
from tests.faults.soak.users import Users
from tests.fix_http import Web, serving_web
from tests.fix_postgres import BINDIRS, Database, Postgres, install_checked
from tests.fix_serve import Serve
from tests.waiting import wait_until

_LEASE = 1.5
_PATIENCE = 180.0  # seconds for everything to end once the faults are over
_REPORT_EVERY = 60.0
# what each weakened variant does to every function of the protocol that has the words
_WEAKER = {
    "token": ("i.token = p_token", "true"),
    "once": ("RAISE EXCEPTION 'node % of instance \"%\" has finished before'",
             "RAISE NOTICE 'node % of instance \"%\" has finished before'"),
    "frames": ("f.status = 'o' AND f.n = p_rounds[k] FOR SHARE", "true FOR SHARE"),
}  # fmt: skip


@dataclass
class Verdict:
    """What the accounting found."""

    workflows: int = 0
    effects: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--at-once", type=int, default=60, help="workflows that have not ended")
    parser.add_argument("--postgres", choices=list(BINDIRS), default=next(iter(BINDIRS)))
    parser.add_argument("--weaken", choices=list(_WEAKER))
    options = parser.parse_args()
    _say("begin", seed=options.seed, postgres=options.postgres, minutes=options.minutes)
    with ExitStack() as stack:
        postgres = Postgres(BINDIRS[options.postgres])
        stack.callback(postgres.stop)
        home = _home(postgres, options.weaken)
        web = stack.enter_context(serving_web())
        relay = stack.enter_context(closing(Relay("127.0.0.1", postgres.port)))
        serve = stack.enter_context(closing(_serve(home, relay)))
        serve.wait_ready()
        random = Random(options.seed)
        users = stack.enter_context(closing(Users(random, serve, web.url)))
        faults = Faults(random, serve, relay, postgres, _LEASE)
        _run(users, faults, serve, options.minutes * 60, options.at_once)
        verdict = _account(home, users, web)
    report: dict[str, object] = {
        "workflows": verdict.workflows, "statuses": verdict.statuses, "effects": verdict.effects,
        "faults": faults.done, "asked": users.asked, "wrong": len(verdict.wrong),
    }  # fmt: skip
    _say("end", **report)
    for wrong in verdict.wrong[:50]:
        _say("wrong", workflow=wrong)
    return 1 if verdict.wrong else 0


def _home(postgres: Postgres, weaken: str | None) -> Database:
    home = postgres.fresh_database()
    install_checked(home.dsn)
    with home.connect() as owner:
        # the cluster's default loses what was committed last
        owner.execute(f"ALTER DATABASE {home.name} SET synchronous_commit = on".encode())
        owner.execute(
            "CREATE TABLE effects"
            " (workflow int, label int, at timestamptz DEFAULT clock_timestamp())"
        )
        owner.execute(
            "CREATE TABLE started (workflow int PRIMARY KEY, id text, status text, paused text)"
        )
        owner.execute("CREATE INDEX ON effects (workflow, label)")
        owner.execute("CREATE SEQUENCE flaky")
        owner.execute("CREATE TABLE small ()")
        if weaken is not None:
            _weaken(owner, *_WEAKER[weaken])
    return home


def _weaken(owner: psycopg.Connection, old: str, new: str) -> None:
    functions = owner.execute(
        "SELECT pg_get_functiondef(oid) FROM pg_proc"
        " WHERE pronamespace = 'df'::regnamespace AND prosrc LIKE '%%' || %s || '%%'",
        [old.replace("%", r"\%").replace("_", r"\_")],
    ).fetchall()
    assert functions, f'no function has "{old}"'
    for (text,) in functions:
        owner.execute(text.replace(old, new).encode())


def _serve(home: Database, relay: Relay) -> Serve:
    settings: dict[str, object] = {
        "upstream": f"host=127.0.0.1 port={relay.port} dbname={home.name} user={home.owner.name}"
        f" password={home.owner.password} sslmode=disable gssencmode=disable",
        "engines": 3, "lease": _LEASE, "poll_interval": 1.0, "http_allow_private": True,
        "retention_instances": 0, "max_user_connections": 5,
    }  # fmt: skip
    return Serve(home, settings, {})


def _run(users: Users, faults: Faults, serve: Serve, seconds: float, most: int) -> None:
    begun = reported = time.monotonic()
    while (now := time.monotonic()) - begun < seconds:
        users.turn(most)
        faults.turn()
        if now - reported > _REPORT_EVERY:
            reported = now
            serve.forget_log()
            _say("so far", started=len(users.workflows), unended=len(users.unended))
    faults.end()
    wait_until(lambda: users.settle() == 0, "everything has ended", _PATIENCE)


def _account(home: Database, users: Users, web: Web) -> Verdict:
    verdict = Verdict()
    found: dict[int, Counter[int]] = {}
    with home.connect() as owner:
        for number, label, times in owner.execute(
            "SELECT workflow, label, count(*) FROM effects GROUP BY 1, 2"
        ):
            found.setdefault(number, Counter())[label] = times
            verdict.effects += times
        started = owner.execute("SELECT workflow, status, paused FROM started").fetchall()
        last: dict[int, float] = {}
        for number, at in owner.execute(
            "SELECT workflow, extract(epoch FROM max(at)) FROM effects"
            " WHERE (workflow, label) IN (SELECT * FROM unnest(%s::int[], %s::int[])) GROUP BY 1",
            _forward(users),
        ):
            last[number] = float(at)
    calls = _calls(web)
    for number, status, paused in started:
        verdict.workflows += 1
        verdict.statuses[status] += 1
        wrong = _wrong(users, number, status, found.get(number, Counter()))
        if wrong is None and paused is not None and paused.startswith("set aside"):
            wrong = paused
        if wrong is None and number in users.cancelled_at and status == "cancelled":
            late = last.get(number, 0.0) - users.cancelled_at[number]
            wrong = f"an effect {late:.3f} s after the cancel" if late > 0 else None
        if wrong is None and max(calls.get(number, Counter([0])).values()) > 1:
            wrong = "a call had more than one Idempotency-Key"
        if wrong is not None:
            verdict.wrong.append(f"{number} ({status}): {wrong}: {users.workflows[number].text}")
    unknown = found.keys() - {number for number, _, _ in started}
    verdict.wrong += [f"{number}: effects of what never started" for number in unknown]
    return verdict


def _wrong(users: Users, number: int, status: str, found: Counter[int]) -> str | None:
    workflow = users.workflows[number]
    if status == "cancelled":
        return workflow.after_cancel(found)
    if (status == "failed") != workflow.fails:
        return "it should have " + ("failed" if workflow.fails else "completed")
    if found != workflow.effects:
        more, less = found - workflow.effects, workflow.effects - found
        return f"too often {dict(more)}, missing {dict(less)}"
    return None


def _forward(users: Users) -> tuple[list[int], list[int]]:
    """The labels of cancelled workflows that nothing but a forward step writes."""
    numbers, labels = [], []
    for number in users.cancelled_at:
        workflow = users.workflows[number]
        for label in (
            workflow.effects.keys() - workflow.cleanups - set(workflow.compensated.values())
        ):
            numbers.append(number)
            labels.append(label)
    return numbers, labels


def _calls(web: Web) -> dict[int, Counter[int]]:
    """How many keys each call came with."""
    keys: dict[tuple[int, int], set[str]] = {}
    for asked in web.asked:
        _, _, number, label = asked.path.split("/")
        keys.setdefault((int(number), int(label)), set()).add(asked.headers["idempotency-key"])
    calls: dict[int, Counter[int]] = {}
    for (workflow, call), known in keys.items():
        calls.setdefault(workflow, Counter())[call] = len(known)
    return calls


def _say(what: str, **more: object) -> None:
    print(json.dumps({"at": time.strftime("%H:%M:%S"), "what": what, **more}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
