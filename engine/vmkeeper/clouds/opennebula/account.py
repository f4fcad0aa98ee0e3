"""The account at oned, and what its failures mean: one place that turns oned's words into errors of ours."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vmkeeper.clouds.interface import Gone, InUse, NoRoom
from vmkeeper.clouds.opennebula.found import Image, Thing, VmTemplate, image_of, template_of
from vmkeeper.clouds.opennebula.rights import is_called
from vmkeeper.clouds.opennebula.session import ALLOCATE, AUTHORIZATION, LOCKED, NO_EXISTS, Declined, Session
from vmkeeper.errors import Transient, UserError, VmkeeperError
from vmkeeper.model.platform import OpenNebulaPlatform

MAX_ID = 2**31
Pause = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for what oned does by itself; how often what may be a driver's false answer is asked again."""

    transfer: float = 6 * 3600
    """For a datastore to have an image's bytes."""
    others: float = 60
    """For somebody else's upload of the same image to be finished once the bytes are there."""
    gone: float = 120
    """For an image to be deleted, or a machine to end."""
    stop: float = 60
    """For a guest to shut down."""
    answer: float = 60
    """For an ordinary answer of oned."""
    allocate: float = 600
    """For image.allocate, which asks the file's server before it answers."""
    tries: int = 4
    poll: float = 2.0
    """At most between two looks; the first ones come sooner."""
    pause: Pause = time.sleep

    def looks(self, seconds: float) -> Iterator[None]:
        """Once at once, then after ever longer pauses until the time is over."""
        end, wait = time.monotonic() + seconds, min(0.05, self.poll)
        while True:
            yield
            if time.monotonic() >= end:
                return
            self.pause(wait)
            wait = min(wait * 1.6, self.poll)


class NameTaken(VmkeeperError):
    """The owner has an object of this name. `holder` is its id, None where oned did not say."""

    def __init__(self, name: str, holder: int | None) -> None:
        super().__init__("the name is taken", where=name)
        self.holder = holder


class Account:
    """An account's view of oned. `Session` underneath; nothing is kept but who the account is."""

    def __init__(self, session: Session, platform: OpenNebulaPlatform) -> None:
        self.session = session
        self.platform = platform

    @cached_property
    def uid(self) -> int:
        """The account's own ID."""
        return int(self.session.call("user.info", -1).ID)

    def owns(self, thing: Thing) -> bool:
        """Whether an object is the account's or of the user that the site gives its images to."""
        owner = self.platform.owner
        return thing.uid == self.uid or (owner is not None and is_called(owner, thing.uname, thing.uid))

    def images(self) -> list[Image]:
        """All images that the account can see, in all datastores."""
        with self.sensible("imagepool.info"):
            return [image_of(one) for one in self.session.pool("imagepool.info", "IMAGE")]

    def image(self, number: int) -> Image:
        """Raises Gone."""
        with self.declined("look at the image", number), self.sensible("image.info"):
            return image_of(self.session.read("image.info", number))

    def templates(self) -> list[VmTemplate]:
        """All VM templates that the account can see."""
        with self.sensible("templatepool.info"):
            return [template_of(one) for one in self.session.pool("templatepool.info", "VMTEMPLATE")]

    def user(self, wanted: str) -> int:
        """The ID of a user by name or ID. Raises UserError."""
        return self._named(wanted, "userpool.info", "USER", "platform.owner")

    def group(self, wanted: str) -> int:
        """The ID of a group by name or ID. Raises UserError."""
        return self._named(wanted, "grouppool.info", "GROUP", "the platform's group, or an audience's projects")

    def datastore(self, wanted: str | int) -> Any:
        """A datastore by name or ID, as pyone has it. Raises UserError."""
        if isinstance(wanted, int):
            with self.declined("look at the datastore", wanted, missing=UserError("there is no such datastore", where=str(wanted))):
                return self.session.call("datastore.info", wanted)
        for one in self.session.call("datastorepool.info").DATASTORE:
            if wanted == one.NAME:
                return one
        raise UserError(
            "there is no such datastore that the account can see", where=wanted, hint="correct platform.places, or let the account use it"
        )

    def write(self, thing: Thing, what: str, method: str, *arguments: Any) -> None:
        """Change an object. Raises UserError where a lock or lacking rights forbid it, Gone, Transient."""
        kind = "image" if isinstance(thing, Image) else "template"
        if thing.lock in (1, 2):
            hint = f"unlock it, for example with one{kind} unlock {thing.id}"
            raise UserError(f"could not {what}: the {kind} is locked", where=f"{thing.name} [{thing.id}]", hint=hint)
        with self.declined(what, thing.id):
            self.session.call(f"{kind}.{method}", thing.id, *arguments)

    @contextmanager
    def sensible(self, method: str) -> Iterator[None]:
        """Answers of which something is missing are no answers."""
        try:
            yield
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            raise Transient("oned's answer makes no sense", where=method, why=self.session.endpoint.clean(str(error))) from None

    @contextmanager
    def declined(self, what: str, where: object, *, missing: VmkeeperError | None = None) -> Iterator[None]:
        """Turn oned's refusals into what they mean. `what` fits after "could not"."""
        try:
            yield
        except Declined as error:
            raise meaning(error, what, str(where), missing) from None

    def _named(self, wanted: str, method: str, part: str, field: str) -> int:
        if wanted.isascii() and wanted.isdigit() and int(wanted) < MAX_ID:
            return int(wanted)
        with self.declined("look at names", wanted):
            for one in getattr(self.session.call(method), part):
                if wanted == one.NAME:
                    return int(one.ID)
        raise UserError(f"there is no such {part.lower()} that the account can see", where=wanted, hint=f"correct {field}, or give its ID")


def meaning(error: Declined, what: str, where: str, missing: VmkeeperError | None = None) -> VmkeeperError:
    """The error of ours that a refusal comes to."""
    text = error.message
    if (
        taken := re.search(r"NAME is already taken by [A-Z]+ (\d+)|because it collides with [a-z]+ (\d+)|already owns [a-z]+ \[(\d+)\]", text)
    ) is not None:
        return NameTaken(where, int(next(number for number in taken.groups() if number)))
    if (users := re.search(r"There are (\d+) VMs using it", text)) is not None:
        if int(users[1]):
            return InUse("the image has machines", where=where)
        return UserError(f"could not {what}: it is locked", where=where, hint=f"unlock it, for example with oneimage unlock {where}")
    if "quota" in text.lower() and "limit" in text.lower():
        return NoRoom(f"could not {what}", where=where, why=text)
    if "Not enough space" in text:
        return NoRoom(f"could not {what}", where=where, why=text)
    if error.code == AUTHORIZATION:
        lock = " is locked" in text
        hint = f"unlock it, for example with oneimage unlock {where}" if lock else "give the account this right, or see whether the object is locked"
        return UserError(f"the account may not {what}", where=where, why=text, hint=hint)
    if error.code == NO_EXISTS:
        return missing or Gone(f"could not {what}", where=where, why=text)
    if error.code == LOCKED or (error.code == ALLOCATE and text.rstrip(". ").endswith(("image", "template"))):
        return Transient(f"could not {what}", where=where, why=text)
    return UserError(f"could not {what}", where=where, why=text)


def number_of(id_: str) -> int:
    """An id of ours as oned's number. Raises Gone for what cannot be one."""
    if not (id_.isascii() and id_.isdigit()) or int(id_) >= MAX_ID:
        raise Gone("there is nothing of this id", where=id_)
    return int(id_)
