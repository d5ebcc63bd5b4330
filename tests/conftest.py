"""Fixtures for every test: databases on real clusters, and durproxy as a real process."""

import signal

import pytest
from hypothesis import HealthCheck, settings

# what a shell runs in the background ignores Ctrl-C, and so would every process under test
signal.signal(signal.SIGINT, signal.default_int_handler)

# how quickly examples are made tells of the machine's load
settings.register_profile("tests", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

pytest_plugins = ["tests.fix_postgres", "tests.fix_serve", "tests.fix_http"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, whatever its folder: the quick check leaves it out."""
    for item in items:
        if "clusters" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)
