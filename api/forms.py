"""What a form may hold."""

from __future__ import annotations

from fastapi import Request
from fastapi.exceptions import RequestValidationError


class OnlyParts:
    """Dependency: a form has no other parts than these, and each of them once; 422 otherwise.

    Of parts that it does not know, or knows already, the framework says nothing: they would be ignored.
    """

    def __init__(self, *names: str) -> None:
        self.names = names

    async def __call__(self, request: Request) -> None:
        """Raise RequestValidationError that names each part at fault."""
        given = [name for name, _ in (await request.form()).multi_items()]
        if self.names[0] not in given:
            return  # the framework says so
        wrong = {
            name: f"is given {given.count(name)} times" if name in self.names else self._refusal()
            for name in given
            if name not in self.names or given.count(name) > 1
        }
        if wrong:
            raise RequestValidationError(
                [{"type": "form", "loc": ("body", name[:100]), "msg": why} for name, why in wrong.items()]
            )

    def _refusal(self) -> str:
        return f"is no part of this form, which has: {', '.join(self.names)}"
