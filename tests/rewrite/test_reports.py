"""What the server says about a rewritten statement, as the user sees it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from durproxy.rewrite.plan import FORWARD, Plan, plan_text
from durproxy.rewrite.reports import original_fields

BLOCK = "DO $$ BEGIN x := df.seq('é' ~> 'b', @> c); END $$"


def fields(**texts: str) -> tuple[tuple[int, bytes], ...]:
    return tuple((ord(key), text.encode()) for key, text in texts.items())


def test_quoted_code_has_the_operators_of_the_user() -> None:
    code = "df.seq('é'  OPERATOR(df.~>)  'b',  OPERATOR(df.@>)  c)"
    position = str(code.index(" c)") + 2)
    told = fields(M="no c", p=position, q=code, W=f'SQL expression "{code}"', R="f")
    original = "df.seq('é' ~> 'b', @> c)"
    assert original_fields(plan_text(BLOCK, "utf-8"), told) == fields(
        M="no c",
        p=str(original.index(" c)") + 2),
        q=original,
        W=f'SQL expression "{original}"',
        R="f",
    )


def test_a_position_in_the_statement_is_moved() -> None:
    text = "SELECT df.seq('a' ~> 'b', 'c'), nosuch"
    plan = plan_text(text, "utf-8")
    assert plan.text is not None
    told = fields(M="x", P=str(plan.text.index(b"nosuch") + 1))
    assert original_fields(plan, told) == fields(M="x", P=str(text.index("nosuch") + 1))


@given(st.lists(st.tuples(st.sampled_from(b"SCMPpqWR"), st.binary(max_size=20)), max_size=6))
def test_reports_of_others_stay_as_they_are(told: list[tuple[int, bytes]]) -> None:
    known = tuple((key, value) for key, value in told if not value.isdigit())
    assert original_fields(FORWARD, known) == known
    assert original_fields(Plan(), fields(P="17", p="3")) == fields(P="17", p="3")
