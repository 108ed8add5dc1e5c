"""POST /v1/properties/...: what follows from energies of several structures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from api.errors import StructuresError
from api.schemas import (
    BarrierRequest,
    BarrierResponse,
    BulkModulusRequest,
    BulkModulusResponse,
    RadialPair,
    RadialRequest,
    RadialResponse,
    VoltageRequest,
    VoltageResponse,
)
from api.security import Guarded, Needs
from api.state import Service, service_of
from atomscatter.errors import DataError, StructureError
from atomscatter.strain import STRAINS, strained
from service import properties

router = APIRouter(
    prefix="/v1/properties",
    tags=["properties"],
    dependencies=[Depends(Needs("predict"))],
    route_class=Guarded,
)

ServiceOf = Annotated[Service, Depends(service_of)]


@contextlib.contextmanager
def _naming_the_structures() -> Iterator[None]:
    """What is wrong with a series as a whole is said of the field that it came in."""
    try:
        yield
    except DataError as error:
        raise StructuresError([("/structures", None, str(error))], str(error)) from error


@router.post("/bulk-modulus")
async def bulk_modulus(body: BulkModulusRequest, service: ServiceOf) -> BulkModulusResponse:
    """Bulk modulus of one structure, which is strained here, or of a strain series."""
    model = await service.model(body.model)
    given = await service.received(model, body.structures)
    if len(given) == 1:
        await service.require_usable(model, given)  # a singular cell cannot be strained
        series = strained(given[0], body.strains or STRAINS)
    elif body.strains is None:
        series = given
    else:
        raise StructuresError([("/strains", None, "belong to one structure, not to a series")])
    try:
        predictions = await service.predict(model, series)
    except StructuresError as error:
        if series is given:
            raise
        _, _, reason = error.problems[0]  # of the structure that was sent, not of those made of it
        raise StructuresError([("/structures/0", 0, reason)]) from error
    with _naming_the_structures():
        found = await run_in_threadpool(properties.bulk_modulus, series, predictions)
    return BulkModulusResponse(**asdict(found))


@router.post("/migration-barrier")
async def migration_barrier(body: BarrierRequest, service: ServiceOf) -> BarrierResponse:
    """Barrier and energy profile along the ordered images of one path."""
    model = await service.model(body.model)
    images = await service.received(model, body.structures)
    predictions = await service.predict(model, images)
    with _naming_the_structures():
        return BarrierResponse(**asdict(properties.migration_barrier(images, predictions)))


@router.post("/voltage-curve")
async def voltage_curve(body: VoltageRequest, service: ServiceOf) -> VoltageResponse:
    """Voltage against the metal along the lower convex hull of the formation energies."""
    model = await service.model(body.model)
    structures = await service.received(model, body.structures)
    predictions = await service.predict(model, structures)
    with _naming_the_structures():
        return VoltageResponse(**asdict(properties.voltages(structures, predictions, body.ion)))


@router.post("/radial-distribution")
async def radial(body: RadialRequest, service: ServiceOf) -> RadialResponse:
    """Radial distribution functions of each pair of elements; needs no model."""
    if found := body.structure.problem():
        raise StructuresError([(f"/structure{found[0]}", None, found[1])])
    atoms, limit = body.structure.atoms(), service.settings.max_atoms
    try:
        if len(atoms) > limit:
            raise StructureError(f"has {len(atoms)} atoms; at most {limit}")
        r, functions = await service.pool.radial(atoms, body.cutoff, body.width)
    except StructureError as error:
        raise StructuresError([("/structure", None, error.reason)]) from error
    pairs = [RadialPair(elements=list(pair), g=g.tolist()) for pair, g in functions.items()]
    return RadialResponse(r=r.tolist(), pairs=pairs)
