"""The gateway as one person over SSH sees it: everything to look at, and acts as far as his role goes."""

from typing import TYPE_CHECKING, Self

from gateway.access import AccessRole, Act, check, may
from gateway.operations import Command, Done
from gateway.tokenizers.commands import TokenizerCommand, TokenizerDone
from gateway.workers.facts import Cause
from smg_console.local import LocalPlane

if TYPE_CHECKING:
    from gateway.gateway import Gateway


class PersonalPlane(LocalPlane):
    """A `LocalPlane` that refuses what a role may not do, and names a person in the journal."""

    _role = AccessRole.VIEWER

    @classmethod
    def for_person(cls, gateway: "Gateway", actor: str, role: AccessRole, *, read_only: bool) -> Self:
        """Their plane. `read_only` holds for all roles."""
        plane = cls.of(gateway, read_only=read_only)
        plane._cause, plane._role = Cause(actor), role
        return plane

    @property
    def read_only(self) -> bool:
        return self._read_only or not may(self._role, Act.WORKERS)

    async def execute(self, command: Command) -> Done:
        check(self._role, Act.WORKERS)
        return await super().execute(command)

    async def execute_on_tokenizers(self, command: TokenizerCommand) -> TokenizerDone:
        check(self._role, Act.GATEWAY)
        return await super().execute_on_tokenizers(command)
