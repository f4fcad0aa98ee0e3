"""What can be done to a site's images. Each action says at which place of the site's cloud; nothing else is looked up while doing it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.model.appliance import Format
from vmkeeper.plan.actions import Action
from vmkeeper.plan.plan import ordered
from vmkeeper.plan.supply import Supply
from vmkeeper.values import Time


class SiteAction(Action):
    """Something done at a place of a site."""

    place: str = ""
    """The place's name; "" where the site has only one. Where it has several, the subject ends in ` @PLACE`."""
    spec: ImageSpec
    """What is to be said about the image afterwards."""


class RegisterImage(SiteAction):
    """Download, verify and upload an image. What was signed is `spec.signed`; where `store_as` is set, size, virtual size and
    SHA-512 of what the cloud gets are those of the converted file, and known only then.
    """

    kind: ClassVar[str] = "register"
    supply: Supply
    store_as: Format | None = None
    """The format that the file is converted to before the upload; None: as it comes."""


class ImageAction(SiteAction):
    """Something done to an image that is there."""

    image: str
    """Its id at the cloud."""


class UpdateImage(ImageAction):
    """Say something else about an image, or say again what somebody changed."""

    kind: ClassVar[str] = "update"
    hidden_since: Time | None = None
    """For a hidden image: since when it is and stays hidden."""


class ShowImage(ImageAction):
    """Make a hidden image usable again."""

    kind: ClassVar[str] = "show"


class AdoptImage(ImageAction):
    """Put the site's mark on an image that another tool made. Nothing else of it changes."""

    kind: ClassVar[str] = "adopt"


class HideImage(ImageAction):
    """Take an image out of use. Machines made from it go on."""

    kind: ClassVar[str] = "hide"
    destroys: ClassVar[bool] = True


class DeleteImage(ImageAction):
    """Remove a hidden image and its bytes."""

    kind: ClassVar[str] = "delete"
    destroys: ClassVar[bool] = True


def arranged(actions: Iterable[SiteAction]) -> tuple[Action, ...]:
    """In the order that leaves the fewest gaps: what takes an alias over from an image that goes at once, what goes at once, what
    comes or changes, what waits for that, what is deleted. Otherwise in the order given.
    """
    given = tuple(actions)
    leaving = {(action.place, action.spec.uuid) for action in given if isinstance(action, HideImage) and not action.needs}

    def stage(action: SiteAction) -> int:
        match action:
            case ShowImage() | UpdateImage() if action.spec.alias is not None and (action.place, action.spec.uuid) in leaving:
                return 0
            case HideImage():
                return 3 if action.needs else 1
            case DeleteImage():
                return 4
        return 2

    staged = sorted(given, key=stage)
    return ordered(staged)
