"""Whom a shared image is shared with, and acceptance in their name where the credentials may do that."""

from __future__ import annotations

from collections.abc import Mapping

from vmkeeper.clouds.interface import Gone, ImageSpec
from vmkeeper.clouds.openstack.errors import Forbidden
from vmkeeper.clouds.openstack.glance import Glance
from vmkeeper.clouds.openstack.properties import Image
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.errors import UserError


def share(glance: Glance, access: Access, image: Image, spec: ImageSpec) -> None:
    """Make the members of a shared image be the projects of its audience; nothing to do for an image that is not shared.

    A member that cannot be accepted for stays pending: its users accept the image themselves.
    """
    if image["visibility"] != "shared" or spec.audience.visibility != "shared":
        return
    have = glance.members(image["id"])
    for project in sorted(set(spec.audience.projects) - set(have)):
        glance.share(image["id"], project)
    for project in sorted(set(have) - set(spec.audience.projects)):
        glance.unshare(image["id"], project)
    if access.platform.accept:
        _accept(glance, access, image["id"], [one for one in spec.audience.projects if have.get(one) != "accepted"])


def members_of(glance: Glance, image: Image, spec: ImageSpec | None) -> Mapping[str, str] | None:
    """The members of an image that is shared and should be; None for any other. One request, and only for those."""
    if spec is None or image["visibility"] != "shared" or spec.audience.visibility != "shared":
        return None
    try:
        return glance.members(image["id"])
    except (Forbidden, Gone):  # it is not shared any more, or not there: the next listing tells
        return None


def _accept(glance: Glance, access: Access, id_: str, projects: list[str]) -> None:
    for project in projects:
        if not glance.accept(id_, project):
            try:
                Glance(access.elsewhere(project)).accept(id_, project)
            except UserError:
                continue  # the account is nobody there
