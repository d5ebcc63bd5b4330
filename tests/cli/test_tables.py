"""Tables fit, and text in them does nothing to the terminal."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

from hypothesis import given, settings
from hypothesis import strategies as st

from durproxy.cli.live import window
from durproxy.cli.tables import Column, fitting, lines_of, one_line, print_table

texts = st.text(st.characters(codec="utf-8"), max_size=30)


@st.composite
def columns(draw: st.DrawFn) -> list[Column]:
    rows = draw(st.integers(0, 4))
    cells = st.lists(texts.map(one_line), min_size=rows, max_size=rows)
    ranks = draw(st.permutations(range(1, draw(st.integers(1, 6)))))
    rest = [
        Column(draw(texts.map(one_line)), draw(cells), rank, draw(st.booleans())) for rank in ranks
    ]
    return [Column("id", ["0" * 8] * rows), *rest]


@given(columns(), st.integers(8, 200))
def test_columns_go_by_rank_until_the_rest_fits(given_ones: list[Column], width: int) -> None:
    kept = fitting(given_ones, width)
    gone = [column for column in given_ones if column not in kept]
    assert kept[0].heading == "id"
    assert kept == [column for column in given_ones if column in kept], "in their order"
    assert all(left.rank > stays.rank for left in gone for stays in kept)
    assert sum(column.least + 2 for column in kept) - 2 <= max(width, 8)
    if gone:  # none too many
        back = [*kept, min(gone, key=lambda column: column.rank)]
        assert sum(column.least + 2 for column in back) - 2 > width


@settings(max_examples=40)  # each prints a table
@given(columns())
def test_each_row_is_one_line_that_begins_with_its_id(given_ones: list[Column]) -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        print_table(given_ones)
    lines = printed.getvalue().removesuffix("\n").split("\n")
    assert lines[0].startswith("id")
    assert [line[:8] for line in lines[1:]] == ["0" * 8] * len(given_ones[0].cells)


@given(st.text())
def test_no_control_character_gets_through(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text
    assert "\n".join(lines_of(text)).replace("\n", "").isprintable()
    assert len(lines_of(text)) == text.count("\n") + 1


@given(st.lists(st.sampled_from(["step ✓", "step ⏳", "step ○"]), min_size=1, max_size=60),
       st.integers(1, 40))  # fmt: skip
def test_window_shows_what_runs_first(steps: list[str], height: int) -> None:
    lines = ["Instance: 10000000", "Status:   ⏳ Running", *steps]
    shown = window(lines, height)
    assert len(shown) == min(height, len(lines))
    assert shown[0] == lines[0]
    if "step ⏳" in steps and height >= 4:
        assert any("step ⏳" in line for line in shown)
    left_out = sum(int(line.split()[1]) for line in shown if line.startswith("…"))
    if left_out:
        assert left_out + height - 2 == len(lines), "what is not shown is counted"
