"""`check` on endorsers/: keys, names, lists based on others, each problem with its place and way out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.endorserlists import ALICE, ARMOURED, BOB, SSH, endorsers, openpgp, person, policy, ssh
from support.repo import Repo
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check
from vmkeeper.catalogue.trusted import marked
from vmkeeper.errors import Problem
from vmkeeper.values import sha512_hex

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALICES = person("alice", openpgp(ALICE, "keys/alice.asc"))
BOBS = person("bob", openpgp(BOB, "keys/bob.asc"), ssh())
KEYS = {"endorsers/keys/alice.asc": ARMOURED[ALICE], "endorsers/keys/bob.asc": ARMOURED[BOB]}
SOURCE = endorsers(ALICES, head="criteria: [One.]\n")
PINS = f"""\
version: 1
repository: "{"a" * 40}"
tree: "{"b" * 128}"
policy: {{number: 4, sha512: "{"c" * 128}"}}
quorum: 1
principals:
- name: zoe
  keys:
  - {ssh()}
"""


def remote(at: str = "2026-11-19T12:00:00Z", of: str = SOURCE, name: str = "grid") -> str:
    position = f'{{policy: 4, list: "{sha512_hex(of.encode())}", at: "{at}"}}'
    return f"criteria: [One., Two.]\nbased_on:\n  list: common\n  source: {name}\n  synchronised: {position}\n"


SOUND: dict[str, str] = {
    **KEYS,
    "endorsers/policy.yaml": policy(ALICES, BOBS, quorum=2),
    "endorsers/science.yaml": endorsers(ALICES, BOBS),
    "endorsers/strict.yaml": endorsers(ALICES, head="based_on: {list: science}\n"),
    "endorsers/far.yaml": endorsers(ALICES, head=remote()),
    "endorsers/sources/grid/list.yaml": SOURCE,
    "endorsers/sources/grid/pins.yaml": PINS,
    "endorsers/sources/grid/keys/alice.asc": ARMOURED[ALICE],
    "endorsers/certs/ca.pem": "PEM",
}


def found(tmp_path: Path, files: Mapping[str, str | bytes | None], now: datetime | None = NOW) -> tuple[Problem, ...]:
    repo = Repo(tmp_path / "repo")
    repo.commit({path: data for path, data in {**SOUND, **files}.items() if data is not None})
    return check(Catalogue.at(repo.repository, repo.repository.head()), now)


def told(problem: Problem) -> tuple[str, int, str, str]:
    return problem.place.file.removeprefix("endorsers/"), problem.place.line, problem.place.field, problem.what


def test_sound_lists_have_no_problems(tmp_path: Path) -> None:
    assert found(tmp_path, {}) == ()


def test_the_policy_is_no_list(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    repo.commit(SOUND)
    catalogue = Catalogue.at(repo.repository, repo.repository.head())
    assert catalogue.names("endorsers") == ("far", "science", "strict")
    made = catalogue.policy()
    assert made is not None
    assert [one.name for one in made.principals] == ["alice", "bob"]


CASES: dict[str, tuple[dict[str, str | bytes | None], list[tuple[str, int, str, str]]]] = {
    "a key file that is missing": (
        {"endorsers/keys/bob.asc": None},
        [
            ("policy.yaml", 13, "principals[1].keys[0].file", "there is no file endorsers/keys/bob.asc"),
            ("science.yaml", 14, "endorsers[1].keys[0].file", "there is no file endorsers/keys/bob.asc"),
        ],
    ),
    "a key file that holds another key": (
        {
            "endorsers/policy.yaml": None,
            "endorsers/science.yaml": endorsers(BOBS),
            "endorsers/strict.yaml": None,
            "endorsers/keys/bob.asc": ARMOURED[ALICE],
        },
        [("science.yaml", 9, "endorsers[0].keys[0].file", f"endorsers/keys/bob.asc holds the key {ALICE}, not {BOB}")],
    ),
    "a key file that holds no key": (
        {"endorsers/policy.yaml": None, "endorsers/science.yaml": endorsers(BOBS), "endorsers/strict.yaml": None, "endorsers/keys/bob.asc": "hello"},
        [("science.yaml", 9, "endorsers[0].keys[0]", "")],
    ),
    "an SSH key that is none": (
        {"endorsers/extra.yaml": endorsers(person("carol", ssh("ssh-ed25519 AAAA")))},
        [("extra.yaml", 9, "endorsers[0].keys[0]", "")],
    ),
    "one name for two people": (
        {"endorsers/extra.yaml": endorsers(ALICES.replace("Alice Example", "Alice Other"))},
        [
            (
                "extra.yaml",
                5,
                "endorsers[0].name",
                "alice is Alice Other <alice@example.org> here and Alice Example <alice@example.org> in endorsers/policy.yaml",
            )
        ],
    ),
    "one name with two addresses": (
        {"endorsers/extra.yaml": endorsers(ALICES.replace("alice@", "other@"))},
        [
            (
                "extra.yaml",
                5,
                "endorsers[0].name",
                "alice is Alice Example <other@example.org> here and Alice Example <alice@example.org> in endorsers/policy.yaml",
            )
        ],
    ),
    "a person who is called as a builder": (
        {
            "endorsers/policy.yaml": policy(
                ALICES,
                more="builders:\n- name: factory\n  id: https://ci.example.org/b\n  keys:\n  - {type: ssh, key: "
                + SSH.replace("IHUr", "IHUs")
                + "}\n",
            ),
            "endorsers/extra.yaml": endorsers(person("factory", ssh(SSH.replace("IHUr", "IHUt")))),
        },
        [
            (
                "extra.yaml",
                5,
                "endorsers[0].name",
                "factory is Factory Example <factory@example.org> here and a builder in endorsers/policy.yaml",
            )
        ],
    ),
    "one key for two names": (
        {"endorsers/extra.yaml": endorsers(person("carol", openpgp(ALICE, "keys/alice.asc")))},
        [("extra.yaml", 9, "endorsers[0].keys[0]", "this key of carol is the key of alice in endorsers/policy.yaml")],
    ),
    "one certificate for two names": (
        {
            "endorsers/extra.yaml": endorsers(person("carol", "{type: x509, subject: /CN=Carol, issuer: /CN=CA}")),
            "endorsers/more.yaml": endorsers(person("dave", "{type: x509, subject: /CN=Carol, issuer: /CN=CA}")),
        },
        [("more.yaml", 9, "endorsers[0].keys[0]", "this key of dave is the key of carol in endorsers/extra.yaml")],
    ),
    "a list based on none": (
        {"endorsers/strict.yaml": endorsers(ALICES, head="based_on: {list: sience}\n")},
        [("strict.yaml", 4, "based_on.list", "there is no endorser list sience")],
    ),
    "a list based on itself": (
        {"endorsers/strict.yaml": endorsers(ALICES, head="based_on: {list: strict}\n")},
        [("strict.yaml", 4, "based_on.list", "lists are based on one another in a circle: strict → strict")],
    ),
    "lists based on one another": (
        {
            "endorsers/strict.yaml": endorsers(ALICES, head="based_on: {list: science}\n"),
            "endorsers/science.yaml": endorsers(ALICES, head="based_on: {list: strict}\n"),
            "endorsers/outside.yaml": endorsers(ALICES, head="based_on: {list: strict}\n"),
        },
        [
            ("science.yaml", 4, "based_on.list", "lists are based on one another in a circle: science → strict → science"),
            ("strict.yaml", 4, "based_on.list", "lists are based on one another in a circle: strict → science → strict"),
        ],
    ),
    "a list that keeps somebody": (
        {"endorsers/strict.yaml": endorsers(ALICES, BOBS, head="based_on: {list: science}\n"), "endorsers/science.yaml": endorsers(ALICES)},
        [("strict.yaml", 11, "endorsers[1].name", "bob is not on the list that this one is based on")],
    ),
    "a list with another key file": (
        {
            "endorsers/strict.yaml": endorsers(person("alice", openpgp(ALICE, "keys/old.asc")), head="based_on: {list: science}\n"),
            "endorsers/keys/old.asc": f"\n{ARMOURED[ALICE]}",
        },
        [("strict.yaml", 10, "endorsers[0].keys[0].file", "endorsers/keys/old.asc is not the key file of the list that this one is based on")],
    ),
    "a list that lags": (
        {"endorsers/far.yaml": endorsers(ALICES, head=remote("2026-11-13T12:00:00Z"))},
        [("far.yaml", 8, "based_on.synchronised.at", "the source grid was not looked at since 2026-11-13T12:00:00Z, longer than 7d")],
    ),
    "a list that never looked": (
        {"endorsers/far.yaml": endorsers(ALICES, head="criteria: [One.]\nbased_on: {list: common, source: grid}\n")},
        [("far.yaml", 5, "based_on", "the list was never compared with its source grid")],
    ),
    "a list that was changed by hand": (
        {"endorsers/sources/grid/list.yaml": SOURCE.replace("A list", "The list")},
        [("far.yaml", 8, "based_on.synchronised.list", "endorsers/sources/grid/list.yaml is not the list that was taken from the source")],
    ),
    "a remote list with less": (
        {"endorsers/far.yaml": endorsers(ALICES, head=remote().replace("[One., Two.]", "[Two.]"))},
        [("far.yaml", 4, "criteria", "a criterion of the list that this one is based on is missing: One.")],
    ),
    "a remote key that has changed": (
        {"endorsers/sources/grid/keys/alice.asc": f"\n{ARMOURED[ALICE]}"},
        [("far.yaml", 14, "endorsers[0].keys[0].file", "endorsers/keys/alice.asc is not the key file of the list that this one is based on")],
    ),
    "a source without pins": (
        {"endorsers/sources/grid/pins.yaml": None},
        [("far.yaml", 7, "based_on.source", "there is no endorsers/sources/grid/pins.yaml")],
    ),
    "a source without a list": (
        {"endorsers/sources/grid/list.yaml": None},
        [("far.yaml", 7, "based_on.source", "there is no endorsers/sources/grid/list.yaml")],
    ),
    "pins that cannot be read": (
        {"endorsers/sources/grid/pins.yaml": PINS.replace("a" * 40, "a" * 39)},
        [("sources/grid/pins.yaml", 2, "repository", f"'{'a' * 39}' is not a commit id")],
    ),
    "a remote list that cannot be read": (
        {
            "endorsers/sources/grid/list.yaml": SOURCE.replace("policy:", "polici:"),
            "endorsers/far.yaml": endorsers(ALICES, head=remote(of=SOURCE.replace("policy:", "polici:"))),
        },
        [("sources/grid/list.yaml", 3, "polici", "there is no key polici here")],
    ),
    "two lists of one source": (
        {"endorsers/near.yaml": endorsers(ALICES, head=remote().replace("common", "other"))},
        [("near.yaml", 6, "based_on.list", "endorsers/far.yaml takes the list common from grid, and a source gives one")],
    ),
    "a file that does not belong beside a source": (
        {"endorsers/sources/grid/notes.txt": "x"},
        [("sources/grid/notes.txt", 0, "", "this file does not belong here")],
    ),
    "a policy that cannot be read": (
        {"endorsers/policy.yaml": policy(ALICES, quorum=2)},
        [("policy.yaml", 2, "quorum", "a quorum of 2 with 1 principals can never be reached")],
    ),
    "a list based on one that cannot be read": (
        {"endorsers/science.yaml": "title: x\n"},
        [
            ("science.yaml", 1, "community", "the key community is missing"),
            ("science.yaml", 1, "endorsers", "the key endorsers is missing"),
            ("science.yaml", 1, "policy", "the key policy is missing"),
        ],
    ),
}


@pytest.mark.parametrize(("files", "wanted"), CASES.values(), ids=CASES)
def test_a_fault_of_the_lists_is_found(tmp_path: Path, files: dict[str, str | bytes | None], wanted: list[tuple[str, int, str, str]]) -> None:
    problems = found(tmp_path, files)
    assert [(*place, what if said else "") for (*place, what), (*_, said) in zip(map(told, problems), wanted, strict=True)] == wanted, problems
    assert all(problem.hint for problem in problems)


def test_the_rule_is_told_beside_the_problem(tmp_path: Path) -> None:
    keeps = {"endorsers/strict.yaml": endorsers(ALICES, BOBS, head="based_on: {list: science}\n"), "endorsers/science.yaml": endorsers(ALICES)}
    other = {
        "endorsers/extra.yaml": endorsers(person("carol", openpgp(ALICE, "keys/alice.asc"))),
        "endorsers/more.yaml": endorsers(ALICES.replace("alice@", "other@")),
    }
    problems = found(tmp_path, {**keeps, **other})
    assert [(problem.place.file.split("/")[1], problem.rule) for problem in problems] == [
        ("extra.yaml", "R5"),
        ("more.yaml", "R5"),
        ("strict.yaml", "R12"),
    ]


def test_without_a_time_nothing_lags(tmp_path: Path) -> None:
    assert found(tmp_path, {"endorsers/far.yaml": endorsers(ALICES, head=remote("2020-01-01T00:00:00Z"))}, None) == ()


def test_a_principal_may_endorse_with_the_same_key(tmp_path: Path) -> None:
    assert found(tmp_path, {"endorsers/extra.yaml": endorsers(ALICES, BOBS)}) == ()


def test_keys_that_are_retired_or_stolen_are_told(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    marks = 'retired: "2026-01-01T00:00:00Z"'
    keys = (f"{ssh()[:-1]}, {marks}}}", f"{{type: x509, subject: /CN=Carol, issuer: /CN=CA, compromised_since: {{serial: 7}}, {marks}}}")
    repo.commit({**KEYS, "endorsers/a.yaml": endorsers(ALICES, person("carol", *keys)), "endorsers/policy.yaml": policy(
        person("alice", f"{openpgp(ALICE, 'keys/alice.asc')[:-1]}, {marks}}}")
    )})  # fmt: skip
    catalogue = Catalogue.at(repo.repository, repo.repository.head())
    fingerprint = "SHA256:"
    told = marked(catalogue)
    assert told[0] == f"endorsers/policy.yaml: alice's key {ALICE} is retired since 2026-01-01T00:00:00Z"
    assert told[1].startswith(f"endorsers/a.yaml: carol's key {fingerprint}")
    assert told[1].endswith(" is retired since 2026-01-01T00:00:00Z")
    assert told[2:] == (
        "endorsers/a.yaml: carol's key /CN=Carol is retired since 2026-01-01T00:00:00Z",
        "endorsers/a.yaml: carol's key /CN=Carol was stolen; what it signed after serial 7 is void",
    )
