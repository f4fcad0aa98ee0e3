"""Who may start machines from an image, and whether anybody may: launch permissions and disabling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from vmkeeper.clouds.ec2.errors import code_of
from vmkeeper.clouds.ec2.marks import DISABLED, UNSHARED, Marks
from vmkeeper.clouds.ec2.session import Session
from vmkeeper.errors import Transient, VmkeeperError
from vmkeeper.model.platform import Audience

_UNKNOWN = frozenset({"InvalidAction", "UnsupportedOperation", "UnknownOperation", "NotImplemented", "OperationNotSupported", "InvalidRequest"})
EVERYBODY = frozenset({("Group", "all")})


def grants_of(audience: Audience) -> frozenset[tuple[str, str]]:
    """Launch permissions of an audience. EC2 has no images that only those see who know of them: community is public."""
    if audience.visibility in ("public", "community"):
        return EVERYBODY
    return frozenset((_kind(one), one) for one in audience.projects)


def closed(session: Session, image: str) -> str:
    """Let nobody start machines from an image any more; how that was done: disabling takes the permissions away by itself."""
    try:
        session.call("ec2", "disable_image", "disable the image", ImageId=image)
    except VmkeeperError as error:
        if error.__cause__ is None or code_of(error.__cause__) not in _UNKNOWN:
            raise
    else:
        return DISABLED
    share(session, image, frozenset())
    with suppress(VmkeeperError):  # it only makes others see that they should not use it
        soon = datetime.now(UTC) + timedelta(minutes=15)
        session.call("ec2", "enable_image_deprecation", "deprecate the image", ImageId=image, DeprecateAt=soon)
    return UNSHARED


def opened(session: Session, image: Mapping[str, Any], audience: Audience) -> None:
    """Let exactly the audience start machines from an image."""
    if image.get("State") == "disabled":
        session.call("ec2", "enable_image", "enable the image", ImageId=image["ImageId"])
    share(session, image["ImageId"], grants_of(audience))


def share(session: Session, image: str, wanted: frozenset[tuple[str, str]]) -> None:
    """Make the launch permissions be exactly these."""
    there = grants(session, image)
    if there != wanted:
        change = {"Add": _entries(wanted - there), "Remove": _entries(there - wanted)}
        doing = "say who may use the image"
        session.call("ec2", "modify_image_attribute", doing, ImageId=image, LaunchPermission={name: many for name, many in change.items() if many})
        if grants(session, image) != wanted:
            raise Transient("who may use the image is not yet what it should be", where=image)


def grants(session: Session, image: str) -> frozenset[tuple[str, str]]:
    """The launch permissions that there are."""
    doing = "look at who may use the image"
    found = session.call("ec2", "describe_image_attribute", doing, "LaunchPermissions", ImageId=image, Attribute="launchPermission")
    return frozenset((kind, str(value)) for one in found["LaunchPermissions"] for kind, value in one.items())


def access_drift(image: Mapping[str, Any], marks: Marks) -> tuple[str, ...]:
    """What a listing shows to be otherwise than the marks say. Single accounts that an image is shared with are not in a listing."""
    if marks.spec is None:
        return ()
    state, public = image.get("State"), bool(image.get("Public"))
    if marks.hidden_since is not None:
        loose = marks.how != UNSHARED and state == "available"
        return (*(("it is enabled",) if loose else ()), *(("it is public",) if public else ()))
    wrong = ("it is disabled",) if state == "disabled" else ()
    if not wrong and public != (grants_of(marks.spec.audience) == EVERYBODY):
        wrong = ("it is public",) if public else ("it is not public",)
    return wrong


def _kind(project: str) -> str:
    if project.startswith("arn:"):
        return "OrganizationalUnitArn" if ":ou/" in project else "OrganizationArn"
    return "UserId"


def _entries(grants: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{kind: value} for kind, value in sorted(grants)]
