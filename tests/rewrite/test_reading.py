"""The graph that the rewriter reads is the graph that the server builds, or both refuse."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durproxy.engine.core.numbering import numbered
from durproxy.engine.core.validate import OPAQUE, name_problem
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
            *("df.sleep('7')", "df.sleep(' +7 ')", "df.sleep('90 minutes')", "df.sleep('0 days')"),
            *("df.sleep(interval '2')", "df.sleep(duration => '1.25 seconds')", "df.sleep('-1')"),
            *("df.sleep('3 weeks'::interval)", "df.sleep(NULL)"),
            "df.wait_for_condition('SELECT \"é\" > $x', '1.5 seconds')",
            "df.wait_for_condition(check_every => '5 minutes', query => '$x')",
            "df.wait_for_condition('')",
            "df.map('SELECT 1', 'a')",
            "df.transaction('a', 'b' |=> 'x', df.sql('c'))",
            "df.transaction(VARIADIC ARRAY['a', 'b'])",
            *("df.transaction('a', df.sleep(1))", "df.parallel()", "df.any('a', NULL)"),
            "df.map(df.sleep(1), 'b')",
        ]
    ),
    st.sampled_from(
        [
            "df.retry('a', 5, '2 seconds', max_backoff => '1 hour')",
            *(
                "df.timeout('a', interval '1 day')",
                "df.timeout(after => '10 minutes', node => 'a')",
            ),
            *("df.retry('a', 0)", "df.timeout('a', '0 seconds')", "df.map('a', 'b', 0)"),
        ]
    ),
)


#: Each {} is an expression again, each {name} a name.
FORMS = [
    *(f"{{}} {operator} {{}}" for operator in ("~>", "~>", "&", "|", "?>", "!>", "<->")),
    *("{} |=> {name}", "@> {}", "({}) ~> ({})", "({}) ?> ({}) !> ({})", "{} & ({} | {})"),
    *("df.seq({}, {})", "df.race(b => {}, a => {})", "df.join3({}, {}, {})"),
    *("df.if({}, {}, else_branch => {})", "df.if_rows('x', {}, {})", "df.as({}, {name})"),
    *("df.loop({})", "df.loop({}, condition => {})", "df.if_else_op(df.if_then_op({}, {}), {})"),
    *("({} <-> {}) ~> {}", "df.compensate({}, undo => {})", "df.catch({}, {})", "df.saga({})"),
    *("df.finally(cleanup => {}, node => {})", "df.retry({})", "df.retry({}, jitter => false)"),
    *("df.timeout({}, '5 seconds')", "df.timeout({}, '1 month')", "df.map('SELECT 1', {}, 2)"),
    *("df.map(df.sql('a'), {}, tolerate => 1)", "df.parallel({})", "df.parallel({}, {}, {}, {})"),
    *("df.any({}, {})", "df.any(VARIADIC ARRAY[{}, {}])"),
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
    compare_many(home, 400)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_graphs_are_what_the_server_builds(home: Database) -> None:
    compare_many(home, 10_000)


def compare_many(home: Database, examples: int) -> None:
    with home.connect() as connection:

        @settings(
            max_examples=examples,
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
        with contextlib.suppress(*REFUSALS) if "NULL" in expression else pytest.raises(REFUSALS):
            connection.execute(spliced.encode())
    else:
        (built,) = connection.execute(spliced.encode()).fetchone() or (None,)
        assert as_text(reading.graph) == normalised(built, reading.graph)


REFUSALS = (psycopg.DataError, psycopg.NotSupportedError)
OUT_OF_RANGE = ('"max_attempts":0', '"seconds":0.0', '"max_concurrency":0', '{"query":"",')


def refused(reading: Reading) -> bool:
    """Whether the reading says that the server will raise an error; all here is constant."""
    if reading.problems:
        return True
    if reading.graph is None:
        return False
    return any(is_refused(node) for _, node in numbered(reading.graph))


def is_refused(node: dict[str, Any]) -> bool:
    if node["node_type"] == OPAQUE or name_problem(node.get("result_name")) is not None:
        return True
    is_configured = node["node_type"] in ("RETRY", "TIMEOUT", "MAP", "WAIT_CONDITION")
    return is_configured and any(part in str(node.get("query")) for part in OUT_OF_RANGE)


def as_text(graph: dict[str, Any] | None) -> str | None:
    return None if graph is None else json.dumps(graph, ensure_ascii=False, separators=(",", ":"))


def normalised(built: str | None, read_as: dict[str, Any]) -> str | None:
    """The server keeps the spelling of a node that was written by hand; and it knows all values.

    The reading has no configuration where only the server can read an argument.
    """
    if built is None:
        return None
    graph = json.loads(built)
    for (_, node), (_, other) in zip(numbered(graph), numbered(read_as), strict=True):
        if "query" not in other and node["node_type"] in ("RETRY", "TIMEOUT", "MAP"):
            del node["query"]
    return as_text(graph)


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
