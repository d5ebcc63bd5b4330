"""How findings of the doctor are shown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from durproxy.cli.tables import one_line
from durproxy.doctor.findings import Finding, Severity

_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTICE: "dim"}
_WIDTH = max(len(severity.value) for severity in Severity)


def print_findings(findings: Sequence[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for finding in findings:
        mark = Text(finding.severity.value.ljust(_WIDTH), style=_STYLES[finding.severity])
        console.print(mark, one_line(finding.sentence))
        console.print(" " * _WIDTH, "->", one_line(finding.remedy), style="dim")
    if not findings:
        console.print("Nothing is missing.")
