"""Who stands behind what runs: machine → image → release → commit → provenance → endorsement → policy → approval, with who and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from vmkeeper.clouds.interface import CloudImage, CloudMachine
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.execute.verification import RepositoryHistory
from vmkeeper.execute.view import Place, View
from vmkeeper.plan.wanted import Unusable
from vmkeeper.repository.tags import is_ancestor
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.enactment import Enacted
from vmkeeper.trust.history import Record
from vmkeeper.trust.provenance import parse
from vmkeeper.trust.said import Endorsement, PolicySignature
from vmkeeper.trust.verify import Accepted, Rejected
from vmkeeper.values import format_time


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain: what it is, which one, who is behind it, since when, and what else is to be known."""

    kind: str
    name: str
    who: str = ""
    when: str = ""
    note: str = ""

    def as_json(self) -> dict[str, str]:
        """`{"kind", "name", "who", "when", "note"}`."""
        return {"kind": self.kind, "name": self.name, "who": self.who, "when": self.when, "note": self.note}


Chain = tuple[Link, ...]


def lineage(view: View, repository: Repository, subject: str) -> tuple[Chain, ...]:
    """The chain behind each image of a site that `subject` names: an appliance, an image's id, a machine or a cluster; "" is all.

    Raises UserError where the site has none of that name.
    """
    machines = {name: _machines(place) for name, place in view.places.items()}
    ours = list(view.ours())
    chosen = [(place, image) for place, image in ours if not subject or subject in _names(image, machines[place.name])]
    if subject and not chosen:
        known = sorted({name for place, image in ours for name in _names(image, machines[place.name])})
        raise UserError(f"{view.name} has nothing called {subject}", hint=f"there are: {', '.join(known) or 'no images'}")
    history = RepositoryHistory(repository, view.head)
    return tuple(tuple(_chain(view, place, repository, history, image, machines[place.name])) for place, image in chosen)


def _machines(place: Place) -> list[CloudMachine]:
    return [one for one in place.cloud.machines() if one.owner == place.cloud.owner]


def _names(image: CloudImage, machines: list[CloudMachine]) -> set[str]:
    on_it = [one for one in machines if one.image == image.id]
    assert image.spec is not None
    return {image.id, image.name, image.spec.appliance, *(one.name for one in on_it), *(one.cluster for one in on_it if one.cluster)}


def _chain(
    view: View, place: Place, repository: Repository, history: RepositoryHistory, image: CloudImage, machines: list[CloudMachine]
) -> Iterator[Link]:
    spec = image.spec
    assert spec is not None
    for machine in machines:
        if machine.image == image.id:
            yield Link("machine", machine.name, note=f"{machine.state}, service {machine.service} of cluster {machine.cluster}")
    digest = f"{spec.format}, sha512 {spec.sha512}"
    yield Link(
        "image",
        f"{spec.appliance} {spec.version}",
        f"{view.name} @{place.name}" if place.name else view.name,
        note=f"{image.state} as {image.id}, {digest}, until {format_time(spec.expires)}",
    )
    yield from _foreign_list(view, spec.list)
    decision = next((one for one in view.decided[place.name].decisions if (one.appliance, one.version) == (spec.appliance, spec.version)), None)
    endorsements = decision.endorsements if decision else ()
    if endorsements:
        first = endorsements[0].statement
        yield from _release(repository, history, first.commit, first.appliance)
    for one in endorsements:
        yield _endorsement(one)
    for rejected in _rejected(view, spec.appliance, str(spec.version)):
        yield Link("refused", rejected.tag, note="; ".join(map(str, rejected.refusals)))
    for refusal in decision.refusals if decision else ():
        yield Link("refused", f"{spec.appliance} {spec.version}", note=str(refusal))
    if spec.list not in _foreign(view):
        yield from _policies(view, endorsements)
    yield _approval(view)


def _foreign(view: View) -> dict[str, str]:
    """UUID → name of the lists of other organisations that were seen."""
    names = {one.name for one in view.site.foreign}
    return {found.uuid: found.name for found in view.lists if found.name in names and found.uuid}


def _foreign_list(view: View, uuid: str) -> Iterator[Link]:
    """Who signed the list of another organisation that the image is from; it is the word of nobody else."""
    name = _foreign(view).get(uuid)
    if name is None:
        return
    signed = next((one for one in view.signed if one.uuid == uuid), None)
    if signed is not None:
        yield Link("list", name, signed.signer, format_time(signed.created), f"{signed.about}, certificate by {signed.issuer}, from {signed.url}")
        return
    why = "; ".join(found.state.why for found in view.lists if found.uuid == uuid and isinstance(found.state, Unusable))
    yield Link("list", name, note=f"it cannot be used now: {why}")


def _policies(view: View, endorsements: Iterable[Accepted]) -> Iterator[Link]:
    """The policies that the endorsements were made under, and the one in force."""
    numbers = {one.statement.policy for one in endorsements if isinstance(one.statement, Endorsement)} | {view.judgement.enactments.current.number}
    for enacted in view.judgement.enactments.policies:
        if enacted.number in numbers:
            yield _policy(enacted, view.judgement.enactments.current)


def _release(repository: Repository, history: RepositoryHistory, commit: str, appliance: str) -> Iterator[Link]:
    record = history.record(commit, appliance)
    assert record is not None  # an endorsement that counts was compared with it
    release = record.release
    yield _commit(repository, "release", f"{appliance} {release.version}", commit, f"recorded in {commit}, sha512 {record.sha512}")
    if is_ancestor(repository, release.commit, history.head):
        yield _commit(repository, "source", release.commit, release.commit, f"recipe {release.recipe}")
    else:
        yield Link("source", release.commit, note=f"recipe {release.recipe}; the commit is not in this repository's history")
    yield from _provenance(record)


def _provenance(record: Record) -> Iterator[Link]:
    if record.provenance is None:
        return
    try:
        said, envelope = parse(record.provenance)
    except VmkeeperError as error:
        yield Link("provenance", "provenance.json", note=f"it cannot be read: {error}")
        return
    yield Link(
        "provenance",
        said.builder_id,
        envelope.signature.keyid,
        format_time(said.invocation.finished_on),
        "checked with every endorsement of the release",
    )


def _commit(repository: Repository, kind: str, name: str, commit: str, note: str) -> Link:
    found = repository.commit(commit)
    when = format_time(datetime.fromtimestamp(found.commit_time, UTC))
    return Link(kind, name, found.committer.name, when, note)


def _endorsement(one: Accepted) -> Link:
    said = one.statement
    assert isinstance(said, Endorsement)
    rebuilt = ", built it again" if said.rebuilt else ""
    note = f"{one.signed_by.key}, valid until {format_time(said.expires)}, under policy {said.policy}{rebuilt}"
    return Link("endorsement", one.tag, said.endorser, format_time(said.issued), note)


def _rejected(view: View, appliance: str, version: str) -> Iterator[Rejected]:
    verdicts = {one.tag: one for found in view.judgement.verdicts.values() for one in found}
    accepted = {one.tag for found in view.judgement.verdicts.values() for one in found if isinstance(one, Accepted)}
    for tag, verdict in sorted(verdicts.items()):
        if isinstance(verdict, Rejected) and tag not in accepted and tag.split("/")[1:3] == [appliance, version]:
            yield verdict


def _policy(enacted: Enacted, current: Enacted) -> Link:
    signers = [one.said for one in enacted.signatures if isinstance(one.said, PolicySignature)]
    who = ", ".join(sorted({said.principal for said in signers}))
    state = f"in force until {format_time(enacted.said.expires)}" if enacted is current else f"followed by policy {current.number}"
    when = format_time(max((said.issued for said in signers), default=enacted.said.issued))
    return Link("policy", f"policy {enacted.number}", who, when, f"endorsers/ of {enacted.said.commit}, {state}")


def _approval(view: View) -> Link:
    if view.judgement.consents:
        last = view.judgement.consents[-1]
        who = ", ".join(sorted(read.tag.split("/")[-1] for read in last.signatures))
        return Link(
            "approval", f"approve/{view.name}/{last.said.number}", who, format_time(last.said.issued), f"sites/{view.name}.yaml of {last.said.commit}"
        )
    return Link("approval", f"sites/{view.name}.yaml", "whoever set the site up", note="accepted here with vmkeeper site init")
