"""An id that is nobody's: the error, with what may have been meant."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from durproxy.cli.asking import Home, Row
from durproxy.cli.tables import one_line
from durproxy.errors import DurproxyError

_ID = re.compile(r"[0-9a-f]{8}")
_LOOKED_AT = 2000  # the newest; ids and labels only
_ALIKE = 0.75  # of eight digits: two wrong or swapped
_SHOWN = 3

_NEWEST = """
SELECT i.id, i.label, i.status FROM df.instances i ORDER BY i.created_at DESC, i.id DESC LIMIT %s
"""


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def not_found(home: Home, given: str) -> DurproxyError:
    """The error for an id that df does not know, or that is not for this role to see."""
    known = home.rows(_NEWEST, _LOOKED_AT)
    near = near_ones(given, known)
    hint = None
    if any(row["id"] == given for row in known):  # seen, but not its own
        hint = "It is another role's; to act on it takes df.grant_operator('role')."
    elif near:
        hint = f"Perhaps you mean {' or '.join(map(_shown, near))}."
    elif not is_id(given):
        hint = 'An id has eight hexadecimal digits, as df.start returns it; see "durproxy list".'
    return DurproxyError(f'instance "{one_line(given)}" not found or access denied', hint=hint)


def near_ones(given: str, known: list[Row]) -> list[Row]:
    """What has it as its label, else what has an id that begins so or looks alike; newest first."""
    labelled = [row for row in known if row["label"] == given]
    wanted = given.strip().lower()
    beginning = [row for row in known if len(wanted) >= 2 and row["id"].startswith(wanted)]
    scored = [(_likeness(wanted, row["id"]), row) for row in known]
    best = max((score for score, _ in scored), default=0.0)
    alike = [row for score, row in scored if score == best >= _ALIKE]
    return (labelled or beginning or alike)[:_SHOWN]


def _likeness(wanted: str, known: str) -> float:
    return SequenceMatcher(None, wanted, known, autojunk=False).ratio()


def _shown(row: Row) -> str:
    about = ", ".join(filter(None, (one_line(row["label"]), row["status"])))
    return f'"{row["id"]}" ({about})'
