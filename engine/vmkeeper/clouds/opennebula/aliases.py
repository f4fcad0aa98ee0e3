"""VM templates that bear the stable name of an appliance and point to the image of its newest version.

A template is marked in the call that creates it and switched to another image in one update, so that who uses it never finds it without
an image. A template that bears somebody else's name or mark is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from vmkeeper.clouds.interface import Gone, ImageSpec
from vmkeeper.clouds.opennebula.account import Account, NameTaken, Patience
from vmkeeper.clouds.opennebula.found import Image, VmTemplate
from vmkeeper.clouds.opennebula.marks import OURS, OWNER, changed, nested, plain
from vmkeeper.clouds.opennebula.names import alias_names
from vmkeeper.clouds.opennebula.rights import Rights, bits, is_called, rights_for
from vmkeeper.clouds.opennebula.templates import ALIAS, vm_template
from vmkeeper.errors import Transient, UserError

_OTHERS = frozenset(("LABELS",))
"""What users of OpenNebula's web interface put on templates."""


@dataclass(frozen=True, slots=True)
class Aliases:
    """The templates of one owner."""

    account: Account
    owner: str
    patience: Patience

    def mine(self) -> list[VmTemplate]:
        """The templates with our mark that are the account's, oldest first."""
        found = self.account.templates()
        return sorted((one for one in found if one.attributes.get(OWNER) == self.owner and self.account.owns(one)), key=lambda one: one.id)

    def drift(self, templates: Iterable[VmTemplate], spec: ImageSpec, image: str) -> tuple[str, ...]:
        """What is otherwise with the template that should bear the spec's alias for the image."""
        found = [one for one in templates if one.attributes.get(ALIAS) == spec.alias]
        if not found:
            return (f"no VM template bears {spec.alias}",)
        template, words = found[0], []
        if image not in template.images:
            words.append(f"its VM template points to image {', '.join(template.images) or 'nothing'}")
        if template.name not in alias_names(self.owner, spec.alias or ""):
            words.append(f"its VM template is called {template.name}")
        with suppress(UserError):
            wanted = vm_template(self.account.platform, self.owner, spec, image)
            if (other := _changed(template, wanted)) and not words:
                words.append(f"its VM template says something else about {', '.join(other)}")
            words += [f"of its VM template {word}" for word in template.rights_drift(rights_for(self.account.platform, spec))]
        return tuple(words)

    def bear(self, spec: ImageSpec, image: str) -> None:
        """Have exactly one template bear the spec's alias, point to the image, and say and allow what it should."""
        wanted = vm_template(self.account.platform, self.owner, spec, image)
        rights = rights_for(self.account.platform, spec)
        for _ in range(self.patience.tries):
            mine = self.mine()
            named = [one for one in mine if one.attributes.get(ALIAS) == spec.alias]
            pointing = [one for one in mine if image in one.images and one not in named]
            if named or pointing:
                kept, *others = named + pointing
                self._make(kept, spec, wanted, rights)
                for other in others:
                    self._remove(other)
                return
            with suppress(NameTaken, Gone):
                self._create(spec, wanted, rights)
                return
        raise Transient("the VM template does not keep still", where=spec.alias or "")

    def release(self, image: Image, heirs: Callable[[], Iterable[Image]]) -> None:
        """Have no template point to the image: another image that should bear the alias gets it, else the template goes.

        heirs: images of ours, asked for only where there is such a template.
        """
        for template in self.mine():
            if str(image.id) not in template.images:
                continue
            heir = next((spec for spec in _heirs(heirs(), image, str(template.attributes.get(ALIAS)))), None)
            if heir is None:
                self._remove(template)
            else:
                self.bear(*heir)

    def sweep(self, images: Iterable[Image]) -> None:
        """Remove templates of ours whose image is gone and whose alias no image bears. images: all there are."""
        images = list(images)
        ids = {str(image.id) for image in images}
        borne = {
            spec.alias for image in images if image.mark is not None and image.mark.owner == self.owner and (spec := image.mark.spec) is not None
        }
        for template in self.mine():
            if template.attributes.get(ALIAS) not in borne and not ids.intersection(template.images):
                self._remove(template)

    def _make(self, template: VmTemplate, spec: ImageSpec, wanted: dict[str, object], rights: Rights) -> None:
        write = self.account.write
        if _changed(template, wanted):
            kept = {key: plain(str(value)) for key, value in template.attributes.items() if key in _OTHERS and value}
            write(template, "change the VM template", "update", nested({**kept, **wanted}), 0)
        names = alias_names(self.owner, spec.alias or "")
        if template.name not in names:
            for name in names:
                with suppress(NameTaken):
                    write(template, "rename the VM template", "rename", name)
                    break
        give(self.account, template, rights)

    def _create(self, spec: ImageSpec, wanted: dict[str, object], rights: Rights) -> None:
        """Raises NameTaken where all names are."""
        taken: NameTaken | None = None
        for name in alias_names(self.owner, spec.alias or ""):
            try:
                with self.account.declined("create the VM template", name):
                    number = int(self.account.session.call("template.allocate", nested({"NAME": name, **wanted})))
            except NameTaken as error:
                taken = error
                if any(one.id == error.holder for one in self.mine()):
                    raise
                continue
            with self.account.declined("look at the VM template", number), self.account.sensible("template.info"):
                found = next(one for one in self.mine() if one.id == number)
            give(self.account, found, rights)
            return
        raise taken or NameTaken(spec.alias or "", None)

    def _remove(self, template: VmTemplate) -> None:
        with suppress(Gone):
            self.account.write(template, "delete the VM template", "delete", False)


def give(account: Account, thing: Image | VmTemplate, rights: Rights) -> None:
    """Owner, group and permissions, as far as they are otherwise. Permissions come last: until then only the owner has them."""
    kind = "image" if isinstance(thing, Image) else "VM template"
    user = account.user(rights.owner) if rights.owner is not None and not is_called(rights.owner, thing.uname, thing.uid) else -1
    group = account.group(rights.group) if rights.group is not None and not is_called(rights.group, thing.gname, thing.gid) else -1
    if user != -1 or group != -1:
        account.write(thing, f"give away the {kind}", "chown", user, group)
    if thing.mode != rights.mode:
        account.write(thing, f"set the permissions of the {kind}", "chmod", *bits(rights.mode))


def _changed(template: VmTemplate, wanted: dict[str, object]) -> tuple[str, ...]:
    """Names of attributes that are otherwise, missing, or there and not wanted."""
    more = tuple(key for key in template.attributes if key not in wanted and key not in _OTHERS and not key.startswith(OURS))
    return tuple(sorted({*changed(template.attributes, wanted), *more}))


def _heirs(images: Iterable[Image], gone: Image, alias: str) -> Iterable[tuple[ImageSpec, str]]:
    """Other usable images that should bear an alias, newest first."""
    found = [
        (image.mark.spec, str(image.id))
        for image in images
        if image.id != gone.id and image.complete() and image.mark and image.mark.hidden_since is None and image.mark.spec
    ]
    return sorted((one for one in found if one[0].alias == alias), key=lambda one: one[0].version, reverse=True)
