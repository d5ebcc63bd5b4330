"""Cron schedules: when one matches next. Five fields, UTC."""

from __future__ import annotations

from datetime import datetime

from croniter import CroniterError, croniter

from durproxy.errors import LanguageError


def next_after(cron: str, now: datetime) -> datetime:
    """The first match after `now`, which must be in UTC.

    Raises LanguageError when there is none: the expression is none, or no such day ever comes.
    """
    if len(cron.split()) != 5:
        raise _invalid(cron)
    try:
        schedule = croniter(cron, now)
    except CroniterError:
        raise _invalid(cron) from None
    try:
        due: datetime = schedule.get_next(datetime)
    except CroniterError:
        raise LanguageError(
            f'Invalid cron expression "{cron}": no such day ever comes',
            hint="Its day of the month is in none of its months.",
        ) from None
    return due


def _invalid(cron: str) -> LanguageError:
    return LanguageError(
        f'Invalid cron expression "{cron}"',
        hint="It has five fields: minute, hour, day of month, month, day of week.",
    )
