"""How long requests take, measured on a few of them: the others cost nothing.

At the beginning of each of its spells the pump shows what has come; if that was a request that goes
on to the server, a stopwatch takes the place of the flow that reads the answer, until the answer is
complete. So there are fifty measurements a second at most, of each request if there are few. What a
client sends before the answer to the last has come is not measured, nor is what waits here.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from durproxy.measures import Family, Histogram
from durproxy.wire.states import State

if TYPE_CHECKING:
    from durproxy.proxy.link import Link
    from durproxy.proxy.pump import Pump


class Stopwatch:
    """Stands before the flow of an answer."""

    def __init__(self, link: Link, began: float, sampling: Sampling) -> None:
        self.link = link
        self._began = began
        self._sampling = sampling

    def relay(self) -> None:
        """A part of the answer has come: pass it on, and look whether it was the last."""
        link = self.link
        if len(link.expected) == 1:
            link.down.relay()
            if link.expected:
                return
            self._sampling.seconds.observe(monotonic() - self._began)
        else:  # it sends several requests at once
            link.down.relay()
        self._sampling.end(self)


class Sampling:
    """The measurements of one pump."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self.seconds = Histogram(
            "durproxy_proxy_request_seconds",
            "from a request's arrival until its whole answer has come, of a sample of requests",
        )

    def maybe_begin(self, link: Link, began: float) -> None:
        """Something has come on one of the link's sockets at that time, and was relayed."""
        if len(link.expected) == 1 and link.state is State.RELAYING:
            self._pump.read_answer_by(link, Stopwatch(link, began, self), link.down)

    def end(self, stopwatch: Stopwatch) -> None:
        link = stopwatch.link
        self._pump.read_answer_by(link, link.down, stopwatch)

    def report(self) -> Family:
        return self.seconds.report()
