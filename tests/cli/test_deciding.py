"""`approve`, `block` and `hold` as typed: what is written, where it is committed, and what a person reads."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from support.foreign import Organisation
from support.producer import NOW, Producer
from support.typed import TypedAtSite
from support.webserver import WebServer
from vmkeeper.documents.guard import read_yaml

FILE = """\
# Our cloud.
title: Here
platform: {type: local}   # one computer
subscribe:
- {list: main}
approve:   # what runs
- appliance: debian-12   # the base
  version: ">=2026"
formats: [raw, qcow2]
"""


class Typing(TypedAtSite):
    """Types commands in the producer's repository; the site's file is a person's."""

    def __init__(
        self, producer: Producer, org: Organisation, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        super().__init__(producer, home, monkeypatch, capsys)
        self.org, self.repository = org, producer.repo.repository
        self.git("config", "user.name", "An Administrator")
        self.git("config", "user.email", "admin@example.org")
        self.file(FILE)

    def git(self, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=self.producer.repo.folder, capture_output=True, text=True, check=True).stdout

    def file(self, text: str) -> None:
        self.producer.repo.commit({"sites/here.yaml": text}, "site")

    def accept(self) -> None:
        assert self("site", "init", "here", "--allow-host", "127.0.0.1", "--yes", "--ca", self.ca) == 0
        (self.home / "ca/science.pem").write_bytes(self.org.authority.certificate.public_bytes(Encoding.PEM))

    def on(self, branch: str) -> str:
        return self.git("show", f"{branch}:sites/here.yaml")

    def added(self, branch: str, field: str = "approve") -> Any:
        """The last entry of a field as a branch has it."""
        value = read_yaml(self.on(branch).encode(), "x").value
        assert isinstance(value, dict)
        return value[field][-1]

    def branches(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname:short)", "refs/heads/site").split()


@pytest.fixture
def vmkeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Typing]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with WebServer(tmp_path / "www") as server:
        producer, org = Producer(tmp_path / "www", server.url, tmp_path), Organisation(server)
        producer.all("debian-12", "2026.11.1")
        producer.release("slurm-node", "2")
        yield Typing(producer, org, tmp_path / "home", monkeypatch, capsys)


def test_an_approval_is_one_line_on_a_branch_of_its_own_and_nothing_else_moves(vmkeeper: Typing) -> None:
    before = vmkeeper.git("rev-parse", "HEAD", "main")
    assert vmkeeper("approve", "here", "--appliance", "slurm-*", "--version", "2.0", "--list", "main", "--until", "2026-12-24") == 0
    branch = "site/here/approve-slurm-2.0-main"
    assert vmkeeper.branches() == [branch]
    assert vmkeeper.git("rev-parse", "HEAD", "main") == before
    line = '- {appliance: "slurm-*", version: "==2.0", list: main, until: "2026-12-24T00:00:00Z"}\n'
    assert vmkeeper.on(branch) == FILE.replace('  version: ">=2026"\n', f'  version: ">=2026"\n{line}')
    assert vmkeeper.git("log", "-1", "--format=%an <%ae>|%P|%s", branch).strip() == (
        f"An Administrator <admin@example.org>|{before.split()[0]}|sites/here: approve slurm-* ==2.0 from the list main, until 2026-12-24T00:00:00Z"
    )
    assert vmkeeper.git("diff", "--name-only", "main", branch) == "sites/here.yaml\n"
    assert f"+{line}" in vmkeeper.out
    assert f"git push -u origin {branch}" in vmkeeper.out
    assert "It counts at here once it is merged and in force there: vmkeeper approve here" in vmkeeper.out


def test_what_is_there_already_is_said_and_nothing_is_done(vmkeeper: Typing) -> None:
    for _ in range(2):
        assert vmkeeper("approve", "here", "--appliance", "debian-12", "--version", " >= 2026.0") == 0
        assert vmkeeper.out == 'sites/here.yaml says that already: {appliance: debian-12, version: " >= 2026.0"}\n'
    assert vmkeeper.branches() == []


def test_the_same_decision_again_finds_the_branch_it_made_and_another_gets_its_own(vmkeeper: Typing) -> None:
    assert vmkeeper("approve", "here", "--appliance", "slurm-node") == 0
    commit = vmkeeper.git("rev-parse", "site/here/approve-slurm-node")
    assert vmkeeper("approve", "here", "--appliance", "slurm-node") == 0
    assert f"Committed already: {commit[:12]} on the branch site/here/approve-slurm-node." in vmkeeper.out
    assert vmkeeper("approve", "here", "--appliance", "slurm-node", "--not-before", "14d") == 0
    assert vmkeeper.branches() == ["site/here/approve-slurm-node", "site/here/approve-slurm-node-2"]
    assert vmkeeper.added("site/here/approve-slurm-node-2") == {"appliance": "slurm-node", "not_before": "2026-12-04T10:00:00Z"}


@pytest.mark.parametrize(
    ("words", "field", "entry"),
    [
        (("approve", "--endorser", "alice"), "approve", {"endorser": "alice"}),
        (("approve", "--community", "test*"), "approve", {"community": "test*"}),
        (("approve", "--tag", "endorse/*/alice/*"), "approve", {"tag": "endorse/*/alice/*"}),
        (("approve", "--digest", "ab" * 64), "approve", {"digest": "ab" * 64}),
        (("approve", "--list", "main"), "approve", {"list": "main"}),
        (
            ("block", "--appliance", "debian-12", "--version", "<2026.11", "--reason", "a hole: CVE #1"),
            "block",
            {"appliance": "debian-12", "version": "<2026.11", "reason": "a hole: CVE #1"},
        ),
        (
            ("hold", "--appliance", "debian-*", "--reason", "exam week", "--until", "2026-12-01T08:00:00Z"),
            "hold",
            {"appliance": "debian-*", "until": "2026-12-01T08:00:00Z", "reason": "exam week"},
        ),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_every_choice_is_written_as_it_is_given(vmkeeper: Typing, words: tuple[str, ...], field: str, entry: dict[str, str]) -> None:
    assert vmkeeper(words[0], "here", *words[1:]) == 0
    (branch,) = vmkeeper.branches()
    assert branch.startswith(f"site/here/{field}-")
    assert vmkeeper.added(branch, field) == entry


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("approve", "--appliance", "debain-12"), "debain-12 matches no appliance"),
        (("approve", "--list", "mian"), "the site takes no list mian"),
        (("approve", "--endorser", "alcie"), "alcie endorses for no list that the site takes"),
        (("approve", "--community", "lhcb"), "no list that the site takes speaks for lhcb"),
        (("approve", "--tag", "v*"), "no endorsement has a tag like v*"),
        (("approve", "--digest", "ab"), "is not a SHA-512"),
        (("approve", "--appliance", "debian-12", "--place", "berlin"), "the platform has no place berlin"),
        (("approve", "--appliance", "debian-12", "--until", "tomorrow"), "is not a time"),
        (("approve", "--appliance", "debian-12", "--version", "x"), "is not a version"),
        (("approve", "--until", "14d"), "it does not say what is approved"),
        (("block", "--reason", "no"), "it does not say what is blocked"),
        (("approve", "--appliance", "debian-12", "--not-before", "2d", "--until", "1d"), "until is not after not_before"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_meant_is_refused_as_check_does(vmkeeper: Typing, words: tuple[str, ...], says: str) -> None:
    assert vmkeeper(words[0], "here", *words[1:]) == 1
    assert says in vmkeeper.err.replace("\n", " ")
    assert "sites/here.yaml" in vmkeeper.err
    assert vmkeeper.branches() == []


def test_a_site_that_is_not_there_and_a_person_whom_git_does_not_know_are_said(vmkeeper: Typing) -> None:
    assert vmkeeper("approve", "there", "--appliance", "debian-12") == 1
    assert "there is no such file" in vmkeeper.err
    vmkeeper.git("config", "user.email", "")
    assert vmkeeper("approve", "here", "--appliance", "slurm-node") == 1
    assert "git does not know who you are" in vmkeeper.err
    assert vmkeeper.branches() == []


def test_a_bare_repository_has_nothing_to_edit(vmkeeper: Typing) -> None:
    assert vmkeeper("approve", "here", "--appliance", "slurm-node", "--here") == 1
    assert "a bare repository has no work tree" in vmkeeper.err


def test_here_edits_the_work_tree_and_commits_nothing(vmkeeper: Typing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "clone", "-q", str(vmkeeper.producer.repo.folder), str(tmp_path / "clone")], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    file = tmp_path / "clone/sites/here.yaml"
    file.write_text(FILE.replace("Our cloud", "Not committed yet"))
    assert vmkeeper("block", "here", "--appliance", "debian-12", "--reason", "a hole", "--here") == 0
    assert file.read_text() == FILE.replace("Our cloud", "Not committed yet") + 'block:\n- {appliance: debian-12, reason: "a hole"}\n'
    assert "Changed sites/here.yaml in the work tree." in vmkeeper.out
    assert subprocess.run(["git", "status", "--short"], capture_output=True, text=True, check=True).stdout == " M sites/here.yaml\n"


def test_a_proposal_leaves_the_work_tree_and_the_index_alone(vmkeeper: Typing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "clone", "-q", str(vmkeeper.producer.repo.folder), str(tmp_path / "clone")], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    for words in (("config", "user.name", "A"), ("config", "user.email", "a@example.org"), ("switch", "-q", "-c", "other")):
        subprocess.run(["git", *words], check=True)
    file = tmp_path / "clone/sites/here.yaml"
    file.write_text("half done")
    assert vmkeeper("approve", "here", "--appliance", "slurm-node") == 0
    assert file.read_text() == "half done"
    said = subprocess.run(["git", "status", "--short", "--branch"], capture_output=True, text=True, check=True).stdout
    assert said == "## other\n M sites/here.yaml\n"


def test_the_difference_for_the_site_is_shown_where_the_site_is(vmkeeper: Typing) -> None:
    vmkeeper.accept()
    assert vmkeeper("reconcile", "here") == 0
    vmkeeper.producer.endorse("slurm-node", "2")
    vmkeeper.producer.offer("slurm-node", "2")
    vmkeeper.producer.repo.commit({"imagelists/main.yaml": vmkeeper.producer.list_document()}, "list")
    vmkeeper.producer.publish()
    assert vmkeeper("site", "plan", "here") == 0
    assert "One release waits for a decision; approve with: vmkeeper approve here --waiting" in vmkeeper.out
    assert vmkeeper("approve", "here", "--appliance", "slurm-node") == 0
    assert "+ register slurm-node 2: endorsed, approved and not here yet\n" in vmkeeper.out
    assert "It counts at here once it is merged and in force there: vmkeeper site init here" in vmkeeper.out
    assert vmkeeper("block", "here", "--appliance", "debian-12", "--reason", "a hole") == 0
    assert "+ hide     debian-12 2026.11.1: the site blocks debian-12 2026.11.1 (block debian-12 *: a hole)\n" in vmkeeper.out
    assert vmkeeper("hold", "here", "--appliance", "slurm-node", "--reason", "wait") == 0
    assert "The next run at the site would do the same as without it.\n" in vmkeeper.out


def test_what_waits_is_approved_one_by_one_or_as_chosen(vmkeeper: Typing) -> None:
    vmkeeper.org.offer("Ubuntu 22.04")
    vmkeeper.org.offer("Fedora 40", "40.1")
    vmkeeper.org.publish()
    vmkeeper.producer.endorse("slurm-node", "2")
    vmkeeper.producer.offer("slurm-node", "2")
    vmkeeper.producer.repo.commit({"imagelists/main.yaml": vmkeeper.producer.list_document()}, "list")
    vmkeeper.producer.publish()
    entry = json.dumps(vmkeeper.org.entry())
    vmkeeper.file(f"{FILE}foreign:\n- {entry}\n")
    vmkeeper.accept()
    made = vmkeeper.json("site", "plan", "here")
    waiting = {(one["list"], one["appliance"], one["version"]): one for one in made["waiting"]}
    assert sorted(waiting) == [("main", "slurm-node", "2"), ("science", "science-fedora-40", "40.1"), ("science", "science-ubuntu-22.04", "1.0")]
    own = waiting["main", "slurm-node", "2"]
    assert own["endorsers"] == ["alice"]
    assert own["sha512"] == vmkeeper.producer.images["slurm-node"].sha512
    assert own["since"] == (NOW - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    foreign = waiting["science", "science-fedora-40", "40.1"]
    assert (foreign["endorsers"], foreign["sha512"]) == (["science"], vmkeeper.org.images["Fedora 40"].sha512)
    assert vmkeeper("approve", "here", "--waiting", "--list", "science", "--appliance", "*ubuntu*", "--until", "30d") == 0
    branch = "site/here/approve-science-ubuntu-22.04-1.0-science"
    assert vmkeeper.branches() == [branch]
    only = {"appliance": "science-ubuntu-22.04", "version": "==1.0", "list": "science", "until": "2026-12-20T10:00:00Z"}
    assert vmkeeper.added(branch) == only
    assert "+ register science-ubuntu-22.04 1.0" in vmkeeper.out
    made = vmkeeper.json("approve", "here", "--waiting")
    assert len(made["added"]) == 3
    assert {one["appliance"] for one in made["added"]} == {"slurm-node", "science-fedora-40", "science-ubuntu-22.04"}
    assert vmkeeper.git("log", "-1", "--format=%s|%b", made["branch"]).startswith(
        "sites/here: approve 3 releases|- slurm-node ==2 from the list main\n"
    )
    vmkeeper.file(vmkeeper.on(made["branch"]))
    vmkeeper.accept()
    assert vmkeeper("approve", "here", "--waiting") == 0
    assert vmkeeper.out == "Nothing waits for a decision at here.\n"


def test_without_a_choice_it_is_the_signing_of_the_file(vmkeeper: Typing) -> None:
    assert vmkeeper("approve", "here", "--as", "carol") == 1
    assert "nobody is here to confirm the signature" in vmkeeper.err
    assert vmkeeper("approve", "here", "--here") == 1
    assert "it is not said what is approved" in vmkeeper.err
    assert vmkeeper("approve", "here", "--appliance", "slurm-node", "--yes") == 1
    assert "an approval of releases is not signed" in vmkeeper.err


def test_what_waits_is_known_only_where_the_site_is(vmkeeper: Typing) -> None:
    assert vmkeeper("approve", "here", "--waiting") == 1
    assert "this site has pinned nobody yet" in vmkeeper.err
    vmkeeper.accept()
    assert vmkeeper("approve", "here", "--waiting", "--tag", "endorse/*") == 1
    assert "releases that wait are not chosen by tag" in vmkeeper.err
    assert vmkeeper("approve", "here", "--waiting", "--version", ">x") == 1
    assert "--version" in vmkeeper.err
    assert vmkeeper("approve", "here", "--waiting", "--appliance", "slurm-*") == 0
    assert vmkeeper.out == "Nothing of what is chosen waits for a decision at here.\n"
    assert vmkeeper.branches() == []


def test_where_the_site_cannot_be_looked_at_the_decision_is_written_all_the_same(vmkeeper: Typing) -> None:
    vmkeeper.accept()
    (vmkeeper.home / "memory.json").write_text("{")
    assert vmkeeper("approve", "here", "--appliance", "slurm-node") == 0
    assert "what it comes to at here cannot be shown" in vmkeeper.err
    assert vmkeeper.branches() == ["site/here/approve-slurm-node"]


def test_a_decision_that_is_of_no_use_is_written_and_said(vmkeeper: Typing) -> None:
    assert vmkeeper("approve", "here", "--appliance", "slurm-node", "--until", "2026-11-20") == 0
    assert "approve[1] ended at 2026-11-20T00:00:00Z; it can go" in vmkeeper.err
    assert vmkeeper.json("block", "here", "--appliance", "debian-*", "--reason", "r")["remarks"] == [
        "approve[0] never counts, for block[0] takes all of it"
    ]
