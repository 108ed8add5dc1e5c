"""``python -m cli`` is ``atomscatter``."""

from cli.app import main

if __name__ == "__main__":
    main()
