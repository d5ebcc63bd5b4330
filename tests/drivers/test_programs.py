"""Programs in Node, Go, Java and Rust: what their drivers do directly they do through the proxy.

They download their drivers and build, hence only in the long runs.
"""

from __future__ import annotations

import pytest

from tests.drivers.programs import PROGRAMS, Built, differences
from tests.drivers.suites.stage import Access
from tests.fix_serve import Serve


@pytest.fixture(scope="session", params=list(PROGRAMS))
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    found = PROGRAMS[request.param]
    if found.missing is not None:
        pytest.skip(found.missing)
    return Built(found, tmp_path_factory.mktemp("programs"))


@pytest.mark.soak
@pytest.mark.timeout(1000)
def test_every_check_finds_the_same_through_the_proxy(program: Built, serve: Serve) -> None:
    home = serve.home
    direct, through = (
        Access("127.0.0.1", port, home.owner.name, home.owner.password, home.name)
        for port in (home.postgres.port, serve.port)
    )
    assert differences(program.checks(direct), program.checks(through, df=True)) == {}
    assert not serve.events("connection.failed")
    assert not serve.events("connection.unreadable")
