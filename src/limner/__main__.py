"""``python -m limner`` is ``limner``."""

from limner.cli.main import main

main()
