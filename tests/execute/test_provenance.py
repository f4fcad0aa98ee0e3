"""A builder signs for what it made and tested itself: when, with which key, and what it does not sign.

Builder and boot are stood in for by quick ones; store, git, plan, keys and signatures are real.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from support import certificates
from support.certificates import ORG, authority, issue
from support.keys import GpgHome, ssh_key, ssh_public
from support.killer import dies_at, in_child, tree
from support.quick import QuickBuilder, passing, quick_builder
from support.repo import Repo, base, child, lock, locked, tools
from support.x509 import digest_of, held
from vmkeeper.boot.report import TrialResult
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check
from vmkeeper.cli.app import main
from vmkeeper.errors import Problems, Refused
from vmkeeper.execute import factory as module
from vmkeeper.execute.endorsement import candidate
from vmkeeper.execute.evidence import describe, evidence
from vmkeeper.execute.factory import Factory, apply
from vmkeeper.execute.planning import head_of, planned
from vmkeeper.execute.provenance import Attestor, attested, builders, locks, unattested
from vmkeeper.execute.rebuild import rebuild
from vmkeeper.execute.signing import signing_key
from vmkeeper.execute.verification import RepositoryHistory
from vmkeeper.execute.walk import Done, Failed, Outcome
from vmkeeper.images.store import Store
from vmkeeper.model.release import Blob
from vmkeeper.plan.factory import Build, Test
from vmkeeper.progress import Silent
from vmkeeper.repository.tags import root_commit
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.provenance import Attested, parse
from vmkeeper.values import Size, sha512_hex

FILES = {
    **tools(),
    **base(extra="provision: [{name: tidy, script: provision/tidy}]"),
    "appliances/base/provision/tidy": "#!/bin/sh\n",
    "!x appliances/base/tests/10-ok": "#!/bin/sh\n",
    **child("web", "base"),
}
NAMES = ("base", "tools", "web")
ID = "https://ci.example.org/builders/main"
POLICY = """title: Example
quorum: 1
principals:
  - name: root
    full_name: Root Example
    email: root@example.org
    keys: [{{type: ssh, key: {root}}}]
builders:
  - name: ci
    id: {id}
    keys: [{key}]
"""


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> QuickBuilder:
    return quick_builder(monkeypatch)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the keys root, ci and other; HOME has no configuration of anybody."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SSH_AUTH_SOCK", "VMKEEPER_BUILDER_KEY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("root", "ci", "other"):
        made = ssh_key(folder)
        for suffix in ("", ".pub"):
            made.with_name(made.name + suffix).rename(folder / f"{name}{suffix}")
    return folder


def policy(keys: Path, key: str = "") -> dict[str, str]:
    listed = key or f"{{type: ssh, key: {ssh_public(keys / 'ci')}}}"
    return {"endorsers/policy.yaml": POLICY.format(root=ssh_public(keys / "root"), id=ID, key=listed)}


@pytest.fixture
def repo(tmp_path: Path, keys: Path) -> Repo:
    made = Repo(tmp_path / "repo")
    made.commit({**FILES, **policy(keys)})
    made.commit(locked(made))
    return made


def attestor(repository: Repository, key: str | Path) -> Attestor:
    return Attestor(signing_key(repository, str(key)))


def run(repo: Repo, tmp_path: Path, key: str | Path | None, store: str = "store") -> dict[str, Outcome]:
    signer = attestor(repo.repository, key) if key else None
    factory = Factory(repo.repository, Store(tmp_path / store), tmp_path / "work", Silent(), signer)
    return {outcome.action.id: outcome for outcome in apply(repo.repository, factory, workers=1)[1]}


def done(outcomes: dict[str, Outcome]) -> bool:
    return all(isinstance(outcome, Done) for outcome in outcomes.values())


def read(repo: Repo, name: str, file: str = "provenance.json") -> bytes | None:
    return repo.repository.at(repo.repository.head()).read(f"appliances/{name}/{file}")


def verified(repository: Repository, name: str, authorities: Authorities | None = None) -> Attested:
    """The provenance at the head as a site judges it."""
    head = repository.head()
    record = RepositoryHistory(repository, head).record(head, name)
    assert record is not None
    known, now = builders(repository.at(head)), datetime.now(UTC)
    found = attested(record, root_commit(repository, head), known, authorities or Authorities(()), now)
    assert found is not None
    assert attested(replace(record, provenance=None), root_commit(repository, head), known, Authorities(()), now) is None
    return found


def test_every_release_has_provenance_in_the_commit_that_brings_it(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    source = repo.repository.head()
    outcomes = run(repo, tmp_path, keys / "ci")
    assert done(outcomes)
    assert "with provenance" in getattr(outcomes["release:web"], "text", "")
    for name in NAMES:
        found = verified(repo.repository, name)
        assert (found.builder.name, found.builder.id) == ("ci", ID)
        assert found.provenance.asked.commit == source
        assert datetime.now(UTC) - found.provenance.invocation.started_on < timedelta(minutes=10)
    commit = repo.repository.commit(repo.repository.head())
    while commit.message.startswith("release: "):
        changed = {path for name in NAMES for path in ("release.yaml", "provenance.json") if _changed(commit, f"appliances/{name}/{path}")}
        assert changed == {"release.yaml", "provenance.json"}
        commit = commit.parents[0]
    assert str(commit.id) == source
    assert check(Catalogue.at(repo.repository, repo.repository.head())) == ()


def _changed(commit: object, path: str) -> bool:
    def blob(one: object) -> str:
        tree = one.tree  # type: ignore[attr-defined]
        return str(tree[path].id) if path in tree else ""

    return blob(commit) != blob(commit.parents[0])  # type: ignore[attr-defined]


def test_the_locks_of_the_chain_and_of_the_tools_are_dependencies(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path, keys / "ci")
    catalogue = Catalogue.at(repo.repository, repo.repository.head())
    wanted = {f"appliances/{name}/packages.lock": sha512_hex(read(repo, name, "packages.lock") or b"") for name in ("base", "tools")}
    assert locks(catalogue, "web") == locks(catalogue, "base") == wanted
    assert set(locks(catalogue, "tools")) == {"appliances/tools/packages.lock"}
    dependencies = verified(repo.repository, "web").provenance.predicate.build_definition.resolved_dependencies
    assert [one.name for one in dependencies] == ["source", *sorted(wanted), "parent"]
    release = catalogue.release("base")
    assert release is not None
    assert dependencies[-1].digest.sha256 == release.recipe


@pytest.fixture
def gpg(monkeypatch: pytest.MonkeyPatch) -> Iterator[GpgHome]:
    home = GpgHome()
    monkeypatch.setenv("GNUPGHOME", str(home.path))
    yield home
    home.close()


def test_a_key_in_gpg_signs_too(keys: Path, builder: QuickBuilder, gpg: GpgHome, tmp_path: Path) -> None:
    fingerprint = gpg.make("ci")
    repo = Repo(tmp_path / "repo")
    listed = f"{{type: openpgp, fingerprint: {fingerprint}, file: keys/ci.asc}}"
    repo.commit({**FILES, **policy(keys, listed), "endorsers/keys/ci.asc": gpg.export(fingerprint)})
    repo.commit(locked(repo))
    assert done(run(repo, tmp_path, fingerprint))
    assert verified(repo.repository, "web").signed_by.key == f"openpgp:{fingerprint}"


def test_a_certificate_signs_too_and_is_verified_where_its_authorities_are_known(keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    ca = authority()
    ci = issue(certificates.name(*ORG, ("CN", "Robot CI")), ca)
    file, _ = ci.write(keys, "robot")
    key = held(ci)
    repo = Repo(tmp_path / "repo")
    repo.commit({**FILES, **policy(keys, f"{{type: x509, subject: {key.subject}, issuer: {key.issuer}}}")})
    repo.commit(locked(repo))
    signer = Attestor(signing_key(repo.repository, str(file)), Authorities(()))
    factory = Factory(repo.repository, Store(tmp_path / "store"), tmp_path / "work", Silent(), signer)
    outcomes = {outcome.action.id: outcome for outcome in apply(repo.repository, factory, workers=1)[1]}
    failed = outcomes["release:web"]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Refused)
    assert failed.error.rule == "R19"
    assert done(run(repo, tmp_path, file))
    assert verified(repo.repository, "web", Authorities((ca.certificate,))).signed_by.key == f"x509:{digest_of(ci)}"


def test_a_second_apply_does_nothing(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path, keys / "ci")
    head = repo.repository.head()
    assert run(repo, tmp_path, keys / "ci") == {}
    assert repo.repository.head() == head
    assert not planned(repo.repository, None, "HEAD")


def test_provenance_is_a_record_and_never_a_cause(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    source = repo.repository.head()
    run(repo, tmp_path, keys / "ci")
    repo.commit({"appliances/web/provenance.json": None})
    assert head_of(repo.repository, repo.repository.head()).commit == source
    assert not planned(repo.repository, None, "HEAD")
    assert not planned(repo.repository, source, "HEAD")


def test_a_record_cannot_be_put_into_an_image(repo: Repo, keys: Path) -> None:
    for file in ("provenance.json", "release.yaml"):
        extra = f"files: [{{name: record, path: /etc/record, source: {file}}}]"
        repo.commit({**child("web", "base", extra), f"appliances/web/{file}": "{}"})
        with pytest.raises(Problems) as caught:
            Catalogue.at(repo.repository, repo.repository.head()).recipe("web")
        assert f"{file} is a record of a build" in str(caught.value)


# -- when nothing is signed


def test_without_a_key_nothing_is_signed_and_it_is_said(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    assert done(run(repo, tmp_path, None))
    assert [read(repo, name) for name in NAMES] == [None, None, None]
    said = unattested(repo.repository.at(repo.repository.head()), None)
    assert "no provenance" in said
    assert "no builder key is set" in said
    assert "vmkeeper.builderKey" in said


def test_a_key_of_no_builder_signs_nothing_and_it_is_said(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    assert done(run(repo, tmp_path, keys / "other"))
    assert [read(repo, name) for name in NAMES] == [None, None, None]
    signer = attestor(repo.repository, keys / "other")
    assert f"the key {signer.key.id} is none of theirs" in unattested(repo.repository.at(repo.repository.head()), signer)


def test_without_builders_nothing_is_signed_and_nothing_said(keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    repo.commit(FILES)
    repo.commit(locked(repo))
    assert done(run(repo, tmp_path, keys / "ci"))
    assert read(repo, "web") is None
    assert unattested(repo.repository.at(repo.repository.head()), None) == ""


def test_a_policy_that_cannot_be_read_is_no_reason_to_lose_what_was_built(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    repo.commit({"endorsers/policy.yaml": "quorum: many"})
    assert done(run(repo, tmp_path, None))
    assert "cannot be read" in unattested(repo.repository.at(repo.repository.head()), None)
    repo.commit({"!x appliances/base/tests/10-ok": "#!/bin/sh\ntrue\n"})
    outcome = run(repo, tmp_path, keys / "ci")["release:web"]
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Refused)


def test_with_the_key_of_a_builder_nothing_is_said(repo: Repo, keys: Path) -> None:
    signer = attestor(repo.repository, keys / "ci")
    assert unattested(repo.repository.at(repo.repository.head()), signer) == ""


def test_a_retired_key_signs_nothing(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    repo.commit(policy(keys, f"{{type: ssh, key: {ssh_public(keys / 'ci')}, retired: 2026-01-01T00:00:00Z}}"))
    outcome = run(repo, tmp_path, keys / "ci")["release:web"]
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Refused)
    assert outcome.error.rule == "R12"
    assert read(repo, "web", "release.yaml") is None


def test_provenance_of_an_older_record_does_not_stay_beside_a_new_one(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path, keys / "ci")
    repo.commit({"!x appliances/base/tests/10-ok": "#!/bin/sh\ntrue\n"})
    assert done(run(repo, tmp_path, None))
    assert read(repo, "web") is None
    assert check(Catalogue.at(repo.repository, repo.repository.head())) == ()


# -- a builder signs for what it made itself


def test_what_somebody_else_built_is_built_again_before_it_is_signed(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path, None)
    assert set(builder.built) == set(NAMES)
    repo.commit({f"appliances/{name}/release.yaml": None for name in NAMES})
    builder.built.clear()
    assert done(run(repo, tmp_path, keys / "ci"))
    assert set(builder.built) == set(NAMES)
    assert verified(repo.repository, "web").builder.name == "ci"


def test_what_a_stranger_writes_into_the_store_is_not_signed(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    catalogue = Catalogue.at(repo.repository, repo.repository.head())
    store = Store(tmp_path / "store")
    evil = store.put_bytes(b"a backdoor").model_dump(mode="json")
    image = {**evil, "format": "qcow2", "virtual_size": "2GiB"}
    forged = {"rootfs": evil, "raw_sha512": None, "files": [image], "manifest": evil, "packages": 1, "sbom": evil, "findings": []}
    store.set_alias("build", catalogue.recipe("web").digest(), forged)
    assert done(run(repo, tmp_path, keys / "ci"))
    assert "web" in builder.built
    provenance, _ = parse(read(repo, "web") or b"")
    assert evil["sha512"] not in {subject.digest.sha512 for subject in provenance.subject}


def test_a_test_that_passed_elsewhere_is_run_again_before_the_record_is_signed(
    repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(repo, tmp_path, None)
    repo.commit({"appliances/web/release.yaml": None})
    tried = []

    def trial(*arguments: object) -> TrialResult:
        tried.append(arguments)
        return passing(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "run_trial", trial)
    assert done(run(repo, tmp_path, keys / "ci"))
    assert len(tried) == 1


def test_a_release_that_it_built_gets_provenance_without_building_again(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path, keys / "ci")
    before = verified(repo.repository, "web").provenance.invocation
    repo.commit({"appliances/web/provenance.json": None, "appliances/web/release.yaml": None})
    builder.built.clear()
    assert done(run(repo, tmp_path, keys / "ci"))
    assert builder.built == []
    assert verified(repo.repository, "web").provenance.invocation == before


def test_new_tests_give_new_provenance_of_the_same_build(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path, keys / "ci")
    before = verified(repo.repository, "web")
    repo.commit({"!x appliances/base/tests/10-ok": "#!/bin/sh\ntrue\n", "appliances/base/packages.lock": _rewritten(repo)})
    builder.built.clear()
    assert done(run(repo, tmp_path, keys / "ci"))
    after = verified(repo.repository, "web")
    assert builder.built == []
    assert after.provenance.subject[0] != before.provenance.subject[0]
    assert after.provenance.subject[1:] == before.provenance.subject[1:]
    assert after.provenance.predicate == before.provenance.predicate


def _rewritten(repo: Repo) -> bytes:
    """The lock of base with a comment: other bytes of the same recipe, which are not those that were built from."""
    return b"# looked at\n" + (read(repo, "base", "packages.lock") or b"")


def test_new_tests_where_the_build_is_not_remembered_build_the_same_image_again(
    repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path
) -> None:
    run(repo, tmp_path, keys / "ci")
    before = verified(repo.repository, "web")
    shutil.rmtree(repo.repository.private / "made")
    repo.commit({"!x appliances/base/tests/10-ok": "#!/bin/sh\ntrue\n"})
    builder.built.clear()
    outcomes = run(repo, tmp_path, keys / "ci")
    assert done(outcomes)
    assert not any(isinstance(outcome.action, Build) for outcome in outcomes.values())
    assert sorted(builder.built) == ["base", "web"]
    after = verified(repo.repository, "web").provenance
    assert after.asked == before.provenance.asked
    assert after.invocation != before.provenance.invocation


def test_another_image_never_gets_an_old_version(
    repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(repo, tmp_path, keys / "ci")
    head = read(repo, "web", "release.yaml")
    shutil.rmtree(repo.repository.private / "made")
    repo.commit({"!x appliances/base/tests/10-ok": "#!/bin/sh\ntrue\n"})
    monkeypatch.setattr(QuickBuilder, "bytes_of", staticmethod(lambda recipe: recipe.canonical() + b"x"))
    outcomes = run(repo, tmp_path, keys / "ci")
    failed = outcomes["release:web"]
    assert isinstance(outcomes["test:web"], Done)
    assert isinstance(outcomes["test:web"].action, Test)
    assert isinstance(failed, Failed)
    assert "other bytes than its version" in str(failed.error)
    assert read(repo, "web", "release.yaml") == head


def test_the_store_remembers_packages_for_everybody_and_the_rest_for_each_builder(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    own = store.remembering(tmp_path / "made", shared=("deb",))
    for kind in ("deb", "layer"):
        store.set_alias(kind, "a", {"by": "somebody"})
    assert (own.alias("deb", "a"), own.alias("layer", "a")) == ({"by": "somebody"}, None)
    own.set_alias("layer", "a", {"by": "me"})
    own.set_alias("deb", "b", {"by": "me"})
    assert own.alias("layer", "a") == store.alias("layer", "a") == store.alias("deb", "b") == {"by": "me"}
    store.set_alias("layer", "a", {"by": "somebody"})
    assert own.alias("layer", "a") == {"by": "me"}
    blob = own.put_bytes(b"x")
    assert store.has(blob.sha512)
    assert store.remembering(tmp_path / "made", shared=()).alias("layer", "a") == {"by": "me"}


# -- when something goes wrong


def test_a_key_that_is_gone_records_nothing_and_the_next_run_goes_on(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    (keys / "ci").rename(keys / "away")
    outcomes = run(repo, tmp_path, keys / "ci.pub")
    assert isinstance(outcomes["test:web"], Done)
    assert isinstance(outcomes["release:web"], Failed)
    assert read(repo, "web", "release.yaml") is None
    (keys / "away").rename(keys / "ci")
    builder.built.clear()
    assert done(run(repo, tmp_path, keys / "ci"))
    assert builder.built == []
    assert verified(repo.repository, "web").builder.name == "ci"


def test_killed_at_every_change_the_next_apply_ends_with_provenance_of_the_same_version(keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    repo.commit({**tools(), **policy(keys)})
    repo.commit(locked(repo))
    saved = tmp_path / "saved"
    shutil.copytree(repo.folder, saved)

    def begin_again() -> None:
        for name in ("repo", "store", "work"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        shutil.copytree(saved, tmp_path / "repo")

    def work() -> None:
        repository = Repository.open(tmp_path / "repo")
        factory = Factory(repository, Store(tmp_path / "store"), tmp_path / "work", Silent(), attestor(repository, keys / "ci"))
        outcomes = apply(repository, factory, workers=1)[1]
        assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes

    def killed(step: int, then: Callable[[], None]) -> None:
        dies_at(step)
        then()

    def state() -> tuple[object, ...]:
        repository = Repository.open(tmp_path / "repo")
        found = verified(repository, "tools")
        files = {path: data for path, data in tree(tmp_path / "store").items() if not path.startswith("alias/invocation")}
        return (found.provenance.subject, found.provenance.asked, files, len(list(repository.git.walk(repository.git.head.target))))

    begin_again()
    assert in_child(work) == 0
    wanted = state()
    step = 0
    while True:
        step += 1
        begin_again()
        ended = in_child(partial(killed, step, work))
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        assert in_child(work) == 0, f"after a kill at change {step}"
        assert state() == wanted, f"after a kill at change {step}"
    assert step > 20


# -- what endorsers see and do


def test_an_endorser_sees_who_built_it(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path, keys / "ci")
    store, found = Store(tmp_path / "store"), verified(repo.repository, "web")
    chosen = candidate(repo.repository, repo.repository.head(), "web")
    lines = "\n".join(describe(evidence(chosen, (), store, found)))
    assert f"builder  ci, {ID}, signed with {found.signed_by.key}" in lines
    assert found.provenance.invocation.invocation_id in lines
    assert "builder  not known" in "\n".join(describe(evidence(chosen, (), store)))


@pytest.mark.parametrize("other", ["rootfs", "manifest", "sbom"])
def test_a_rebuild_gives_the_recorded_bytes_or_is_refused(other: str, repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path, keys / "ci")
    release = Catalogue.at(repo.repository, repo.repository.head()).release("web")
    assert release is not None
    factory = Factory(repo.repository, Store(tmp_path / "store"), tmp_path / "work", Silent())
    builder.built.clear()
    assert rebuild(factory, release) == {file.format: file.sha512 for file in release.files}
    assert builder.built == ["web"]
    with pytest.raises(Refused) as caught:
        rebuild(factory, release.model_copy(update={other: Blob(size=Size(1), sha512="0" * 128)}))
    assert caught.value.rule == "R14"


# -- check


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda data: data + b" ", "not in canonical form"),
        (lambda data: b'{"a":1,"a":2}\n', "there twice"),
        (lambda data: b"", "not JSON"),
    ],
)
def test_check_tells_what_is_wrong_with_provenance(
    change: Callable[[bytes], bytes], what: str, repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path
) -> None:
    run(repo, tmp_path, keys / "ci")
    repo.commit({"appliances/web/provenance.json": change(read(repo, "web") or b"")})
    (problem,) = check(Catalogue.at(repo.repository, repo.repository.head()))
    assert problem.place.file == "appliances/web/provenance.json"
    assert what in problem.what
    assert "release.yaml" in problem.hint


def test_check_tells_provenance_of_another_release(repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path, keys / "ci")
    repo.commit({"appliances/web/provenance.json": read(repo, "base"), "appliances/base/release.yaml": None})
    problems = check(Catalogue.at(repo.repository, repo.repository.head()))
    assert [(problem.place.file, problem.rule) for problem in problems] == [
        ("appliances/base/provenance.json", "R31"),
        ("appliances/web/provenance.json", "R31"),
    ]
    repo.commit({"appliances/web/release.yaml": "broken"})
    places = {problem.place.file for problem in check(Catalogue.at(repo.repository, repo.repository.head()))}
    assert places == {"appliances/base/provenance.json", "appliances/web/release.yaml"}


# -- the command


@pytest.mark.parametrize("way", ["option", "environment", "configuration"])
def test_apply_takes_its_key_from(
    way: str, repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMKEEPER_CACHE", str(tmp_path / "cache"))
    words = ["apply", "-C", str(repo.folder), "--store", str(tmp_path / "store")]
    key = str(keys / "ci")
    if way == "option":
        monkeypatch.setenv("VMKEEPER_BUILDER_KEY", str(keys / "other"))
        words += ["--builder-key", key]
    elif way == "environment":
        monkeypatch.setenv("VMKEEPER_BUILDER_KEY", key)
    else:
        repo.git.config["vmkeeper.builderKey"] = key
    assert _command(words, monkeypatch) == 0
    said = capfd.readouterr()
    assert "with provenance" in said.out
    assert "warning" not in said.err
    assert verified(repo.repository, "web").builder.name == "ci"


def test_apply_warns_in_one_line_where_provenance_is_wanted(
    repo: Repo, keys: Path, builder: QuickBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMKEEPER_CACHE", str(tmp_path / "cache"))
    words = ["apply", "-C", str(repo.folder), "--store", str(tmp_path / "store")]
    assert _command(words, monkeypatch) == 0
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert "no builder key is set" in line
    assert "--builder-key" in line
    assert _command(words, monkeypatch) == 0
    assert "warning" not in capfd.readouterr().err


def _command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["vmkeeper", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_lock_is_only_named_where_there_is_one(keys: Path, tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    repo.commit({**tools(), **base(), **child("web", "base", "packages: [nginx]"), "appliances/web/packages.lock": lock("e")})
    catalogue = Catalogue.at(repo.repository, repo.repository.head())
    assert set(locks(catalogue, "web")) == {f"appliances/{name}/packages.lock" for name in NAMES}
