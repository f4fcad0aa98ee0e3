"""Follow the remote list that an endorser list is based on: fetch, verify its policy in force, write down what it says.

Whom the source dropped goes from the derived list at once; whom it gained is only told. Nothing is signed or committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from vmkeeper.documents.edit import Editable, in_one_line, quoted, time
from vmkeeper.documents.kinds import KINDS, misplaced
from vmkeeper.documents.load import load, read
from vmkeeper.errors import Problem, Refused, UserError
from vmkeeper.execute.following import follow
from vmkeeper.execute.narrow import narrow
from vmkeeper.execute.verification import judge, mainline_head, read_pins, sight
from vmkeeper.images.files import remove_leftovers, write_file
from vmkeeper.model.endorser import Base, EndorserList, Position
from vmkeeper.model.keys import OpenPGPKey, identity
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory, read_memory, write_memory
from vmkeeper.trust.people import key_id
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.policy import FOLDER, Policy
from vmkeeper.trust.refusal import Untrusted
from vmkeeper.values import Name, Sha512, sha512_hex

_SILENT = Silent()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a source says now: the number of its policy in force, its list's bytes, and key files by path relative to its endorsers/."""

    policy: int
    data: bytes
    list: EndorserList
    keys: Mapping[str, bytes]

    @property
    def sha512(self) -> Sha512:
        """Of the list."""
        return sha512_hex(self.data)


@dataclass(frozen=True, slots=True)
class Synchronised:
    """What came of it: what was taken from the derived list, what the source has gained, which files changed, what a person must mend."""

    name: Name
    source: Name
    policy: int
    narrowed: tuple[str, ...]
    proposed: tuple[str, ...]
    written: tuple[str, ...]
    problems: tuple[Problem, ...]


def derived_lists(folder: Path) -> tuple[Name, ...]:
    """Names of the lists of a work tree that are based on a remote one. Raises Problems where a list cannot be read."""
    found = []
    for path in sorted((folder / FOLDER).glob("*.yaml")):
        name = KINDS["endorsers"].subject(f"{FOLDER}/{path.name}")
        if name is not None:
            base = _read(folder, name)[1].based_on
            found += [name] if base is not None and base.source is not None else []
    return tuple(found)


def synchronise(repository: Repository, name: Name, authorities: Authorities, now: datetime, progress: Progress = _SILENT) -> Synchronised:
    """Bring endorsers/NAME.yaml and endorsers/sources/SOURCE/ of the work tree to what the source has in force.

    Raises UserError, Problems, Transient, and Refused where the source cannot be believed; then nothing is written. A run
    that was killed in between is finished by the next one.
    """
    if repository.git.is_bare:
        raise UserError("a bare repository has no work tree to write lists into", hint="run it in a clone")
    folder = Path(repository.git.workdir)
    data, derived = _read(folder, name)
    base = derived.based_on
    if base is None or base.source is None:
        raise UserError(f"{name} is not based on a list of another repository", where=f"{FOLDER}/{name}.yaml", hint="name its source under based_on")
    taken = _take(repository, folder, base, base.source, authorities, now, progress)
    return _written(folder, name, data, derived, base.source, taken, now)


def _read(folder: Path, name: Name) -> tuple[bytes, EndorserList]:
    path = KINDS["endorsers"].path_of(name)
    try:
        data = (folder / path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no endorser list {name}", where=path, hint="name one of endorsers/") from None
    return data, cast("EndorserList", load(KINDS["endorsers"], data, path))


def _take(repository: Repository, folder: Path, base: Base, source: Name, authorities: Authorities, now: datetime, progress: Progress) -> Taken:
    """Fetch the source and judge it by its pins and by what was seen of it before."""
    where = f"{FOLDER}/sources/{source}/pins.yaml"
    if not (folder / where).is_file():
        raise UserError("the source is not pinned", where=where, hint="write the pins of that repository there, as a site would")
    pins = read_pins((folder / where).read_bytes(), where)
    if pins.source is None:
        raise UserError("the pins do not say where the repository is", where=where, hint="add source: with its https or ssh address, or a folder")
    home = repository.private / "sources" / f"{source}-{pins.repository[:12]}"
    home.mkdir(parents=True, exist_ok=True)
    remove_leftovers(home)
    fetched = follow(home, folder, source=pins.source, allowed_hosts=pins.fetch.allowed_hosts, progress=progress)
    policy, number = _judged(home, fetched, pins, base.list, authorities, now)
    taken = _list(policy, number, base.list, where)
    _no_step_back(base.synchronised, taken, where)
    return taken


def _judged(home: Path, fetched: Repository, pins: Pins, wanted: Name, authorities: Authorities, now: datetime) -> tuple[Policy, int]:
    """The source's policy in force and its number; what was seen is remembered beside the mirror."""
    file = home / "memory.json"
    memory = read_memory(file.read_bytes(), str(file)) if file.exists() else Memory()
    judgement = judge(sight(fetched, mainline_head(fetched)), pins, memory, authorities, now)
    if wanted in judgement.frozen:
        raise Untrusted(judgement.frozen[wanted].refusals)
    write_file(file, write_memory(judgement.memory), mode=0o600)
    return judgement.enactments.current.policy, judgement.enactments.current.number


def _list(policy: Policy, number: int, wanted: Name, where: str) -> Taken:
    if wanted not in policy.sources:
        hint = "take everybody off the derived list, or base it on another one"
        raise Refused("R4", f"policy {number} of the source has no list {wanted}", where=where, hint=hint)
    found = policy.sources[wanted]
    files = {key.file: policy.files[key.file] for person in found.endorsers for key in person.keys if isinstance(key, OpenPGPKey)}
    for file in files:
        if misplaced(f"{FOLDER}/sources/x/{file}") is not None:
            raise UserError(
                f"the source keeps the key file {file} where none can be taken from", where=where, hint="its owner moves it to endorsers/keys/"
            )
    return Taken(number, policy.files[f"{wanted}.yaml"], found, files)


def _no_step_back(seen: Position | None, taken: Taken, where: str) -> None:
    """R3: whoever has lost our memory must not be shown an older policy than the list says."""
    if seen is None or taken.policy > seen.policy:
        return
    if taken.policy < seen.policy:
        why = f"policy {taken.policy} is in force there, policy {seen.policy} was before"
        raise Refused("R3", "the source's policy went back", where=where, why=why, hint="fetch it from where it is kept up to date")
    if taken.sha512 != seen.list:
        raise Refused("R3", f"policy {taken.policy} of the source has another list than it had", where=where, hint="ask its owner what happened")


def _written(folder: Path, name: Name, data: bytes, derived: EndorserList, source: Name, taken: Taken, now: datetime) -> Synchronised:
    """Write the source's files first and the derived list last, so that a kill in between leaves a list that still lags."""
    place = f"sources/{source}/"
    before = _before(folder / FOLDER / place / "list.yaml")
    files = {f"{place}list.yaml": taken.data, **{place + path: key for path, key in taken.keys.items()}}

    def key_file(path: str) -> bytes | None:
        there = folder / FOLDER / path
        return files[path] if path in files else there.read_bytes() if there.is_file() else None

    text = Editable(data)
    narrowed = narrow(text, derived, taken.list, key_file, place)
    position = {"policy": taken.policy, "list": quoted(taken.sha512), "at": time(now)}
    text.tree["based_on"]["synchronised"] = in_one_line(position)
    files[f"{name}.yaml"] = text.data()
    written = []
    for path, content in files.items():
        target = folder / FOLDER / path
        remove_leftovers(target.parent)
        if not target.is_file() or target.read_bytes() != content:
            write_file(target, content)
            written.append(f"{FOLDER}/{path}")
    for left in (folder / FOLDER / place / "keys").rglob("*"):
        if left.is_file() and str(left.relative_to(folder / FOLDER)) not in files:
            left.unlink()
            written.append(str(left.relative_to(folder)))
    problems = read(KINDS["endorsers"], files[f"{name}.yaml"], f"{FOLDER}/{name}.yaml").problems
    return Synchronised(name, source, taken.policy, narrowed, tuple(_gained(derived, before, taken.list)), tuple(written), problems)


def _before(file: Path) -> EndorserList | None:
    """The source's list as it was last taken; None where it was not, or somebody has changed it."""
    document = read(KINDS["endorsers"], file.read_bytes(), str(file)).document if file.is_file() else None
    return document if isinstance(document, EndorserList) else None


def _gained(derived: EndorserList, before: EndorserList | None, source: EndorserList) -> Iterator[str]:
    """Whom and which keys the source has since it was last looked at, and the derived list has not."""
    ours = {one.name: {identity(key) for key in one.keys} for one in derived.endorsers}
    seen = {one.name: {identity(key) for key in one.keys} for one in before.endorsers} if before else {}
    for one in source.endorsers:
        if one.name not in ours:
            if one.name not in seen:
                yield f"{one.name} ({one.full_name}) is on the source: add them to have them endorse here too"
            continue
        for key in one.keys:
            if identity(key) not in ours[one.name] and identity(key) not in seen.get(one.name, ()):
                yield f"{one.name} has the key {key_id(key)} on the source: add it to have it count here too"
