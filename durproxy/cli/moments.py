"""Moments and durations as people read and write them; pure.

Moments are shown in the local zone (``TZ`` chooses another), and the zone is always said: once in
a column's heading, or in each cell where summer time makes them differ. JSON has UTC.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,9})\s*([smhdw])", re.IGNORECASE)
_LADDER = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def parse_since(text: str, now: datetime) -> datetime:
    """A time ago (``90s 15m 2h 3d 1w``) or an ISO 8601 date or time, local unless it says."""
    found = _AGO.fullmatch(text.strip())
    try:
        if found is not None:
            return now - timedelta(seconds=int(found[1]) * _UNITS[found[2].lower()])
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.astimezone()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f'"{text}" is neither a time ago like 2h or 3d nor a date like 2026-01-31'
        ) from None


def show_duration(seconds: float) -> str:
    """Two units at most: ``350 ms``, ``4.2 s``, ``42 s``, ``3 min 20 s``, ``2 d 4 h``."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms" if abs(seconds) >= 0.001 or not seconds else "<1 ms"
    if abs(seconds) < 10:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    sign, rest = ("-" if seconds < 0 else ""), round(abs(seconds))
    for place, (size, unit) in enumerate(_LADDER):
        if rest >= size:
            shown = f"{sign}{rest // size} {unit}"
            if place + 1 < len(_LADDER):
                below, smaller = _LADDER[place + 1]
                part = rest % size // below
                shown += f" {part} {smaller}" if part else ""
            return shown
    raise AssertionError("a duration of 10 s or more has a unit")


def show_moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def show_time(moment: datetime) -> str:
    """Of today, for lines that come as things happen."""
    return f"{moment.astimezone():%H:%M:%S}"


def column(heading: str, moments: Sequence[datetime | None]) -> tuple[str, list[str]]:
    """Heading and cells of a column of moments: the zone is in the heading where it is the same."""
    local = [None if moment is None else moment.astimezone() for moment in moments]
    zones = {moment.tzname() for moment in local if moment is not None}
    if len(zones) > 1:
        return heading, ["" if m is None else f"{m:%Y-%m-%d %H:%M:%S %Z}" for m in local]
    shown = f"{heading} ({zones.pop()})" if zones else heading
    return shown, ["" if m is None else f"{m:%Y-%m-%d %H:%M:%S}" for m in local]


def as_json(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds: sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
