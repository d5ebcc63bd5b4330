"""Rows of the home schema as the protocol's functions take and give them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from durproxy.engine.claim import Claim
from durproxy.engine.core.actions import ClosesRace, Decision, EndsInstance
from durproxy.engine.core.states import Checkpoint, CheckpointStatus, StepError, StepResult
from durproxy.engine.encoding import parse_array


def claims_of(rows: Iterable[Sequence[str | None]]) -> list[Claim]:
    return [
        Claim(
            id=row[0] or "",
            token=row[1] or "",
            graph=row[2] or "",
            variables=json.loads(row[3] or "{}"),
            label=row[4],
            role=row[5],
            fresh=row[6] == "t",
            role_id=int(row[7] or 0),
            database=row[10],
            ending=error_of(row[11]),
        )
        for row in rows
    ]


def checkpoint_of(row: Sequence[str | None]) -> Checkpoint:
    status, n, due, names, result, types, exact, error, at = row
    return Checkpoint(
        status=CheckpointStatus(status),
        result=StepResult(result, _types(types), _exact(exact)),
        error=error_of(error),
        round=int(n or 0),
        due=time_of(due),
        names=_names(names),
        at=at or "",
    )


def decision_values(decides: Decision) -> tuple[str | None, str | None]:
    """A decision as df._finish_1 takes it: which one, and who wins."""
    match decides:
        case EndsInstance():
            return "e", None
        case ClosesRace(winner):
            return "r", str(winner)
        case None:
            return None, None


def types_json(types: Sequence[tuple[str, str]] | None) -> str | None:
    return None if types is None else json.dumps(types, ensure_ascii=False)


_ERROR_FIELDS = tuple(field.name for field in fields(StepError))


def error_json(error: StepError) -> str:
    told = {name: getattr(error, name) for name in _ERROR_FIELDS}
    return json.dumps({k: v for k, v in told.items() if v is not None}, ensure_ascii=False)


def error_of(text: str | None) -> StepError | None:
    return None if text is None else StepError(**json.loads(text))


def _types(text: str | None) -> tuple[tuple[str, str], ...] | None:
    return None if text is None else tuple((name, kind) for name, kind in json.loads(text))


def _exact(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(row or "" for row in parse_array(text))


def names_json(names: Mapping[str, StepResult] | None) -> str | None:
    if not names:
        return None
    return json.dumps(
        {name: [bound.text, bound.types, bound.exact] for name, bound in names.items()},
        ensure_ascii=False,
    )


def _names(text: str | None) -> dict[str, StepResult] | None:
    if text is None:
        return None
    stored: dict[str, Any] = json.loads(text)
    return {
        name: StepResult(
            result,
            None if types is None else tuple((column, kind) for column, kind in types),
            None if exact is None else tuple(exact),
        )
        for name, (result, types, exact) in stored.items()
    }


def time_of(text: str | None) -> datetime | None:
    if text is None or text == "infinity":
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # of a year that has more than four digits: as good as never
        return None


def interval_text(delay: timedelta | None) -> str | None:
    return None if delay is None else f"{delay.total_seconds():.6f} seconds"
