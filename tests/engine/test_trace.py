"""The ids of traces and spans follow from what is stored, and from nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from durproxy.engine.core.states import Key
from durproxy.engine.trace import trace_of

AT = datetime(2026, 1, 1, tzinfo=UTC)
GIVEN = "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01"


def test_a_given_trace_is_gone_on_with() -> None:
    trace = trace_of("10000001", AT, GIVEN)
    assert (f"{trace.id:032x}", f"{trace.parent:016x}") == tuple(GIVEN.split("-")[1:3])
    again = trace_of("10000001", AT.replace(year=2027), GIVEN)
    assert trace.span_of(Key(2, "/1~2")) == again.span_of(Key(2, "/1~2"))
    assert trace.header(Key(2, ""), sampled=False).startswith(f"00-{trace.id:032x}-")


def test_each_attempt_of_each_step_of_each_workflow_has_its_own_span() -> None:
    traces = [trace_of("10000001", AT, GIVEN), trace_of("10000002", AT, GIVEN)]
    keys = [Key(2, ""), Key(3, ""), Key(2, "~2"), Key(2, "/1")]
    spans = {trace.span_of(key) for trace in traces for key in keys}
    assert len(spans | {trace.span for trace in traces}) == 10


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "ff" + GIVEN[2:],
        f"00-{'0' * 32}-c532cb4098ac3dd2-01",
        f"00-5bd66ef5095369c7b0d1f8f4bd33716a-{'0' * 16}-01",
        GIVEN.upper(),
        GIVEN + "\n",
    ],
)
def test_without_a_valid_one_a_workflow_has_a_trace_of_its_own(given: str | None) -> None:
    trace = trace_of("10000001", AT, given)
    assert (trace.given, trace.parent) == (None, None)
    assert trace == trace_of("10000001", AT, None) != trace_of("10000002", AT, None)
