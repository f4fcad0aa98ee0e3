"""Carry out a publication in a public folder that any web server can serve.

An image has its public name only once its bytes are verified, a list only once the images that it names are there,
and a file goes only after the list that no longer names it. What a killed run left is cleared by the next one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import Problems, Refused, Transient, UserError
from vmkeeper.execute.verification import judge, own_pins, sight
from vmkeeper.execute.walk import Outcome, walk
from vmkeeper.images.files import PREFIX, hash_file, remove_leftovers, reported, sync_folder, write_file
from vmkeeper.images.store import Store
from vmkeeper.lists import hepix
from vmkeeper.lists.smime import Signer, sign, verify
from vmkeeper.model.release import Blob
from vmkeeper.model.site import Approval
from vmkeeper.plan.actions import Action
from vmkeeper.plan.plan import Plan
from vmkeeper.plan.publication import INDEX_FILE, LIST_FILE, Desired, ListSigner, Published, PublishImage, RemoveImage, SignList, WriteIndex
from vmkeeper.progress import Progress
from vmkeeper.trust.approval import decide
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory
from vmkeeper.values import CommitId, Size

_LIST_LIMIT = 24 << 20


def list_signer(signer: Signer) -> ListSigner:
    """What planning needs to know of a signer."""
    return ListSigner(str(signer.subject), str(signer.issuer), signer.certificate.not_valid_after_utc)


def desired(catalogue: Catalogue, head: CommitId, names: Sequence[str], now: datetime, authorities: Authorities) -> tuple[Desired, ...]:
    """The image lists of a commit with what trust decides about their releases, under the policy in force.

    names: which lists; none: all of them. Raises UserError for a list that is not there, Untrusted where nothing can be concluded.
    """
    known = catalogue.names("imagelists")
    for name in names:
        if name not in known:
            raise UserError(f"there is no image list {name}", where="imagelists/", hint=f"there are {', '.join(known) or 'none'}")
    seen = sight(catalogue.repository, head)
    judgement = judge(seen, own_pins(catalogue.repository, seen, authorities), Memory(), authorities, now)
    return tuple(_desired(catalogue, name, judgement) for name in names or known)


def _desired(catalogue: Catalogue, name: str, judgement: Judgement) -> Desired:
    spec = catalogue.image_list(name)
    assert spec is not None
    policy = judgement.enactments.current
    endorsers = policy.policy.lists.get(spec.endorsed_by)
    if endorsers is None:
        hint = f"write endorsers/{spec.endorsed_by}.yaml and have the principals sign it (vmkeeper policy sign), or name another list"
        raise UserError(f"policy {policy.number} in force has no endorser list {spec.endorsed_by}", where=f"imagelists/{name}.yaml", hint=hint)
    verdicts = judgement.verdicts[spec.endorsed_by]
    decisions = decide(verdicts, endorsers=endorsers, approve=(Approval(appliance="*"),), block=())
    there = set(catalogue.names("appliances"))
    appliances = {one.appliance: catalogue.resolved(one.appliance).appliance for one in spec.appliances if one.appliance in there}
    return Desired(name, spec, endorsers, appliances, decisions)


def observe(root: Path, names: Collection[str], signer: Signer, now: datetime) -> dict[str, Published]:
    """What the public folder has of each list. A list counts only where this signer's certificate signed it."""
    return {name: Published(_signed_list(root / name / LIST_FILE, signer, now), _image_files(root, name)) for name in names}


def observe_index(root: Path) -> dict[str, dict[str, str]]:
    """The index of lists; empty where there is none that can be read, for it is made anew from the lists."""
    with suppress(FileNotFoundError, ValueError, AttributeError):
        lists = json.loads((root / INDEX_FILE).read_bytes())["imagelists"]
        return {str(name): {str(key): str(value) for key, value in entry.items()} for name, entry in lists.items()}
    return {}


def carry_out(plan: Plan, root: Path, store: Store, signer: Signer, *, progress: Progress | None = None) -> tuple[Outcome, ...]:
    """Do what the plan says, and clear what a killed run left (also where the plan is empty)."""
    make_folder(root)
    with reported("publish", root), _alone(root):
        tidy(root)
        outcomes = walk(plan, performer(root, store, signer), progress=progress)
        tidy(root)
    return outcomes


def performer(root: Path, store: Store, signer: Signer) -> Callable[[Action], str]:
    """What `walk` calls for each action of a publication."""

    def perform(action: Action) -> str:
        match action:
            case PublishImage(path=path, size=size, sha512=sha512):
                return _publish(root / path, Blob(size=size, sha512=sha512), store)
            case SignList(path=path, text=text):
                return _sign(root / path, text, signer)
            case WriteIndex(path=path, lists=lists):
                write_file(root / path, _index(lists))
                return f"{len(lists)} list{'' if len(lists) == 1 else 's'}"
            case RemoveImage(path=path):
                (root / path).unlink(missing_ok=True)
                _remove_empty((root / path).parent, root)
                return "removed"
        raise TypeError(f"publishing does not do {action.kind}")

    def with_reasons(action: Action) -> str:
        with reported(f"{action.kind} {action.subject}", root):
            return perform(action)

    return with_reasons


def tidy(root: Path) -> None:
    """Remove temporary files that nobody writes and folders that hold nothing."""
    remove_leftovers(root)
    for folder in sorted((Path(at) for at, _, _ in os.walk(root)), reverse=True):
        remove_leftovers(folder)
        if folder != root:
            with suppress(OSError):
                folder.rmdir()


def make_folder(folder: Path) -> None:
    """Make a folder that everybody may read, with those above it."""
    with reported("make a folder", folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)


def _publish(target: Path, blob: Blob, store: Store) -> str:
    if target.is_file() and target.stat().st_size == blob.size and hash_file(target) == blob:
        return "is there already"
    make_folder(target.parent)
    store.fetch(blob.sha512, target)
    return f"{Size(blob.size).human} verified and in place"


def _sign(target: Path, text: str, signer: Signer) -> str:
    image_list = hepix.read(text.encode())
    make_folder(target.parent)
    write_file(target, sign(text, signer))
    count = len(image_list.images)
    return f"version {image_list.version} with {count} image{'' if count == 1 else 's'}, signed"


def _index(lists: Mapping[str, Mapping[str, str]]) -> bytes:
    return (json.dumps({"imagelists": lists}, indent=2, sort_keys=True) + "\n").encode()


def _signed_list(path: Path, signer: Signer, now: datetime) -> hepix.HepixList | None:
    """The list at `path`; None where there is none or where it is not one that can be gone on from."""
    try:
        with path.open("rb") as file:
            message = file.read(_LIST_LIMIT)
    except FileNotFoundError:
        return None
    try:
        return hepix.read(verify(message, [signer.certificate], now, anchor="any").content)
    except (Refused, Problems):
        return None


def _image_files(root: Path, name: str) -> dict[str, int]:
    folder = root / name / "images"
    files = (Path(at) / file for at, _, files in os.walk(folder) for file in files if not file.startswith(PREFIX))
    return {str(path.relative_to(root)): path.stat().st_size for path in files}


def _remove_empty(folder: Path, root: Path) -> None:
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent
    sync_folder(folder)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One publisher at a time; the lock is on the folder itself and ends with the process."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Transient("another run is publishing into this folder", where=str(root), hint="wait for it to end") from None
        yield
    finally:
        os.close(handle)
