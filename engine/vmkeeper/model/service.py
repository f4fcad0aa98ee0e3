"""A part of `sites/NAME.yaml`: how `vmkeeper reconcile --watch` runs, and who hears of what it did."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from vmkeeper.model.base import Document
from vmkeeper.model.keys import SSH_KEY
from vmkeeper.values import Duration, Name

Occasion = Literal["failed", "recovered", "registered", "retired", "waiting", "drift", "refused", "suspended"]
"""What is worth a message: a run that failed, the first good one after that, images that came or went, releases that wait for a
decision, images that somebody changed, refusals (of trust or of the retire limit), a run that was skipped because the site is suspended."""

BranchName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$", max_length=200)]


class Watch(Document):
    """How often a site is looked at."""

    interval: Duration = Duration.parse("5m")
    """From the end of one run to the beginning of the next."""
    jitter: Annotated[int, Field(ge=0, le=100)] = 20
    """Percent of the interval that a pause may be longer, by chance, so that many sites do not ask at the same moment."""
    longest: Duration = Duration.parse("1h")
    """The longest pause after runs that failed; it doubles with each."""


class Notifier(Document):
    """Somebody who gets messages, at addresses in the forms of the apprise library."""

    name: Name
    """What the notifier is called."""
    credentials: Name
    """Where the addresses are, for they hold secrets: credentials/NAME.yaml (type: apprise) in the site's own folder."""
    on: tuple[Occasion, ...] = ("failed", "recovered", "waiting", "refused")
    """When."""


class Report(Document):
    """A signed commit with the site's status on a branch of its own, so that producers see what runs where and since when."""

    to: Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=1000)] | None = None
    """Address of the repository; left out: the one that the site follows."""
    branch: BranchName | None = None
    """Left out: status/SITE."""
    credentials: Name | None = None
    """What is shown to the server over https: credentials/NAME.yaml in the site's own folder."""
    key: Annotated[str, StringConstraints(pattern=SSH_KEY)] | None = None
    """The site's public key, as `vmkeeper site key` prints it: readers believe only what it has signed."""
    names: bool = True
    """Whether appliances of foreign lists are named in it."""
