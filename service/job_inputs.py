"""Whether what a job needs is there."""

from __future__ import annotations

from atomscatter.errors import ConfigError
from service.jobs import EvaluateParameters, FeaturizeParameters, TrainParameters
from service.path_steps import require_steps
from service.state import StateDirectory


def require_inputs(
    state: StateDirectory, parameters: FeaturizeParameters | TrainParameters | EvaluateParameters
) -> None:
    """Raise before a job is accepted that could only fail.

    Raises:
        UnknownIdError: there is no such data set or job.
        ModelError: there is no such model.
        ConfigError: the job that should have made the store did not; steps are wanted where each structure is
            a path of its own.
    """
    if isinstance(parameters, TrainParameters):
        source = state.ledger().get(parameters.store)
        if source.type != "featurize" or source.state != "succeeded":
            raise ConfigError(f"job {source.id} is {source.type}, {source.state}: it made no store")
        return
    dataset = state.datasets().get(parameters.dataset)
    if isinstance(parameters, FeaturizeParameters) and parameters.steps is not None:
        require_steps(dataset.n_structures, dataset.n_paths)
    if isinstance(parameters, EvaluateParameters) and parameters.model is not None:
        state.registry().directory(parameters.model)
