"""The layers: what decides knows no I/O; only the shell touches sockets, clocks, processes."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "durproxy"

# What the pure cores may import besides their own modules and the harmless standard library.
CORES: dict[str, tuple[str, ...]] = {
    "wire": (),
    "engine/core": (),
    "rewrite": ("pglast", "durproxy.engine.core"),
}
# Modules that every layer may use.
SHARED = ("durproxy.errors",)

# Standard library that reaches outside the process, or that reads time or chance.
IMPURE = {
    "asyncio", "concurrent", "ctypes", "fcntl", "http", "io", "logging", "mmap", "multiprocessing",
    "os", "pathlib", "random", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip


def modules_of(core: str) -> list[Path]:
    return sorted((PACKAGE / core).rglob("*.py"))


def imports_of(module: Path) -> Iterator[str]:
    """Every module that is imported anywhere in the file, inside functions too."""
    package = module.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # "from durproxy import errors" imports durproxy.errors
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def is_within(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(allowed + ".")


def offence(core: str, name: str) -> str | None:
    """Why a module of the core may not import this; None when it may."""
    own = "durproxy." + core.replace("/", ".")
    if any(is_within(name, allowed) for allowed in (own, *CORES[core], *SHARED)):
        return None
    top = name.partition(".")[0]
    if top in IMPURE:
        return f"{name} does I/O"
    if top in sys.stdlib_module_names or top == "__future__":
        return None
    return f"{name} is outside the core"


@pytest.mark.parametrize("core", CORES)
def test_core_is_pure(core: str) -> None:
    modules = modules_of(core)
    assert modules, f"durproxy/{core} is gone: is this list still true?"
    found = [
        f"{module.relative_to(PACKAGE.parent)}: {why}"
        for module in modules
        for name in imports_of(module)
        if (why := offence(core, name)) is not None
    ]
    assert found == []


@pytest.mark.parametrize("core", CORES)
def test_core_is_synchronous_and_opens_nothing(core: str) -> None:
    for module in modules_of(core):
        for node in ast.walk(ast.parse(module.read_text())):
            where = f"{module.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 0)}"
            assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{where} may block"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "print", "input"), f"{where} does I/O"


def test_offences_are_seen() -> None:
    assert offence("wire", "struct") is None
    assert offence("wire", "durproxy.errors.ProtocolViolation") is None
    assert offence("wire", "socket") == "socket does I/O"
    assert offence("wire", "trio.lowlevel") == "trio.lowlevel is outside the core"
    assert offence("wire", "durproxy.proxy.pump") == "durproxy.proxy.pump is outside the core"
    assert offence("rewrite", "pglast.ast") is None
    assert offence("engine/core", "pglast") == "pglast is outside the core"
