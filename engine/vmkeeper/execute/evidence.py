"""What an endorser should see before they sign: who built it, what changed since the last endorsed release, what tests found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vmkeeper.errors import VmkeeperError
from vmkeeper.execute.endorsement import Candidate
from vmkeeper.images.store import Store
from vmkeeper.trust.provenance import Attested
from vmkeeper.trust.said import Endorsement
from vmkeeper.trust.verify import Verdict
from vmkeeper.values import Sha512, Version, format_time

_LARGEST_MANIFEST = 16 * 2**20
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class PackageChanges:
    """Packages by NAME or NAME:ARCHITECTURE: those that came, went (with their version), and changed (from, to)."""

    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]
    changed: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """About one release. `last` is the newest other version that somebody on the list endorsed; `packages` is None
    where there is none or the store lacks a list of packages (`missing` says which). `attested` is its provenance,
    verified; None where no builder of the policy signed for it."""

    candidate: Candidate
    last: Endorsement | None
    packages: PackageChanges | None
    missing: str = ""
    attested: Attested | None = None


def evidence(candidate: Candidate, verdicts: tuple[Verdict, ...], store: Store, attested: Attested | None = None) -> Evidence:
    """Collect the evidence. verdicts: of all tags under the endorser's list; ill signed ones are not looked at."""
    release = candidate.release
    said = [verdict.statement for verdict in verdicts if isinstance(verdict.statement, Endorsement)]
    others = [one for one in said if one.appliance == release.appliance and Version(one.version) != release.version]
    last = max(others, key=lambda one: (Version(one.version), one.serial), default=None)
    if last is None:
        return Evidence(candidate, None, None, attested=attested)
    try:
        changes = package_changes(_manifest(store, last.manifest), _manifest(store, release.manifest.sha512))
    except VmkeeperError as error:
        return Evidence(candidate, last, None, str(error), attested)
    return Evidence(candidate, last, changes, attested=attested)


def package_changes(before: str, after: str) -> PackageChanges:
    """Compare two lists of packages (`NAME VERSION ARCHITECTURE` lines)."""
    old, new = _packages(before), _packages(after)
    return PackageChanges(
        added=tuple((name, new[name]) for name in sorted(new.keys() - old.keys())),
        removed=tuple((name, old[name]) for name in sorted(old.keys() - new.keys())),
        changed=tuple((name, old[name], new[name]) for name in sorted(old.keys() & new.keys()) if old[name] != new[name]),
    )


def describe(found: Evidence) -> Iterator[str]:
    """The evidence as lines for people."""
    release = found.candidate.release
    yield f"{release.appliance} {release.version}, built from {release.commit[:10]}, recorded in {found.candidate.commit[:10]}"
    yield f"recipe   {release.recipe}"
    yield from (
        f"image    {file.format}, {file.size.human} ({file.virtual_size.human} for the guest), sha512 {file.sha512}" for file in release.files
    )
    yield from _describe_builder(found.attested)
    yield ""
    yield from _describe_packages(found)
    yield ""
    tests = release.tests.results if release.tests else ()
    yield f"tests    {len(tests)} run" if tests else "tests    none: this image was not boot-tested"
    yield from (f"  {test.outcome:7} {test.name}" for test in tests)
    yield f"lint     {len(release.lint)} findings" if release.lint else "lint     nothing found"
    yield from (f"  {finding.rule}: {finding.path}: {finding.what}" for finding in release.lint)


def _describe_builder(attested: Attested | None) -> Iterator[str]:
    if attested is None:
        yield "builder  not known: no builder of the policy signed for it"
        return
    run = attested.provenance.invocation
    yield f"builder  {attested.builder.name}, {attested.builder.id}, signed with {attested.signed_by.key}"
    yield f"  built from {format_time(run.started_on)} to {format_time(run.finished_on)}, run {run.invocation_id}"


def _describe_packages(found: Evidence) -> Iterator[str]:
    release = found.candidate.release
    if found.last is None:
        yield f"packages {release.packages}; nothing of this appliance was endorsed before"
        return
    if found.packages is None:
        yield f"packages {release.packages}; compared with {found.last.version} is not possible: {found.missing}"
        return
    changes = found.packages
    lines = [f"  + {name} {version}" for name, version in changes.added]
    lines += [f"  - {name} {version}" for name, version in changes.removed]
    lines += [f"  ~ {name} {old} → {new}" for name, old, new in changes.changed]
    counts = f"{len(changes.added)} new, {len(changes.removed)} gone, {len(changes.changed)} changed"
    yield f"packages {release.packages}; since {found.last.version}: {counts}"
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"  and {len(lines) - _SHOWN} more"


def _manifest(store: Store, sha512: Sha512) -> str:
    return store.read(sha512, _LARGEST_MANIFEST).decode(errors="replace")


def _packages(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, version, architecture = (*line.split(), "", "", "")[:3]
        if name:
            found[f"{name}:{architecture}" if architecture else name] = version
    return found
