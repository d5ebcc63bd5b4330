"""What the doctor says: how bad it is, a sentence, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """ERROR: something cannot work, or what was promised does not hold."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing; `check` names what was looked at, the same in every version."""

    severity: Severity
    check: str
    sentence: str
    remedy: str

    def as_json(self) -> dict[str, str]:
        return {
            "severity": self.severity.value,
            "check": self.check,
            "sentence": self.sentence,
            "remedy": self.remedy,
        }


def error(check: str, sentence: str, remedy: str) -> Finding:
    return Finding(Severity.ERROR, check, sentence, remedy)


def warning(check: str, sentence: str, remedy: str) -> Finding:
    return Finding(Severity.WARNING, check, sentence, remedy)


def notice(check: str, sentence: str, remedy: str) -> Finding:
    return Finding(Severity.NOTICE, check, sentence, remedy)
