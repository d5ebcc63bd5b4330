"""df.wait_for_schedule takes the expressions that the engine's cron library takes."""

from __future__ import annotations

import psycopg
import pytest
from croniter import croniter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.asking import refusal, value

ATOMS = st.one_of(
    st.integers(0, 70).map(str),
    st.sampled_from(
        ["*", "00", "07", "0059", "jan", "DEC", "sun", "Sat", "mon", "l", "x", "", "-1"]
    ),
)
RANGES = st.tuples(ATOMS, ATOMS).map("-".join)
ELEMENTS = st.one_of(ATOMS, RANGES).flatmap(
    lambda e: st.one_of(
        st.just(e), st.sampled_from(["0", "1", "5", "99", "", "x", "2/3"]).map(lambda s: f"{e}/{s}")
    )
)
VALID = st.tuples(*(
    st.one_of(
        st.just("*"),
        st.integers(low, high).map(str),
        st.tuples(st.integers(0, high), st.integers(0, high)).map(lambda p: f"{p[0]}-{p[1]}"),
        st.tuples(st.integers(0, high), st.integers(1, 40)).map(lambda p: f"{p[0]}/{p[1]}"),
    )
    for low, high in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
)).map(list)  # fmt: skip
FIELDS = st.lists(ELEMENTS, min_size=1, max_size=2).map(",".join)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Mostly valid fields, so that one that is not decides."""
    fields = draw(VALID)
    for _ in range(draw(st.integers(0, 2))):
        fields[draw(st.integers(0, 4))] = draw(FIELDS)
    return draw(st.sampled_from([" ", "  ", "\t"])).join(fields)


def test_the_check_is_the_librarys(owner: psycopg.Connection) -> None:
    @settings(
        max_examples=1500,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(expressions())
    def check(cron: str) -> None:
        if "l" in cron.lower().replace("jul", ""):  # the last day of a month: not in our cron
            return
        expected = len(cron.split()) == 5 and croniter.is_valid(cron)
        problem = value(owner, "SELECT df._cron_problem(%s)", [cron])
        assert (problem is None) == expected, (cron, problem)

    check()


def test_the_node(session: psycopg.Connection) -> None:
    assert value(session, "SELECT df.wait_for_schedule('0 5 * * Mon-FRI')") == (
        '{"node_type":"WAIT_SCHEDULE","query":"{\\"cron_expr\\":\\"0 5 * * Mon-FRI\\"}"}'
    )
    assert value(session, "SELECT df.wait_for_schedule(NULL)") is None


@pytest.mark.parametrize(
    ("cron", "why"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 * * * *", 'minute "60"'),
        ("* 24 * * *", 'hour "24"'),
        ("* * 0 * *", 'day of month "0"'),
        ("* * * 13 *", 'month "13"'),
        ("* * * mon *", 'month "mon"'),
        ("* * * * 8", 'day of week "8"'),
        ("*/0 * * * *", 'minute "*/0"'),
        ("1,,2 * * * *", 'minute ""'),
        ("* * L * *", 'day of month "l"'),
    ],
)
def test_an_invalid_expression_is_refused_at_once(
    session: psycopg.Connection, cron: str, why: str
) -> None:
    error = refusal(session, "SELECT df.wait_for_schedule(%s)", [cron])
    assert error.sqlstate == "22023"
    assert error.message_primary is not None
    assert error.message_primary.startswith(f'Invalid cron expression "{cron}"')
    assert why in error.message_primary


def test_a_node_written_by_hand_is_checked_too(session: psycopg.Connection) -> None:
    for query in ('{\\"cron_expr\\":\\"61 * * * *\\"}', "{}"):
        graph = f'{{"node_type":"WAIT_SCHEDULE","query":"{query}"}}'
        assert "Invalid cron expression" in str(
            refusal(session, "SELECT df.start(%s)", [graph]).message_primary
        )


def test_explained(session: psycopg.Connection) -> None:
    shown = value(session, "SELECT df.explain(df.wait_for_schedule('0 5 * * *') ~> 'SELECT 1')")
    assert shown.splitlines()[0] == "WAIT SCHEDULE 0 5 * * *"
