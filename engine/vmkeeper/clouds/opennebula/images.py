"""Images of one owner in one datastore. See `clouds.interface.ImageCloud` for what each method promises.

An image is not usable by anybody but its owner, and says that it is unverified, until oned has all of its bytes; both end after that.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmkeeper.clouds.interface import CloudImage, Gone, ImageSpec, InUse, NotOurs
from vmkeeper.clouds.opennebula.account import Account, Patience, number_of
from vmkeeper.clouds.opennebula.found import DISABLED, Image, VmTemplate
from vmkeeper.clouds.opennebula.marks import OWNER, SPEC, nested, said_by_others, spec_text
from vmkeeper.clouds.opennebula.removing import Removing
from vmkeeper.clouds.opennebula.saying import Saying
from vmkeeper.clouds.opennebula.transports import Transport, clean
from vmkeeper.clouds.opennebula.uploading import Uploading
from vmkeeper.errors import Transient
from vmkeeper.model.platform import OpenNebulaPlace


@dataclass(frozen=True, slots=True)
class Images:
    """The images of an owner in a datastore."""

    owner: str
    account: Account
    place: OpenNebulaPlace
    transport: Transport
    saying: Saying
    removing: Removing
    patience: Patience

    def images(self) -> tuple[CloudImage, ...]:
        """See `Cloud.images`: a listing of the images, and one of the VM templates where an image of ours bears an alias.

        Copies of files that killed uploads left are cleared away on the way.
        """
        clean(self.account.platform.transport)
        found = self.here(self.account.images())
        aliased = any(image.mark and image.mark.spec and image.mark.spec.alias for image in found if self.ours(image))
        templates = self.saying.aliases.mine() if aliased else []
        return tuple(sorted((self._cloud_image(image, templates) for image in found), key=lambda image: image.id))

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        """See `Cloud.upload`."""
        self.saying.check(spec)
        uploading = Uploading(self.account, self.owner, self.place.datastore, self.transport, self.saying, self.removing, self.patience)
        for _ in range(2 * self.patience.tries):
            everybodys = self.account.images()
            # One that lost its bytes while machines use it stays as long as they do.
            same = [image for image in self.here(everybodys) if self._is(image, spec) and (image.complete() or not image.vms)]
            done = next((image for image in same if image.complete()), None)
            if done is None and same:
                uploading.settle(same[0].id, spec, self.mine)
                continue
            if done is None:
                try:
                    number = uploading.create(spec, file, everybodys)
                except Gone:
                    continue  # somebody took it for a leftover
                if number is None:
                    continue
                done = self.account.image(number)
            elif done.mark is not None and done.mark.spec is not None:
                self.saying.say(done, spec.with_bytes_of(done.mark.spec), None, self.mine)
            self.saying.aliases.sweep([*everybodys, done]) if spec.alias is not None else None
            return self.look(done.id)
        raise Transient("others make and remove the same image", where=spec.name)

    def update(self, id_: str, spec: ImageSpec, hidden_since: datetime | None) -> None:
        """See `Cloud.update`. As few calls as it takes: none where all is as it should be, one where only attributes change."""
        image = self._our_own(id_)
        if image.mark is None or image.mark.spec is None or not image.mark.spec.same_bytes(spec):
            raise ValueError(f"{id_} has other bytes")
        if not image.complete() and hidden_since is None:
            raise Transient("the image is not complete", where=id_, why="its upload was not finished, or oned lost its bytes")
        self.saying.say(image, spec, hidden_since, self.mine)

    def adopt(self, id_: str, spec: ImageSpec) -> None:
        """See `Cloud.adopt`. It must be the account's, or that of the user whom the site gives its images to."""
        image = self.account.image(number_of(id_))
        if image.mark is not None and image.mark.owner != self.owner:
            raise NotOurs("the image is somebody else's", where=id_)
        if not self.here([image]):
            raise NotOurs("the image is in another datastore", where=id_, why=image.datastore_name)
        if not self.account.owns(image):
            hint = "give it to the account, or set platform.owner to its owner where the account is an administrator's"
            raise NotOurs("the image belongs to another user", where=id_, why=image.uname, hint=hint)
        mark = {OWNER: self.owner, SPEC: spec_text(spec)}
        if any(image.attributes.get(key) != text for key, text in mark.items()):
            self.account.write(image, "mark the image", "update", nested(mark), 1)

    def delete(self, id_: str) -> None:
        """See `Cloud.delete`. An alias that the image bears goes to another image that should bear it."""
        with suppress(Gone):
            image = self._our_own(id_)
            if image.vms:
                raise InUse("the image has machines", where=id_, why=f"{len(image.vms)} use it")
            self.saying.aliases.release(image, self.mine)
            self.removing.remove(image)

    def look(self, number: int) -> CloudImage:
        """One image as the listing has it. Raises Gone."""
        image = self.account.image(number)
        aliased = image.mark is not None and image.mark.spec is not None and image.mark.spec.alias is not None
        return self._cloud_image(image, self.saying.aliases.mine() if aliased else [])

    def here(self, images: list[Image]) -> list[Image]:
        """Those in this place's datastore."""
        wanted = self.place.datastore
        return [image for image in images if wanted in (image.datastore, image.datastore_name)]

    def mine(self) -> list[Image]:
        """The owner's images as they are now."""
        return [image for image in self.here(self.account.images()) if self.ours(image)]

    def ours(self, image: Image) -> bool:
        """Whether it has the owner's mark and the account put it there: anybody can copy attributes."""
        return image.mark is not None and image.mark.owner == self.owner and self.account.owns(image)

    def _is(self, image: Image, spec: ImageSpec) -> bool:
        return self.ours(image) and image.mark is not None and image.mark.spec is not None and image.mark.spec.key == spec.key

    def _our_own(self, id_: str) -> Image:
        image = self.account.image(number_of(id_))
        if not self.ours(image) or not self.here([image]):
            raise NotOurs("the image is somebody else's", where=id_)
        return image

    def _cloud_image(self, image: Image, templates: list[VmTemplate]) -> CloudImage:
        mark = image.mark if self.account.owns(image) else None
        if mark is None and image.mark is not None:
            # Somebody copied a mark: what he wrote beside it is not what another tool wrote.
            return CloudImage(str(image.id), image.name, image.seen_as())
        if mark is None:
            about = {"NAME": image.name, "OWNER": image.uname, "GROUP": image.gname, "DATASTORE": image.datastore_name, "SIZE": str(image.size)}
            return CloudImage(str(image.id), image.name, image.seen_as(), attributes={**about, **said_by_others(image.attributes)})
        if not image.complete():
            # Bytes that are not there: whatever else is to be said of it, it cannot be used.
            return CloudImage(str(image.id), image.name, "incomplete", mark.owner, mark.spec, in_use=bool(image.vms))
        hidden = mark.hidden_since is not None or (mark.spec is None and image.state == DISABLED)
        drift = self.saying.drift(image, templates) if mark.owner == self.owner else ()
        in_use = hidden and bool(image.vms)
        return CloudImage(
            str(image.id), image.name, "hidden" if hidden else "active", mark.owner, mark.spec, mark.hidden_since, in_use=in_use, drift=drift
        )
