"""Which model a command uses, and where it may write one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomscatter.errors import ConfigError

if TYPE_CHECKING:
    from atomscatter.ensemble import Ensemble

EMBEDDED = "embedded"

Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="Directory of the model, or the word embedded. Default: embedded, the one of Li and Si.",
        show_default=False,
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace a model that is there already. Default: nothing is done.")
]


def model_directory(model: str | Path) -> Path:
    """The directory of a model that the user named; a directory called "embedded" comes before the word."""
    from service.default_model import embedded_model

    return embedded_model() if str(model) == EMBEDDED and not Path(model).exists() else Path(model)


def load_model(model: Path | None) -> Ensemble:
    """The model that the user named; None: the embedded one.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    from atomscatter.ensemble import Ensemble
    from service.default_model import embedded_model

    return Ensemble.load(embedded_model() if model is None else model_directory(model))


def require_new_model(option: str, directory: Path, force: bool) -> None:
    """Refuse, before anything is computed, a directory that a model must not be written to.

    Raises:
        ConfigError: a model is there, and ``force`` is not set.
        ModelError: it is a file, or holds something that is not a model.
    """
    from atomscatter.model_files import CARD_FILE
    from service.model_directory import require_model_place

    require_model_place(directory)
    if not force and (directory / CARD_FILE).exists():
        raise ConfigError(
            f"{option} {directory}: there is a model already; name another directory, or replace it (--force)"
        )
