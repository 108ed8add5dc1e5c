"""/v1/datasets: training sets for jobs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Path, UploadFile
from fastapi.concurrency import contextmanager_in_threadpool
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from api import examples
from api.errors import conflict
from api.forms import OnlyParts
from api.security import Guarded, Needs
from api.state import Service, service_of
from service.datasets import Dataset, DatasetReading

router = APIRouter(
    prefix="/v1/datasets", tags=["datasets"], dependencies=[Depends(Needs("jobs"))], route_class=Guarded
)

ServiceOf = Annotated[Service, Depends(service_of)]
Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Id of the data set.")]
# Of a form: a field that was left empty is as one that was left out.
_KEY: dict[str, Any] = {"max_length": 100, "pattern": "^[^\\s\\x00]*$"}
PathKey = Annotated[str | None, Form(**_KEY, examples=["path_id"])]
EnergyKey = Annotated[str | None, Form(**_KEY, examples=["energy"])]


class DatasetOut(BaseModel):
    """A stored training set."""

    id: str = Field(description="Hash of the content and of how it is read.")
    created: str = Field(description="UTC, ISO 8601.")
    n_structures: int
    n_paths: int = Field(description="Relaxation paths.")
    n_atoms: int = Field(description="Of all structures together.")
    elements: list[str] = Field(description="Chemical symbols.")
    path_key: str | None = Field(description="Info key of the relaxation path.")
    energy_key: str | None = Field(description="Info key of the total energy, eV.")

    @classmethod
    def of(cls, dataset: Dataset) -> DatasetOut:
        """From the stored one."""
        return cls(**{name: getattr(dataset, name) for name in cls.model_fields})


class DatasetList(BaseModel):
    """All training sets, the newest first."""

    datasets: list[DatasetOut]


@router.post("", status_code=201, dependencies=[Depends(OnlyParts("file", "path_key", "energy_key"))])
async def upload(
    file: Annotated[
        UploadFile, File(description="Extended XYZ with energies (eV).", examples=[examples.TRAINING_FILE])
    ],
    service: ServiceOf,
    path_key: PathKey = None,
    energy_key: EnergyKey = None,
) -> DatasetOut:
    """Check and keep a training set; nothing is kept when a structure is bad.

    path_key: info key of the relaxation path (default: every structure is its own path); energy_key: info key
    of the total energy, eV (default: the energy of the file).
    """
    reading = DatasetReading(path_key, energy_key, max_atoms=service.settings.max_atoms)
    # On disk from here on: neither this process nor the one that reads it holds the file.
    async with contextmanager_in_threadpool(service.datasets.received(file.file)) as path:
        found = await service.pool.describe(file.filename or "", path, reading)
        return DatasetOut.of(await run_in_threadpool(service.datasets.add, path, reading, found))


@router.get("")
async def datasets(service: ServiceOf) -> DatasetList:
    """All training sets."""
    found = await run_in_threadpool(service.datasets.all)
    return DatasetList(datasets=[DatasetOut.of(d) for d in found])


@router.get("/{dataset_id}")
async def dataset(dataset_id: Id, service: ServiceOf) -> DatasetOut:
    """One training set."""
    return DatasetOut.of(await run_in_threadpool(service.datasets.get, dataset_id))


@router.delete(
    "/{dataset_id}",
    status_code=204,
    responses=conflict("A job that has not ended needs it.", examples.DATASET_IN_USE),
)
async def delete(dataset_id: Id, service: ServiceOf) -> None:
    """Delete a training set; features and models that were made of it stay."""
    await run_in_threadpool(service.delete_dataset, dataset_id)
