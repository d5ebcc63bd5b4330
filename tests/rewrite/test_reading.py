"""The graph that the rewriter reads is the graph that the server builds, or both refuse."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durproxy.engine.core.validate import OPAQUE, name_problem, numbered
from durproxy.rewrite.parse import parse
from durproxy.rewrite.plan import plan_text
from durproxy.rewrite.reading import Reading, read
from tests.fix_postgres import Database

TEXTS = st.one_of(
    st.sampled_from(
        [
            "SELECT 1",
            "INSERT INTO t VALUES ('it''s', E'\\n', $x)",
            "",
            "{broken",
            '{"a":1}',
            '{"node_type":"SLEEP","query":"3"}',
            ' {"query":"SELECT 2", "node_type" : "SQL"} ',
            '{"node_type":"SQL","query":"x","result_name":"old"}',
            '{"node_type":"NONE"}',
            '{"node_type":null}',
            "[1]",
        ]
    ),
    st.text(
        st.one_of(
            st.sampled_from("'\"\\$/{}~|&é\n\t "),
            st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
        ),
        max_size=12,
    ),
)
NAMES = st.sampled_from(["'x'", "'y1'", "E'z'", "('_' || 'w')", "''", "'a b'", "NULL"])


def plain(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def dollar_quoted(text: str) -> str:
    return plain(text) if "$q$" in text or text.endswith("$") else f"$q${text}$q$"


def in_halves(text: str) -> str:
    middle = len(text) // 2
    return f"({plain(text[:middle])} || {escaped(text[middle:])})"


LITERALS = st.one_of(
    *(
        TEXTS.map(form)
        for form in (plain, escaped, dollar_quoted, in_halves, lambda t: plain(t) + "::text")
    )
)
LEAVES = st.one_of(
    LITERALS,
    LITERALS,
    LITERALS.map(lambda text: f"df.sql({text})"),
    st.integers(0, 10**9).map(lambda n: f"df.sleep({n})"),
    LITERALS.map(lambda text: f"df.break(value => {text})"),
    st.sampled_from(
        [
            "df.break()",
            "df.break(NULL)",
            "df.wait_for_signal('go')",
            "df.wait_for_signal(timeout_seconds => 5, name => 'go \"now\"')",
            "df.sql(NULL)",
            "df.wait_for_schedule('*/5 8-17 * * Mon-FRI')",
            "df.wait_for_schedule(NULL)",
            "df.http('https://a.example/é\"')",
            "df.http('http://a', 'get', timeout_seconds => 5, body => 'it''s \\ \"x\"')",
            """df.http(headers => '{"Bb": "2", "a": 1, "Ccc": true}', url => '{base}')""",
            """df.http_multipart('$x.url', 'put', '[{"filename": "f", "name": "é", "data_b64":
                "aGk="}, {"data_b64": "$x", "name": "b"}]'::jsonb, NULL, 7)""",
            "\"df\" . SEQ('a', b => 'b')",
        ]
    ),
)


#: Each {} is an expression again, each {name} a name.
FORMS = [
    *(f"{{}} {operator} {{}}" for operator in ("~>", "~>", "&", "|", "?>", "!>")),
    *("{} |=> {name}", "@> {}", "({}) ~> ({})", "({}) ?> ({}) !> ({})", "{} & ({} | {})"),
    *("df.seq({}, {})", "df.race(b => {}, a => {})", "df.join3({}, {}, {})"),
    *("df.if({}, {}, else_branch => {})", "df.if_rows('x', {}, {})", "df.as({}, {name})"),
    *("df.loop({})", "df.loop({}, condition => {})", "df.if_else_op(df.if_then_op({}, {}), {})"),
]


@st.composite
def expressions(draw: st.DrawFn, depth: int = 4) -> str:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        leaf: str = draw(LEAVES)
        return leaf
    form = draw(st.sampled_from(FORMS))
    name = draw(NAMES) if "{name}" in form else ""
    inner = [draw(expressions(depth - 1)) for _ in range(form.count("{}"))]
    return form.format(*inner, name=name)


def test_the_graph_is_what_the_server_builds(home: Database) -> None:
    with home.connect() as connection:

        @settings(
            max_examples=400,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        )
        @given(expressions())
        def check(expression: str) -> None:
            compare(connection, expression)

        check()


def compare(connection: psycopg.Connection, expression: str) -> None:
    statement = f"SELECT df.join('first', {expression})"
    reading = read(parse(statement)[0].stmt.targetList[0].val)
    plan = plan_text(statement, "utf-8")
    spliced = statement if plan.text is None else plan.text.decode()
    if refused(reading) or reading.graph is None:
        # an error beside a NULL may be folded away, or not
        with (
            contextlib.suppress(psycopg.DataError)
            if "NULL" in expression
            else pytest.raises(psycopg.DataError)
        ):
            connection.execute(spliced.encode())
    else:
        (built,) = connection.execute(spliced.encode()).fetchone() or (None,)
        assert as_text(reading.graph) == normalised(built)


def refused(reading: Reading) -> bool:
    """Whether the reading says that the server will raise an error; all here is constant."""
    if reading.problems:
        return True
    if reading.graph is None:
        return False
    nodes = [node for _, node in numbered(reading.graph)]
    return any(
        node["node_type"] == OPAQUE or name_problem(node.get("result_name")) is not None
        for node in nodes
    )


def as_text(graph: dict[str, Any] | None) -> str | None:
    return None if graph is None else json.dumps(graph, ensure_ascii=False, separators=(",", ":"))


def normalised(built: str | None) -> str | None:
    """The server keeps the spelling of a node that was written by hand."""
    return None if built is None else as_text(json.loads(built))


def test_steps_keep_every_character(home: Database) -> None:
    """Without a node written by hand the texts are equal to the byte, not only the graphs."""
    text = 'it\'s \\ "quoted" é😀 \x7f \t\n'
    statement = f"SELECT df.seq({plain(text)}, {escaped(text)} |=> 'x')"
    reading = read(parse(statement)[0].stmt.targetList[0].val)
    plan = plan_text(statement, "utf-8")
    assert plan.text is not None
    with home.connect() as connection:
        (built,) = connection.execute(plan.text).fetchone() or (None,)
    assert built == as_text(reading.graph)


def test_what_is_not_constant_is_opaque() -> None:
    for expression in ("$1", "a.b", "f('x')", "CASE WHEN a THEN 'x' END", "'a' || b", "1.5"):
        graph = read(parse(f"SELECT df.seq('a', {expression})")[0].stmt.targetList[0].val).graph
        assert graph is not None
        assert graph["right_node"] == {"node_type": OPAQUE}
