"""Cron schedules: when one matches next. Five fields, in UTC or another time zone.

Where the clocks of a zone change, a time that is left out matches at the change, and one that comes
twice matches twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from durproxy.errors import LanguageError


def next_after(cron: str, now: datetime, zone: str | None = None) -> datetime:
    """The first match after `now`, in UTC.

    Raises LanguageError when there is none: the expression is none, or no such day ever comes.
    """
    if len(cron.split()) != 5:
        raise _invalid(cron)
    try:
        schedule = croniter(cron, now.astimezone(_zone(zone)))
    except CroniterError:
        raise _invalid(cron) from None
    try:
        due: datetime = schedule.get_next(datetime)
    except CroniterError:
        raise LanguageError(
            f'Invalid cron expression "{cron}": no such day ever comes',
            hint="Its day of the month is in none of its months.",
        ) from None
    return due.astimezone(UTC)


def _zone(name: str | None) -> tzinfo:
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise LanguageError(
            f'time zone "{name}" not recognized',
            hint="The engine looks it up in the time zone database of its own system.",
        ) from None


def _invalid(cron: str) -> LanguageError:
    return LanguageError(
        f'Invalid cron expression "{cron}"',
        hint="It has five fields: minute, hour, day of month, month, day of week.",
    )
