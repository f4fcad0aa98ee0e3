"""Making an image of ours be what is said about it, in as few calls as it takes. What it says of itself is written last.

Killed in the middle, it still says what it said before, so that the next run does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.clouds.opennebula.account import Account, NameTaken
from vmkeeper.clouds.opennebula.aliases import Aliases, give
from vmkeeper.clouds.opennebula.found import DISABLED, READY, Image, VmTemplate
from vmkeeper.clouds.opennebula.marks import changed, image_attributes, merged, nested
from vmkeeper.clouds.opennebula.names import image_names
from vmkeeper.clouds.opennebula.rights import Rights, rights_for
from vmkeeper.clouds.opennebula.templates import image_extra, vm_template
from vmkeeper.errors import Transient, UserError, VmkeeperError

_OS = "OS"


@dataclass(frozen=True, slots=True)
class Saying:
    """What is said of one owner's images."""

    account: Account
    owner: str
    aliases: Aliases

    def attributes(self, spec: ImageSpec, hidden_since: datetime | None) -> dict[str, Any]:
        """All that is written on the image. Raises UserError for a site's template that cannot be used."""
        return image_attributes(self.owner, spec, hidden_since, image_extra(self.account.platform, self.owner, spec))

    def check(self, spec: ImageSpec) -> None:
        """Whether all can be said; raises UserError before anything was done."""
        rights = rights_for(self.account.platform, spec)
        if rights.owner is not None:
            self.account.user(rights.owner)
        if rights.group is not None:
            self.account.group(rights.group)
        nested(self.attributes(spec, None))
        if spec.alias is not None:
            nested(vm_template(self.account.platform, self.owner, spec, "0"))

    def say(self, image: Image, spec: ImageSpec, hidden_since: datetime | None, heirs: Callable[[], Iterable[Image]]) -> None:
        """Everything about `image` but its bytes becomes what `spec` says. heirs: images of ours, for an alias that it loses.

        An image that is to be hidden is, even where its alias cannot be taken from it; that is told afterwards.
        """
        before = image.mark.spec if image.mark is not None else None
        hidden = hidden_since is not None
        rights = rights_for(self.account.platform, spec, hidden=hidden)
        bore = image.complete() and image.mark is not None and image.mark.hidden_since is None and before is not None and before.alias
        kept: VmkeeperError | None = None
        if bore and (hidden or spec.alias is None):
            try:
                self.aliases.release(image, heirs)
            except VmkeeperError as error:
                kept = error
        self._use(image, hidden=hidden)
        self._give(image, spec, rights)
        self._name(image, spec, hidden=hidden)
        if kept is not None:
            raise kept
        if not hidden and spec.alias is not None:
            self.aliases.bear(spec, str(image.id))
        self.write(image, self.attributes(spec, hidden_since), {} if before is None else self._written(before))

    def write(self, image: Image, wanted: dict[str, Any], before: dict[str, Any]) -> None:
        """The attributes, in one update, if they are otherwise. before: what we had written."""
        dropped = [key for key in before if key in image.attributes and key not in wanted]
        if dropped or changed(image.attributes, wanted):
            self.account.write(image, "change the image", "update", nested(merged(image.attributes, before, wanted)), 0)

    def drift(self, image: Image, templates: Iterable[VmTemplate]) -> tuple[str, ...]:
        """What is otherwise than the mark says."""
        if image.mark is None or image.mark.spec is None:
            return ()
        spec, hidden = image.mark.spec, image.mark.hidden_since is not None
        words = list(image.made_drift())
        if image.name not in image_names(self.owner, spec, hidden=hidden):
            words.append(f"its name is {image.name}")
        with suppress(UserError):
            words += image.rights_drift(rights_for(self.account.platform, spec, hidden=hidden))
            words += [f"its attribute {key} is changed" for key in changed(image.attributes, self.attributes(spec, image.mark.hidden_since))]
        if spec.alias is not None and not hidden:
            words += self.aliases.drift(templates, spec, str(image.id))
        return tuple(words)

    def _written(self, before: ImageSpec) -> dict[str, Any]:
        with suppress(UserError):
            return self.attributes(before, None)
        return image_attributes(self.owner, before)

    def _use(self, image: Image, *, hidden: bool) -> None:
        """Enable or disable. One that machines use cannot be disabled: its permissions keep others off, and the next run looks again."""
        write = self.account.write
        if image.persistent:
            write(image, "make the image not persistent", "persistent", False)
        if image.type != 0:
            write(image, "make the image one of an operating system", "chtype", _OS)
        if hidden and image.state == READY:
            with suppress(UserError):
                write(image, "disable the image", "enable", False)
                return
            if self.account.image(image.id).state == READY:
                write(image, "disable the image", "enable", False)
        if not hidden and image.state == DISABLED:
            write(image, "enable the image", "enable", True)

    def _give(self, image: Image, spec: ImageSpec, rights: Rights) -> None:
        try:
            give(self.account, image, rights)
        except NameTaken:
            # Whom it is given to has an image of this name.
            self.account.write(image, "rename the image", "rename", image_names(self.owner, spec)[-1])
            give(self.account, image, rights)

    def _name(self, image: Image, spec: ImageSpec, *, hidden: bool) -> None:
        names = image_names(self.owner, spec, hidden=hidden)
        if image.name in names:
            return
        for name in names:
            with suppress(NameTaken):
                self.account.write(image, "rename the image", "rename", name)
                return
        raise Transient("all names for the image are taken", where=spec.name)
