"""Job files: the body of ``POST /v1/jobs`` as YAML, TOML or JSON."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atomscatter.errors import ConfigError
from service.job_parameters import PARAMETERS, JobType


class JobFile(BaseModel):
    """What a job file may say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: JobType | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


def job_parameters(kind: str, file: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a job: those of the file, and over them the options that were given (not None).

    Raises:
        ConfigError: the file cannot be read or is for another type; a key is unknown or missing, or a value
            cannot be used: each is named, with the file or the option.
    """
    given = {name: value for name, value in options.items() if value is not None}
    written = {} if file is None else _read(file, kind)
    try:
        PARAMETERS[kind].model_validate(written | given)
    except ValidationError as error:
        raise ConfigError("; ".join(_problem(e, file, given) for e in error.errors())) from error
    return written | given


def _read(file: Path, kind: str) -> dict[str, Any]:
    try:
        found = JobFile.model_validate(_parsed(file))
    except ValidationError as error:
        raise ConfigError("; ".join(f"{file}: {_place(e)}: {e['msg']}" for e in error.errors())) from error
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    if found.type not in (None, kind):
        raise ConfigError(f"{file}: type: is {found.type}, not {kind}")
    return found.parameters


def _parsed(file: Path) -> Any:
    import yaml

    text = file.read_bytes()
    try:
        match file.suffix.lower():
            case ".toml":
                return tomllib.loads(text.decode())
            case ".yaml" | ".yml":
                return yaml.safe_load(text)
            case ".json":
                return json.loads(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}") from error
    raise ConfigError(f"{file}: a job file ends in .yaml, .yml, .toml or .json")


def _problem(error: Any, file: Path | None, given: dict[str, Any]) -> str:
    name = str(error["loc"][0])
    option = f"--{name.replace('_', '-')}"
    if error["type"] == "missing":
        return f"{option} is missing"
    if name in given:
        return f"{option}: {error['msg']}, not {error['input']!r}"
    return f"{file}: parameters.{_place(error)}: {error['msg']}, not {error['input']!r}"


def _place(error: Any) -> str:
    return ".".join(map(str, error["loc"])) or "the whole file"
