"""``python -m cli`` is ``atomscatter``."""

from cli.app import main

main()
