"""Who may do what with an image or template: owner, group and nine permission bits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.errors import UserError
from vmkeeper.model.platform import OpenNebulaPlatform

BITS = ("OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M", "OTHER_A")
"""In the order in which chmod takes them: use, manage, administrate."""
OWNER_ONLY = "600"


@dataclass(frozen=True, slots=True)
class Rights:
    """mode: octal. owner, group: name or ID; None means as it is."""

    mode: str
    owner: str | None = None
    group: str | None = None


def rights_for(platform: OpenNebulaPlatform, spec: ImageSpec, *, hidden: bool = False) -> Rights:
    """What an image and the template that points to it should have. Raises UserError for an audience that cannot be had."""
    projects = spec.audience.projects
    if len(projects) > 1:
        hint = "share it with one group of which all who are meant are members, or make it public"
        raise UserError(
            "an image of OpenNebula belongs to one group", where=spec.name, why=f"it is to be shared with {', '.join(projects)}", hint=hint
        )
    group = projects[0] if projects else platform.group
    mode = platform.permissions or {"private": OWNER_ONLY, "shared": "640"}.get(spec.audience.visibility, "644")
    return Rights(OWNER_ONLY if hidden else mode, platform.owner, group)


def bits(mode: str) -> tuple[int, ...]:
    """The nine numbers of chmod for `640`."""
    return tuple(int(digit) >> shift & 1 for digit in mode for shift in (2, 1, 0))


def mode_of(numbers: Sequence[int]) -> str:
    """`640` for the nine numbers."""
    return "".join(str(numbers[at] << 2 | numbers[at + 1] << 1 | numbers[at + 2]) for at in (0, 3, 6))


def is_called(wanted: str, name: str, number: int) -> bool:
    """Whether a name or ID in a site's file means this user or group."""
    return wanted == name or wanted == str(number)
