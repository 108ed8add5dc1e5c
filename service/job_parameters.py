"""What jobs may be asked for: the parameters of each type, and their limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from atomscatter.channels import HEAVIEST, atomic_number
from service import defaults
from service.strict import Strict


def _of_an_element(symbol: str) -> str:
    """The symbol; ConfigError, a ValueError, if no element has it."""
    atomic_number(symbol)
    return symbol


Id = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Element = Annotated[str, Field(pattern="^[A-Z][a-z]?$"), AfterValidator(_of_an_element)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
JobType = Literal["featurize", "train", "evaluate"]


class FeaturizeParameters(Strict):
    """Features of a data set into a store, whose id is that of the job."""

    dataset: Id = Field(description="Id of the data set.")
    beta: float | None = Field(None, ge=0.2, le=2, description="Width of the wavelets, Angstrom.")
    scales: int | None = Field(None, ge=1, le=8, description="Number of scales.")
    precision: Literal["single", "double"] = Field("single", description="Of the fields.")
    products: bool = Field(True, description="Whether to compute products at the atoms, too.")
    steps: int | None = Field(
        None,
        ge=1,
        lt=2**31,
        description="Of each relaxation path at most so many structures, evenly spaced in the order of the "
        "data set, first and last among them (of one: the last). Default: all.",
    )
    copies: float = Field(
        defaults.COPIES,
        ge=0,
        le=1,
        description="Share of structures to be featurized again, elsewhere on the grids.",
    )


class TrainParameters(Strict):
    """A model from a store; it goes into the registry."""

    store: Id = Field(description="Id of the job that made the features.")
    folds: int = Field(defaults.FOLDS, ge=2, le=100, description="Test folds of relaxation paths.")
    bootstraps: int = Field(defaults.BOOTSTRAPS, ge=1, le=1000, description="Models per fold.")
    max_features: int = Field(
        defaults.MAX_FEATURES, ge=1, le=100_000, description="Largest number of features of a model."
    )
    seed: int = Field(defaults.SEED, ge=0, lt=2**63, description="Root of all random numbers.")
    orders: defaults.Orders = Field(defaults.ORDERS, description="Scattering orders to select from.")
    selection: defaults.Selection = defaults.SELECTION
    invariance: float = Field(
        defaults.INVARIANCE, ge=0, le=1e9, description="Weight of conditions against the error of the grids."
    )
    size_factor: float = Field(
        defaults.SIZE_FACTOR,
        gt=0,
        le=1000,
        description="Features of a model, as a multiple of the best number for it alone.",
    )
    channel_share: float = Field(
        defaults.CHANNEL_SHARE,
        gt=0,
        le=1,
        description="Share of the channels that each bagged model sees, beyond order 0.",
    )
    products: bool = Field(defaults.PRODUCTS, description="Whether products at the atoms may be selected.")
    references: dict[Element, Finite] | None = Field(
        None, description="Energies of the elements in their reference states, eV/atom."
    )

    @field_validator("references", mode="before")
    @classmethod
    def _no_more_than_elements(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > HEAVIEST:
            raise ValueError(f"{len(given)} energies; there are {HEAVIEST} elements")
        return given


class EvaluateParameters(Strict):
    """Errors of a model on a data set."""

    dataset: Id = Field(description="Id of the data set.")
    model: Id | None = Field(None, description="Id of the model. Default: the active one.")


PARAMETERS: dict[str, type[FeaturizeParameters | TrainParameters | EvaluateParameters]] = {
    "featurize": FeaturizeParameters,
    "train": TrainParameters,
    "evaluate": EvaluateParameters,
}
