"""Asks the rewriter what to do with a statement, and survives whatever it does."""

from __future__ import annotations

from durproxy.log import get_logger
from durproxy.proxy.statistics import Counters
from durproxy.rewrite.plan import FORWARD, Plan, Session, plan_statement

log = get_logger(__name__)


class Rewriter:
    """The rewriter in this process."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def plan(self, text: bytes, session: Session) -> Plan:
        """What to do with the statement: forward it as it is when there is no answer."""
        self._counters.statements_planned += 1
        try:
            return plan_statement(text, session)
        except Exception:  # a fault of ours must not cost the user a statement
            self._counters.rewriter_failures += 1
            log.exception("rewriter.failed", length=len(text))
            return FORWARD
