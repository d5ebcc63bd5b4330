"""What all processes of this ``serve`` have reported, in the form that Prometheus reads.

Each process counts for itself, and its index is a label: a restart is a counter's reset, which
Prometheus understands, and nothing has to be kept for a process that is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from durproxy import __version__
from durproxy.measures import Family

_SUPERVISOR = "supervisor"


def exposition(reports: Mapping[str, bytes], home: Iterable[Family] = ()) -> bytes:
    """The page for these reports, by the name of who sent them, and for the home's families."""
    registry = CollectorRegistry()
    registry.register(_Page({name: json.loads(told) for name, told in reports.items()}, home))
    return generate_latest(registry)


class _Page(Collector):
    """One scrape."""

    def __init__(self, reports: Mapping[str, Any], home: Iterable[Family]) -> None:
        self._reports = reports
        self._home = home

    def collect(self) -> Iterator[Metric]:
        info = InfoMetricFamily("durproxy_build", "version of durproxy")
        info.add_metric([], {"version": __version__})
        yield info
        yield from self._about_children(self._reports.get(_SUPERVISOR, {}).get("children", ()))
        metrics: dict[str, Metric] = {}
        for name, families in sorted(self._reports.items()):
            kind, _, index = name.partition("-")
            for family in families if name != _SUPERVISOR else ():
                _add(metrics, family, [kind], [index])
        for family in self._home:
            _add(metrics, family, [], [])
        yield from metrics.values()

    def _about_children(self, children: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
        labels = ["kind", "index"]
        up = GaugeMetricFamily("durproxy_child_up", "whether the process is at work", labels=labels)
        starts = CounterMetricFamily(
            "durproxy_child_starts", "how often the process was started", labels=labels
        )
        ends = CounterMetricFamily(
            "durproxy_child_ends", "how often the process has ended", labels=[*labels, "how"]
        )
        for child in children:
            values = [str(child[label]) for label in labels]
            up.add_metric(values, float(child["ready"]))
            starts.add_metric(values, child["starts"])
            for how, times in child["ends"].items():
                ends.add_metric([*values, how], times)
        yield from (up, starts, ends)


def _add(metrics: dict[str, Metric], family: Family, whose: list[str], who: list[str]) -> None:
    """The samples of one process, with a label that says which it is."""
    name = family["name"]
    labels = [*whose, *family["labels"]]
    match family["kind"]:
        case "counter":
            counter = metrics.setdefault(
                name, CounterMetricFamily(name, family["help"], labels=labels)
            )
            assert isinstance(counter, CounterMetricFamily)
            for values, number in family["samples"]:
                counter.add_metric([*who, *values], number)
        case "gauge":
            gauge = metrics.setdefault(name, GaugeMetricFamily(name, family["help"], labels=labels))
            assert isinstance(gauge, GaugeMetricFamily)
            for values, number in family["samples"]:
                gauge.add_metric([*who, *values], number)
        case "histogram":
            histogram = metrics.setdefault(
                name, HistogramMetricFamily(name, family["help"], labels=labels)
            )
            assert isinstance(histogram, HistogramMetricFamily)
            for values, told in family["samples"]:
                bounds = [*map(floatToGoString, told["bounds"]), "+Inf"]
                buckets = list(zip(bounds, accumulate(told["counts"]), strict=True))
                histogram.add_metric([*who, *values], buckets, told["sum"])
