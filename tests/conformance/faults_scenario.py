"""What a site wants, step by step, in the fault campaign: each step is one desired state, reached with the site's own machinery."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

from vmkeeper.clouds.interface import Cloud, ImageSpec
from vmkeeper.errors import VmkeeperError
from vmkeeper.execute.site import performer
from vmkeeper.execute.transfer import Brought
from vmkeeper.execute.walk import Blocked, Done, Failed, walk
from vmkeeper.model.release import ImageFile
from vmkeeper.model.site import Site
from vmkeeper.plan.adopt import plan_adoption
from vmkeeper.plan.imageactions import RegisterImage
from vmkeeper.plan.site import plan_site
from vmkeeper.plan.supply import Supply
from vmkeeper.plan.wanted import Allowed, Current, NotAllowed, Offer, Standing, Subscribed
from vmkeeper.values import Size, Version, parse_time

NOW = parse_time("2026-11-20T10:00:00Z")
FAR = parse_time("2027-05-01T00:00:00Z")
FARTHER = parse_time("2027-06-01T00:00:00Z")
LIST = str(uuid5(NAMESPACE_DNS, "main"))
LEGACY = "legacy"
"""The appliance that another tool had brought to the cloud."""


@dataclass(frozen=True)
class Step:
    """A desired state. offers, allowed: `APPLIANCE VERSION`; what is offered and not allowed is not approved any more."""

    name: str
    offers: tuple[str, ...]
    allowed: tuple[str, ...]
    day: int = 0
    expires: datetime = FAR
    public: bool = False
    adopt: bool = False

    @property
    def now(self) -> datetime:
        return NOW + timedelta(days=self.day)


LIFE = (
    Step("adopt", ("legacy 1",), ("legacy 1",), adopt=True),
    Step("first", ("legacy 1", "debian-12 1"), ("legacy 1", "debian-12 1")),
    Step("newer", ("legacy 1", "debian-12 2"), ("legacy 1", "debian-12 1", "debian-12 2")),
    Step("said", ("legacy 1", "debian-12 2"), ("legacy 1", "debian-12 1", "debian-12 2"), day=1, expires=FARTHER),
    Step("grace", ("legacy 1", "debian-12 2"), ("legacy 1", "debian-12 1", "debian-12 2"), day=9, expires=FARTHER),
    Step("revoked", ("legacy 1", "debian-12 2"), ("legacy 1",), day=10, expires=FARTHER),
    Step("again", ("legacy 1", "debian-12 2"), ("legacy 1", "debian-12 2"), day=11, expires=FARTHER),
    Step("over", ("legacy 1", "debian-12 2"), (), day=12, expires=FARTHER),
    Step("gone", ("legacy 1", "debian-12 2"), (), day=20, expires=FARTHER),
)
"""The life of two appliances, from taking over to nothing left."""


def uuid_of(appliance: str) -> str:
    return str(uuid5(NAMESPACE_DNS, appliance))


def content(disk: bytes, words: str) -> bytes:
    """The bytes of a version: the cloud's own disk with another end."""
    return disk[:-32] + words.encode().ljust(32, b".")


def spec(disk: bytes, words: str, expires: datetime = FAR) -> ImageSpec:
    appliance, version = words.split()
    data = content(disk, words)
    return ImageSpec(
        name=f"{appliance}-{version}",
        appliance=appliance,
        uuid=uuid_of(appliance),
        version=Version(version),
        format="raw",
        size=Size(len(data)),
        virtual_size=Size(len(data)),
        sha512=hashlib.sha512(data).hexdigest(),
        list=LIST,
        expires=expires,
        properties={"ad:mpuri": f"https://images.example.org/{appliance}", "os_distro": "debian"},
    )


@dataclass
class Ran:
    """What one run came to. `quiet`: there was nothing to do and nothing went wrong."""

    actions: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def quiet(self) -> bool:
        return not self.actions and not self.problems


BUG = "BUG: "
"""What a problem begins with that is no error of ours: a fault outside must never look like a fault of the program."""


def run(cloud: Cloud, step: Step, disk: bytes, folder: Path) -> Ran:
    """One run of a site. Failures are told."""
    try:
        return _run(cloud, step, disk, folder)
    except VmkeeperError as error:
        return Ran(problems=[f"listing: {type(error).__name__}: {error}"])
    except Exception as error:  # noqa: BLE001 - whatever it is
        places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return Ran(problems=[f"{BUG}{type(error).__name__}: {error} at {' '.join(places[-8:])}"])


def _run(cloud: Cloud, step: Step, disk: bytes, folder: Path) -> Ran:
    """List, plan, carry out."""
    ran = Ran()
    observed = cloud.images()
    offers = tuple(
        Offer(spec(disk, words, step.expires), Supply(uri=f"https://images.example.org/{words.replace(' ', '/')}")) for words in step.offers
    )
    lists = (Subscribed("main", LIST, Current(NOW + timedelta(days=365), offers)),)
    known = dict.fromkeys((*step.offers, "debian-12 1", "legacy 1"))
    standings = {(LIST, uuid_of(words.split()[0]), Version(words.split()[1])): _standing(disk, words, step) for words in known}
    site = Site.model_validate(
        {
            "title": "Here",
            "platform": {"type": "local"},
            "formats": ["raw"],
            "names": {"alias": "{{ appliance }}-latest"},
            "retire": {"grace": "7d", "limit": "100%"},
        }
    )
    plan = plan_adoption if step.adopt else plan_site
    made = plan(site, lists, standings, observed, owner=cloud.owner, now=step.now)

    @contextmanager
    def bring(action: RegisterImage) -> Iterator[Brought]:
        words = f"{action.spec.appliance} {action.spec.version}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{words.replace(' ', '-')}.raw"
        if not path.exists():
            path.write_bytes(content(disk, words))
        yield Brought(path, action.spec)

    for outcome in walk(made.plan, performer(cloud, bring, lambda: step.now)):
        ran.actions.append(f"{outcome.action.kind} {outcome.action.subject}")
        match outcome:
            case Failed(error=error):
                ran.problems.append(f"{outcome.action.kind} {outcome.action.subject}: {type(error).__name__}: {error}")
            case Blocked(by=by):
                ran.problems.append(f"{outcome.action.kind} {outcome.action.subject}: blocked by {by}")
            case Done():
                pass
    return ran


def _standing(disk: bytes, words: str, step: Step) -> Standing:
    if words not in step.allowed:
        return NotAllowed("unapproved", "the site does not approve it any more")
    data = content(disk, words)
    file = ImageFile(format="raw", size=Size(len(data)), virtual_size=Size(len(data)), sha512=hashlib.sha512(data).hexdigest())
    return Allowed((file,), FARTHER)
