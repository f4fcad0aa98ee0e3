"""Carry out a site's plan at its cloud. What is to be done is in the actions; nothing else is looked at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from vmkeeper.clouds.interface import Cloud, InUse
from vmkeeper.plan.actions import Action
from vmkeeper.plan.site import DeleteImage, HideImage, RegisterImage, ShowImage, UpdateImage
from vmkeeper.values import Size

Download = Callable[[RegisterImage], AbstractContextManager[Path]]
"""Brings an image's file, verified (R14, R25, R26), for as long as the context lasts."""


def performer(cloud: Cloud, download: Download, clock: Callable[[], datetime]) -> Callable[[Action], str]:
    """What `walk` calls for each action of a site's plan. `clock` stamps images as they are hidden."""

    def perform(action: Action) -> str:
        match action:
            case RegisterImage(spec=spec):
                with download(action) as file:
                    image = cloud.upload(spec, file)
                return f"{Size(spec.size).human} verified and registered as {image.id}"
            case UpdateImage(image=image_id, spec=spec):
                cloud.update(image_id, spec, None)
                return "updated"
            case ShowImage(image=image_id, spec=spec):
                cloud.update(image_id, spec, None)
                return "usable again"
            case HideImage(image=image_id, spec=spec):
                cloud.update(image_id, spec, clock())
                return f"no longer usable: {action.reason}"
            case DeleteImage(image=image_id):
                return _delete(cloud, image_id)
        raise TypeError(f"a site does not do {action.kind}")

    return perform


def _delete(cloud: Cloud, image_id: str) -> str:
    try:
        cloud.delete(image_id)
    except InUse:
        return "left for now: a machine uses it"
    return "deleted"
