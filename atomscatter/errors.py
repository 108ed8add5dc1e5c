"""The errors that the library raises; each says what is wrong and where."""


class AtomscatterError(Exception):
    """Base of every error that is raised on purpose; the message is meant for users."""


class ConfigError(AtomscatterError, ValueError):
    """A setting or parameter has a value that cannot work."""


class DataError(AtomscatterError, ValueError):
    """Input data (a file, an energy, an id) cannot be used; the message names file and index."""


class StructureError(AtomscatterError, ValueError):
    """A structure cannot be featurized; ``reason`` says why, without naming a file."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FitError(AtomscatterError):
    """A model cannot be fitted to the data given."""


class ModelError(AtomscatterError):
    """A stored model is missing, damaged, or does not fit the request."""


class StoreError(AtomscatterError):
    """A feature store is missing, damaged, or was made with another configuration."""


class BusyStoreError(StoreError):
    """Another process is writing to the feature store."""


class StorageError(StoreError):
    """The storage of a feature store does not answer, is full, or fails; the message names it."""


class WorkerError(AtomscatterError):
    """Distributed work could not be completed; the message names the unit of work."""
