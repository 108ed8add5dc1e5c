"""Clients of a running service (``atomscatter serve``), one that waits and one for asyncio.

    with Client("http://localhost:8000") as client:
        print(client.predict(atoms).energy)

Both have the same methods; those of :class:`AsyncClient` are awaited. Structures are ASE Atoms with a
three-dimensional cell. Every method raises ServiceError when the service refuses or cannot be reached, or
something else answers; refusals because of too much work (429, 503) are tried again after the time the
service asks for. Methods that are given structures (predict, predict_many, bulk_modulus, barrier, voltage,
rdf) raise StructureError for one that the service could not use, before anything is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, Self, TypeVar

import httpx
import numpy as np
from ase import Atoms

from atomscatter.ensemble import Prediction
from atomscatter.errors import AtomscatterError
from atomscatter.structures import check_atoms

LOCAL = "http://127.0.0.1:8000"
_BUSY = (429, 503)
# What an answer of something else raises: no JSON (ValueError, of depths RecursionError), or other JSON.
_NOT_OURS = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
_T = TypeVar("_T")
Json = dict[str, Any]
Structures = Atoms | Iterable[Atoms]
"""One structure or many; iterated once."""


class ServiceError(AtomscatterError):
    """The service refused a request or could not be reached, or what answers is no such service.

    Attributes:
        status: HTTP status; None when no answer came.
        problem: the problem document of the answer (RFC 9457); its ``errors`` name fields and structures.
    """

    def __init__(
        self, message: str, status: int | None = None, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = dict(problem or {})


@dataclass(frozen=True)
class _Call(Generic[_T]):
    """A request and what its answer means."""

    method: str
    path: str
    parse: Callable[[Any], _T]
    arguments: dict[str, Any] = field(default_factory=dict)
    content: Callable[[httpx.Response], Any] = httpx.Response.json


class _Settings:
    """What both clients keep.

    Args:
        url: of the service.
        key: API key, when the service wants one.
        timeout: seconds for one request.
        upload_timeout: seconds for the upload of a data set; a server may read it for 1800.
        patience: seconds to go on trying while the service is busy; 0: one try.
    """

    def __init__(
        self,
        url: str = LOCAL,
        *,
        key: str | None = None,
        timeout: float = 120.0,
        upload_timeout: float = 1920.0,
        patience: float = 60.0,
    ) -> None:
        self.patience = patience
        self.upload_timeout = upload_timeout
        self._http: dict[str, Any] = {
            "base_url": url,
            "timeout": timeout,
            "headers": {"X-API-Key": key} if key else {},
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._http['base_url'])!r})"  # without the key

    def __getstate__(self) -> Json:
        """Copies, also in other processes, have the same settings and connections of their own."""
        return {name: value for name, value in vars(self).items() if name != "_client"}

    def _pause(self, answer: httpx.Response, deadline: float) -> float | None:
        """Seconds to wait before the next try; None: this answer counts."""
        if answer.status_code not in _BUSY:
            return None
        asked = answer.headers.get("Retry-After", "1")
        pause = float(asked) if asked.isdecimal() else 1.0
        return pause if time.monotonic() + pause < deadline else None


class Client(_Settings):
    """Client that waits for each answer; a context manager. Arguments as in the module's description."""

    def __init__(self, url: str = LOCAL, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._client = httpx.Client(**self._http)

    def __setstate__(self, state: Json) -> None:
        vars(self).update(state)
        self._client = httpx.Client(**self._http)

    def predict(self, atoms: Atoms, model: str | None = None) -> Prediction:
        """Energy of one structure."""
        return self._send(_predict([atoms], model))[0]

    def predict_many(self, structures: Structures, model: str | None = None) -> list[Prediction]:
        """Energies of structures, in order, by one request."""
        return self._send(_predict(structures, model))

    def predict_file(self, path: str | Path, model: str | None = None) -> list[Prediction]:
        """Energies of all structures of a file (extended XYZ, CIF, POSCAR)."""
        return self._send(_predict_file(Path(path), model))

    def bulk_modulus(self, structures: Structures, **options: Any) -> Json:
        """Bulk modulus (GPa) of one structure, or of a strain series; options: ``strains``, ``model``."""
        return self._send(_property("bulk-modulus", structures, options))

    def barrier(self, images: Structures, **options: Any) -> Json:
        """Migration barrier (eV) of the ordered images of one path; options: ``model``."""
        return self._send(_property("migration-barrier", images, options))

    def voltage(self, structures: Structures, **options: Any) -> Json:
        """Voltage curve (V) of structures with different contents; options: ``ion``, ``model``."""
        return self._send(_property("voltage-curve", structures, options))

    def rdf(self, atoms: Atoms, **options: float) -> Json:
        """Radial distribution functions of pairs of elements; options: ``cutoff``, ``width`` (Angstrom)."""
        return self._send(_rdf(atoms, options))

    def models(self) -> Json:
        """``{"active": id, "models": [ids]}``."""
        return self._send(_MODELS)

    def model(self, model: str) -> Json:
        """What is known about a stored model: its elements, features and card."""
        return self._send(_model(model))

    def activate(self, model: str) -> Json:
        """Make a stored model the active one; answers as :meth:`models`."""
        return self._send(_activate(model))

    def delete_model(self, model: str) -> None:
        """Delete a stored model that is not the active one, and that no job needs which has not ended."""
        self._send(_delete("models", model))

    def upload(self, path: str | Path, **reading: str) -> Json:
        """Send a training set (extended XYZ with energies, eV); reading: ``path_key``, ``energy_key``."""
        with Path(path).open("rb") as file:
            return self._send(_upload(file, reading, self.upload_timeout))

    def delete_dataset(self, dataset: str) -> None:
        """Delete a training set that no job needs which has not ended."""
        self._send(_delete("datasets", dataset))

    def submit(self, kind: str, key: str | None = None, **parameters: Any) -> Json:
        """Start a job: featurize, train or evaluate; ``key``: the same key gives the same job."""
        return self._send(_submit(kind, key, parameters))

    def job(self, job_id: str) -> Json:
        """A job: its ``state``, how far it is, and its ``result``."""
        return self._send(_job(job_id))

    def jobs(self, limit: int = 100) -> list[Json]:
        """The newest jobs first, each as :meth:`job`."""
        return self._send(_jobs(limit))

    def log(self, job_id: str, offset: int | None = None) -> bytes:
        """What a job has printed: its last megabyte, or the first one after ``offset`` bytes."""
        return self._send(_log(job_id, offset))

    def cancel(self, job_id: str) -> Json:
        """Ask for the end of a job; answers as :meth:`job`."""
        return self._send(_cancel(job_id))

    def resume(self, job_id: str) -> Json:
        """Let a job that failed or was cancelled wait again, with what it has computed; as :meth:`job`."""
        return self._send(_resume(job_id))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _send(self, call: _Call[_T]) -> _T:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                answer = self._client.request(call.method, call.path, **call.arguments)
            except httpx.HTTPError as error:
                raise _unreachable(error, self._client.base_url) from error
            pause = self._pause(answer, deadline)
            if pause is None:
                return _parsed(call, answer)
            time.sleep(pause)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Settings):
    """The same for asyncio; an asynchronous context manager. See :class:`Client` for the methods."""

    def __init__(self, url: str = LOCAL, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._client = httpx.AsyncClient(**self._http)

    def __setstate__(self, state: Json) -> None:
        vars(self).update(state)
        self._client = httpx.AsyncClient(**self._http)

    async def predict(self, atoms: Atoms, model: str | None = None) -> Prediction:
        """See :meth:`Client.predict`."""
        return (await self._send(_predict([atoms], model)))[0]

    async def predict_many(self, structures: Structures, model: str | None = None) -> list[Prediction]:
        """See :meth:`Client.predict_many`."""
        return await self._send(_predict(structures, model))

    async def predict_file(self, path: str | Path, model: str | None = None) -> list[Prediction]:
        """See :meth:`Client.predict_file`."""
        return await self._send(_predict_file(Path(path), model))

    async def bulk_modulus(self, structures: Structures, **options: Any) -> Json:
        """See :meth:`Client.bulk_modulus`."""
        return await self._send(_property("bulk-modulus", structures, options))

    async def barrier(self, images: Structures, **options: Any) -> Json:
        """See :meth:`Client.barrier`."""
        return await self._send(_property("migration-barrier", images, options))

    async def voltage(self, structures: Structures, **options: Any) -> Json:
        """See :meth:`Client.voltage`."""
        return await self._send(_property("voltage-curve", structures, options))

    async def rdf(self, atoms: Atoms, **options: float) -> Json:
        """See :meth:`Client.rdf`."""
        return await self._send(_rdf(atoms, options))

    async def models(self) -> Json:
        """See :meth:`Client.models`."""
        return await self._send(_MODELS)

    async def model(self, model: str) -> Json:
        """See :meth:`Client.model`."""
        return await self._send(_model(model))

    async def activate(self, model: str) -> Json:
        """See :meth:`Client.activate`."""
        return await self._send(_activate(model))

    async def delete_model(self, model: str) -> None:
        """See :meth:`Client.delete_model`."""
        await self._send(_delete("models", model))

    async def upload(self, path: str | Path, **reading: str) -> Json:
        """See :meth:`Client.upload`."""
        with Path(path).open("rb") as file:
            return await self._send(_upload(file, reading, self.upload_timeout))

    async def delete_dataset(self, dataset: str) -> None:
        """See :meth:`Client.delete_dataset`."""
        await self._send(_delete("datasets", dataset))

    async def submit(self, kind: str, key: str | None = None, **parameters: Any) -> Json:
        """See :meth:`Client.submit`."""
        return await self._send(_submit(kind, key, parameters))

    async def job(self, job_id: str) -> Json:
        """See :meth:`Client.job`."""
        return await self._send(_job(job_id))

    async def jobs(self, limit: int = 100) -> list[Json]:
        """See :meth:`Client.jobs`."""
        return await self._send(_jobs(limit))

    async def log(self, job_id: str, offset: int | None = None) -> bytes:
        """See :meth:`Client.log`."""
        return await self._send(_log(job_id, offset))

    async def cancel(self, job_id: str) -> Json:
        """See :meth:`Client.cancel`."""
        return await self._send(_cancel(job_id))

    async def resume(self, job_id: str) -> Json:
        """See :meth:`Client.resume`."""
        return await self._send(_resume(job_id))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send(self, call: _Call[_T]) -> _T:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                answer = await self._client.request(call.method, call.path, **call.arguments)
            except httpx.HTTPError as error:
                raise _unreachable(error, self._client.base_url) from error
            pause = self._pause(answer, deadline)
            if pause is None:
                return _parsed(call, answer)
            await asyncio.sleep(pause)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


# --------------------------------------------------------------------------- requests and answers


def _object(body: Any) -> Json:
    """An answer that is a JSON object; TypeError for other JSON."""
    if not isinstance(body, dict):
        raise TypeError("not a JSON object")
    return body


def _list_of(structures: Structures) -> list[Atoms]:
    return [structures] if isinstance(structures, Atoms) else list(structures)


def _as_json(atoms: Atoms) -> Json:
    check_atoms(atoms)  # JSON does not say what is periodic
    return {
        "lattice_vectors": atoms.cell.array.tolist(),
        "cartesian_site_positions": atoms.positions.tolist(),
        "species_at_sites": atoms.get_chemical_symbols(),
    }


def _predictions(body: Json, n: int | None = None) -> list[Prediction]:
    """Predictions, of ``n`` structures if that is known."""
    folds = "energy_per_atom_by_fold"
    found = [
        Prediction(**{**values, folds: tuple(values[folds])}, model=body["model"])
        for values in body["predictions"]
    ]
    if n not in (None, len(found)):
        raise ValueError(f"{len(found)} predictions for {n} structures")
    return found


def _predict(structures: Structures, model: str | None) -> _Call[list[Prediction]]:
    found = [_as_json(atoms) for atoms in _list_of(structures)]
    body = {"structures": found, "model": model}
    return _Call("POST", "/v1/predictions", lambda answer: _predictions(answer, len(found)), {"json": body})


def _predict_file(path: Path, model: str | None) -> _Call[list[Prediction]]:
    arguments: Json = {"files": {"file": (path.name, path.read_bytes())}}
    if model is not None:
        arguments["params"] = {"model": model}
    return _Call("POST", "/v1/predictions/file", _predictions, arguments)


def _property(name: str, structures: Structures, options: Mapping[str, Any]) -> _Call[Json]:
    body = {"structures": [_as_json(atoms) for atoms in _list_of(structures)], **options}
    if body.get("strains") is not None:
        body["strains"] = np.asarray(body["strains"]).tolist()
    return _Call("POST", f"/v1/properties/{name}", _object, {"json": body})


def _rdf(atoms: Atoms, options: Mapping[str, float]) -> _Call[Json]:
    body = {"structure": _as_json(atoms), **options}
    return _Call("POST", "/v1/properties/radial-distribution", _object, {"json": body})


_MODELS = _Call[Json]("GET", "/v1/models", _object)


def _model(model: str) -> _Call[Json]:
    return _Call("GET", f"/v1/models/{model}", _object)


def _activate(model: str) -> _Call[Json]:
    return _Call("POST", f"/v1/models/{model}/activate", _object)


def _upload(file: IO[bytes], reading: Mapping[str, str], timeout: float) -> _Call[Json]:
    # Sent from the file, which may be large; from its beginning at each try.
    arguments = {"files": {"file": (Path(file.name).name, file)}, "data": dict(reading), "timeout": timeout}
    return _Call("POST", "/v1/datasets", _object, arguments)


def _delete(collection: str, name: str) -> _Call[None]:
    return _Call("DELETE", f"/v1/{collection}/{name}", _nothing, content=lambda answer: answer)


def _nothing(answer: httpx.Response) -> None:
    """An answer without content; ValueError for another one."""
    if answer.status_code != httpx.codes.NO_CONTENT:
        raise ValueError(f"status {answer.status_code}, not 204")


def _submit(kind: str, key: str | None, parameters: Mapping[str, Any]) -> _Call[Json]:
    arguments: Json = {"json": {"type": kind, "parameters": dict(parameters)}}
    if key is not None:
        arguments["headers"] = {"Idempotency-Key": key}
    return _Call("POST", "/v1/jobs", _object, arguments)


def _job(job_id: str) -> _Call[Json]:
    return _Call("GET", f"/v1/jobs/{job_id}", _object)


def _jobs(limit: int) -> _Call[list[Json]]:
    return _Call("GET", "/v1/jobs", lambda body: list(body["jobs"]), {"params": {"limit": limit}})


def _log(job_id: str, offset: int | None) -> _Call[bytes]:
    arguments = {} if offset is None else {"params": {"offset": offset}}
    return _Call("GET", f"/v1/jobs/{job_id}/log", bytes, arguments, lambda answer: answer.content)


def _cancel(job_id: str) -> _Call[Json]:
    return _Call("DELETE", f"/v1/jobs/{job_id}", _object)


def _resume(job_id: str) -> _Call[Json]:
    return _Call("POST", f"/v1/jobs/{job_id}/resume", _object)


def _parsed(call: _Call[_T], answer: httpx.Response) -> _T:
    if not answer.is_success:
        raise _refusal(answer)
    try:
        return call.parse(call.content(answer))
    except _NOT_OURS as error:
        raise ServiceError(
            f"{answer.url} is not an Atomscatter service, or one of another version: its answer cannot be "
            f"understood ({type(error).__name__}: {error})",
            answer.status_code,
        ) from error


def _refusal(answer: httpx.Response) -> ServiceError:
    problem = _problem(answer)
    if not problem:  # a proxy in between, or something else altogether
        text = f"{answer.reason_phrase} ({answer.url} may be no address of an Atomscatter service)"
        return ServiceError(f"{answer.status_code}: {text}", answer.status_code)
    errors = problem.get("errors")
    found = [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
    reasons = [str(e.get("detail", "")) for e in found[:5]]
    text = "; ".join([str(problem.get("detail") or answer.reason_phrase), *reasons])
    return ServiceError(f"{answer.status_code}: {text}", answer.status_code, problem)


def _problem(answer: httpx.Response) -> Json:
    """The problem document of a refusal; empty if there is none."""
    try:
        return _object(answer.json())
    except _NOT_OURS:
        return {}


def _unreachable(error: httpx.HTTPError, url: httpx.URL) -> ServiceError:
    return ServiceError(f"{url}: {error or type(error).__name__}")
