"""Files of a stored model: a directory with its arrays and its card, written as a whole or not at all."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from atomscatter.errors import ModelError

FORMAT_VERSION = 2  # 1: features of other grids
WEIGHTS_FILE = "weights.npz"
CARD_FILE = "card.json"

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the time stamp of every member, so that equal models are equal files
# What reading a damaged archive raises: of NumPy, of zipfile (RuntimeError: an encrypted member, or one of a
# method that is not known), and TypeError where the file is a single array.
_DAMAGES = (
    *(OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def write_model(directory: str | Path, arrays: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> None:
    """Write ``directory``/weights.npz and card.json; equal contents give equal bytes.

    The directory appears complete or not at all. A model that is there already is replaced. A directory that
    has to stay where it is (:func:`_stays`) gets the files one after the other, the card last. Raises
    ModelError when the path exists and holds something that is not a model.
    """
    target = Path(directory).resolve()  # "." has no name and no parent
    if target.exists() and not _replaceable(target):
        raise ModelError(f"{directory} exists and is not a model directory; it is left alone")
    target.parent.mkdir(parents=True, exist_ok=True)
    stays = target.exists() and _stays(target)
    # Inside one that stays: what is around it may be another disk, or not ours to write to.
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target if stays else target.parent))
    try:
        scratch.chmod(0o755)
        (scratch / WEIGHTS_FILE).write_bytes(_npz(arrays))
        (scratch / CARD_FILE).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if stays:
            _move_files(scratch, target)
        else:
            _put_in_place(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_card(path: Path) -> dict[str, Any]:
    """The card; ModelError when it is missing, damaged, or of another format version."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(card, dict) or "format_version" not in card:
        raise ModelError(f"{path} is not a model card: it has no format_version")
    if card["format_version"] != FORMAT_VERSION:
        raise ModelError(
            f"{path} has format version {card['format_version']!r}; this program reads {FORMAT_VERSION}"
        )
    expected = {"model_id": str, "data_hash": str, "scattering": dict, "training": dict}
    for name, kind in expected.items():
        if not isinstance(card.get(name), kind):
            raise ModelError(f"{path} is not a model card: {name} is missing or not of the right kind")
    return card


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays by name; ModelError when they are missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing") from error
    except _DAMAGES as error:
        raise ModelError(f"{path} is damaged or not a model's weights: {error}") from error


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz file as bytes, with fixed time stamps and order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


def _replaceable(target: Path) -> bool:
    """Whether a path may be replaced by a model: an empty directory, or one that holds a model's files
    only."""
    if not target.is_dir():
        return False
    names = {entry.name for entry in target.iterdir()}
    return not names or (CARD_FILE in names and names <= {CARD_FILE, WEIGHTS_FILE})


def _stays(target: Path) -> bool:
    """Whether a directory keeps its place, and only its files change.

    One that is mounted cannot be renamed, and the working directory would go from under whoever is in it.
    Nothing is gained by renaming an empty one, which may be mounted from the same disk: that does not show.
    """
    return target.is_mount() or target == Path.cwd() or not any(target.iterdir())


def _move_files(scratch: Path, target: Path) -> None:
    """Move the files of a finished model into a directory, the card last."""
    for name in (WEIGHTS_FILE, CARD_FILE):
        (scratch / name).replace(target / name)


def _put_in_place(scratch: Path, target: Path) -> None:
    """Move a finished directory to its place; an older model is moved aside first, and put back on
    failure."""
    if not target.exists():
        scratch.replace(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        target.replace(aside / "old")
        try:
            scratch.replace(target)
        except OSError:
            (aside / "old").replace(target)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
