"""Fixtures for every test: databases on real clusters, and durproxy as a real process."""

pytest_plugins = ["tests.fix_postgres", "tests.fix_serve", "tests.fix_http"]
