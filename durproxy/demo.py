"""``durproxy demo``: an order is placed, the engine is killed in the middle, the order completes.

Everything is real: an embedded Postgres, ``durproxy dev`` as a process, psycopg as an ordinary
client of the proxy, SIGKILL. Each claim of the story is checked in the tables; the exit code is
0 only when every one came true.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.syntax import Syntax
from rich.text import Text

from durproxy.observed import Observed

_READY_TIMEOUT = 25.0
_STORY_TIMEOUT = 45.0  # with everything
_LOOK_EVERY = 0.2  # seconds
_PSQL_LINE = re.compile(r"psql '(postgresql://\S+)'")
_READY_LINE = re.compile(r"durproxy ready ")

_TABLES = """
CREATE TABLE orders (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item   text NOT NULL,
    amount numeric NOT NULL,
    status text NOT NULL DEFAULT 'new'
);
CREATE TABLE effects (            -- what happened, one row per effect: no key guards it
    order_id bigint NOT NULL,
    effect   text NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

_ORDER = """\
SELECT df.start(
    $$ INSERT INTO orders (item, amount) VALUES ('lamp', 120) RETURNING id, amount $$ |=> 'order'
 ~> ( $$ INSERT INTO effects SELECT $order.id, 'stock reserved' $$
    & $$ INSERT INTO effects SELECT $order.id, 'card charged' FROM pg_sleep(3) $$ )
 ~> ( $$ SELECT $order.amount > 100 $$
   ?> $$ INSERT INTO effects SELECT $order.id, 'gift wrapped' $$
   !> $$ INSERT INTO effects SELECT $order.id, 'plainly packed' $$ )
 ~> df.sleep(1)
 ~> $$ INSERT INTO effects SELECT $order.id, 'shipped' $$
 ~> $$ UPDATE orders SET status = 'shipped' WHERE id = $order.id RETURNING status $$,
    'an order')
"""
_EXPECTED_EFFECTS = {"stock reserved": 1, "card charged": 1, "gift wrapped": 1, "shipped": 1}

_ROLLED_BACK = "SELECT df.start($$ INSERT INTO effects VALUES (0, 'never') $$, 'rolled back')"


@dataclass
class Story:
    """What is told on the screen, and which claims came true."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    failures: list[str] = field(default_factory=list)

    @property
    def deadline(self) -> float:
        return self.started + _STORY_TIMEOUT

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{title}[/]", align="left")

    def show(self, text: str) -> None:
        self.console.print(Text(text))

    def check(self, claim: str, true: bool) -> None:
        self.console.print(f"[green]✓[/] {claim}" if true else f"[red]✗ {claim}[/]")
        if not true:
            self.failures.append(claim)


def run() -> int:
    """Tell the story; 0 when every claim was checked and true."""
    story = Story(Console(highlight=False))
    story.chapter("An ordinary Postgres, and durproxy in front of it")
    server = Observed("dev", "--listen", "127.0.0.1:0", "--web", "off", "--log-format", "json")
    try:
        ready = server.wait_line(_READY_LINE, _READY_TIMEOUT)
        uri = server.wait_line(_PSQL_LINE, 0.0)
        story.check("durproxy dev is ready", ready is not None)
        if uri is not None:
            _tell(story, server, uri[1])
    except (psycopg.Error, _TooLate) as error:
        story.check(f"no surprise (but: {str(error).strip()})", False)
    finally:
        if story.failures:
            story.show(server.transcript())
        server.close()
    story.console.print()
    seconds = f"{time.monotonic() - story.started:.0f} s"
    if story.failures:
        story.console.print(f"[red]{len(story.failures)} claims did not come true[/] ({seconds})")
        return 1
    story.console.print(f"[bold green]Every claim was checked and came true[/] ({seconds}).")
    return 0


def _tell(story: Story, server: Observed, uri: str) -> None:
    story.show(f"psql '{uri}'")
    with psycopg.connect(uri, autocommit=True) as client:
        client.execute(_TABLES)
        _tell_rolled_back(story, client)
        instance = _tell_started(story, client)
        _tell_killed(story, server, client, instance)
        _tell_completed(story, client, instance)


def _tell_rolled_back(story: Story, client: psycopg.Connection) -> None:
    story.chapter("A start that is rolled back leaves nothing")
    with client.transaction(force_rollback=True):
        instance = _one(client, _ROLLED_BACK)
        inside = _one(client, "SELECT count(*) FROM df.list_instances()")
    story.check(f"workflow {instance} was there inside its transaction", inside == 1)
    outside = _one(client, "SELECT count(*) FROM df.list_instances()")
    status = _one(client, "SELECT df.status(%s)", instance)
    story.check("after ROLLBACK there is no workflow", outside == 0 and status is None)


def _tell_started(story: Story, client: psycopg.Connection) -> str:
    story.chapter("An order: a named result, two steps in parallel, a condition, a timer")
    story.console.print(Syntax(_ORDER, "sql", background_color="default", word_wrap=True))
    instance = str(_one(client, _ORDER))
    story.show(f"→ {instance}")
    return instance


def _tell_killed(story: Story, server: Observed, client: psycopg.Connection, instance: str) -> None:
    story.chapter("kill -9 in the middle of a step")
    charging = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE usename = current_user AND wait_event = 'PgSleep'"
    )
    with _watching(story, client, instance) as look:
        _until(lambda: _one(client, charging) == 1, "the card is being charged", story, look)
        # its sibling has committed: the kill comes between two effects of one join
        _until(lambda: _effects(client).get("stock reserved"), "the stock is reserved", story, look)
    before = str(_one(client, "SELECT df.explain(%s)", instance))
    victim = server.child_pids("engine")[0]
    os.kill(victim, signal.SIGKILL)
    story.show(before)
    story.show(f"$ kill -9 {victim}")
    story.check(
        "the step had not committed when the engine died", _effects(client) == {"stock reserved": 1}
    )
    ended = server.wait_event("child.ended", 5.0, pid=victim)
    story.check(
        "the engine died by SIGKILL", ended is not None and ended.get("signal") == "SIGKILL"
    )
    _until(lambda: len(server.events("child.ready", kind="engine")) == 2, "another engine", story)
    story.check("the supervisor started another one", server.child_pids("engine") != [victim])


def _tell_completed(story: Story, client: psycopg.Connection, instance: str) -> None:
    story.chapter("The order completes, each effect exactly once")
    with _watching(story, client, instance) as look:
        over = ("completed", "failed", "cancelled")
        _until(
            lambda: _one(client, "SELECT df.status(%s)", instance) in over, "the end", story, look
        )
    story.show(str(_one(client, "SELECT df.explain(%s)", instance)))
    status = _one(client, "SELECT df.await_instance(%s, 5)", instance)
    story.check("the workflow is completed", status == "completed")
    effects = _effects(client)
    for effect, times in effects.items():
        story.show(f"  {times} × {effect}")
    story.check("each effect stands in the table exactly once", effects == _EXPECTED_EFFECTS)
    orders = client.execute("SELECT item, amount::int, status FROM orders").fetchall()
    story.check("there is one order, and it is shipped", orders == [("lamp", 120, "shipped")])
    result = _one(client, "SELECT df.result(%s)", instance)
    story.show(f"df.result → {result}")
    story.check(
        "the result is the last step's", result == '{"rows":[{"status":"shipped"}],"row_count":1}'
    )


def _effects(client: psycopg.Connection) -> dict[str, int]:
    rows = client.execute("SELECT effect, count(*) FROM effects GROUP BY 1 ORDER BY min(at)")
    return dict(rows.fetchall())


def _one(client: psycopg.Connection, query: str, *parameters: object) -> object:
    row = client.execute(query.encode(), parameters or None).fetchone()
    return None if row is None else row[0]


class _TooLate(Exception):
    """Something that the story waits for did not happen in time."""


def _until(
    condition: Callable[[], object],
    what: str,
    story: Story,
    look: Callable[[], None] | None = None,
) -> None:
    while not condition():
        if time.monotonic() > story.deadline:
            raise _TooLate(f"waited in vain for {what}")
        if look is not None:
            look()
        threading.Event().wait(_LOOK_EVERY)


@contextmanager
def _watching(
    story: Story, client: psycopg.Connection, instance: str
) -> Iterator[Callable[[], None]]:
    """A live view of the workflow's tree; without a terminal there is nothing to animate."""
    if not story.console.is_terminal:
        yield lambda: None
        return
    with Live(console=story.console, transient=True, auto_refresh=False) as live:

        def look() -> None:
            tree = str(_one(client, "SELECT df.explain(%s)", instance))
            live.update(Panel(Text(tree), title=instance, expand=False), refresh=True)

        yield look
