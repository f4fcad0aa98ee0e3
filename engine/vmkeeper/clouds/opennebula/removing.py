"""Deleting images. Drivers lose deletions now and then: what is not gone after a while is deleted again, a few times."""

from __future__ import annotations

from dataclasses import dataclass

from vmkeeper.clouds.interface import Gone
from vmkeeper.clouds.opennebula.account import Account, Patience
from vmkeeper.clouds.opennebula.found import DELETE, LOCKED, Image
from vmkeeper.clouds.opennebula.session import Declined
from vmkeeper.clouds.opennebula.transports import forget
from vmkeeper.errors import Transient, UserError


@dataclass(frozen=True, slots=True)
class Removing:
    """Removes images of ours."""

    account: Account
    patience: Patience

    def remove(self, image: Image) -> None:
        """Until it is gone, bytes and all. Raises InUse, UserError where a lock forbids it, Transient where it stays."""
        if image.lock:
            hint = f"unlock it, for example with oneimage unlock {image.id}"
            raise UserError("could not delete the image: it is locked", where=f"{image.name} [{image.id}]", hint=hint)
        try:
            for _ in range(self.patience.tries):
                self._ask(image.id)
                if self._is_gone(image.id):
                    break
            else:
                raise Transient("the image does not go", where=str(image.id), why="its datastore's driver does not end the deletion")
        except Gone:
            pass
        forget(self.account.platform.transport, image.source)

    def _ask(self, number: int) -> None:
        """Ask once. An image whose bytes still come, or whose driver hangs, goes only by force."""
        with self.account.declined("delete the image", number):
            try:
                self.account.session.call("image.delete", number)
            except Declined as error:
                if "--force" not in error.message:
                    raise
                self.account.session.call("image.delete", number, True)

    def _is_gone(self, number: int) -> bool:
        """Waits for as long as it is being deleted."""
        for _ in self.patience.looks(self.patience.gone):
            state = self.account.image(number).state
            if state not in (DELETE, LOCKED):
                return False
        return False
