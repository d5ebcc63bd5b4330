"""Durable SQL workflows for any Postgres: point your client at the proxy's port."""

__version__ = "0.2.0.dev0"
