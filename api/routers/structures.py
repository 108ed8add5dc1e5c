"""POST /v1/structures/file: what a file holds, in the form that the other routes take."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from api.forms import OnlyParts
from api.schemas import Structure, StructureFile
from api.security import Guarded, Needs
from api.state import Service, service_of

router = APIRouter(
    prefix="/v1/structures",
    tags=["structures"],
    dependencies=[Depends(Needs("predict"))],
    route_class=Guarded,
)

ServiceOf = Annotated[Service, Depends(service_of)]


class StructureList(BaseModel):
    """Structures in the order of the file."""

    structures: list[Structure]


@router.post("/file", dependencies=[Depends(OnlyParts("file"))])
async def read_file(
    file: StructureFile,
    service: ServiceOf,
) -> StructureList:
    """The periodic structures of a file; nothing is kept."""
    found = await service.read(file)
    return StructureList(structures=[Structure.of(s.atoms) for s in found])
