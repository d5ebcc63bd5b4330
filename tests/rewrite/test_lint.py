"""What the proxy tells df.lint."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from durproxy.rewrite.plan import plan_text


def told(statement: str) -> Any:
    plan = plan_text(statement, "utf-8")
    assert plan.text is not None
    (literal,) = re.findall(r", reading => E'((?:[^'\\]|''|\\.)*)'", plan.text.decode())
    return json.loads(literal.replace("''", "'").replace("\\\\", "\\"))


def test_an_expression_is_told_with_its_places() -> None:
    reading = told("SELECT *\n  FROM df.lint('SELECT 1' ~>\n'SELECT 2' & df.sleep(1))")
    assert reading == {
        "written": "'SELECT 1' ~>\n'SELECT 2' & df.sleep(1)",
        "origin": [2, 16],
        "places": {"1": [3, 12], "2": [2, 27], "3": [2, 16], "4": [3, 1], "5": [3, 14]},
    }


@pytest.mark.parametrize("quote", ["$$", "'"])
def test_the_text_of_an_expression_is_told_with_places_inside(quote: str) -> None:
    inside = "df.sleep(1)\n ~> df.sleep(2)".replace("'", "''" if quote == "'" else "'")
    reading = told(f"SELECT * FROM df.lint({quote}{inside}{quote})")
    assert reading == {"places": {"1": [2, 2], "2": [1, 1], "3": [2, 5]}}


def test_what_is_wrong_is_told() -> None:
    reading = told("SELECT * FROM df.lint(expression => 'SELECT 1' ~> 'SELECT a b c')")
    assert reading["fault"] == {
        "message": 'syntax error at or near "c" in a step',
        "hint": "A step is a SQL statement as you would run it by itself.",
        "node": 3,
        "line": 1,
        "col": 63,
    }
    reading = told("SELECT * FROM df.lint('a' ~> 'b' !> 'c')")
    assert reading["fault"]["message"] == "the left side of !> must be a ?> expression"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC" in a step'),
        ("commit", "COMMIT cannot be a step: a step runs in a transaction of its own"),
        ("SELECT $x", '"$x" does not name an earlier result'),
        ("", "a step cannot be empty"),
        (" ; ", "a step cannot be empty"),
        ("SELECT df.sleep(", "syntax error at end of input in a step"),
    ],
)
def test_what_is_wrong_with_a_single_step_is_told(step: str, message: str) -> None:
    fault = told(f"SELECT * FROM df.lint('{step}')")["fault"]
    assert (fault["message"], fault["node"], fault["line"]) == (message, 1, 1)


@pytest.mark.parametrize(
    "statement",
    [
        *("SELECT df.lint('a', '{}')", "SELECT df.lint('df.sql(a))')", "SELECT df.lint()"),
        *("SELECT df.lint(' {1')", "SELECT df.lint('SELECT 1 ~> 2')"),
        *("SELECT lint('a')", "SELECT df.lint('1000000a')", "SELECT df.lint('SELECT 1')"),
    ],
)
def test_what_cannot_be_told_is_left_alone(statement: str) -> None:
    assert plan_text(statement, "utf-8").text is None
