"""The images of one place: see `clouds.interface.ImageCloud` for what each method promises.

One listing is two requests (and one more for each further page, shared image, or hidden or unfinished image of ours);
an update is one PATCH, with deactivation or reactivation where that changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from vmkeeper.clouds.interface import CloudImage, Gone, ImageSpec, InUse, NoRoom, NotOurs
from vmkeeper.clouds.openstack import properties
from vmkeeper.clouds.openstack.glance import Glance
from vmkeeper.clouds.openstack.members import members_of, share
from vmkeeper.clouds.openstack.properties import Image, Marks, marks_of
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.clouds.openstack.upload import Bytes, check_size, claimed, holds, is_alive, new_ids, other_bytes
from vmkeeper.clouds.openstack.usage import Usage
from vmkeeper.errors import Refused, Transient, UserError, VmkeeperError


class Images:
    """One owner's view of a place's images. folder: for locks."""

    def __init__(self, access: Access, owner: str, folder: Path) -> None:
        self._access, self._owner, self._folder = access, owner, folder
        self._platform = access.platform
        self._glance, self._usage = Glance(access), Usage(access)

    def images(self) -> tuple[CloudImage, ...]:
        """See `ImageCloud.images`."""
        project = self._access.project
        found = [(image, marks_of(image, project)) for image in self._glance.everything(project)]
        used: dict[str, str] = {}
        with suppress(VmkeeperError):  # nothing is hidden later because Nova is away: `delete` asks again and says what is wrong
            used = self._usage.of(image["id"] for image, marks in found if self._is_idle(image, marks))
        seen = (self._seen(image, marks, image["id"] in used) for image, marks in found)
        by_id = {image.id: image for image in seen if image is not None}
        return tuple(by_id[id_] for id_ in sorted(by_id))

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        """See `ImageCloud.upload`."""
        with claimed(self._folder, spec) as uploader:
            there = self._with_key(spec)
            for image, held in _whole(there):
                return self._shown(self._make(image, spec.with_bytes_of(held), None))
            check_size(spec, file)
            self._clear(there, uploader)
            self._check_room(spec)
            image = self._create(spec, uploader)
            try:
                stored = self._stored(image["id"], spec, file)
            except (Refused, UserError, NoRoom):
                with suppress(VmkeeperError):  # what is left shows as incomplete
                    self._glance.delete(image["id"])
                raise
            return self._shown(self._make(stored, spec, None))

    def update(self, id_: str, spec: ImageSpec, hidden_since: datetime | None) -> None:
        """See `ImageCloud.update`."""
        image, marks = self._ours(id_)
        held = marks.spec.same_bytes(spec) if marks.spec is not None else not properties.has_other_bytes(image, spec)
        if not held or properties.state_of(image, marks) == "incomplete":
            raise ValueError(f"{id_} has other bytes")
        self._make(image, spec, hidden_since)

    def adopt(self, id_: str, spec: ImageSpec) -> None:
        """See `ImageCloud.adopt`."""
        image = self._glance.show(id_)
        project, marks = self._access.project, marks_of(image, self._access.project)
        if project is not None and image.get("owner") != project:
            raise NotOurs("the image belongs to another project", where=id_)
        if marks is not None and marks.owner != self._owner:
            raise NotOurs("the image is somebody else's", where=id_)
        if properties.STATES.get(image["status"]) != "whole":
            raise NotOurs(f"the image is {image['status']}", where=id_)
        if properties.has_other_bytes(image, spec):
            raise Refused("R14", "the bytes are not the ones that were endorsed", where=id_, why=f"the cloud holds {image.get('size')} bytes")
        hidden = marks.hidden_since if marks else None
        want = properties.marks_for(id_, self._owner, spec, hidden)
        keep = {name: value for name, value in image.items() if name not in want and (marks is not None or not name.startswith("vmkeeper_"))}
        if operations := properties.patch(image, {**keep, **want}):
            self._glance.change(id_, operations)

    def delete(self, id_: str) -> None:
        """See `ImageCloud.delete`."""
        try:
            image, _ = self._ours(id_)
        except Gone:
            return
        if used := self._usage.of([id_]):
            raise InUse("the image is in use", where=id_, why=used[id_])
        if image.get("protected"):
            self._glance.change(id_, [{"op": "replace", "path": "/protected", "value": False}])
        answer = self._glance.delete(id_)
        if answer.status == 409:
            raise InUse("the image is in use", where=id_, why=answer.reason)

    # -- looking

    def _is_idle(self, image: Image, marks: Marks | None) -> bool:
        """Whether it is one of ours that serves nobody, so that it may be deleted when nothing uses it."""
        return marks is not None and marks.owner == self._owner and properties.state_of(image, marks) in ("hidden", "incomplete")

    def _seen(self, image: Image, marks: Marks | None, in_use: bool = False) -> CloudImage | None:
        members = members_of(self._glance, image, marks.spec) if marks is not None and marks.owner == self._owner else None
        project, platform = self._access.project, self._platform
        return properties.seen(image, marks, project=project, ours=self._owner, platform=platform, in_use=in_use, members=members)

    def _shown(self, image: Image) -> CloudImage:
        seen = self._seen(image, marks_of(image, self._access.project))
        if seen is None:
            raise Gone("the image was deleted meanwhile", where=image["id"])
        return seen

    def _ours(self, id_: str) -> tuple[dict[str, Any], Marks]:
        image = self._glance.show(id_)
        marks = marks_of(image, self._access.project)
        if marks is None or marks.owner != self._owner:
            raise NotOurs("the image is somebody else's", where=id_)
        return image, marks

    def _with_key(self, spec: ImageSpec) -> list[tuple[dict[str, Any], Marks]]:
        """Our images of the same key, hidden or not."""
        said = {properties.KEY: spec.key, properties.OWNER: self._owner}
        images = [*self._glance.listing(**said), *self._glance.listing(os_hidden="true", **said)]
        marked = ((image, marks_of(image, self._access.project)) for image in images)
        return [(image, marks) for image, marks in marked if marks and marks.owner == self._owner and marks.spec and marks.spec.key == spec.key]

    # -- making

    def _clear(self, found: Iterable[tuple[dict[str, Any], Marks]], uploader: str) -> None:
        """Remove what dead uploads of a key left. Raises Transient where one may still be on its way, from another machine."""
        for image, marks in found:
            if marks.uploading and is_alive(image, marks.uploader, uploader, self._glance.date):
                raise Transient("the image is being uploaded from elsewhere", where=image["id"], why=f"since {image.get('updated_at')}")
            with suppress(InUse):
                self.delete(image["id"])

    def _check_room(self, spec: ImageSpec) -> None:
        usage, mib = self._glance.usage(), -(-int(spec.size) // 2**20)
        for name, more, unit in (("image_size_total", mib, " MiB"), ("image_count_total", 1, " images")):
            if name in usage and usage[name][0] + more > usage[name][1]:
                used, limit = usage[name]
                raise NoRoom(f"no quota left for {spec.name}", where=self._access.where, why=f"{used} of {limit}{unit} are used, it needs {more}")

    def _create(self, spec: ImageSpec, uploader: str) -> dict[str, Any]:
        """The image without bytes: marked, hidden, under its versioned name, and for our project alone.

        It is created with the visibility that it is to have, so that a right that is missing shows before the bytes go.
        """
        for id_ in new_ids(self._owner, self._access.project, spec):
            fields = properties.wanted(id_, self._owner, spec, None, self._platform)
            fields |= properties.formats(spec) | {"id": id_, "name": spec.name, "os_hidden": True, "protected": False}
            fields |= {properties.STAGE: properties.UPLOADING, properties.UPLOADER: uploader}
            image = self._glance.create(fields)
            if image is None:
                self._check_not_coming(id_)
                continue
            if image["visibility"] in ("public", "community"):
                image = self._glance.change(id_, [{"op": "replace", "path": "/visibility", "value": "private"}])
            return image
        raise Transient(f"could not create {spec.name}", where=self._access.where, why="all ids are taken")

    def _check_not_coming(self, id_: str) -> None:
        """That no other machine has just begun this upload: else an id is taken by a deleted image, somebody else's, or a spoilt one."""
        with suppress(Gone):
            marks = marks_of(self._glance.show(id_), self._access.project)
            if marks and marks.owner == self._owner and marks.uploading:
                raise Transient("the image is being uploaded from elsewhere", where=id_)

    def _stored(self, id_: str, spec: ImageSpec, file: Path) -> dict[str, Any]:
        """The image with its bytes in it, as Glance says that it has them."""
        self._glance.put(id_, Bytes(spec, file))
        stored = self._glance.show(id_)
        if stored["status"] != "active":
            raise Transient("the cloud did not take the image", where=id_, why=f"it is {stored['status']}")
        if not holds(stored, spec, file):
            raise other_bytes(spec, file)
        return stored

    def _make(self, image: dict[str, Any], spec: ImageSpec, hidden_since: datetime | None) -> dict[str, Any]:
        """Make everything said of an image be so: one PATCH."""
        id_ = image["id"]
        want = properties.wanted(id_, self._owner, spec, hidden_since, self._platform)
        if hidden_since is not None and image["status"] == "active":
            if self._glance.deactivate(id_):
                image = {**image, "status": "deactivated"}
            else:
                want |= {"visibility": "private", properties.HOW: "private"}
        elif hidden_since is None and image["status"] == "deactivated":
            self._glance.reactivate(id_)
            image = {**image, "status": "active"}
        if operations := properties.patch(image, want):
            image = self._glance.change(id_, operations)
        share(self._glance, self._access, image, spec)
        return image


def _whole(found: Iterable[tuple[dict[str, Any], Marks]]) -> Iterator[tuple[dict[str, Any], ImageSpec]]:
    """Images of a key that have their bytes, a usable one first. One that was cut off after its bytes had come is whole, too."""
    rank = {"active": 0, "hidden": 1}
    for image, marks in sorted(found, key=lambda one: (rank.get(properties.state_of(*one) or "", 2), one[0]["id"])):
        verified = image.get("os_hash_algo") == "sha512" and not properties.has_other_bytes(image, marks.spec)
        if marks.spec and (properties.state_of(image, marks) in rank or (marks.uploading and image["status"] == "active" and verified)):
            yield image, marks.spec
