"""Show a repository to the verifier: its tags, its commits, its release records, and the verifiers for each kind of key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import cast

from vmkeeper.documents.kinds import KINDS, Kind
from vmkeeper.documents.load import load, read
from vmkeeper.errors import Refused, UserError
from vmkeeper.model.release import Release
from vmkeeper.repository.digest import files, tree_sha512
from vmkeeper.repository.inspection import OWNED, top_problems
from vmkeeper.repository.oddities import oddities
from vmkeeper.repository.tags import is_ancestor, mainline, raw_ref, raw_tags, root_commit, tag_names
from vmkeeper.repository.tree import Repository, Snapshot
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.enactment import enact
from vmkeeper.trust.history import Record
from vmkeeper.trust.judge import PREFIXES, UNREADABLE, Judgement, Sight
from vmkeeper.trust.judge import judge as judge_sight
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.keys.x509 import X509Verifier
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.policy import FOLDER, Policy, read_policy
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.said import PolicySignature
from vmkeeper.trust.signature import Authenticator, Verifiers
from vmkeeper.trust.supposition import suppose
from vmkeeper.values import CommitId, Duration, Sha512, sha512_hex

FRESHNESS_REF = "refs/vmkeeper/freshness"
PINS = Kind("pins", "Site pins", Pins, "*/pins.yaml")
_NOBODY = Authorities(())
_SIGN = "the principals sign it with: vmkeeper policy sign"


class RepositoryHistory:
    """A repository as `trust.history.History`: the mainline is the first-parent line of `head`."""

    def __init__(self, repository: Repository, head: CommitId) -> None:
        self._repository = repository
        self.head = head
        self._records: dict[tuple[CommitId, str], Record | None] = {}

    @cached_property
    def _mainline(self) -> frozenset[CommitId]:
        return mainline(self._repository, self.head)

    @cached_property
    def _root(self) -> tuple[CommitId, Sha512]:
        root = root_commit(self._repository, self.head)
        return root, tree_sha512(self._repository.at(root))

    def root(self) -> tuple[CommitId, Sha512]:
        """The root commit and the SHA-512 of its tree."""
        return self._root

    def precedes(self, commit: CommitId, later: CommitId) -> bool:
        """Whether `later` is the commit or comes after it through any parent."""
        return is_ancestor(self._repository, commit, later)

    def on_mainline(self, commit: CommitId) -> bool:
        """Whether the commit was ever the head of the followed branch."""
        return commit in self._mainline

    def tree(self, commit: CommitId, folder: str) -> Sha512:
        """The SHA-512 of a folder; raises Refused R4, R7, R23, R25."""
        return tree_sha512(self._at(commit), folder)

    def files(self, commit: CommitId, folder: str) -> Mapping[str, bytes]:
        """A folder's files by path; raises Refused R4, R7, R23, R25."""
        return files(self._at(commit), folder)

    def digests(self, commit: CommitId, appliance: str) -> tuple[Sha512, Sha512 | None] | None:
        """The SHA-512 of a release record and of the provenance beside it at a commit of the mainline; None where there is none."""
        snapshot = self._repository.at(commit) if self.on_mainline(commit) else None
        data = snapshot.read(KINDS["release"].path_of(appliance)) if snapshot else None
        if snapshot is None or data is None:
            return None
        provenance = snapshot.read(f"appliances/{appliance}/provenance.json")
        return sha512_hex(data), sha512_hex(provenance) if provenance is not None else None

    def appliances(self) -> tuple[str, ...]:
        """The appliances of the head."""
        return tuple(entry.name for entry in self._at(self.head).entries("appliances") if entry.folder)

    def record(self, commit: CommitId, appliance: str) -> Record | None:
        """The release record of an appliance at a commit of the mainline; raises Refused R14, R21, R23 where it is broken."""
        key = (commit, appliance)
        if key not in self._records:
            self._records[key] = self._read(commit, appliance) if self.on_mainline(commit) else None
        return self._records[key]

    def _read(self, commit: CommitId, appliance: str) -> Record | None:
        snapshot, path = self._at(commit), KINDS["release"].path_of(appliance)
        for problem in snapshot.problems(f"appliances/{appliance}"):
            raise Refused("R23", problem.what, where=problem.place, hint=problem.hint)
        data = snapshot.read(path)
        if data is None:
            return None
        loaded = read(KINDS["release"], data, path)
        for problem in loaded.problems:
            raise Refused(problem.rule or "R14", problem.what, where=problem.place, hint=problem.hint)
        return Record(sha512_hex(data), cast("Release", loaded.document), snapshot.read(f"appliances/{appliance}/provenance.json"))

    def _at(self, commit: CommitId) -> Snapshot:
        if not self.on_mainline(commit):
            raise Refused("R7", "the commit is not on the mainline", why=commit)
        return self._repository.at(commit)


def mainline_head(repository: Repository) -> str:
    """The head of the followed branch: `main`, unless git's configuration vmkeeper.mainline names another."""
    branch = repository.config("vmkeeper.mainline") or "main"
    try:
        return repository.resolve(f"refs/heads/{branch}")
    except UserError as error:
        raise UserError(f"there is no branch {branch} to follow", where=error.where, hint="name it: git config vmkeeper.mainline BRANCH") from None


@contextmanager
def verifiers(authorities: Authorities) -> Iterator[Verifiers]:
    """A verifier for each type of key, for as long as the context lasts."""
    with GpgVerifier() as openpgp:
        yield {"openpgp": openpgp, "ssh": SSHVerifier(), "x509": X509Verifier(authorities)}


def sight(repository: Repository, head: CommitId, extra: Mapping[str, bytes] | None = None) -> Sight:
    """All of a repository that trust depends on, as it lies there, with `extra` tags that are not written yet."""
    odd = tuple(_odd(repository, head))
    if any(one.rule in UNREADABLE for one in odd):
        return Sight(RepositoryHistory(repository, head), dict.fromkeys(tag_names(repository, *PREFIXES)), None, odd)
    tags = {**raw_tags(repository, *PREFIXES), **(extra or {})}
    return Sight(RepositoryHistory(repository, head), tags, raw_ref(repository, FRESHNESS_REF), odd)


def _odd(repository: Repository, head: CommitId) -> Iterator[Refusal]:
    """R32 for what git and libgit2 may read differently, R24 for what git would fetch while reading, R4 and R23 for what may not be in our trees."""
    for one in oddities(repository.folder):
        promised = "promisor" in str(one.place) or "partialclone" in one.place.field
        yield Refusal("R24" if promised else "R32", one.what, str(one.place), one.hint)
    snapshot = repository.at(head)
    problems = [*top_problems(repository.git, snapshot.tree), *(one for folder in sorted(OWNED) for one in snapshot.problems(folder))]
    for one in dict.fromkeys(problems):
        yield Refusal("R4" if one.place.file.startswith(f"{FOLDER}/") else "R23", one.what, str(one.place), one.hint)


def judge(seen: Sight, pins: Pins, memory: Memory, authorities: Authorities, now: datetime) -> Judgement:
    """See `trust.judge.judge`."""
    with verifiers(authorities) as known:
        return judge_sight(seen, pins, memory, known, now)


def read_pins(data: bytes, where: str) -> Pins:
    """The pins in a file; raises Problems with all that is wrong."""
    document = load(PINS, data, where)
    assert isinstance(document, Pins)
    return document


def own_pins(repository: Repository, seen: Sight, authorities: Authorities = _NOBODY) -> Pins:
    """What the people of a repository go by: the file that git's vmkeeper.pins names, else policy 1 as it says of itself.

    Raises UserError where nobody has signed a policy yet, or its principals have signed several.
    """
    file = repository.config("vmkeeper.pins")
    if file is not None:
        path = Path(file).expanduser()
        return read_pins(path.read_bytes(), str(path))
    return pins_of_policy(seen, 1, authorities)


def pins_of_policy(seen: Sight, number: int, authorities: Authorities = _NOBODY) -> Pins:
    """Pins of the policy with a number, as it says of itself.

    Raises UserError where nobody has signed one, or several are there; Untrusted where that cannot be told.
    """
    said = {one.content: one for raw in _signatures(seen, number) if (one := unverified(raw)) is not None}
    found = [_pins_of(seen, one) for one in said.values()] if len(said) == 1 else _standing(seen, said.values(), authorities)
    if len(found) == 1:
        return found[0]
    if said:
        hint = "name your pins: git config vmkeeper.pins FILE"
        raise UserError(f"there are several policies number {number}", where=f"{FOLDER}/policy.yaml", hint=hint)
    if seen.oddities:
        raise Untrusted(seen.oddities)  # what cannot be read one way is not read, and says nothing of who has signed
    what = "no policy is in force: nobody has signed one" if number == 1 else f"nobody has signed policy {number}"
    raise UserError(what, where=f"{FOLDER}/policy.yaml", hint=_SIGN)


def _pins_of(seen: Sight, first: PolicySignature) -> Pins:
    """Pins of a policy as it says of itself; raises Refused where it cannot be one."""
    policy = policy_at(seen, first.commit)
    root, tree = seen.history.root()
    return Pins.model_validate(
        {
            "repository": root,
            "tree": tree,
            "policy": {"number": first.number, "sha512": first.content},
            "quorum": policy.document.quorum,
            "principals": policy.principals,
        }
    )


def _standing(seen: Sight, said: Iterable[PolicySignature], authorities: Authorities) -> list[Pins]:
    """The first policies that their own principals have signed: what strangers put there under the same number does not count."""
    found = []
    for one in said:
        with suppress(Refused):
            pins = _pins_of(seen, one)
            if stands(seen, pins, authorities, one.issued):
                found.append(pins)
    return found


def stands(seen: Sight, pins: Pins, authorities: Authorities, now: datetime) -> bool:
    """Whether enough of its principals have signed the pinned policy."""
    with verifiers(authorities) as known:
        reader = Authenticator(pins.repository, seen.history, known, now, Duration.parse("1d"))
        try:
            enact({name: raw for name, raw in seen.tags.items() if name.startswith("policy/")}, pins, reader, {})
        except Untrusted:
            return False
    return True


def policy_at(seen: Sight, commit: CommitId) -> Policy:
    """What endorsers/ says at a commit of the mainline, signed or not; raises Refused where it cannot be a policy."""
    return read_policy(seen.history.files(commit, FOLDER))


def decisions_under(
    repository: Repository, head: CommitId, commit: CommitId, authorities: Authorities, now: datetime
) -> Mapping[str, tuple[Decision, ...]]:
    """What each endorser list would decide if endorsers/ of `commit`, of the mainline of `head`, were in force next.

    With nobody's policy in force nothing is decided. Raises Refused where the tree cannot be a policy.
    """
    seen = sight(repository, head)
    try:
        pins = own_pins(repository, seen, authorities)
    except UserError:
        return {}
    made = judge(seen, pins, Memory(), authorities, now)
    return suppose(made, policy_at(seen, commit), commit, seen.history.tree(commit, FOLDER))


def _signatures(seen: Sight, number: int) -> list[bytes]:
    return [raw for name, raw in sorted(seen.tags.items()) if name.startswith(f"policy/{number}/") and raw is not None]


def unverified(raw: bytes | None) -> PolicySignature | None:
    """What a policy tag says, whoever signed it."""
    try:
        said = statement.parse(tagobject.parse(raw).payload) if raw is not None else None
    except Refused:
        return None
    return said if isinstance(said, PolicySignature) else None
