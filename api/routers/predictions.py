"""POST /v1/predictions: energies of structures."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.forms import OnlyParts
from api.schemas import ModelId, PredictionOut, PredictionsRequest, PredictionsResponse, StructureFile
from api.security import Guarded, Needs
from api.state import ServedModel, Service, service_of
from atomscatter.ensemble import Prediction

router = APIRouter(
    prefix="/v1/predictions",
    tags=["predictions"],
    dependencies=[Depends(Needs("predict"))],
    route_class=Guarded,
)

ServiceOf = Annotated[Service, Depends(service_of)]


@router.post("")
async def predict(body: PredictionsRequest, service: ServiceOf) -> PredictionsResponse:
    """Energies of structures, in their order."""
    model = await service.model(body.model)
    return _response(model, await service.predict(model, await service.received(model, body.structures)))


@router.post("/file", dependencies=[Depends(OnlyParts("file"))])
async def predict_file(
    file: StructureFile,
    service: ServiceOf,
    model: Annotated[ModelId, Query()] = None,
) -> PredictionsResponse:
    """Energies of all structures of a file, in their order."""
    served = await service.model(model)
    found = await service.read(file)
    return _response(served, await service.predict(served, [s.atoms for s in found], of_a_file=True))


def _response(model: ServedModel, predictions: list[Prediction]) -> PredictionsResponse:
    return PredictionsResponse(
        model=model.id,
        data_hash=model.ensemble.data_hash,
        predictions=[PredictionOut.of(p) for p in predictions],
    )
