"""Settings that come from the environment: ATOMSCATTER_WORKERS, ATOMSCATTER_ADDRESS."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Defaults of the commands' options; made by the command that needs them, never at import.

    Attributes:
        workers: worker processes (None: one for each core).
        address: of a running Ray cluster, as ``ray.init`` takes it (None: start a local one).
    """

    model_config = SettingsConfigDict(env_prefix="ATOMSCATTER_")

    workers: int | None = Field(default=None, ge=1)
    address: str | None = None
