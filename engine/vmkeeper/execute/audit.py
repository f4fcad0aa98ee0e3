"""Judge every release of a repository by pins and a memory, as a site would, and change nothing but the memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from vmkeeper.errors import Problems, Refused, UserError, VmkeeperError
from vmkeeper.execute.bundle import CONTENTS, open_bundle
from vmkeeper.execute.decisions import read_site, site_in_force
from vmkeeper.execute.home import read_ca_folder
from vmkeeper.execute.verification import RepositoryHistory, judge, mainline_head, read_pins, sight
from vmkeeper.images.files import write_file
from vmkeeper.model.site import Site
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.source import parse_source
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.approval import EVERYTHING, Stance, decide
from vmkeeper.trust.judge import Judgement, Sight
from vmkeeper.trust.memory import Memory, read_memory, write_memory
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.statement import TagName
from vmkeeper.values import Name, Version


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one release. `appliance` and `version` are `*` where the whole repository is refused and names none."""

    appliance: str
    version: str
    refusals: tuple[Refusal, ...]

    @property
    def accepted(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.refusals

    def as_json(self) -> dict[str, object]:
        """`{"appliance", "version", "accepted", "refusals": [{"rule", "why", "evidence"}]}`."""
        return {
            "appliance": self.appliance,
            "version": self.version,
            "accepted": self.accepted,
            "refusals": [refusal.as_json() for refusal in self.refusals],
        }


def audit(directory: Path, pins: Path, memory: Path | None, now: datetime, progress: Progress | None = None) -> tuple[Judged, ...]:
    """Judge the releases that the tags and the head of a repository, or of a bundle, name, by appliance and version.

    memory: a file of what was seen before; written anew, whole or not at all, with what was accepted now, and made where there
    is none; a damaged one is refused (R30). Raises UserError or Problems where the pins cannot be read.
    """
    progress = progress or Silent()
    pinned = read_pins(_bytes(pins), str(pins))
    try:
        before = read_memory(memory.read_bytes(), str(memory)) if memory is not None and memory.exists() else Memory()
    except UserError as error:
        return (Judged("*", "*", (Refusal("R30", error.what, f"{error.where}: {error.why}", error.hint),)),)
    with TemporaryDirectory(prefix="vmk-") as scratch:
        try:
            repository = opened(directory, Path(scratch))
        except Refused as error:
            return (Judged("*", "*", (Refusal.of(error),)),)
        return _audit(repository, pinned, pins.parent, before, memory, now, progress)


def opened(directory: Path, scratch: Path) -> Repository:
    """The repository that a directory lies in, or that the bundle in it holds, which is unpacked into `scratch`."""
    if not (directory / CONTENTS).is_file():
        return Repository.open(directory)
    open_bundle(directory, scratch / "repository.git")
    return Repository.open(scratch / "repository.git")


def _audit(
    repository: Repository, pinned: Pins, folder: Path, before: Memory, memory: Path | None, now: datetime, progress: Progress
) -> tuple[Judged, ...]:
    try:
        if pinned.source is not None:
            parse_source(pinned.source, pinned.fetch.allowed_hosts)
        head = mainline_head(repository)
        seen, history = sight(repository, head), RepositoryHistory(repository, head)
    except Refused as error:
        return (Judged("*", "*", (Refusal.of(error),)),)
    progress.step("trust", f"judging {len(seen.tags)} signed tags")
    try:
        made = judge(seen, pinned, before, read_ca_folder(folder / "ca", pinned.crls), now)
    except Untrusted as error:
        named = [(appliance, str(version)) for appliance, version in sorted(_named(seen, history))]
        return tuple(Judged(appliance, version, error.refusals) for appliance, version in named or [("*", "*")])
    if memory is not None:
        write_file(memory, write_memory(made.memory), mode=0o600)
    return tuple(_judged(history, made, pinned, _decided(pinned, folder / "site.yaml", made, history)))


def _decided(pinned: Pins, accepted: Path, made: Judgement, history: RepositoryHistory) -> Site | Refusal | None:
    """What the site of the pins decided, or why nothing counts; None where the pins are of no site: then all is approved.

    accepted: where a site keeps the file that it accepted; without it the head's file may be that one.
    """
    if pinned.site is None:
        return None
    try:
        data = accepted.read_bytes() if accepted.is_file() else history.files(history.head, "sites").get(f"{pinned.site.name}.yaml")
        return read_site(site_in_force(pinned.site, made, data), pinned.site.name)
    except Refused as error:
        return Refusal.of(error)
    except Problems as error:
        return Refusal("R21", "the site's file cannot be read", str(error.problems[0]))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError("the pins cannot be read", where=str(path), why=error.strerror or str(error), hint="vmkeeper site init writes them") from None


def _stances(site: Site | Refusal | None, pinned: Pins, endorsers: Name, now: datetime) -> tuple[Stance, ...]:
    """What the site says at each of its places of each image list that it takes and that such endorsers answer for."""
    if not isinstance(site, Site):
        return (EVERYTHING,)
    taken = {one.list for one in site.subscribe}
    lists = [pin.name for pin in pinned.image_lists if pin.endorsers == endorsers and pin.name in taken] or [""]
    return tuple(Stance(here.approve, here.block, now, name) for name in lists for here in site.everywhere())


def _judged(history: RepositoryHistory, made: Judgement, pinned: Pins, site: Site | Refusal | None) -> Iterator[Judged]:
    """Accepted is what one of the lists accepts at one of the site's places; what none accepts is refused for the reasons of all."""
    shared = (site,) if isinstance(site, Refusal) else ()
    releases, broken = _releases(history)
    by_release: dict[tuple[str, Version], list[tuple[Refusal, ...]]] = {}
    for name, verdicts in made.verdicts.items():
        endorsers = made.enactments.current.policy.lists[name]
        frozen = made.frozen[name].refusals if name in made.frozen else ()
        for stance in _stances(site, pinned, name, made.reader.now):
            for decision in decide(verdicts, endorsers=endorsers, site=stance, releases=releases):
                by_release.setdefault((decision.appliance, decision.version), []).append((*decision.refusals, *frozen, *shared))
    if not made.verdicts:
        none = Refusal("R10", "the policy in force has no endorser list that counts", f"policy {made.enactments.current.number}")
        by_release = {release: [(none,)] for release in releases}
    for (appliance, version), found in sorted(by_release.items()):
        refusals = () if any(not one for one in found) else tuple(dict.fromkeys(refusal for one in found for refusal in one))
        if any(one.rule == "R3" for one in refusals):  # then it matters why the policy that would let it pass is not in force
            refusals = (*refusals, *made.enactments.refusals)
        yield Judged(appliance, str(version), refusals)
    yield from broken


def _named(seen: Sight, history: RepositoryHistory) -> Iterable[tuple[str, Version]]:
    """What tags and release records speak of."""
    found = set(_releases(history)[0])
    for name in seen.tags:
        try:
            tag = TagName.parse(name)
        except Refused:
            continue
        if tag.appliance:
            found.add((tag.appliance, Version(tag.version)))
    return found


def _releases(history: RepositoryHistory) -> tuple[list[tuple[str, Version]], list[Judged]]:
    """Releases of the head that have an image, and those whose record cannot be read."""
    found, broken = [], []
    for name in history.appliances():
        try:
            record = history.record(history.head, name)
        except Refused as error:
            broken.append(Judged(name, "*", (Refusal.of(error),)))
        except VmkeeperError as error:
            broken.append(Judged(name, "*", (Refusal("R14", "the release record cannot be read", str(error), error.hint),)))
        else:
            if record is not None and record.release.files:
                found.append((name, record.release.version))
    return found, broken
