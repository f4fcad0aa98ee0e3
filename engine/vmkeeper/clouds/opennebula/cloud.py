"""A datastore of an OpenNebula as a cloud. What each method promises is in `clouds.interface`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

if find_spec("pyone") is None:
    from vmkeeper.errors import EnvironmentLacks

    raise EnvironmentLacks("OpenNebula needs pyone, which is not installed", hint="pip install 'vmkeeper[opennebula]'")

from vmkeeper.clouds.account import Account as Whose
from vmkeeper.clouds.account import owner_of
from vmkeeper.clouds.interface import Cloud, CloudImage, CloudMachine, ImageSpec, MachineSpec
from vmkeeper.clouds.opennebula.account import Account, Patience
from vmkeeper.clouds.opennebula.aliases import Aliases
from vmkeeper.clouds.opennebula.images import Images
from vmkeeper.clouds.opennebula.machines import Machines
from vmkeeper.clouds.opennebula.removing import Removing
from vmkeeper.clouds.opennebula.rendering import check_template
from vmkeeper.clouds.opennebula.saying import Saying
from vmkeeper.clouds.opennebula.session import Endpoint, Session
from vmkeeper.clouds.opennebula.templates import IMAGE_FIELD, VM_FIELD
from vmkeeper.clouds.opennebula.transports import transport_for
from vmkeeper.model.platform import OpenNebulaPlace, OpenNebulaPlatform


class _Connection:
    """One account, for all places of a site; made when it is first needed."""

    def __init__(self, platform: OpenNebulaPlatform, whose: Whose, patience: Patience) -> None:
        self._platform = platform
        self._patience = patience
        self._whose = whose

    @cached_property
    def account(self) -> Account:
        """Raises UserError where there are no credentials, or the site's templates cannot be used."""
        for text, field in ((self._platform.templates.image, IMAGE_FIELD), (self._platform.templates.vm, VM_FIELD)):
            if text is not None:
                check_template(text, field)
        user, password = self._whose.login(self._platform.credentials)
        endpoint = Endpoint(self._platform.endpoint, user, password, self._platform.credentials)
        return Account(Session(endpoint, self._patience.answer), self._platform)


class OpenNebulaCloud:
    """One owner's view of a datastore. See `clouds.interface.Cloud`."""

    def __init__(self, owner: str, connection: _Connection, place: OpenNebulaPlace, patience: Patience) -> None:
        self.owner = owner
        self._connection = connection
        self._place = place
        self._patience = patience

    @cached_property
    def _images(self) -> Images:
        account = self._connection.account
        saying = Saying(account, self.owner, Aliases(account, self.owner, self._patience))
        transport = transport_for(account.platform.transport, self.owner, account.session.endpoint.user)
        return Images(self.owner, account, self._place, transport, saying, Removing(account, self._patience), self._patience)

    @cached_property
    def _machines(self) -> Machines:
        return Machines(self.owner, self._connection.account, self._patience)

    def images(self) -> tuple[CloudImage, ...]:
        """See `Cloud.images`."""
        return self._images.images()

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        """See `Cloud.upload`."""
        return self._images.upload(spec, file)

    def update(self, id: str, spec: ImageSpec, hidden_since: datetime | None) -> None:  # noqa: A002 - the Protocol's name
        """See `Cloud.update`."""
        self._images.update(id, spec, hidden_since)

    def adopt(self, id: str, spec: ImageSpec) -> None:  # noqa: A002
        """See `Cloud.adopt`."""
        self._images.adopt(id, spec)

    def delete(self, id: str) -> None:  # noqa: A002
        """See `Cloud.delete`."""
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

    def console(self, id: str) -> str:  # noqa: A002, ARG002
        """See `Cloud.console`. oned has no console to read."""
        return ""


def places(platform: OpenNebulaPlatform, account: Whose, *, patience: Patience | None = None) -> Mapping[str, Cloud]:
    """The datastores of a site by their names, "" where it has one. Nothing is asked of oned yet."""
    patience = patience or Patience()
    connection = _Connection(platform, account, patience)
    several = bool(platform.place_names)
    return {
        name: OpenNebulaCloud(owner_of(account.site, name), connection, place, patience)
        for place in platform.places
        for name in [place.name if several else ""]
    }
