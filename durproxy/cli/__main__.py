"""``python -m durproxy.cli``."""

from durproxy.cli.application import main

main()
