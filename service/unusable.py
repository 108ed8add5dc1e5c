"""Why a file or a structure cannot be used, while files are read."""


class UnusableError(Exception):
    """Why a file or a structure cannot be used; it does not leave reading."""
