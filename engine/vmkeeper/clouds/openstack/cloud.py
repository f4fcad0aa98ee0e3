"""An OpenStack as a cloud: one region and project a place. See `clouds.interface.Cloud` for what each method promises."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from vmkeeper.clouds.account import Account, owner_of
from vmkeeper.clouds.interface import CloudImage, CloudMachine, ImageSpec, MachineSpec
from vmkeeper.clouds.openstack.images import Images
from vmkeeper.clouds.openstack.machines import Machines
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.model.platform import OpenStackPlatform


def places(platform: OpenStackPlatform, account: Account) -> Mapping[str, OpenStackCloud]:
    """The regions and projects of a site by name; "" for the one of clouds.yaml. Nothing is read or asked yet."""
    folder = account.folder / "openstack"
    if not platform.places:
        return {"": OpenStackCloud(Access(platform, account.home), owner=owner_of(account.site), folder=folder)}
    made = {}
    for place in platform.places:
        access = Access(platform, account.home, region=place.region, project=place.project)
        made[place.name] = OpenStackCloud(access, owner=owner_of(account.site, place.name), folder=folder)
    return made


class OpenStackCloud:
    """One owner's view of a region and project."""

    def __init__(self, access: Access, *, owner: str, folder: Path) -> None:
        """`folder`: where locks are kept that hold off other uploads of the same image from this machine."""
        self.owner = owner
        self._images = Images(access, owner, folder)
        self._machines = Machines(access, owner)

    def images(self) -> tuple[CloudImage, ...]:
        """See `Cloud.images`."""
        return self._images.images()

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        """See `Cloud.upload`."""
        return self._images.upload(spec, file)

    def update(self, id: str, spec: ImageSpec, hidden_since: datetime | None) -> None:  # noqa: A002 - the Protocol's name
        """See `Cloud.update`. An image that may not be deactivated is made private when it is hidden."""
        self._images.update(id, spec, hidden_since)

    def adopt(self, id: str, spec: ImageSpec) -> None:  # noqa: A002
        """See `Cloud.adopt`. An image of another project is somebody else's."""
        self._images.adopt(id, spec)

    def delete(self, id: str) -> None:  # noqa: A002
        """See `Cloud.delete`. One that a volume was made from stays, too."""
        self._images.delete(id)

    def machines(self) -> tuple[CloudMachine, ...]:
        """See `Cloud.machines`."""
        return self._machines.machines()

    def start(self, spec: MachineSpec) -> CloudMachine:
        """See `Cloud.start`."""
        return self._machines.start(spec)

    def stop(self, id: str) -> None:  # noqa: A002
        """See `Cloud.stop`."""
        self._machines.stop(id)

    def console(self, id: str) -> str:  # noqa: A002
        """See `Cloud.console`."""
        return self._machines.console(id)
