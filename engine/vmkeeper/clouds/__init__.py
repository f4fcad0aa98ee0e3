"""The clouds there are: one file each, one entry here."""

from __future__ import annotations

from pathlib import Path

from vmkeeper.clouds.interface import Cloud
from vmkeeper.model.site import Platform


def connect(platform: Platform, *, site: str, folder: Path) -> Cloud:
    """The cloud of a site. `folder` is the site's own, for clouds that live on this machine."""
    from vmkeeper.clouds.local import LocalCloud

    match platform.type:
        case "local":
            return LocalCloud(folder, owner=owner_of(site), platform=platform)


def owner_of(site: str) -> str:
    """The mark of a site's objects."""
    return f"vmkeeper:{site}"
