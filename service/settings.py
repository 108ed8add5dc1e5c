"""Settings that come from the environment (``ATOMSCATTER_...``) or, for the server, from a file."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from atomscatter.errors import ConfigError

S = TypeVar("S", bound=BaseSettings)

_PREFIX = "ATOMSCATTER_"
_NO_SETTINGS = {"IMAGE", "VERSION", "JOB"}
"""Variables that others read: tests and docker-compose.yml of the image, and the job runner's mark."""
_OF_KUBERNETES = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_.*)?)")
"""It tells a container of each service, such as one of the name atomscatter-api."""


class Settings(BaseSettings):
    """Defaults of the commands' options; made by the command that needs them, never at import.

    Attributes:
        workers: worker processes (None: one for each core).
        address: of a running Ray cluster, as ``ray.init`` takes it (None: start a local one).
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX)

    workers: int | None = Field(default=None, ge=1)
    address: str | None = None


CLUSTER_PATIENCE = 600.0
"""Seconds: a head that starts again on another node, with its image to be pulled, is back by then."""


class ClientSettings(BaseSettings):
    """What the commands need that talk to a running server.

    Attributes:
        api_key: key that the server asks for; only from the environment, never on a command line.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX)

    api_key: SecretStr | None = None


class ServeSettings(BaseSettings):
    """Settings of the web service: arguments, then ``ATOMSCATTER_<NAME>``, then the file
    ``atomscatter.toml`` of the current directory, then these defaults."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, toml_file="atomscatter.toml", extra="forbid")

    state: Path = Field(Path("atomscatter-state"), description="Directory of models, data sets and jobs.")
    model: Path | None = Field(
        None,
        description="Directory of the model to serve, also when another process activates one. "
        "Default: the active one of the state.",
    )
    workers: int | None = Field(None, ge=1, le=256, description="Prediction processes. Default: all cores.")
    jobs_address: str | None = Field(
        None,
        description="Jobs API of a Ray cluster, http://host:8265; its nodes share the state directory. "
        "Default: each job starts a local Ray.",
    )
    cluster_patience: float = Field(
        CLUSTER_PATIENCE,
        gt=0,
        description="Seconds without an answer of the Ray cluster after which its job counts as failed.",
    )
    max_jobs: int = Field(1000, ge=1, description="Jobs that may wait; 503 above.")
    api_keys: Path | None = Field(
        None,
        description="File of hashed keys (atomscatter api-key makes its lines); changes count at once, and "
        "while it cannot be used the keys of before. Default: no keys.",
    )
    cors_origins: list[str] = Field(default_factory=list, description="Origins that may call from a browser.")
    max_body_bytes: int = Field(
        4 * 2**20,
        ge=1024,
        description="Largest JSON body, which may take 40 times as much memory; 413 above.",
    )
    max_file_bytes: int = Field(10 * 2**20, ge=1024, description="Largest file of structures; 413 above.")
    max_dataset_bytes: int = Field(500 * 2**20, ge=1024, description="Largest uploaded data set.")
    max_structures: int = Field(1000, ge=1, description="Structures in one request.")
    max_atoms: int = Field(2000, ge=1, description="Atoms in one structure.")
    max_grid_points: int = Field(
        160**3, ge=1000, description="Largest grid of a transform, about 100 bytes a point."
    )
    max_pending: int = Field(
        400,
        ge=1,
        description="Structures accepted and not yet answered, large cells counted several times; 503 above.",
    )
    timeout: float = Field(60.0, gt=0, description="Seconds that one piece of work may take.")
    dataset_timeout: float = Field(
        1800.0, gt=0, description="Seconds that reading an uploaded data set may take."
    )
    log_json: bool | None = Field(
        None, description="Log JSON lines with UTC times. Default: unless standard error is a terminal."
    )
    shutdown_drain: float = Field(
        0.5, ge=0, le=600, description="Seconds between SIGTERM and refusing new connections."
    )
    shutdown_grace: int = Field(60, ge=0, description="Seconds that running requests get at shutdown.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of the sources, first wins."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def read_settings(kind: type[S], **given: Any) -> S:
    """Settings from their sources; values ``given`` that are None are left to the others.

    Raises:
        ConfigError: a setting cannot be used, or none has this name; says which.
    """
    _refuse_unknown_variables()
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"settings: {'; '.join(problems)}") from error
    except (SettingsError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"settings: {error}") from error


def _refuse_unknown_variables() -> None:
    """Raise ConfigError for a misspelt setting, which would be as one that was not made."""
    known = {name.upper() for kind in (Settings, ClientSettings, ServeSettings) for name in kind.model_fields}
    for variable in map(str.upper, os.environ):
        name = variable.removeprefix(_PREFIX)
        if variable == name or name in known | _NO_SETTINGS or _OF_KUBERNETES.fullmatch(name):
            continue
        (nearest,) = difflib.get_close_matches(name, sorted(known), 1, cutoff=0)
        raise ConfigError(f"settings: {variable} is not known; the nearest name is {_PREFIX}{nearest}")
