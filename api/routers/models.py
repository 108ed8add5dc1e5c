"""/v1/models: what models there are, what is known about them, and which one is active."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from api import examples
from api.errors import conflict
from api.security import Guarded, Needs
from api.state import Service, service_of

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Guarded)

ServiceOf = Annotated[Service, Depends(service_of)]
Report = Literal["parity", "learning_curves"]
Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Id of the model.")]


class ModelList(BaseModel):
    """Ids of all models."""

    active: str
    models: list[str]


class ModelDescription(BaseModel):
    """A model and its card."""

    id: str
    active: bool
    n_models: int = Field(description="Linear models that are averaged.")
    n_features: int
    species: list[str] = Field(description="Chemical symbols that the model knows.")
    data_hash: str
    scattering: dict[str, Any] = Field(description="Configuration of the transform; lengths in Angstrom.")
    reference_energies: dict[str, float] | None = Field(description="eV/atom.")
    training: dict[str, Any] = Field(description="Model card: seeds, versions, errors in eV/atom.")


@router.get("", dependencies=[Depends(Needs("predict"))])
async def models(service: ServiceOf) -> ModelList:
    """Ids of all models, the embedded one first."""
    return ModelList(active=service.active.id, models=await run_in_threadpool(service.registry.ids))


@router.get("/{model_id}", dependencies=[Depends(Needs("predict"))])
async def model(model_id: Id, service: ServiceOf) -> ModelDescription:
    """What is known about a model."""
    found = await service.model(model_id)
    ensemble = found.ensemble
    return ModelDescription(
        id=found.id,
        active=found.id == service.active.id,
        n_models=ensemble.n_models,
        n_features=ensemble.n_features,
        species=list(ensemble.scattering.species),
        data_hash=ensemble.data_hash,
        scattering=ensemble.scattering_config,
        reference_energies=ensemble.reference_energies,
        training=ensemble.card,
    )


@router.get(
    "/{model_id}/report/{name}",
    dependencies=[Depends(Needs("predict"))],
    response_class=FileResponse,
    responses={200: {"content": {"image/png": {}}, "description": "PNG image."}},
)
async def report(model_id: Id, name: Report, service: ServiceOf) -> FileResponse:
    """A plot that training left beside the model."""
    directory = await run_in_threadpool(service.registry.directory, model_id)
    path = directory / "report" / f"{name}.png"
    if not path.is_file():
        raise HTTPException(404, f"model {model_id} has no plot {name}")
    return FileResponse(path, media_type="image/png")


@router.post("/{model_id}/activate", dependencies=[Depends(Needs("jobs"))])
async def activate(model_id: Id, service: ServiceOf) -> ModelList:
    """Make a model the active one; requests that are being answered keep theirs.

    Other servers of the same state directory follow within seconds, unless they were started with a model of
    their own.
    """
    await service.activate(model_id)
    return await models(service)


@router.delete(
    "/{model_id}",
    status_code=204,
    dependencies=[Depends(Needs("jobs"))],
    responses=conflict(
        "It is active (in the state directory or in this server), or the embedded one, or a job needs it.",
        examples.MODEL_IN_USE,
    ),
)
async def delete(model_id: Id, service: ServiceOf) -> None:
    """Delete a model and its plots; the data set and the features that it was made of stay."""
    await service.delete_model(model_id)
