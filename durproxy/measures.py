"""What a process counts and measures, and the form in which it tells: families of samples.

Plain numbers without locks, since each belongs to one thread of one process: counting costs a
tenth of a microsecond, measuring three. The web port adds which process it was, and writes all
of them in the form that Prometheus reads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip


class Family(TypedDict):
    """All samples of one name: label values, then a number or a histogram's report."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Sequence[str]
    samples: list[tuple[Sequence[str], Any]]


class Count:
    """Grows, for each combination of labels; one that is named at the start is told from 0."""

    def __init__(
        self, name: str, what: str, labels: Sequence[str] = (), known: Iterable[Sequence[str]] = ()
    ) -> None:
        self.name = name
        self.help = what
        self._labels = labels
        self._values: Counter[tuple[str, ...]] = Counter(
            dict.fromkeys(map(tuple, known) if labels else [()], 0)
        )

    def add(self, *labels: str, by: int = 1) -> None:
        self._values[labels] += by

    def report(self) -> Family:
        samples: list[tuple[Sequence[str], Any]] = list(self._values.items())
        return Family(
            name=self.name, help=self.help, kind="counter", labels=self._labels, samples=samples
        )


class Histogram:
    """How many values were at most so large, for each value of one label, or without one."""

    def __init__(
        self,
        name: str,
        what: str,
        bounds: Sequence[float] = SECONDS,
        label: str | None = None,
        known: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.help = what
        self._bounds = bounds
        self._labels = () if label is None else (label,)
        self._values = {value: self._empty() for value in (known if label else ("",))}

    def observe(self, value: float, label: str = "") -> None:
        found = self._values.get(label)
        if found is None:
            found = self._values[label] = self._empty()
        found[bisect_left(self._bounds, value)] += 1
        found[-1] += value

    def report(self) -> Family:
        samples: list[tuple[Sequence[str], Any]] = [
            (
                (label,) if self._labels else (),
                {"bounds": self._bounds, "counts": numbers[:-1], "sum": numbers[-1]},
            )
            for label, numbers in self._values.items()
        ]
        return Family(
            name=self.name, help=self.help, kind="histogram", labels=self._labels, samples=samples
        )

    def _empty(self) -> list[float]:
        """One number for each bound, one for what is larger, and the sum."""
        return [0] * (len(self._bounds) + 1) + [0.0]


def gauge(name: str, what: str, value: float) -> Family:
    return Family(name=name, help=what, kind="gauge", labels=(), samples=[((), value)])
