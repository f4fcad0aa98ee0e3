"""The images of one region: AMIs on snapshots that were imported through S3.

An image's AMI name is made of its key, so that of several uploads at once one counts. Tags are written last, so what they
say holds. Nothing is concluded from a listing that is not whole, and every change is read back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from vmkeeper.clouds.ec2.access import access_drift, closed, opened
from vmkeeper.clouds.ec2.alias import Aliases
from vmkeeper.clouds.ec2.errors import code_of
from vmkeeper.clouds.ec2.marks import IMAGE, KEY, Marks, drift_of, key_of, marks_of, stale_tags, tags_of, tags_on
from vmkeeper.clouds.ec2.session import Session
from vmkeeper.clouds.ec2.snapshots import FORMATS, ImportFailed, ImportLost, Snapshots, pairs
from vmkeeper.clouds.ec2.staging import Pending, Record, Staging, new_attempt, not_endorsed
from vmkeeper.clouds.interface import CloudImage, Gone, ImageSpec, ImageState, InUse, NoRoom, NotOurs
from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.files import reported
from vmkeeper.model.platform import Audience

PENDING = "pending-"
"""What the ids of uploads and deletions that were cut off begin with."""
_COMING = ("pending", "transient")
_USABLE = ("available", "disabled")
_LIVE = ["pending", "running", "stopping", "stopped"]
_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
_FIRMWARE = {"uefi": "uefi", "bios": "legacy-bios"}


class Ec2Images:
    """One owner's view of a region's images. See `clouds.interface.ImageCloud`."""

    def __init__(self, session: Session, owner: str, *, bucket: str, prefix: str, role: str | None) -> None:
        self.owner = owner
        self._session = session
        self._bucket = bucket
        self._staging = Staging(session, owner, bucket, prefix)
        self._snapshots = Snapshots(session, owner, role)
        self._aliases = Aliases(session, owner)

    def images(self) -> tuple[CloudImage, ...]:
        """See `ImageCloud.images`: one listing of the account's own AMIs, one of our folder in the bucket."""
        pending = [self._cut_off(one) for one in self._staging.pending()]
        amis = list(self._listed())
        seen = [*pending, *(self._seen(one) for one in amis)]
        asked = [one.id for one in seen if one.owner == self.owner and one.state != "active" and not one.id.startswith(PENDING)]
        used = self._used(asked) if asked else frozenset()
        shown = [replace(one, in_use=one.id in used) for one in seen]
        return tuple(sorted(shown, key=lambda one: one.id))

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        """See `ImageCloud.upload`."""
        if spec.format not in FORMATS:
            hint = "write formats: [raw], [vmdk] or [vhd] in the site's file: images are converted"
            raise UserError(f"EC2 does not take {spec.format} files", where=self._session.where, hint=hint)
        tags_of(self.owner, spec)  # too much to say is told before anything is sent
        key = key_of(self.owner, spec)
        image = self._usable(key)
        if image is None:
            with reported("read the image file", file):
                if file.stat().st_size != spec.size:
                    raise not_endorsed(spec, file)
            image = self._made(spec, key, file)
        for one in self._staging.pending(key):
            self._ended(one, keep=_disks(image))
        marks = marks_of(image)
        spec = spec.with_bytes_of(marks.spec) if marks.spec else spec
        return self._said(image, spec, None)

    def update(self, id: str, spec: ImageSpec, hidden_since: datetime | None) -> None:  # noqa: A002 - the Protocol's name
        """See `ImageCloud.update`."""
        image = self._ours(id)
        marks = marks_of(image)
        if marks.spec is not None and not marks.spec.same_bytes(spec):
            raise ValueError(f"{id} has other bytes")
        if marks.spec is None:
            raise UserError("what the image's tags say cannot be read", where=id, hint=f"remove its tag {KEY.partition(':')[0]}:owner")
        self._said(image, spec, hidden_since)

    def adopt(self, id: str, spec: ImageSpec) -> None:  # noqa: A002
        """See `ImageCloud.adopt`. EC2 knows no SHA-512 of an image, so none is compared."""
        image = self._found(id)
        marks = marks_of(image)
        if marks.owner not in (None, self.owner):
            raise NotOurs("the image is somebody else's", where=id)
        if marks.spec is None:
            tags = {name: value for name, value in tags_of(self.owner, spec).items() if name.startswith("vmkeeper:")} | {IMAGE: id}
            self._session.call("ec2", "create_tags", "mark the image", Resources=[id], Tags=pairs(tags))
            self._settled(id, lambda seen: seen.owner == self.owner and seen.spec == spec)

    def delete(self, id: str) -> None:  # noqa: A002
        """See `ImageCloud.delete`."""
        if id.startswith(PENDING):
            for one in self._staging.pending(id.removeprefix(PENDING)):
                self._ended(one)
            return
        with suppress(Gone):
            image = self._ours(id)
            if self._used([id]):
                raise InUse("the image has machines", where=id)
            self._removed(image)

    # -- what is there

    def _listed(self, **filters: str) -> Iterable[Mapping[str, Any]]:
        """The account's own AMIs, disabled ones too."""
        only = [{"Name": name, "Values": [value]} for name, value in filters.items()]
        more: dict[str, Any] = {"Filters": only} if only else {"MaxResults": 1000}
        return self._session.listed("ec2", "describe_images", "Images", "list images", Owners=["self"], IncludeDisabled=True, **more)

    def _found(self, image: str) -> Mapping[str, Any]:
        found = self._session.call("ec2", "describe_images", "look at the image", "Images", ImageIds=[image], IncludeDisabled=True)["Images"]
        if not found or found[0].get("State") == "deregistered":
            raise Gone("there is no such image", where=image)
        if found[0].get("ImageId") != image:
            raise Transient("could not look at the image", where=self._session.where, why="the answer is about another one")
        return dict(found[0])

    def _ours(self, image: str) -> Mapping[str, Any]:
        if image.startswith(PENDING):
            raise Gone("it is not an image yet", where=image)
        found = self._found(image)
        if marks_of(found).owner != self.owner:
            raise NotOurs("the image is somebody else's", where=image)
        return found

    def _of_key(self, key: str) -> list[Mapping[str, Any]]:
        found = (one for one in self._listed(**{f"tag:{KEY}": key}) if marks_of(one).owner == self.owner)
        return sorted(found, key=lambda one: str(one["ImageId"]))

    def _usable(self, key: str) -> Mapping[str, Any] | None:
        """The image of a key, waited for; what came to nothing is removed on the way."""
        for one in self._of_key(key):
            image = self._come(one["ImageId"]) if one.get("State") in _COMING else one
            if image.get("State") in _USABLE:
                return image
            self._removed(image)
        return None

    def _come(self, image: str) -> Mapping[str, Any]:
        end = time.monotonic() + self._session.pace.importing
        while (found := self._found(image)).get("State") in _COMING:
            if time.monotonic() > end:
                raise Transient("the image is still coming", where=image)
            time.sleep(self._session.pace.poll)
        return found

    def _used(self, images: list[str]) -> frozenset[str]:
        """Which of these images have instances."""
        filters = [{"Name": "image-id", "Values": images}, {"Name": "instance-state-name", "Values": _LIVE}]
        found = self._session.listed("ec2", "describe_instances", "Reservations", "list instances", Filters=filters)
        return frozenset(str(one.get("ImageId")) for reservation in found for one in reservation.get("Instances", ()))

    def _seen(self, image: Mapping[str, Any]) -> CloudImage:
        tags = tags_on(image)
        marks = marks_of(image)
        state: ImageState = "active" if image.get("State") in _USABLE else "incomplete"
        if state == "active" and marks.hidden_since is not None:
            state = "hidden"
        name = tags.get("Name") or str(image.get("Name") or image["ImageId"])
        if marks.owner is None:
            more = {"image_name": str(image.get("Name", "")), "description": str(image.get("Description", ""))}
            return CloudImage(str(image["ImageId"]), name, state, attributes={**tags, **{k: v for k, v in more.items() if v}})
        drift = (*access_drift(image, marks), *drift_of(tags, marks)) if marks.owner == self.owner and state != "incomplete" else ()
        since = marks.hidden_since if state == "hidden" else None
        return CloudImage(str(image["ImageId"]), name, state, marks.owner, marks.spec, since, drift=drift)

    def _cut_off(self, pending: Pending) -> CloudImage:
        spec = pending.record.spec if pending.record else None
        return CloudImage(f"{PENDING}{pending.key}", spec.name if spec else pending.key, "incomplete", self.owner, spec)

    # -- coming

    def _made(self, spec: ImageSpec, key: str, file: Path) -> Mapping[str, Any]:
        """Take a file all the way to an image that is there."""
        for one in self._staging.pending(key):
            record = one.record
            if record is None or record.doing != "upload" or not record.spec.same_bytes(spec):
                self._ended(one)
        record = self._staging.claim(Record(doing="upload", owner=self.owner, spec=spec, attempt=new_attempt()))
        if record.doing != "upload" or not record.spec.same_bytes(spec):
            raise Transient("another run is at the same image", where=self._session.where)
        try:
            snapshot = self._snapshots.imported(record.attempt)
            if snapshot is None:
                self._staging.send(record, file)
                self._snapshots.start(record.attempt, key, spec.format, self._bucket, self._staging.disk(record), spec.name)
                snapshot = self._snapshots.imported(record.attempt)
            if snapshot is None:
                raise Transient("the import that was started is not there yet", where=self._session.where)
            self._snapshots.mark(snapshot, record.attempt, key, spec.name)
            return self._come(self._registered(spec, key, snapshot))
        except (Refused, ImportFailed, ImportLost, NoRoom):
            self._ended(Pending(key, (), record))
            raise
        except (Transient, Gone, UserError):
            if (image := self._usable(key)) is not None:  # another run was faster
                return image
            raise

    def _registered(self, spec: ImageSpec, key: str, snapshot: str) -> str:
        name = f"{spec.appliance}-{spec.version}"[:103] + f"-{key}"
        disk = {"SnapshotId": snapshot, "VolumeType": "gp3", "DeleteOnTermination": True}
        firmware = _FIRMWARE.get(spec.properties.get("hw_firmware_type", ""))
        plain = spec.model_copy(update={"alias": None, "audience": Audience()})  # the rest is said when it holds
        boot = {"BootMode": firmware} if firmware and spec.architecture == "x86_64" else {}
        try:
            made = self._session.call(
                "ec2",
                "register_image",
                f"register {spec.name}",
                "ImageId",
                Name=name,
                Description=f"{spec.appliance} {spec.version}",
                Architecture=_ARCHITECTURES[spec.architecture],
                RootDeviceName="/dev/sda1",
                VirtualizationType="hvm",
                EnaSupport=True,
                BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": disk}],
                TagSpecifications=[{"ResourceType": "image", "Tags": pairs(tags_of(self.owner, plain))}],
                **boot,
            )
        except UserError as error:
            if error.__cause__ is None or code_of(error.__cause__) != "InvalidAMIName.Duplicate":
                raise
            found = next((one for one in self._listed(name=name) if marks_of(one).owner == self.owner), None)
            if found is None:
                raise
            return str(found["ImageId"])
        return str(made["ImageId"])

    # -- saying

    def _said(self, image: Mapping[str, Any], spec: ImageSpec, hidden_since: datetime | None) -> CloudImage:
        """Make everything be as it is to be, tags last; read it back. Nothing is written where nothing differs."""
        image_id, marks = str(image["ImageId"]), marks_of(image)
        if hidden_since is None:
            opened(self._session, image, spec.audience)
            how = ""
        else:
            how = marks.how if marks.hidden_since and not access_drift(image, marks) else closed(self._session, image_id)
        self._alias(image_id, marks, spec, hidden_since)
        self._tagged(image_id, tags_on(image), {**tags_of(self.owner, spec, hidden_since, how), IMAGE: image_id})
        wanted = (spec, hidden_since, ())
        return self._settled(image_id, lambda seen: (seen.spec, seen.hidden_since, seen.drift) == wanted)

    def _tagged(self, image: str, there: Mapping[str, str], wanted: dict[str, str]) -> None:
        stale = stale_tags(there, wanted)
        early = [{"Key": key} for key in stale if not key.startswith("vmkeeper:spec.")]
        late = [{"Key": key} for key in stale if key.startswith("vmkeeper:spec.")]
        if early:
            self._session.call("ec2", "delete_tags", "take tags away", Resources=[image], Tags=early)
        if any(there.get(key) != value for key, value in wanted.items()):
            self._session.call("ec2", "create_tags", "say what the image is", Resources=[image], Tags=pairs(wanted))
        if late:
            self._session.call("ec2", "delete_tags", "take tags away", Resources=[image], Tags=late)

    def _alias(self, image: str, before: Marks, spec: ImageSpec, hidden_since: datetime | None) -> None:
        alias = spec.alias if hidden_since is None else None
        if before.spec and before.spec.alias and before.spec.alias != alias:
            self._aliases.drop(before.spec.alias, image)
        if alias:
            self._aliases.point(alias, image)

    def _settled(self, image: str, right: Any) -> CloudImage:
        """Wait until an image shows as it should; raises Transient where it does not in time."""
        end = time.monotonic() + self._session.pace.settling
        while not right(seen := self._seen(self._found(image))):
            if time.monotonic() > end:
                raise Transient("what was changed does not show", where=image)
            time.sleep(self._session.pace.poll)
        return seen

    # -- going

    def _removed(self, image: Mapping[str, Any]) -> None:
        """Deregister an image and remove its snapshots. What goes is written down first, for snapshots outlive images."""
        spec, image_id = marks_of(image).spec, str(image["ImageId"])
        if spec is None:
            raise UserError("what the image's tags say cannot be read", where=image_id, hint="remove the image by hand")
        for one in self._staging.pending(key_of(self.owner, spec)):
            self._ended(one)
        record = Record(doing="delete", owner=self.owner, spec=spec, attempt=new_attempt(), image=image_id, snapshots=_disks(image))
        self._staging.note(record)
        if spec.alias:
            self._aliases.drop(spec.alias, image_id)
        with suppress(Gone):
            self._session.call("ec2", "deregister_image", "deregister the image", ImageId=image_id)
        self._finish(record)

    def _finish(self, record: Record) -> None:
        if self._exists(record.image):
            raise Transient("an image that was deregistered is still there", where=record.image)
        self._snapshots.delete(record.snapshots)
        self._staging.clear(key_of(self.owner, record.spec))

    def _ended(self, pending: Pending, keep: tuple[str, ...] = ()) -> None:
        """Bring a deletion to its end, and undo an upload but for the snapshots to keep. A deletion whose image is still there never began."""
        record = pending.record
        if record is not None and record.doing == "upload":
            self._snapshots.abandon(record.attempt, keep)
        elif record is not None and not self._exists(record.image):
            self._snapshots.delete(record.snapshots)
        self._staging.clear(pending.key)

    def _exists(self, image: str) -> bool:
        with suppress(Gone):
            self._found(image)
            return True
        return False


def _disks(image: Mapping[str, Any]) -> tuple[str, ...]:
    """The snapshots that an image is made of."""
    found = (one.get("Ebs", {}).get("SnapshotId") for one in image.get("BlockDeviceMappings", ()))
    return tuple(sorted(str(one) for one in found if one))
