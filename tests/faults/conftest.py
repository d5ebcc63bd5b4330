"""Faults are tried on one version of Postgres, and on the others in the long runs."""

from __future__ import annotations

import pytest

from tests.fix_postgres import BINDIRS, Clusters, Postgres

_FIRST, *_OTHERS = BINDIRS


@pytest.fixture(
    scope="session",
    params=[_FIRST, *(pytest.param(name, marks=pytest.mark.soak) for name in _OTHERS)],
)
def postgres(request: pytest.FixtureRequest, clusters: Clusters) -> Postgres:
    return clusters.get(BINDIRS[request.param])
