"""Observe what is published at a target, and carry a publication out there.

An image has its public name only once its bytes are verified, a list only once the images that it names are there,
and a file goes only after the list that no longer names it. What a killed run left is cleared by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from platformdirs import user_cache_dir

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import Problems, Refused, Transient, UserError
from vmkeeper.execute.feedsigning import Hands
from vmkeeper.execute.verification import judge, own_pins, sight
from vmkeeper.execute.walk import Outcome, walk
from vmkeeper.images.store import Store
from vmkeeper.images.targets import Target, put_bytes
from vmkeeper.lists import hepix
from vmkeeper.lists.mime import split
from vmkeeper.lists.smime import Certified, verify
from vmkeeper.model.release import Blob
from vmkeeper.plan.actions import Action
from vmkeeper.plan.chosen import Desired, decisions
from vmkeeper.plan.publication import ListSigner, Publication, Published
from vmkeeper.plan.publication_actions import INDEX_FILE, PublishImage, RemoveImage, SignList, WriteFeed, WriteIndex
from vmkeeper.plan.shelves import list_path
from vmkeeper.progress import Progress, Silent
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory
from vmkeeper.values import CommitId, Size, sha512_hex

_LIST_LIMIT = 24 << 20
_INDEX_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a publication goes, where its files come from, who signs it, and when. A value, so that carrying out reads nothing else."""

    target: Target
    store: Store
    hands: Hands
    now: datetime
    work: Path = field(default_factory=lambda: Path(user_cache_dir("vmkeeper")))
    """Where temporary files lie."""


def list_signer(signer: Certified) -> ListSigner:
    """What planning needs to know of a signer."""
    return ListSigner(str(signer.subject), str(signer.issuer), signer.certificate.not_valid_after_utc)


def desired(
    catalogue: Catalogue, head: CommitId, names: Sequence[str], now: datetime, authorities: Authorities
) -> tuple[tuple[Desired, ...], tuple[Desired, ...]]:
    """The image lists of a commit with what trust decides about their releases, under the policy in force: those of `names` and the others.

    names: which lists; none: all of them. Raises UserError for a list that is not there, Untrusted where nothing can be concluded.
    """
    known = catalogue.names("imagelists")
    for name in names:
        if name not in known:
            raise UserError(f"there is no image list {name}", where="imagelists/", hint=f"there are {', '.join(known) or 'none'}")
    seen = sight(catalogue.repository, head)
    judgement = judge(seen, own_pins(catalogue.repository, seen, authorities), Memory(), authorities, now)
    wanted = tuple(_desired(catalogue, name, judgement) for name in names or known)
    others = []
    for name in known if names else ():
        if name not in names:
            with suppress(UserError):  # another list's mistakes are told when that list is published
                others.append(_desired(catalogue, name, judgement))
    return wanted, tuple(others)


def _desired(catalogue: Catalogue, name: str, judgement: Judgement) -> Desired:
    spec = catalogue.image_list(name)
    assert spec is not None
    policy = judgement.enactments.current
    endorsers = policy.policy.lists.get(spec.endorsed_by)
    if endorsers is None:
        hint = f"write endorsers/{spec.endorsed_by}.yaml and have the principals sign it (vmkeeper policy sign), or name another list"
        raise UserError(f"policy {policy.number} in force has no endorser list {spec.endorsed_by}", where=f"imagelists/{name}.yaml", hint=hint)
    counting, decided = decisions(judgement.verdicts[spec.endorsed_by], endorsers, spec.endorser)
    there = set(catalogue.names("appliances"))
    resolved = {one.appliance: catalogue.resolved(one.appliance) for one in spec.appliances if one.appliance in there}
    ancestors = {name: tuple(reversed(one.chain[:-1])) for name, one in resolved.items()}
    return Desired(name, spec, counting, {name: one.appliance for name, one in resolved.items()}, decided, ancestors)


def observe(target: Target, names: Collection[str], signer: Certified, now: datetime) -> dict[str, Published]:
    """What a target has of each list. A list counts only where this signer's certificate signed it."""
    return {name: _observed(target, name, signer, now) for name in names}


def observe_index(target: Target) -> dict[str, dict[str, str]]:
    """The index of lists; empty where there is none that can be read, for it is made anew from the lists."""
    with suppress(ValueError, AttributeError, LookupError):
        lists = json.loads(target.read(INDEX_FILE, _INDEX_LIMIT) or b"")["imagelists"]
        return {str(name): {str(key): str(value) for key, value in entry.items()} for name, entry in lists.items()}
    return {}


def carry_out(place: Place, planned: Callable[[], Publication], *, progress: Progress | None = None) -> tuple[Publication, tuple[Outcome, ...]]:
    """Plan; where there is something to do or to clear, plan again as the only publisher and do that. Else nothing is written.

    Planned outside of the lock alone, a run could take away what another one has just put there.
    """
    made = planned()
    if not made.plan and not place.target.leftovers():
        return made, ()
    with place.target.alone():
        made = planned()
        return made, walk(made.plan, performer(place, progress), progress=progress)


def performer(place: Place, progress: Progress | None = None) -> Callable[[Action], str]:
    """What `walk` calls for each action of a publication."""
    told = progress or Silent()
    target = place.target

    def perform(action: Action) -> str:
        match action:
            case PublishImage(path=path, size=size, sha512=sha512):
                with place.store.open(sha512) as source:
                    target.put(path, cast(BinaryIO, _Told(source, told, action.subject, int(size))), Blob(size=size, sha512=sha512))
                return f"{Size(size).human} verified and in place"
            case SignList():
                return _sign(action, place)
            case WriteFeed():
                return _write_feed(action, place)
            case WriteIndex(path=path, lists=lists):
                put_bytes(target, path, _index(lists))
                return f"{len(lists)} list{'' if len(lists) == 1 else 's'}"
            case RemoveImage(path=path):
                target.remove(path)
                return "removed"
        raise TypeError(f"publishing does not do {action.kind}")

    return perform


class _Told:
    """A file that tells how much of it was read."""

    def __init__(self, source: BinaryIO, progress: Progress, subject: str, total: int) -> None:
        self._source, self._progress, self._subject, self._total = source, progress, subject, total
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        data = self._source.read(size)
        self._done += len(data)
        self._progress.amount(self._subject, self._done, self._total, "B")
        return data


def _sign(action: SignList, place: Place) -> str:
    there = place.target.read(action.path, _LIST_LIMIT)
    if (None if there is None else sha512_hex(there)) != action.replaces:
        hint = "run again: what is there now is then taken into account"
        raise Transient("another run has published this list meanwhile", where=f"{place.target.name}/{action.path}", hint=hint)
    image_list = hepix.read(action.text.encode())
    put_bytes(place.target, action.path, place.hands.key.message(action.text, place.now))
    count = len(image_list.images)
    return f"version {image_list.version} with {count} image{'' if count == 1 else 's'}, signed"


def _write_feed(action: WriteFeed, place: Place) -> str:
    """Signatures are made before anything is written, so that the time between a text and its signatures is short."""
    made = [(one.path, place.hands.sign(one.type, action.text if one.text is None else one.text, place.now)) for one in action.signatures]
    if action.write:
        put_bytes(place.target, action.path, action.text.encode())
    for path, signature in made:
        put_bytes(place.target, path, signature)
    for path in action.gone:
        place.target.remove(path)
    return f"{Size(len(action.text.encode())).human}, {', '.join(one.type for one in action.signatures) or 'not'} signed"


def _index(lists: Mapping[str, Mapping[str, str]]) -> bytes:
    return (json.dumps({"imagelists": lists}, indent=2, sort_keys=True) + "\n").encode()


def _observed(target: Target, name: str, signer: Certified, now: datetime) -> Published:
    files = target.files(f"{name}/images")
    message = target.read(list_path(name), _LIST_LIMIT)
    if message is None:
        return Published(files=files)
    digest, version = sha512_hex(message), None
    try:
        version = hepix.read(split(message).content).version
        found = hepix.read(verify(message, [signer.certificate], now, anchor="any").content)
    except (Refused, Problems):
        return Published(files=files, sha512=digest, version=version)
    return Published(found, files, digest, version)
