"""The commands of those who govern, as typed: what a person reads, is asked, and is told to do next."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from support.governing import Court, Person, by_ssh
from support.typed import Typed
from vmkeeper.execute.governance import proposed
from vmkeeper.repository.tags import list_tags


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Person]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: by_ssh(name, folder) for name in ("alice", "bob", "carol", "ci", "mallory")}


class Terminal(io.StringIO):
    """Somebody who types an answer."""

    def isatty(self) -> bool:
        return True


class Typing(Typed):
    """Types commands in the repository, with somebody's key."""

    def __init__(self, court: Court, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(court.repo.folder, monkeypatch, capsys)
        self.court, self.people = court, people
        monkeypatch.setattr("sys.stdin", io.StringIO())

    def __call__(self, *words: str, by: str = "") -> int:
        return super().__call__(*words, *(("--key", self.people[by].key) if by else ()))

    def answers(self, text: str) -> None:
        self._patch.setattr("sys.stdin", Terminal(f"{text}\n"))

    def tags(self) -> list[str]:
        return [one.name for one in list_tags(self.court.repo.repository)]


@pytest.fixture
def vmkeeper(tmp_path: Path, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typing:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("VMKEEPER_SITE_HOME", "VMKEEPER_BUILDER_KEY", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    return Typing(Court(tmp_path / "repository.git"), people, monkeypatch, capsys)


def sign(vmkeeper: Typing, by: str, *words: str) -> int:
    return vmkeeper("policy", "sign", "--yes", *words, by=by)


# policy show, policy sign


def test_from_nothing_to_a_policy_in_force(vmkeeper: Typing) -> None:
    alice, bob, carol = (vmkeeper.people[name] for name in ("alice", "bob", "carol"))
    vmkeeper.court.propose(alice, bob, quorum=2, endorsers=(carol,))
    assert vmkeeper("policy", "show") == 0
    assert vmkeeper.out.startswith(
        "No policy is in force: nobody has signed one.\nendorsers/ proposes policy 1. It needs 2 more of its own principals: alice, bob.\n"
    )
    assert f"    alice (Alice <alice@example.org>): {vmkeeper.court.key(alice).id}\n" in vmkeeper.out
    assert "  list team: 1 of carol\n" in vmkeeper.out
    assert vmkeeper.out.endswith("Principals sign it with: vmkeeper policy sign\n")
    assert sign(vmkeeper, "alice") == 0
    assert "  2 of 2 principals decide:\n" in vmkeeper.out
    assert "Signed policy/1/alice, valid until " in vmkeeper.out
    assert "It still needs 1 more of its own principals: bob.\n" in vmkeeper.out
    assert vmkeeper.out.endswith("Publish it with: git push origin refs/tags/policy/1/alice\n")
    assert vmkeeper("policy", "show") == 0
    assert "endorsers/ proposes policy 1. Signed by alice. It needs 1 more of its own principals: bob.\n" in vmkeeper.out
    assert sign(vmkeeper, "alice") == 0
    assert "Signed already: policy/1/alice" in vmkeeper.out
    assert sign(vmkeeper, "bob") == 0
    assert "signed by alice, until" in vmkeeper.out.splitlines()[0]
    assert "It is in force.\n" in vmkeeper.out
    assert vmkeeper("policy", "show") == 0
    assert vmkeeper.out.startswith("Policy 1 is in force until ")
    assert ", signed by alice, bob.\n  2 of 2 principals decide:\n" in vmkeeper.out
    assert "proposes" not in vmkeeper.out
    assert sign(vmkeeper, "bob") == 0
    assert vmkeeper.out == "Nothing to sign: endorsers/ is policy 1, which is in force. Give --valid to renew it.\n"


def test_a_renewal_is_told_and_signed_alike(vmkeeper: Typing) -> None:
    alice, bob = vmkeeper.people["alice"], vmkeeper.people["bob"]
    vmkeeper.court.propose(alice, bob, quorum=2)
    sign(vmkeeper, "alice"), sign(vmkeeper, "bob")
    assert sign(vmkeeper, "alice", "--valid", "90d") == 0
    assert "It still needs 1 more of its own principals: bob; and 1 more of policy 1's principals: bob." in vmkeeper.out
    assert vmkeeper("policy", "show") == 0
    assert "endorsers/ proposes policy 2, which renews it. Signed by alice. It needs 1 more" in vmkeeper.out
    assert sign(vmkeeper, "bob") == 0
    assert "Signed policy/2/bob" in vmkeeper.out
    assert "It is in force." in vmkeeper.out


def test_an_expired_policy_is_said(vmkeeper: Typing) -> None:
    vmkeeper.court.propose(vmkeeper.people["alice"])
    vmkeeper.court.later(days=-3)
    vmkeeper.court.sign(vmkeeper.people["alice"], "1d")
    assert vmkeeper("policy", "show") == 0
    assert vmkeeper.out.startswith("Policy 1 is in force, and has expired at ")
    assert sign(vmkeeper, "alice", "--valid", "30d") == 0
    assert "Signed policy/2/alice" in vmkeeper.out


def test_json_says_the_same(vmkeeper: Typing) -> None:
    vmkeeper.court.propose(vmkeeper.people["alice"])
    assert vmkeeper("policy", "show", "--output", "json") == 0
    assert json.loads(vmkeeper.out) == {
        "version": 1,
        "in_force": None,
        "proposed": {"number": 1, "signed": [], "missing": ["1 more of its own principals: alice"]},
    }
    sign(vmkeeper, "alice")
    vmkeeper("policy", "show", "--output", "json")
    shown = json.loads(vmkeeper.out)
    assert (shown["in_force"]["number"], len(shown["in_force"]["sha512"]), shown["proposed"]) == (1, 128, None)


def test_nothing_is_signed_without_a_yes(vmkeeper: Typing) -> None:
    vmkeeper.court.propose(vmkeeper.people["alice"])
    assert vmkeeper("policy", "sign", by="alice") == 1
    assert "nobody is here to confirm the signature" in vmkeeper.err
    assert "--yes" in vmkeeper.err
    vmkeeper.answers("n")
    assert vmkeeper("policy", "sign", by="alice") == 1
    assert "Sign it as policy 1?" in vmkeeper.out
    assert "nothing was signed" in vmkeeper.err
    assert vmkeeper.tags() == []
    vmkeeper.answers("y")
    assert vmkeeper("policy", "sign", by="alice") == 0
    assert vmkeeper.tags() == ["policy/1/alice"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--valid", "soon"), "--valid"),
        (("--valid", "500d"), "not a validity that the policy allows"),
        (("--key", "/nonexistent/key"), "/nonexistent/key"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_signed(vmkeeper: Typing, words: tuple[str, ...], expected: str) -> None:
    vmkeeper.court.propose(vmkeeper.people["alice"])
    by = "" if "--key" in words else "alice"
    assert vmkeeper("policy", "sign", "--yes", *words, by=by) == 1
    assert expected in vmkeeper.err
    assert vmkeeper.tags() == []


def test_a_replaced_signature_is_pushed_with_force(vmkeeper: Typing) -> None:
    alice, bob, carol = (vmkeeper.people[name] for name in ("alice", "bob", "carol"))
    vmkeeper.court.propose(alice, bob, quorum=2)
    sign(vmkeeper, "alice")
    vmkeeper.court.propose(alice, bob, carol, quorum=2)
    assert sign(vmkeeper, "alice") == 1
    assert "you have signed another policy 1" in vmkeeper.err
    assert "vmkeeper policy sign --replace" in vmkeeper.err
    assert sign(vmkeeper, "alice", "--replace") == 0
    assert "git push --force origin refs/tags/policy/1/alice" in vmkeeper.out


def test_it_is_about_the_followed_branch_wherever_one_stands(vmkeeper: Typing) -> None:
    """What is signed on another branch counts nowhere."""
    git = vmkeeper.court.repo.git
    vmkeeper.court.propose(vmkeeper.people["alice"])
    main = vmkeeper.court.repo.repository.head()
    git.create_branch("proposal", git[main])
    git.set_head("refs/heads/proposal")
    who = git[main].author
    git.create_commit("refs/heads/proposal", who, who, "x", git[main].tree_id, [git[main].id])
    assert sign(vmkeeper, "alice") == 0
    assert "not about the commit that you stand on" in vmkeeper.err
    assert f"from endorsers/ at {main[:12]}" in vmkeeper.out
    assert proposed(vmkeeper.court.chamber).in_force


def test_a_policy_that_fell_is_told_with_the_way_out(vmkeeper: Typing) -> None:
    alice, bob = vmkeeper.people["alice"], vmkeeper.people["bob"]
    vmkeeper.court.propose(alice, bob)
    sign(vmkeeper, "alice")
    vmkeeper.court.propose(alice, bob, endorsers=(vmkeeper.people["carol"],))
    sign(vmkeeper, "alice")
    void = vmkeeper.court.key(alice).id
    assert vmkeeper("policy", "revoke", "alice", "--void", void, "--stands-by", "1", "--reason", "stolen", "--yes", by="bob") == 0
    assert "Sites will do nothing until a policy is signed again: R12" in vmkeeper.out
    assert vmkeeper("policy", "show") == 0
    assert vmkeeper.out.startswith("Nobody follows this repository: R12: policy 2 was signed with keys that are revoked")
    assert "endorsers/ proposes policy 2." in vmkeeper.out
    assert sign(vmkeeper, "bob") == 0
    assert "It is in force." in vmkeeper.out


def test_a_list_that_is_dropped_goes_with_its_policy(vmkeeper: Typing) -> None:
    vmkeeper.court.propose(vmkeeper.people["alice"], endorsers=(vmkeeper.people["carol"],))
    sign(vmkeeper, "alice")
    vmkeeper.court.repo.commit({"endorsers/team.yaml": None})
    assert vmkeeper("policy", "show") == 0
    assert vmkeeper.out.startswith("Nobody follows this repository: R4: a file of the policy in force has vanished")
    assert sign(vmkeeper, "alice") == 0
    assert "It is in force." in vmkeeper.out
    assert vmkeeper.out.endswith("Publish it together with the commit: git push --atomic origin main refs/tags/policy/2/alice\n")


def test_a_tree_that_is_no_policy_is_refused_with_its_place(vmkeeper: Typing) -> None:
    vmkeeper.court.repo.commit({"endorsers/policy.yaml": "title: [\n"})
    for words in (("policy", "show"), ("policy", "sign", "--yes", "--key", vmkeeper.people["alice"].key)):
        assert vmkeeper(*words) == 1
        assert "endorsers/policy.yaml" in vmkeeper.err
        assert "R21" in vmkeeper.err


def test_no_endorsers_folder_is_said(vmkeeper: Typing) -> None:
    assert vmkeeper("policy", "show") == 1
    assert "endorsers" in vmkeeper.err


# policy revoke


@pytest.fixture
def governed(vmkeeper: Typing) -> Typing:
    vmkeeper.court.propose(vmkeeper.people["alice"], vmkeeper.people["bob"], endorsers=(vmkeeper.people["carol"],))
    sign(vmkeeper, "alice")
    vmkeeper.court.endorse(vmkeeper.people["carol"], "1.1")
    return vmkeeper


def revocation(vmkeeper: Typing, *words: str) -> tuple[str, ...]:
    return ("policy", "revoke", "carol", "--void", vmkeeper.court.key(vmkeeper.people["carol"]).id, "--reason", "a stolen laptop", *words)


def test_a_revocation_is_asked_for_in_words_that_say_what_it_does(governed: Typing) -> None:
    carol = governed.court.key(governed.people["carol"]).id
    governed.answers("n")
    assert governed(*revocation(governed), by="bob") == 1
    assert f"Void {carol} of carol for ever, with everything that it has ever signed?" in governed.out
    governed.answers("n")
    assert governed(*revocation(governed, "--stands-by", "1"), by="bob") == 1
    assert f"Void {carol} of carol for ever, but for what it signed up to serial 1?" in governed.out
    assert governed(*revocation(governed, "--yes", "--stands-by", "1"), by="bob") == 0
    assert governed.out == "Signed revoke/carol/bob/1.\nPublish it with: git push origin refs/tags/revoke/carol/bob/1\n"


def test_a_revocation_that_makes_no_sense_is_refused(governed: Typing) -> None:
    assert governed(*revocation(governed, "--yes"), by="mallory") == 1
    assert "may not revoke a key of carol" in governed.err
    assert governed(*revocation(governed, "--yes", "--stands-by", "7"), by="bob") == 1
    assert "the highest is 1; 0 leaves nothing" in governed.err
    assert governed("policy", "revoke", "carol", "--void", "x509:nonsense", "--reason", "x", "--yes", by="bob") == 1
    assert "keys of carol: ssh:SHA256:" in governed.err
    assert governed(*revocation(governed, "--stands-by", "-1", "--yes"), by="bob") == 1
    assert [one for one in governed.tags() if one.startswith("revoke/")] == []


# approve


def test_an_approval_shows_the_file_and_asks(governed: Typing) -> None:
    governed.court.repo.commit({"sites/here.yaml": "title: Here\nplatform: {type: local}\n"})
    assert governed("approve", "here", by="alice") == 1
    assert "--yes" in governed.err
    governed.answers("y")
    assert governed("approve", "here", "--as", "ann", by="alice") == 0
    assert governed.out.startswith("title: Here\nplatform: {type: local}\nApprove this for here as ann?\n")
    assert "Signed approve/here/1/ann.\nPublish it with: git push origin refs/tags/approve/here/1/ann\n" in governed.out
    assert governed("approve", "here", "--as", "ann", "--yes", by="alice") == 0
    assert "Approved already: approve/here/1/ann." in governed.out


def test_who_approves_is_in_gits_configuration(governed: Typing) -> None:
    governed.court.repo.commit({"sites/here.yaml": "title: Here\n"})
    assert governed("approve", "here", "--yes", by="alice") == 1
    assert "give --as NAME" in governed.err
    governed.court.repo.git.config["vmkeeper.administrator"] = "ann"
    assert governed("approve", "here", "--yes", by="alice") == 0
    assert "Signed approve/here/1/ann." in governed.out


def test_a_file_that_is_not_there_is_said_before_anybody_is_asked(governed: Typing) -> None:
    assert governed("approve", "there", "--as", "ann", by="alice") == 1
    assert "sites/there.yaml" in governed.err
    assert "write and commit it first" in governed.err


def test_control_characters_of_a_file_do_not_reach_the_terminal(governed: Typing) -> None:
    governed.court.repo.commit({"sites/here.yaml": b"title: \x1b[2J\xe2\x80\xae evil\n"})
    governed("approve", "here", "--as", "ann", "--yes", by="alice")
    assert "\x1b" not in governed.out
    assert "\u202e" not in governed.out


# freshness


def test_a_freshness_statement_tells_what_it_names(vmkeeper: Typing) -> None:
    court, people = vmkeeper.court, vmkeeper.people
    builders = [{"name": "ci", "id": "https://ci.example.org", "keys": [people["ci"].listed]}]
    court.propose(people["alice"], endorsers=(people["carol"],), builders=builders, freshness={"signers": ["ci"]})
    sign(vmkeeper, "alice")
    assert "  freshness statements by ci\n" in vmkeeper.out
    court.endorse(people["carol"], "1.1")
    assert vmkeeper("freshness") == 1
    assert "VMKEEPER_BUILDER_KEY" in vmkeeper.err
    assert vmkeeper("freshness", by="alice") == 1
    assert "may not make freshness statements" in vmkeeper.err
    assert vmkeeper("freshness", "--valid", "24h", by="ci") == 0
    assert "policy 1, endorsers' last tags carol 1, 0 revocations, 0 lists.\n" in vmkeeper.out
    assert vmkeeper.out.endswith("Publish it with: git push --force origin refs/vmkeeper/freshness\n")
    assert vmkeeper("freshness", "--valid", "1000h", by="ci") == 1
    assert "give at most 2d" in vmkeeper.err or "give at most 48h" in vmkeeper.err
    court.repo.git.config["vmkeeper.builderKey"] = people["ci"].key
    assert vmkeeper("freshness") == 0
