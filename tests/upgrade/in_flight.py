"""The workflows that a release leaves behind, each stopped in a state of its own.

Timers are longer than making the fixture takes and shorter than a test may wait. A step that is
to be in flight waits for a row of app.gate that somebody has locked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SETUP = """
CREATE SCHEMA app;
CREATE TABLE app.effects (label text, what text);
CREATE TABLE app.gate (label text PRIMARY KEY);
CREATE TABLE app.switch (n int);
INSERT INTO app.switch VALUES (0);
"""
SCHEDULED = "SELECT df.schedule('yearly', '0 0 1 1 *', 'SELECT 1', 'Europe/Berlin')"
TIMER = 40  # seconds
GATE = "$$SELECT 1 AS passed FROM app.gate WHERE label = '{sys_label}' FOR UPDATE$$"
SWITCHED = "$$SELECT 10 / n AS ten FROM app.switch$$"
PASSED = '{"rows":[{"passed":1}],"row_count":1}'
WRITTEN = '{"rows":[],"row_count":1}'
ITEMS = ("item 1", "item 2", "item 3", "item 4")


def effect(what: str) -> str:
    """A step that leaves a trace."""
    return f"$$INSERT INTO app.effects VALUES ('{{sys_label}}', '{what}')$$"


@dataclass(frozen=True)
class Flight:
    """A workflow: how it gets where it is stopped, and how it ends from there.

    ``before`` brings it into its state, which ``placed`` knows (conditions; ``{id}`` is the
    instance); ``after`` is what its user does when the next release runs.
    """

    label: str
    start: str
    status: str
    result: str | None
    effects: tuple[str, ...]
    placed: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    in_step: bool = False  # stopped with a step in flight

    def as_json(self) -> dict[str, Any]:
        kept = ("label", "status", "result", "effects", "after")
        return {name: value for name, value in asdict(self).items() if name in kept}


def waits_for(what: str, count: int = 1) -> str:
    found = f"SELECT count(*) FROM df.waiting WHERE instance_id = '{{id}}' AND waits_for = '{what}'"
    return f"SELECT ({found}) = {count}"


def has_effects(*effects: str) -> str:
    listed = ",".join(sorted(effects))
    return (
        "SELECT coalesce(string_agg(what, ',' ORDER BY what COLLATE \"C\"), '') ="
        f" '{listed}' FROM app.effects WHERE label = '{{label}}'"
    )


def signal(name: str, data: str = "{}") -> str:
    return f"SELECT df.signal('{{id}}', '{name}', $${data}$$)"


FLIGHTS = (
    Flight(
        "half done",
        f"{effect('first')} ~> {GATE} ~> {effect('last')}",
        "completed", WRITTEN, ("first", "last"), has_effects("first"), in_step=True,
    ),
    Flight(
        "parallel",
        f"({effect('left')} & {GATE}) & (df.wait_for_signal('go') ~> {effect('right')})",
        "completed", f"[[{WRITTEN},{PASSED}],{WRITTEN}]", ("left", "right"), has_effects("left"),
        after=(signal("go"),), in_step=True,
    ),
    Flight(
        "race",
        f"({GATE} ~> {effect('gate')}) | (df.wait_for_signal('go') ~> {effect('signal')})",
        "completed", WRITTEN, ("gate",), waits_for("signal"), in_step=True,
    ),
    Flight(
        "any",
        f"df.any({GATE} ~> {effect('gate')}, $$SELECT 1 / 0$$)",
        "completed", WRITTEN, ("gate",), "SELECT true", in_step=True,
    ),
    Flight(
        "branch",
        f"{GATE} ?> {effect('yes')} !> {effect('no')}",
        "completed", WRITTEN, ("yes",), "SELECT true", in_step=True,
    ),
    Flight(
        "transaction",
        f"df.transaction({effect('one')}, {effect('two')}, {GATE})",
        "completed", PASSED, ("one", "two"), "SELECT true", in_step=True,
    ),
    Flight(
        "handler",
        f"df.catch($$SELECT 1 / 0$$, {effect('handling')} ~> {GATE}"
        f" ~> {effect('handled $error.sqlstate')})",
        "completed", WRITTEN, ("handled 22012", "handling"), has_effects("handling"), in_step=True,
    ),
    Flight(
        "cleanup",
        f"df.finally({effect('work')} ~> {GATE}, {effect('tidied')})",
        "completed", PASSED, ("tidied", "work"), has_effects("work"), in_step=True,
    ),
    Flight(
        "undoing",
        f"df.compensate({effect('booked')}, {effect('undoing')} ~> {GATE} ~> {effect('unbooked')})"
        " ~> df.wait_for_signal('never')",
        "cancelled", None, ("booked", "unbooked", "undoing"), has_effects("booked", "undoing"),
        before=(waits_for("signal"), "SELECT df.cancel('{id}')"), in_step=True,
    ),
    Flight(
        "map",
        "df.map('SELECT generate_series(1, 4) AS k',"
        " $$INSERT INTO app.effects SELECT '{sys_label}', 'item ' || $item.k$$"
        " ~> $$SELECT $item.k AS k FROM app.gate"
        " WHERE label = '{sys_label}' AND $item.k = 3 FOR UPDATE$$, 2)",
        "completed",
        '[{"rows":[],"row_count":0},{"rows":[],"row_count":0},'
        '{"rows":[{"k":3}],"row_count":1},{"rows":[],"row_count":0}]',
        ITEMS, has_effects(*ITEMS), in_step=True,
    ),
    Flight(
        "signalled",
        "df.wait_for_signal('first') ~> (df.wait_for_signal('second') |=> 's')"
        " ~> 'SELECT $s.data AS data'",
        "completed", '{"rows":[{"data":{"n": 2}}],"row_count":1}', (), waits_for("signal"),
        before=(signal("second", '{"n": 2}'),), after=(signal("first"),),
    ),
    Flight(
        "looping",
        f"df.loop({effect('round')} ~> df.wait_for_signal('next'),"
        " $$SELECT count(*) < 5 FROM app.effects WHERE label = '{sys_label}'$$)",
        "completed", '{"signal_name":"next","timed_out":false,"data":5}', ("round",) * 5,
        has_effects("round", "round", "round"),
        before=(signal("next", "1"), signal("next", "2")),
        after=(signal("next", "3"), signal("next", "4"), signal("next", "5")),
    ),
    Flight(
        "names",
        "('SELECT 41.50::numeric(10, 2) AS n, ''\\x00ff''::bytea AS b, ''12:30+02''::timetz AS t'"
        " |=> 'x')"
        " ~> df.wait_for_signal('go')"
        " ~> 'SELECT $x.n + 0.50 AS n, encode($x.b, ''hex'') AS b, pg_typeof($x.t)::text AS t'",
        "completed",
        '{"rows":[{"n":"42.00","b":"00ff","t":"time with time zone"}],"row_count":1}', (),
        waits_for("signal"), after=(signal("go"),),
    ),
    Flight(
        "saga",
        f"df.compensate({effect('booked')}, {effect('unbooked')}) ~> df.wait_for_signal('go')"
        " ~> $$SELECT 1 / 0$$",
        "failed", None, ("booked", "unbooked"), waits_for("signal"), after=(signal("go"),),
    ),
    Flight(
        "failed",
        f"{effect('kept')} ~> {SWITCHED}",
        "completed", '{"rows":[{"ten":2}],"row_count":1}', ("kept",),
        "SELECT df.status('{id}') = 'failed'", after=("SELECT df.rerun('{id}')",),
    ),
    Flight(
        "paused",
        f"df.wait_for_signal('go') ~> {effect('resumed')}",
        "completed", WRITTEN, ("resumed",), waits_for("resume"),
        before=(waits_for("signal"), "SELECT df.pause('{id}')", signal("go")),
        after=("SELECT df.resume('{id}')",),
    ),
    Flight(
        "condition",
        f"df.wait_for_condition('SELECT n > 0 FROM app.switch', '1 second') ~> {effect('true')}",
        "completed", WRITTEN, ("true",), waits_for("condition"),
    ),
    Flight(
        "completed",
        "'SELECT 42 AS answer'",
        "completed", '{"rows":[{"answer":42}],"row_count":1}', (),
        "SELECT df.status('{id}') = 'completed'",
    ),
    Flight(
        "retrying",
        f"df.retry({SWITCHED}, 5, '{TIMER} seconds', retry_on => '{{22012}}')",
        "completed", '{"rows":[{"ten":2}],"row_count":1}', (), waits_for("retry"),
    ),
    Flight(
        "timeout",
        f"df.catch(df.timeout(df.wait_for_signal('never'), '{TIMER} seconds'),"
        f" {effect('handled $error.sqlstate')})",
        "completed", WRITTEN, ("handled 57014",), waits_for("signal"),
    ),
    Flight(
        "sleeping",
        f"df.sleep({TIMER}) ~> {effect('woke')}",
        "completed", WRITTEN, ("woke",), waits_for("timer"),
    ),
    Flight(
        "scheduled",
        f"df.wait_for_schedule('* * * * *') ~> {effect('on time')}",
        "completed", WRITTEN, ("on time",), waits_for("schedule"),
    ),
)  # fmt: skip
