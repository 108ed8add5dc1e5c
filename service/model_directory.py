"""The directory of a trained model: its files, and the report beside them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from atomscatter.ensemble import Ensemble
from atomscatter.errors import ModelError
from atomscatter.model_files import CARD_FILE, WEIGHTS_FILE
from service.disk import room_checked
from service.model_card import CardExtras, card_markdown, read_card
from service.result_files import write_text

if TYPE_CHECKING:
    from service import plots
    from service.training import TrainingReport

REPORT_DIRECTORY = "report"


def require_model_place(directory: Path) -> None:
    """Refuse, before anything is computed, a directory that a model must not be written to.

    Raises:
        ModelError: it is a file, or holds something that is not a model.
    """
    if not directory.exists():
        return
    names = {entry.name for entry in directory.iterdir()} if directory.is_dir() else {directory.name}
    if names and not (CARD_FILE in names and names <= {CARD_FILE, WEIGHTS_FILE, REPORT_DIRECTORY}):
        raise ModelError(f"{directory} exists and is not a model directory; it is left alone")


def replace_model(ensemble: Ensemble, directory: Path) -> None:
    """Write a model; the report of one that was there goes.

    Raises:
        ModelError: see :func:`require_model_place`.
        StoreError: the disk is full or cannot be written; the model is there as a whole or not at all.
    """
    require_model_place(directory)
    with room_checked(directory):
        if (directory / CARD_FILE).exists():
            shutil.rmtree(directory / REPORT_DIRECTORY, ignore_errors=True)
        ensemble.save(directory)


def save_model(ensemble: Ensemble, training: TrainingReport, directory: Path) -> None:
    """Write a model and, into its "report" directory, learning curves, parity plot and a readable card.

    Raises: as :func:`replace_model`.
    """
    replace_model(ensemble, directory)
    report = directory / REPORT_DIRECTORY
    with room_checked(directory):
        report.mkdir()
        training_plots(training, report)
        card = read_card(directory)
        write_text(report / "card.md", card_markdown(card, CardExtras()))


def training_plots(training: TrainingReport, directory: Path, colours: plots.Colours | None = None) -> None:
    """Learning curves and parity plot of the held-out paths."""
    from service import plots  # Matplotlib takes half a second, and most users of this module draw nothing

    plots.learning_curves(
        plots.LearningCurves(
            training.sizes, training.train_rmse, training.oob_rmse, training.test_rmse, training.n_selected
        ),
        directory / "learning_curves.png",
    )
    plots.parity(training.energies, training.out_of_fold, directory / "parity.png", colours=colours)
