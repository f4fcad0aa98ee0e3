"""Publications in few words: `debian-12 2` is version 2 of the appliance debian-12, with made-up bytes, endorsed by alice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from vmkeeper.lists.hepix import HepixList, read
from vmkeeper.model.appliance import Appliance, Format
from vmkeeper.model.imagelist import ImageList
from vmkeeper.plan.beside import Derived
from vmkeeper.plan.chosen import Desired
from vmkeeper.plan.publication import ListSigner, Publication, Published, plan_lists, plan_publication
from vmkeeper.plan.publication_actions import PublishImage, RemoveImage, SignList, WriteIndex
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.people import TrustedEndorsers
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Endorsement, SignedFile
from vmkeeper.trust.verify import Accepted
from vmkeeper.values import Duration, Version, sha512_hex

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
URL = "https://images.example.org"
SIGNER = ListSigner("/DC=org/DC=example/CN=Image Publisher", "/DC=org/DC=example/CN=Test Authority", NOW + 365 * DAY)
KEY = "ssh:SHA256:" + "A" * 43


def uuid_of(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, name))


def content(name: str, version: str, kind: str = "qcow2", salt: str = "") -> bytes:
    return f"{name} {version} {kind} {salt}".encode() * 50


def large_content(name: str, version: str, kind: str = "qcow2", salt: str = "") -> bytes:
    """An image that is large enough for patches: versions share nearly all that does not compress, and half of it does."""
    common = Random(kind).randbytes(1 << 20)
    return content(name, version, kind, salt) + common + bytes(1 << 20)


def decision(
    words: str,
    *,
    by: tuple[str, ...] = ("alice",),
    expires: tuple[datetime, ...] = (NOW + 90 * DAY,),
    formats: tuple[Format, ...] = ("qcow2",),
    refused: str = "",
    salt: str = "",
    uuid: str = "",
    large: bool = False,
) -> Decision:
    """What trust decided about one version; `expires` of each endorser, the last for the rest. large: see `large_content`."""
    name, version = words.split()
    contents = {kind: (large_content if large else content)(name, version, kind, salt) for kind in sorted(formats)}
    files = tuple(SignedFile(format=kind, size=len(data), virtual_size=1 << 20, sha512=sha512_hex(data)) for kind, data in contents.items())
    accepted = []
    for number, endorser in enumerate(by):
        said = Endorsement(
            repository="1" * 40,
            appliance=name,
            uuid=uuid or uuid_of(name),
            path=f"appliances/{name}",
            version=version,
            commit="2" * 40,
            release="3" * 128,
            provenance=None,
            rebuilt=False,
            policy=1,
            endorser=endorser,
            key=KEY,
            serial=1,
            previous=None,
            issued=NOW - DAY,
            recipe="4" * 64,
            files=files,
            manifest="5" * 128,
            not_before=NOW - DAY,
            expires=expires[min(number, len(expires) - 1)],
        )
        accepted.append(Accepted(f"endorse/{name}/{version}/{endorser}/1", "6" * 128, said, SignedBy(KEY, f"{endorser} key")))
    return Decision(name, Version(version), (Refusal("R20", refused),) if refused else (), tuple(accepted))


def appliance(name: str, **changes: Any) -> Appliance:
    fields = {"uuid": uuid_of(name), "title": f"Image {name}", "architecture": "x86_64", "distribution": {"name": "debian", "version": "12"}}
    return Appliance.model_validate({**fields, "requirements": {"memory": "512MiB", "cpus": 1}, **changes})


def desired(
    *decisions: Decision,
    name: str = "science",
    quorum: int = 1,
    appliances: dict[str, Appliance] | None = None,
    inherits: dict[str, str] | None = None,
    **spec: Any,
) -> Desired:
    """A list of all appliances that something was decided about. inherits: appliance → its parent."""
    names = list(dict.fromkeys(one.appliance for one in decisions))
    fields = {
        "uuid": uuid_of(f"list {name}"),
        "title": "Science",
        "description": "Images for science.",
        "source": "example.org",
        "vo": "science.example.org",
        "url": URL,
        "owner": {"name": "Image Publisher", "email": "images@example.org"},
        "appliances": [{"appliance": one} for one in names],
        "endorsed_by": "team",
    }
    team = TrustedEndorsers(name="team", community="example", quorum=quorum, maximum_lifetime=Duration.parse("180d"), endorsers=())
    made = {one: appliance(one) for one in names} if appliances is None else appliances
    ancestors = {one: (parent,) for one, parent in (inherits or {}).items()}
    return Desired(name, ImageList.model_validate({**fields, **spec}), team, made, decisions, ancestors)


def plan(
    *lists: Desired,
    published: dict[str, Published] | None = None,
    index: Any = None,
    now: datetime = NOW,
    signer: ListSigner = SIGNER,
    derived: Derived | None = None,
) -> Publication:
    """The lists, the index and the removals; no other forms."""
    return plan_publication(plan_lists(lists, published or {}, signer, now, derived=derived), index or {})


def kinds(made: Publication) -> list[str]:
    return [action.kind for action in made.plan.actions]


def the_list(made: Publication) -> HepixList:
    (action,) = (action for action in made.plan.actions if isinstance(action, SignList))
    return read(action.text.encode())


class Folder:
    """Stands for the public folder: does what a plan says, in its order, checking that nothing is named that is not there."""

    def __init__(self) -> None:
        self.lists: dict[str, HepixList] = {}
        self.files: dict[str, tuple[int, str]] = {}
        self.index: dict[str, dict[str, str]] = {}

    def published(self) -> dict[str, Published]:
        names = set(self.lists) | {path.split("/")[0] for path in self.files}
        found = {}
        for name in names:
            files = {path: size for path, (size, _) in self.files.items() if path.startswith(f"{name}/")}
            there = self.lists.get(name)
            found[name] = Published(there, files, sha512_hex(repr(there).encode()) if there else None, there.version if there else None)
        return found

    def publish(
        self, *lists: Desired, now: datetime = NOW, signer: ListSigner = SIGNER, stop: int | None = None, derived: Derived | None = None
    ) -> Publication:
        made = plan(*lists, published=self.published(), index=self.index, now=now, signer=signer, derived=derived)
        for action in made.plan.actions[:stop]:
            match action:
                case PublishImage(path=path, size=size, sha512=sha512):
                    self.files[path] = (int(size), sha512)
                case SignList(subject=subject, text=text):
                    self.lists[subject] = read(text.encode())
                case RemoveImage(path=path):
                    del self.files[path]
                case WriteIndex(lists=entries):
                    self.index = entries
            self.check()
        return made

    def check(self) -> None:
        for made in self.lists.values():
            for image in made.images:
                assert self.files[image.uri.removeprefix(f"{URL}/")] == (int(image.size), image.sha512)
