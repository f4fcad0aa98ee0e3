"""The factory: plan what a commit asks for and carry it out: build, boot test, record the release.

What a build or test gave is remembered in the store under the recipe's digest, so a run that was killed goes on
where it stopped and the same recipe is never built twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from vmkeeper.boot import probe
from vmkeeper.boot.report import TrialResult
from vmkeeper.boot.trial import Trial, run_trial
from vmkeeper.builders.interface import Built
from vmkeeper.builders.registry import BUILDERS
from vmkeeper.builders.workspace import locked
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.index import Index
from vmkeeper.catalogue.inherit import given
from vmkeeper.documents.dump import dump
from vmkeeper.errors import Problems, UserError
from vmkeeper.execute.planning import head_of, open_index, planned
from vmkeeper.execute.provenance import VERIFIED, Attestor, invocation, locks
from vmkeeper.execute.walk import Done, Outcome, walk
from vmkeeper.images.store import Store
from vmkeeper.model.recipe import Recipe
from vmkeeper.model.release import Release, TestRun
from vmkeeper.plan.actions import Action
from vmkeeper.plan.factory import FACTORY, Build, Record, Test, plan_one
from vmkeeper.plan.plan import Plan
from vmkeeper.progress import Progress
from vmkeeper.repository.changes import source_commit
from vmkeeper.repository.records import commit_files
from vmkeeper.repository.tags import root_commit
from vmkeeper.repository.tree import Repository
from vmkeeper.trust import slsa
from vmkeeper.trust.history import Record as RecordBytes
from vmkeeper.trust.slsa import Invocation
from vmkeeper.values import Version, canonical_json, sha256_hex, sha512_hex

_BUILT = TypeAdapter(Built)
_RUN = TypeAdapter(TestRun)


def apply(repository: Repository, factory: Factory, *, reviewed: str | None = None, workers: int = 2) -> tuple[Plan, tuple[Outcome, ...]]:
    """Carry out what the checked-out branch asks for since the last complete apply; returns the plan and what came of it.

    reviewed: the digest of the plan that somebody looked at; another plan is refused. Only one apply runs at a time.
    """
    with locked(repository.private / "apply.lock", waiting=lambda: factory.progress.step("apply", "waiting for another apply of this repository")):
        commit = repository.head()
        whole = planned(repository, None, commit, factory.progress)
        if reviewed is not None and not whole.digest().startswith(reviewed):
            raise UserError(f"the plan is now {whole.digest()[:16]}, not the reviewed {reviewed[:16]}", hint="look at it again: vmkeeper plan")
        outcomes = carry_out(whole, factory, workers)
        if all(isinstance(outcome, Done) for outcome in outcomes):
            head = repository.head()
            only_records = source_commit(repository, head) == source_commit(repository, commit)
            repository.set_applied(head if only_records else commit)
        return whole, outcomes


def build_one(repository: Repository, factory: Factory, name: str, *, workers: int = 2, record: bool = False) -> tuple[Outcome, ...]:
    """Build and test one appliance of the checked-out commit with what it stands on; no release unless `record`."""
    commit = repository.head()
    made = plan_one(Catalogue.at(repository, commit, open_index(repository)), name, head_of(repository, commit))
    kinds = FACTORY if record else (Build, Test)
    return carry_out(_only(made, kinds), factory, workers)


def carry_out(whole: Plan, factory: Factory, workers: int) -> tuple[Outcome, ...]:
    """Perform the factory's part of a plan; says first, and all at once, what this machine lacks for it."""
    mine = _only(whole, FACTORY)
    factory.ready(mine)
    return walk(mine, factory.perform, workers=workers, progress=factory.progress)


def _only(whole: Plan, kinds: tuple[type[Action], ...]) -> Plan:
    kept = tuple(action for action in whole.actions if isinstance(action, kinds))
    ids = {action.id for action in kept}
    return Plan(whole.base, whole.head, tuple(a.model_copy(update={"needs": tuple(n for n in a.needs if n in ids)}) for a in kept))


def test_again(repository: Repository, factory: Factory, name: str) -> TrialResult:
    """Boot the image of the checked-out commit's recipe and run its tests, whether they passed before or not."""
    catalogue = Catalogue.at(repository, repository.head(), open_index(repository))
    built = factory.built(catalogue.recipe(name).digest())
    if built is None:
        raise UserError(f"there is no image of {name} as the files are now in the store", hint=f"build it: vmkeeper build {name}")
    return factory.try_out(catalogue, name, built)


class Factory:
    """Performs the factory's actions. `work` is a folder for temporary files, best on the store's file system.

    attestor: the builder's own hand. With it, what the store remembers of builds and tests does not count, for others may
    write there: a builder signs for what it made and tested itself, which this clone of the repository remembers.
    """

    def __init__(self, repository: Repository, store: Store, work: Path, progress: Progress, attestor: Attestor | None = None) -> None:
        self.repository = repository
        self.store = store if attestor is None else store.remembering(repository.private / "made", shared=VERIFIED)
        self.work = work
        self.progress = progress
        self.attestor = attestor
        self._catalogue = cache(lambda commit: Catalogue.at(repository, commit, Index()))
        self._builder = cache(lambda commit: None if attestor is None else attestor.builder(repository.at(commit)))

    def ready(self, wanted: Plan) -> None:
        """Raise Problems with everything this machine lacks for a plan."""
        names = {self.recipe(a.subject, a.commit, a.recipe).builder.name for a in wanted.actions if isinstance(a, Build)}
        problems = [problem for name in sorted(names) for problem in BUILDERS[name].lacks()]
        if any(isinstance(action, Test) for action in wanted.actions):
            problems += probe.lacks("bios", "uefi")
        if problems:
            raise Problems(problems)

    def perform(self, action: Action) -> str:
        """Carry out one action; what it needs comes from the commit that it names and from the store."""
        match action:
            case Build():
                return self._build(action)
            case Test():
                return self._test(action)
            case Record():
                return self._record(action)
        raise TypeError(f"{action.id} is not for the factory")

    def recipe(self, name: str, commit: str, digest: str) -> Recipe:
        """The recipe of an appliance at a commit; raises UserError where it is not the one with this digest."""
        recipe: Recipe = self._catalogue(commit).recipe(name)
        if recipe.digest() != digest:
            raise UserError(f"commit {commit[:10]} gives {name} another recipe than the plan says", hint="plan again")
        return recipe

    # -- build

    def built(self, recipe: str) -> Built | None:
        """What a build of this recipe left in the store, if all of it is still there."""
        known = self.store.alias("build", recipe)
        if known is None or (self.attestor is not None and self.store.alias("invocation", recipe) is None):
            return None
        built = _BUILT.validate_python(known)
        files = [built.rootfs.sha512, built.manifest.sha512, built.sbom.sha512, *(file.sha512 for file in built.files)]
        return built if all(self.store.has(sha512) for sha512 in files) else None

    def _build(self, action: Build) -> str:
        built = self.built(action.recipe)
        if built is not None:
            return "its recipe was built before"
        built = self._image(action)
        shown = ", ".join(f"{file.format} of {file.size.human}" for file in built.files) or f"root file system of {built.rootfs.size.human}"
        return f"{shown}, {built.packages} packages"

    def _image(self, action: Build | Test | Record) -> Built:
        """What a build of an action's recipe left; built now where it is not there any more, or was not built by this builder."""
        built = self.built(action.recipe)
        if built is not None:
            return built
        started = datetime.now(UTC)
        built = self.make(action.subject, action.commit, action.recipe, self.work / "builds")
        if self.attestor is not None:
            self.store.set_alias("invocation", action.recipe, invocation(started).model_dump(mode="json", by_alias=True))
        self.store.set_alias("build", action.recipe, _BUILT.dump_python(built, mode="json"))
        return built

    def make(self, name: str, commit: str, digest: str, work: Path) -> Built:
        """Build a recipe whether it was built before or not."""
        recipe = self.recipe(name, commit, digest)
        catalogue: Catalogue = self._catalogue(commit)
        return BUILDERS[recipe.builder.name].build(recipe, catalogue.content, self.store, work, self.progress)

    # -- test

    def _trial_key(self, recipe: str, tests: str) -> str:
        return sha256_hex(canonical_json([recipe, tests]))

    def _test(self, action: Test) -> str:
        if self.store.alias("trial", self._trial_key(action.recipe, action.tests)) is not None:
            return "these tests passed on this image before"
        catalogue: Catalogue = self._catalogue(action.commit)
        result = self.try_out(catalogue, action.subject, self._image(action))
        report = self.store.put_bytes(result.junit())
        if not result.passed:
            raise UserError(
                f"{action.subject} failed its boot test",
                why="\n".join(f"{check.name}: {check.why}\n{check.output}" for check in result.failures),
                hint=f"{result.failures[0].hint}; run it again with: vmkeeper test {action.subject} --junit FILE",
            )
        run = TestRun(inputs=action.tests, results=result.results(), report=report)
        self.store.set_alias("trial", self._trial_key(action.recipe, action.tests), _RUN.dump_python(run, mode="json"))
        return f"{len(run.results)} checks passed"

    def try_out(self, catalogue: Catalogue, name: str, built: Built) -> TrialResult:
        """Boot an image that was built and run its tests."""
        return run_trial(self._trial(catalogue, name, built), probe.choose(), self.work / "trials", self.progress)

    def _trial(self, catalogue: Catalogue, name: str, built: Built) -> Trial:
        whole = catalogue.resolved(name).appliance
        file = next((each for wanted in ("qcow2", "raw", "vmdk", "vdi") for each in built.files if each.format == wanted), built.files[0])
        return Trial(
            appliance=name,
            image=_local_file(self.store, file.sha512, self.work),
            format=file.format,
            user=given(whole.users.default),
            tests=tuple((test.name, catalogue.snapshot.read(test.path) or b"") for test in catalogue.tests(name)),
            memory=given(whole.requirements.memory),
            cpus=given(whole.requirements.cpus),
            firmware=whole.disk.boot,
            boot_timeout=given(whole.test.boot_timeout),
            test_timeout=given(whole.test.timeout),
        )

    # -- release

    def _record(self, action: Record) -> str:
        built = self._image(action)
        catalogue: Catalogue = self._catalogue(action.commit)
        _same_as_before(catalogue.release(action.subject), action.version, built)
        recipe = self.recipe(action.subject, action.commit, action.recipe)
        tests = None
        if action.tests is not None:
            known = self.store.alias("trial", self._trial_key(action.recipe, action.tests))
            if known is None:
                raise UserError("its tests have not passed", hint="run vmkeeper apply again")
            tests = _RUN.validate_python(known)
        parent = catalogue.chain(action.subject)[-2:-1]
        release = Release(
            appliance=action.subject,
            uuid=recipe.uuid,
            version=action.version,
            commit=action.built,
            recipe=action.recipe,
            builder=recipe.builder,
            parent=catalogue.recipe(parent[0]).digest() if parent else None,
            rootfs=built.rootfs,
            raw_sha512=built.raw_sha512,
            files=built.files,
            manifest=built.manifest,
            packages=built.packages,
            sbom=built.sbom,
            tests=tests,
            lint=built.findings,
        )
        data, folder = dump(release), f"appliances/{action.subject}"
        provenance = self._provenance(action, RecordBytes(sha512_hex(data), release))
        reason = f"{action.reason[0].upper()}{action.reason[1:]}"
        message = f"release: {action.subject} {action.version}\n\n{reason}.\nBuilt from {action.built}, recipe {action.recipe}.\n"
        files = {f"{folder}/release.yaml": data, f"{folder}/{slsa.FILE}": provenance}
        commit = commit_files(self.repository, self.repository.branch(), files, message)
        return f"version {action.version} in commit {commit[:10]}" + (" with provenance" if provenance else "")

    def _provenance(self, action: Record, record: RecordBytes) -> bytes | None:
        """What this builder signs about a release; None where it is no builder of the policy at the commit that is carried out."""
        builder = self._builder(action.commit)
        if self.attestor is None or builder is None:
            return None
        run = Invocation.model_validate(self.store.alias("invocation", action.recipe))
        wanted = locks(self._catalogue(action.built), action.subject)
        return self.attestor.attest(builder, record, root_commit(self.repository, action.commit), wanted, run)


def _same_as_before(release: Release | None, version: Version, built: Built) -> None:
    """Raise UserError where an image that was lost was built again for a version that exists, and is another one."""
    if release is not None and release.version == version and release.files != built.files:
        raise UserError(
            f"built again, {release.appliance} has other bytes than its version {version}",
            hint="find out why with: vmkeeper endorse --rebuild; or change the appliance, so that it gets a version of its own",
        )


def _local_file(store: Store, sha512: str, work: Path) -> Path:
    """A file of the store as a path; remote stores are copied to the work folder."""
    found = store.local_path(sha512)
    if found is not None:
        return found
    target = work / "images" / sha512
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        store.fetch(sha512, target)
    return target
