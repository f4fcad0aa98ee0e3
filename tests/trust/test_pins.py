"""Pins hold whole keys, come from lists as they stand, and are read back as they were written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from support.trust import NOW, ROOT, GpgHome, Signer, person, pinned
from vmkeeper.documents.kinds import Kind
from vmkeeper.documents.load import load
from vmkeeper.errors import UserError
from vmkeeper.model.endorser import EndorserList
from vmkeeper.trust.keys.interface import HeldOpenPGPKey, SSHKey
from vmkeeper.trust.pins import FetchPolicy, PinnedImageList, Pins, fingerprints, matches, pin_list, pins_from, to_yaml
from vmkeeper.values import Duration

LIST = PinnedImageList(
    name="examples",
    uuid="0f5a8f0e-3a51-4d52-9d0f-2f8f5e4c1a20",
    signer="/DC=org/DC=example/CN=Alice Example",
    ca="/DC=org/DC=example/CN=Example CA 1",
    endorsers="examples",
)


@pytest.fixture(scope="module")
def source(pgp: Signer, ssh: Signer) -> EndorserList:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    assert isinstance(ssh.key, SSHKey)
    return EndorserList.model_validate(
        {
            "title": "Examples",
            "community": "examples",
            "policy": "Look before you sign.",
            "quorum": 1,
            "maximum_lifetime": "90d",
            "endorsers": [
                {
                    "name": "alice",
                    "full_name": "Alice Exämple",
                    "email": "alice@example.org",
                    "keys": [{"type": "openpgp", "fingerprint": pgp.key.fingerprint, "file": "keys/alice.asc"}, {"type": "ssh", "key": ssh.key.key}],
                    "scope": {"appliances": ["debian-*", "slurm-worker"]},
                    "expires": "2027-01-01T00:00:00Z",
                }
            ],
        }
    )


@pytest.fixture(scope="module")
def key_file(pgp: Signer) -> Callable[[str], bytes]:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    files = {"keys/alice.asc": pgp.key.armour.encode()}
    return lambda path: files[path]


def test_pins_are_read_back_as_they_were_written(source: EndorserList, key_file: Callable[[str], bytes]) -> None:
    pins = pins_from(
        ROOT,
        {"examples": source},
        key_file,
        (LIST,),
        clock_skew=Duration.parse("10m"),
        fetch=FetchPolicy(allowed_hosts=("127.0.0.1", "mirror.example.org", "fd00::1")),
    )
    text = to_yaml(pins)
    assert load(Kind("pins", "Pins", Pins, "*.yaml"), text.encode(), "pins.yaml") == pins
    assert "-----BEGIN PGP PUBLIC KEY BLOCK-----" in text
    assert "\\n" not in text


def test_pins_hold_whole_keys_scopes_and_terms(source: EndorserList, key_file: Callable[[str], bytes], pgp: Signer, ssh: Signer) -> None:
    made = pin_list("examples", source, key_file)
    alice = made.endorser("alice")
    assert alice is not None
    assert alice.keys == (pgp.key, ssh.key)
    assert alice.in_scope("debian-12")
    assert not alice.in_scope("debian")
    assert alice.in_office(NOW)
    assert not alice.in_office(NOW + timedelta(days=365))
    assert made.endorser("bob") is None
    assert made.maximum_lifetime == Duration.parse("90d")


def test_fingerprints_are_shown_for_comparing_and_hold_nothing_that_moves_the_cursor(
    source: EndorserList, key_file: Callable[[str], bytes], pgp: Signer, ssh: Signer
) -> None:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    hostile = source.model_copy(update={"endorsers": (source.endorsers[0].model_copy(update={"full_name": "Alice \u202e\x1b[31m"}),)})
    text = fingerprints(pins_from(ROOT, {"examples": hostile}, key_file, (LIST,)))
    grouped = " ".join(pgp.key.fingerprint[start : start + 4] for start in range(0, 40, 4))
    for expected in (grouped, ssh.id.removeprefix("ssh:"), "1 of 1 must agree", "90d", LIST.signer, LIST.ca, LIST.uuid, "\\u202e"):
        assert expected in text
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("content", ["other", "two", "secret", "junk", "binary"])
def test_a_key_file_that_does_not_hold_just_that_key_is_refused(source: EndorserList, gpg_home: GpgHome, pgp: Signer, content: str) -> None:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    other = gpg_home.fingerprint("pinother") if b"pinother@" in gpg_home.run("--list-keys") else gpg_home.make("pinother")
    files = {
        "other": lambda: gpg_home.run("--armor", "--export", other),
        "two": lambda: gpg_home.run("--armor", "--export", other, pgp.key.fingerprint),  # type: ignore[union-attr]
        "secret": lambda: gpg_home.run("--armor", "--export-secret-keys", pgp.key.fingerprint),  # type: ignore[union-attr]
        "junk": lambda: b"hello",
        "binary": lambda: gpg_home.run("--export", pgp.key.fingerprint),  # type: ignore[union-attr]
    }
    data = files[content]()
    with pytest.raises(UserError, match="the key of alice cannot be pinned") as caught:
        pin_list("examples", source, lambda _: data)
    assert "endorsers/examples.yaml" in caught.value.where


def test_r5_a_name_or_a_key_belongs_to_one_endorser(ssh: Signer, other_ssh: Signer) -> None:
    for people in ((person("alice", ssh), person("alice", other_ssh)), (person("alice", ssh), person("bob", ssh)), (person("alice", ssh, ssh),)):
        with pytest.raises(ValidationError, match="there twice"):
            pinned(*people)


@pytest.mark.parametrize(
    "change",
    [
        {"image_lists": [LIST.model_copy(update={"endorsers": "others"})]},
        {"image_lists": [LIST, LIST]},
        {"endorsers": "twice"},
        {"repository": "main"},
        {"version": 2},
        {"surprise": 1},
        {"image_lists": [{**LIST.model_dump(), "signer": "CN=Alice"}]},
        {"image_lists": [{**LIST.model_dump(), "signer": "/CN=Al\nice"}]},
        {"fetch": {"allowed_hosts": ["http://x"]}},
    ],
)
def test_pins_that_cannot_be_are_refused(ssh: Signer, change: dict[str, Any]) -> None:
    people = pinned(person("alice", ssh)).model_dump()
    good: dict[str, Any] = {"repository": ROOT, "endorsers": [people], "image_lists": [LIST.model_dump()]}
    assert Pins.model_validate(good).image_list("examples") == LIST
    if change.get("endorsers") == "twice":
        change = {"endorsers": [people, people]}
    with pytest.raises(ValidationError):
        Pins.model_validate(
            {
                **good,
                **{
                    key: [one.model_dump() if hasattr(one, "model_dump") else one for one in value] if isinstance(value, list) else value
                    for key, value in change.items()
                },
            }
        )


@pytest.mark.parametrize(
    ("dn", "allowed"),
    [("/DC=org/O=A, B/CN=Robot: x (1)", True), ("/O=Example/CN=host/example.org", True), ("O=x", False), ("/", False), ("", False), ("/CN=é", False)],
)
def test_distinguished_names_are_in_one_line_form(dn: str, allowed: bool) -> None:
    if allowed:
        assert PinnedImageList.model_validate({**LIST.model_dump(), "signer": dn}).signer == dn
    else:
        with pytest.raises(ValidationError):
            PinnedImageList.model_validate({**LIST.model_dump(), "signer": dn})


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "a", True),
        ("debian-*", "debian-12", True),
        ("debian-*", "debian", False),
        ("*-worker", "slurm-worker", True),
        ("a", "a", True),
        ("a", "ab", False),
        ("a*c", "abc", True),
    ],
)
def test_patterns_match_whole_names(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) == expected


def test_nothing_is_found_where_nothing_is_pinned() -> None:
    empty = Pins(repository=ROOT)
    assert empty.endorser_list("x") is None
    assert empty.image_list("x") is None


def test_lists_that_share_a_key_under_two_names_of_a_person_are_pinned_apart(source: EndorserList, key_file: Callable[[str], bytes]) -> None:
    pins = pins_from(ROOT, {"b": source, "a": source}, key_file)
    assert [one.name for one in pins.endorsers] == ["a", "b"]
    with pytest.raises(UserError, match="cannot be pinned together"):
        pins_from(ROOT, {"other": source}, key_file, (LIST,))


def test_keys_in_a_pins_file_are_looked_at_when_it_is_read(ssh: Signer, pgp: Signer) -> None:
    people = pinned(person("alice", ssh), person("bob", pgp)).model_dump(mode="json")
    assert isinstance(pgp.key, HeldOpenPGPKey)
    for change in (
        {"type": "ssh", "key": "ssh-ed25519 AAAA"},
        {"type": "openpgp", "fingerprint": "A" * 40, "armour": pgp.key.armour},
        {"type": "openpgp", "fingerprint": pgp.key.fingerprint, "armour": "junk"},
    ):
        bad = {**people, "endorsers": [{**people["endorsers"][0], "keys": [change]}]}
        with pytest.raises(ValidationError):
            Pins.model_validate({"repository": ROOT, "endorsers": [bad]})
