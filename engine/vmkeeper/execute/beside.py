"""Make what lies beside published images: patches, compressed files, further digests; each once, kept in the store with a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from vmkeeper.builders.workspace import workspace
from vmkeeper.execute.digests import known_digests, store_digests
from vmkeeper.execute.walk import Outcome, walk
from vmkeeper.images import patch
from vmkeeper.images.store import Store
from vmkeeper.plan.actions import Action
from vmkeeper.plan.beside import Derived, Made, Pair, pairs, published_before, to_make
from vmkeeper.plan.chosen import Desired, architecture_of, choose
from vmkeeper.plan.plan import Plan, ordered
from vmkeeper.plan.publication import Published
from vmkeeper.plan.publication_actions import CompressImage, DigestImage, MakePatch
from vmkeeper.progress import Progress
from vmkeeper.values import Size

MEMORY = Size(2 << 30)
"""The most that applying a patch of ours may take: what sites allow by default."""
_WORTH = 0.95
"""A compressed file that is larger than this part of the image serves nobody."""


def observe_derived(lists: Sequence[Desired], published: Mapping[str, Published], store: Store, now: datetime) -> dict[Pair, Made | None]:
    """What is known of everything that is wanted beside images: from the published lists, else from the store."""
    found: dict[Pair, Made | None] = {}
    for desired in lists:
        before = published.get(desired.name, Published())
        for image in before.image_list.images if before.image_list else ():
            found |= published_before(image, desired.base, before.files)
        for _, _, pair in pairs(desired, choose(desired, now)[0]):
            if pair not in found and (known := store.alias(*_record(pair))) is not None:
                with suppress(LookupError):
                    found[pair] = _remembered(known, pair, store)
    return found


def plan_beside(lists: Sequence[Desired], derived: Derived, store: Store, now: datetime, *, head: str = "") -> Plan:
    """What is to be made first. Two lists with the same image share what lies beside it."""
    actions: dict[str, Action] = {}
    for desired in lists:
        chosen = choose(desired, now)[0]
        wanted = {digest for _, _, pair in pairs(desired, chosen) for digest in pair if digest} | {one.file.sha512 for one in chosen}
        held = {digest for digest in wanted if store.has(digest)}
        kinds = {one.file.sha512: architecture_of(desired.appliances[one.name]) for one in chosen}
        digested = {sha512 for sha512, kind in kinds.items() if known_digests(store, sha512, kind)}
        actions |= {action.id: action for action in to_make(desired, chosen, derived, held, digested)}
    return Plan("", head, ordered(actions.values()))


def make_beside(plan: Plan, store: Store, work: Path, *, progress: Progress | None = None) -> tuple[Outcome, ...]:
    """Carry such a plan out, with temporary files below `work`. A failure stops nothing: the image is then published without it."""
    return walk(plan, maker(store, work), progress=progress)


def maker(store: Store, work: Path) -> Callable[[Action], str]:
    """What `walk` calls for each action."""

    def perform(action: Action) -> str:
        if isinstance(action, DigestImage):
            return f"SHA-256 {store_digests(store, action.new, action.architecture).sha256[:16]}…"
        with workspace(work, "beside") as folder:
            match action:
                case MakePatch(base=base, new=new):
                    made = patch.make(_local(store, base, folder), _local(store, new, folder), folder / "made", memory=MEMORY)
                    result = None if made is None else Made(made.size, made.sha512, made.memory)
                case CompressImage(new=new):
                    base, source = "", _local(store, new, folder)
                    blob = patch.compress(source, folder / "made")
                    worth = blob.size <= source.stat().st_size * _WORTH
                    result = Made(int(blob.size), blob.sha512) if worth else None
                case _:
                    raise TypeError(f"{action.kind} is not made here")
            return _keep(store, (base, new), result, folder / "made")

    return perform


def _keep(store: Store, pair: Pair, made: Made | None, file: Path) -> str:
    record: dict[str, Any] = {"base": pair[0], "new": pair[1]}
    if made is not None:
        store.put(file, move=True)
        record |= {"size": made.size, "sha512": made.sha512, "memory": made.memory}
    store.set_alias(*_record(pair), record)
    return Size(made.size).human if made else "saves too little"


def _remembered(record: dict[str, Any], pair: Pair, store: Store) -> Made | None:
    """What a record says. Raises LookupError where it is about another pair, or the store does not have the file any more."""
    if (record["base"], record["new"]) != pair:
        raise LookupError
    if "sha512" not in record:
        return None
    made = Made(int(record["size"]), str(record["sha512"]), int(record["memory"]))
    if not store.has(made.sha512):
        raise LookupError
    return made


def _local(store: Store, sha512: str, folder: Path) -> Path:
    """A file of the store that can be read by its path, its bytes verified."""
    if path := store.local_path(sha512):
        store.verify(sha512)
        return path
    store.fetch(sha512, folder / sha512[:32])
    return folder / sha512[:32]


def _record(pair: Pair) -> tuple[str, str]:
    base, new = pair
    return ("patch", f"{new[:64]}-{base[:64]}") if base else ("compressed", new[:64])
