"""What all processes of this ``serve`` have reported, in the form that Prometheus reads.

Each process counts for itself, and its index is a label: a restart is a counter's reset, which
Prometheus understands, and nothing has to be kept for a process that is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from durproxy import __version__
from durproxy.proxy.statistics import Counters

Metric = CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily


def exposition(reports: Mapping[str, bytes]) -> bytes:
    """The page for these reports, by the name of who sent them."""
    registry = CollectorRegistry()
    registry.register(_Reports({name: json.loads(report) for name, report in reports.items()}))
    return generate_latest(registry)


class _Reports(Collector):
    """One scrape."""

    def __init__(self, reports: Mapping[str, Mapping[str, Any]]) -> None:
        self._proxies = {
            name.partition("-")[2]: report
            for name, report in reports.items()
            if name.startswith("proxy-")
        }
        self._children = reports.get("supervisor", {}).get("children", ())

    def collect(self) -> Iterator[Metric]:
        info = InfoMetricFamily("durproxy_build", "version of durproxy")
        info.add_metric([], {"version": __version__})
        yield info
        yield from self._about_children()
        for field in fields(Counters):
            family = CounterMetricFamily if field.metadata["grows"] else GaugeMetricFamily
            metric = family(
                f"durproxy_proxy_{field.name}", field.metadata["help"], labels=["proxy"]
            )
            for index, report in self._proxies.items():
                metric.add_metric([index], report.get(field.name, 0))
            yield metric

    def _about_children(self) -> Iterator[Metric]:
        labels = ["kind", "index"]
        up = GaugeMetricFamily("durproxy_child_up", "whether the process is at work", labels=labels)
        starts = CounterMetricFamily(
            "durproxy_child_starts", "how often the process was started", labels=labels
        )
        for child in self._children:
            values = [str(child[label]) for label in labels]
            up.add_metric(values, float(child["ready"]))
            starts.add_metric(values, child["starts"])
        yield up
        yield starts
