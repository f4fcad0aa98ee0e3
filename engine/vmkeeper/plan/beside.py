"""What lies beside a published image: patches from files that sites may hold, and the whole file compressed. Pure.

Which are wanted follows from the endorsed releases; what they came out as is remembered in the store and read back from the
published list, so that none is made twice. What would save little is not offered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vmkeeper.lists import extension
from vmkeeper.lists.hepix import HepixImage
from vmkeeper.lists.shelf import CompressedFile, PublishedPatch
from vmkeeper.plan.actions import Action, Cause
from vmkeeper.plan.chosen import Choice, Desired, architecture_of, releases
from vmkeeper.plan.publication_actions import CompressImage, DigestImage, MakePatch
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.said import SignedFile

LEAST = 1 << 20
"""Bytes of an image below which nothing is published beside it."""

Pair = tuple[str, str]
"""SHA-512 of the base, or "" for the file compressed, and of the image."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file that was made from others: bytes, digest, and the memory that applying it takes, in bytes."""

    size: int
    sha512: str
    memory: int = 0


Derived = Mapping[Pair, Made | None]
"""What is known to have come out; None: it would not serve."""


@dataclass(frozen=True, slots=True)
class Base:
    """A released file that a patch starts from."""

    appliance: str
    version: str
    file: SignedFile


def bases(desired: Desired, choice: Choice) -> tuple[Base, ...]:
    """Which files patches to a chosen release start from: earlier endorsed ones, the newest first, then the parent's newest.

    A withdrawn release is one too, for sites that hold it have to leave it. The parent is the nearest ancestor with an image
    of this format.
    """
    wanted, found = desired.spec.patches, []
    if choice.file.size < LEAST:
        return ()
    uuid = desired.appliances[choice.name].uuid
    earlier = (one for one in releases(desired, choice.name) if one.version < choice.version and one.endorsements and one.statement.uuid == uuid)
    found += [base for one in earlier for base in _files(one, choice)][: wanted.previous]
    if wanted.parent:
        newest = (base for name in desired.ancestors.get(choice.name, ()) for base in _newest(desired, name, choice))
        found += list(newest)[:1]
    return tuple({base.file.sha512: base for base in found if base.file.sha512 != choice.file.sha512}.values())


def _newest(desired: Desired, name: str, choice: Choice) -> list[Base]:
    return [base for one in releases(desired, name) if one.accepted for base in _files(one, choice)][:1]


def _files(decision: Decision, choice: Choice) -> list[Base]:
    files = decision.statement.files
    return [Base(decision.appliance, str(decision.version), file) for file in files if file.format == choice.file.format and file.size >= LEAST]


def pairs(desired: Desired, chosen: Sequence[Choice]) -> Iterator[tuple[Choice, Base | None, Pair]]:
    """All that is wanted beside the chosen images; without a base, the image compressed."""
    for choice in chosen:
        if desired.spec.patches.compressed and choice.file.size >= LEAST:
            yield choice, None, ("", choice.file.sha512)
        for base in bases(desired, choice):
            yield choice, base, (base.file.sha512, choice.file.sha512)


def to_make(desired: Desired, chosen: Sequence[Choice], derived: Derived, held: Collection[str], digested: Collection[str]) -> list[Action]:
    """Actions for what is not known yet and can be made. SHA-512 of: `held`, what the store has; `digested`, images read for further digests."""
    made: list[Action] = []
    for choice in chosen:
        if choice.file.sha512 in held and choice.file.sha512 not in digested:
            subject = f"{choice.name} {choice.version} {choice.file.format}"
            reason, kind = "mirrors of simplestreams want further digests", architecture_of(desired.appliances[choice.name])
            made.append(DigestImage(subject=subject, reason=reason, cause=_cause(choice), new=choice.file.sha512, architecture=kind))
    for choice, base, pair in pairs(desired, chosen):
        if pair in derived or choice.file.sha512 not in held or (base and base.file.sha512 not in held):
            continue
        cause = _cause(choice)
        label = f"{choice.name} {choice.version} {choice.file.format}"
        if base is None:
            made.append(CompressImage(subject=label, reason="a compressed file travels faster", cause=cause, new=choice.file.sha512))
        else:
            subject = f"{label} from {base.appliance} {base.version}"
            reason = f"sites that hold {base.appliance} {base.version} fetch little"
            made.append(MakePatch(subject=subject, reason=reason, cause=cause, base=base.file.sha512, new=choice.file.sha512))
    return made


def _cause(choice: Choice) -> Cause:
    return Cause(commit=choice.decision.statement.commit, path=f"appliances/{choice.name}/release.yaml")


def published_before(image: HepixImage, base: str, files: Mapping[str, int]) -> dict[Pair, Made]:
    """What a published list names beside an image and the public folder has whole. base: its address."""
    ways, found = extension.read(image), {}
    for one in ways.patches:
        if files.get(one["uri"].removeprefix(f"{base}/")) == one["size"]:
            found[one["base_sha512"], image.sha512] = Made(int(one["size"]), one["sha512"], int(one["memory"]))
    whole = ways.compressed
    if whole and files.get(whole["uri"].removeprefix(f"{base}/")) == whole["size"]:
        found["", image.sha512] = Made(int(whole["size"]), whole["sha512"])
    return found


def offered(desired: Desired, choice: Choice, path: str, derived: Derived) -> tuple[tuple[PublishedPatch, ...], CompressedFile | None]:
    """What is published beside an image at `path`: no patch that is larger than half of what a site would fetch without it.

    What it holds is part of a file's name, for another zstd may come to other bytes and an address never changes what it holds.
    """
    whole = derived.get(("", choice.file.sha512)) if desired.spec.patches.compressed else None
    compressed = CompressedFile(path=f"{path}.{whole.sha512[:12]}.zst", size=whole.size, sha512=whole.sha512) if whole else None
    most = (whole.size if whole else choice.file.size) // 2
    patches = []
    for base in bases(desired, choice):
        made = derived.get((base.file.sha512, choice.file.sha512))
        if made is not None and made.size <= most:
            patches.append(
                PublishedPatch(
                    path=f"{path}.from-{base.appliance}-{base.version}.{made.sha512[:12]}.zst",
                    size=made.size,
                    sha512=made.sha512,
                    base_sha512=base.file.sha512,
                    base_size=base.file.size,
                    base_version=base.version,
                    base_appliance=base.appliance,
                    memory=made.memory,
                )
            )
    return tuple(patches), compressed
