"""How a new image comes to be: asked for room, created with its mark, verified, and only then said to be usable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmkeeper.clouds.interface import Gone, ImageSpec, NoRoom
from vmkeeper.clouds.opennebula.account import Account, NameTaken, Patience, meaning
from vmkeeper.clouds.opennebula.found import DELETE, DISABLED, ERROR, INIT, LOCKED, MIB, Image
from vmkeeper.clouds.opennebula.marks import COMING, UNFINISHED, VERIFIED, nested
from vmkeeper.clouds.opennebula.names import image_names
from vmkeeper.clouds.opennebula.removing import Removing
from vmkeeper.clouds.opennebula.rights import OWNER_ONLY, bits, is_called
from vmkeeper.clouds.opennebula.room import check_room
from vmkeeper.clouds.opennebula.saying import Saying
from vmkeeper.clouds.opennebula.session import ALLOCATE, Declined
from vmkeeper.clouds.opennebula.transports import Offer, Transport
from vmkeeper.errors import Transient, UserError, VmkeeperError

_COMING = (INIT, LOCKED)


@dataclass(frozen=True, slots=True)
class Uploading:
    """Uploads of one owner to one datastore."""

    account: Account
    owner: str
    datastore: str | int
    transport: Transport
    saying: Saying
    removing: Removing
    patience: Patience

    def create(self, spec: ImageSpec, file: Path, everybodys: Iterable[Image]) -> int | None:
        """Upload a file. None where somebody made the same image meanwhile, or took its name: look again.

        everybodys: the images there are, for their names. Raises Refused R14, NoRoom, UserError, Transient.
        """
        store = self.account.datastore(self.datastore)
        check_room(self.account, store, spec)
        with self.transport.offer(spec, file, lambda: [image.source for image in self.account.images()]) as offer:
            number = self._allocate(spec, offer, int(store.ID), self._free_names(spec, everybodys))
            if number is None:
                return None
            try:
                image = self._arrived(number)
                offer.check()
                _check(image, offer.virtual)
                # From here on nothing need be sent again, whatever keeps the rest from being done.
                self.account.write(image, "mark the image", "update", nested({UNFINISHED: VERIFIED}), 1)
            except VmkeeperError:
                with suppress(VmkeeperError):  # what went wrong first is what is told; what stays behind is marked
                    self.removing.remove(self.account.image(number))
                raise
            self.saying.say(image, spec, None, tuple)
        return number

    def settle(self, number: int, spec: ImageSpec, mine: Callable[[], Iterable[Image]]) -> None:
        """Wait for somebody's upload of the same image; what it left is finished, or removed where its bytes are in doubt.

        mine: the owner's images, for an alias that it bears. Raises Transient.
        """
        with suppress(Gone):
            image = self._while(number, _COMING, self.patience.transfer)
            for _ in self.patience.looks(self.patience.others):
                image = self.account.image(number)
                if image.complete() or image.state in (ERROR, DELETE) or _is_given(image, spec):
                    break
            if not image.complete() and image.mark is not None and image.mark.spec is not None and _is_given(image, spec):
                self.saying.say(image, spec.with_bytes_of(image.mark.spec), None, mine)
            elif not image.complete():
                self.saying.aliases.release(image, mine)  # it may have been given the alias already, and not said so
                self.removing.remove(image)

    def _free_names(self, spec: ImageSpec, everybodys: Iterable[Image]) -> list[str]:
        """Names that nobody has whose images ours must not be called like: the account, and whom it gives images to."""
        owner = self.account.platform.owner
        taken = {one.name for one in everybodys if one.uid == self.account.uid or (owner is not None and is_called(owner, one.uname, one.uid))}
        names = image_names(self.owner, spec)
        return [name for name in names if name not in taken] or [names[-1]]

    def _allocate(self, spec: ImageSpec, offer: Offer, datastore: int, names: list[str]) -> int | None:
        """The image in one call: its name, mark and spec, and where its bytes are."""
        marked = {**self.saying.attributes(spec, None), UNFINISHED: COMING, "TYPE": "OS", "PERSISTENT": "NO", **offer.attributes}
        for name in names:
            try:
                return self._ask(nested({"NAME": name, **marked}), datastore, spec.name)
            except NameTaken as error:
                with suppress(Gone, VmkeeperError):
                    holder = self.account.image(error.holder) if error.holder is not None else None
                    if holder is not None and holder.mark is not None and holder.mark.spec is not None and holder.mark.spec.key == spec.key:
                        return None
        return None

    def _ask(self, template: dict[str, Any], datastore: int, where: str) -> int | None:
        """Drivers say now and then that there is no space, or a size of nothing, where neither is so.

        None where oned gives no reason: of several who ask at once for one name, some losers are told none.
        """
        for left in reversed(range(self.patience.tries)):
            try:
                return int(self.account.session.call("image.allocate", template, datastore, timeout=self.patience.allocate))
            except Declined as error:
                if "Not enough space" in error.message and left:
                    self.patience.pause(self.patience.poll)
                    continue
                if error.message.rstrip().endswith("Cannot parse image SIZE:"):
                    if left:
                        self.patience.pause(self.patience.poll)
                        continue
                    raise Transient("the datastore's driver cannot tell the size of the file", where=where, why=error.message) from None
                if "Cannot parse image SIZE" in error.message:
                    hint = "see that oned's host can read what the platform's transport offers, and the datastore's SAFE_DIRS"
                    raise UserError("oned cannot get at the image's file", where=where, why=error.message, hint=hint) from None
                if error.code == ALLOCATE and error.message.strip() == "Error allocating a new image.":
                    self.patience.pause(self.patience.poll)
                    return None
                raise meaning(error, "create the image", where) from None
        raise AssertionError("the last try returns or raises")

    def _arrived(self, number: int) -> Image:
        """The image when oned has taken its bytes, or failed to."""
        image = self.account.image(number)
        if image.mode != OWNER_ONLY:  # the account has a umask of its own
            self.account.write(image, "set the permissions of the image", "chmod", *bits(OWNER_ONLY))
            image = replace(image, mode=OWNER_ONLY)
        return self._while(number, _COMING, self.patience.transfer)

    def _while(self, number: int, states: tuple[int, ...], seconds: float) -> Image:
        image = self.account.image(number)
        for _ in self.patience.looks(seconds):
            image = self.account.image(number)
            if image.state not in states:
                break
        return image


def _is_given(image: Image, spec: ImageSpec) -> bool:
    """Whether an unfinished upload has its bytes for sure: that was seen, or oned read a copy that had been hashed.

    A server whose process ends may have stopped to send in the middle, and not every driver would notice.
    """
    if image.mark is None or (image.mark.unfinished != VERIFIED and image.path.startswith("http")):
        return False
    try:
        _check(image, int(spec.virtual_size))
    except VmkeeperError:
        return False
    return True


def _check(image: Image, virtual: int) -> None:
    """Whether oned has the bytes, as far as it tells. Raises Transient, NoRoom."""
    why = " ".join(str(image.attributes.get("ERROR", "")).split())[:500]
    if "No space left" in why:
        raise NoRoom("the datastore is full", where=image.name, why=why)
    if image.state in (*_COMING, ERROR, DELETE, DISABLED):
        state = {ERROR: "it failed", DISABLED: "somebody disabled it"}.get(image.state, "it did not come to an end")
        raise Transient("oned did not take the image's file", where=image.name, why=f"{state}: {why}" if why else state)
    if not image.source or image.size <= 0:
        raise Transient("oned says that it has an image, but not where or of what size", where=image.name)
    if image.size < virtual // MIB:
        raise Transient("oned has another image than it was given", where=image.name, why=f"{image.size} MiB, not {-(-virtual // MIB)}")
