"""Stored models of the service, and which of them is active.

<root>/<model id>/   card.json and weights.npz, and report/ where training left one
<root>/active        id of the active model; without the file, the embedded model is active
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from atomscatter.ensemble import Ensemble
from atomscatter.errors import ModelError
from atomscatter.model_files import CARD_FILE
from service.default_model import embedded_model
from service.deletion import InUseError, delete_directory
from service.disk import room_checked

_ID = re.compile(r"[0-9a-f]{16}")
_ACTIVE = "active"


class UnknownModelError(ModelError):
    """There is no model of this id."""


class UnusableModelError(ModelError):
    """A stored model is damaged, or of a format that is not read; ``model_id`` says which one."""

    def __init__(self, model_id: str, reason: str) -> None:
        super().__init__(model_id, reason)  # all that a copy in another process is made of
        self.model_id = model_id
        self.reason = reason

    def __str__(self) -> str:
        return f"model {self.model_id} cannot be used: {self.reason}"


class ModelRegistry:
    """Models below one directory; the embedded model always belongs to them.

    Args:
        root: directory, made when the first model is added.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._embedded_id = Ensemble.load(embedded_model()).model_id

    def ids(self) -> list[str]:
        """Ids of all models, the embedded one first."""
        stored = (p.name for p in self.root.glob("*") if self._is_model(p))
        return [self._embedded_id, *sorted(set(stored) - {self._embedded_id})]

    def directory(self, model_id: str) -> Path:
        """Where a model is stored; it may be damaged. Raises UnknownModelError."""
        if model_id == self._embedded_id:
            return embedded_model()
        path = self.root / model_id
        if not self._is_model(path):
            raise UnknownModelError(f"there is no model {model_id}")
        return path

    def load(self, model_id: str) -> Ensemble:
        """A stored model, with the transform that it needs.

        Raises:
            UnknownModelError: there is no such model.
            UnusableModelError: it is damaged, or of a format that is not read.
        """
        directory = self.directory(model_id)
        try:
            ensemble = Ensemble.load(directory)
            _ = ensemble.scattering  # may not be understood; and its kernels load now
        except ModelError as error:
            raise UnusableModelError(model_id, str(error)) from error
        if ensemble.model_id != model_id:
            raise UnusableModelError(model_id, f"{directory} holds model {ensemble.model_id}")
        return ensemble

    def add(self, directory: Path) -> str:
        """Copy a model directory into the registry; its id. A model that is there already is left alone, and
        replaced if it is damaged.

        Raises:
            ModelError: the directory holds no valid model.
            StoreError: the disk is full, or cannot be written.
        """
        model_id = Ensemble.load(directory).model_id
        target = self.root / model_id
        if _holds(target, model_id):
            return model_id
        with room_checked(target):
            self.root.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
            try:
                shutil.copytree(directory, scratch / model_id)
                if target.exists():
                    target.replace(scratch / "damaged")
                (scratch / model_id).replace(target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return model_id

    @property
    def active(self) -> str:
        """Id of the active model.

        Raises:
            UnusableModelError: it is not there. Another one in its place would give other energies.
        """
        model_id = self._named_active()
        if model_id != self._embedded_id and not self._is_model(self.root / model_id):
            raise UnusableModelError(model_id, f"{self.root} does not hold it")
        return model_id

    def activate(self, model_id: str) -> None:
        """Make a model the active one, for this and later processes.

        Raises:
            UnknownModelError: there is no such model.
            StoreError: the disk is full, or cannot be written; the active model is the same as before.
        """
        self.directory(model_id)
        target = self.root / _ACTIVE
        with room_checked(target):
            self.root.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(prefix=".active-", dir=self.root)
            try:
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    file.write(model_id + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                Path(scratch).replace(target)
            finally:
                Path(scratch).unlink(missing_ok=True)

    def delete(self, model_id: str) -> None:
        """Delete a model, also a damaged one. Whether a job needs it is for the caller to know.

        Raises:
            UnknownModelError: there is no such model.
            InUseError: it is the active one, or the embedded one.
            StoreError: it cannot be deleted, and is still there.
        """
        target = self.directory(model_id)
        if model_id == self._named_active():
            raise InUseError(f"model {model_id} is the active one; activate another one first")
        if model_id == self._embedded_id:
            raise InUseError(f"model {model_id} is the embedded one, which is part of the program")
        with room_checked(target):
            delete_directory(target)

    def _named_active(self) -> str:
        """Id of the active model, which may be gone."""
        try:
            return (self.root / _ACTIVE).read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return self._embedded_id

    def _is_model(self, path: Path) -> bool:
        return bool(_ID.fullmatch(path.name)) and (path / CARD_FILE).is_file()


def _holds(directory: Path, model_id: str) -> bool:
    """Whether a directory has this model, undamaged."""
    try:
        return Ensemble.load(directory).model_id == model_id
    except ModelError:
        return False
