"""Whether what a job needs is there."""

from __future__ import annotations

from collections.abc import Collection

from atomscatter.channels import Channel, channel_species
from atomscatter.ensemble import Ensemble
from atomscatter.errors import ConfigError, DataError
from service.datasets import Dataset, UnknownIdError
from service.job_parameters import EvaluateParameters, FeaturizeParameters, TrainParameters
from service.jobs import JobLedger
from service.path_steps import require_steps
from service.references import require_references
from service.state import StateDirectory


def require_inputs(
    state: StateDirectory,
    ledger: JobLedger,
    parameters: FeaturizeParameters | TrainParameters | EvaluateParameters,
    active: Ensemble | None = None,
) -> None:
    """Raise before a job is accepted that could only fail.

    Args:
        state: where data sets and models are.
        ledger: its jobs. (One that is opened for each question would cost the process open files.)
        parameters: of the job.
        active: the model that is meant where none is named; None: the active one of the directory.

    Raises:
        UnknownIdError: there is no such data set or job.
        ModelError: there is no such model, or it is damaged.
        ConfigError: the job that should have made the store did not; steps are wanted where each structure is
            a path of its own; the references lack an element; the data set has an element that the model does
            not know.
    """
    if isinstance(parameters, TrainParameters):
        source = ledger.get(parameters.store)
        if source.type != "featurize" or source.state != "succeeded":
            raise ConfigError(f"job {source.id} is {source.type}, {source.state}: it made no store")
        if parameters.references is not None:
            _require_references(state, parameters.references, source.parameters["dataset"])
        return
    dataset = state.datasets().get(parameters.dataset)
    if isinstance(parameters, FeaturizeParameters) and parameters.steps is not None:
        require_steps(dataset.n_structures, dataset.n_paths)
    if isinstance(parameters, EvaluateParameters):
        _require_elements(dataset, _model(state, parameters.model, active))


def _require_references(state: StateDirectory, references: Collection[str], dataset_id: str) -> None:
    try:
        elements = state.datasets().get(dataset_id).elements
    except (UnknownIdError, DataError):
        return  # the job needs only the store, and compares with that
    require_references(references, elements)


def _model(state: StateDirectory, model_id: str | None, active: Ensemble | None) -> Ensemble:
    if active is not None and model_id in (None, active.model_id):
        return active
    registry = state.registry()
    return Ensemble.load(registry.directory(model_id or registry.active))


def _require_elements(dataset: Dataset, ensemble: Ensemble) -> None:
    # Not of its transform, whose kernels take a second to load.
    known = channel_species(Channel(c["name"], c["weights"]) for c in ensemble.scattering_config["channels"])
    foreign = [symbol for symbol in dataset.elements if symbol not in known]
    if foreign:
        raise ConfigError(
            f"data set {dataset.id} contains {', '.join(foreign)}; "
            f"known elements of model {ensemble.model_id} are {', '.join(known)}"
        )
