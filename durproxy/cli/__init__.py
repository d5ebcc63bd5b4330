"""The command line: light modules say what can be typed; what it does is loaded when needed."""

from durproxy.cli.application import app, main

__all__ = ["app", "main"]
