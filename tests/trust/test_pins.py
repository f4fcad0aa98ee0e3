"""Pins hold whole keys, are compared by people, and are read back as they were written."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from support.keys import GpgHome, SecurityKey, Signer
from support.trust import holder, pinned_site
from vmkeeper.documents.kinds import Kind
from vmkeeper.documents.load import load
from vmkeeper.model.keys import SSHKey
from vmkeeper.trust.keys.interface import HeldOpenPGPKey
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import FetchPolicy, PinnedImageList, PinnedSite, Pins, fingerprints, to_yaml
from vmkeeper.trust.said import PolicyMark
from vmkeeper.values import Duration

A, B = SecurityKey().plain_signer(), SecurityKey().plain_signer()
LIST = PinnedImageList(
    name="examples",
    uuid="0f5a8f0e-3a51-4d52-9d0f-2f8f5e4c1a20",
    signer="/DC=org/DC=example/CN=Alice Example",
    ca="/DC=org/DC=example/CN=Example CA 1",
    endorsers="examples",
)
GOOD: dict[str, Any] = {
    "repository": "1" * 40,
    "tree": "2" * 128,
    "policy": {"number": 1, "sha512": "3" * 128},
    "quorum": 1,
    "principals": [holder("a", A).model_dump()],
    "image_lists": [LIST.model_dump()],
}


def pins(**changes: Any) -> Pins:
    return Pins.model_validate({**GOOD, **changes})


def test_pins_are_read_back_as_they_were_written(pgp: Signer) -> None:
    made = pins(
        principals=[holder("a", A), holder("b", pgp)],
        quorum=2,
        source="https://example.org/x.git",
        site=pinned_site("lab", holder("carol", pgp), holder("dave", B), quorum=2),
        clock_skew="10m",
        crls="required",
        fetch=FetchPolicy(allowed_hosts=("127.0.0.1", "mirror.example.org", "fd00::1")),
    )
    text = to_yaml(made)
    assert load(Kind("pins", "Pins", Pins, "*.yaml"), text.encode(), "pins.yaml") == made
    assert text.count("armour: |\n") == 2
    assert "\\n" not in text
    assert "null" not in text
    assert "  - type: ssh\n" in text or "- type: ssh" in text
    assert max(map(len, text.splitlines())) > 100


def test_what_is_left_out_has_careful_defaults() -> None:
    made = pins()
    assert (made.maximum_staleness, made.clock_skew, made.crls) == (Duration.parse("72h"), Duration.parse("5m"), "when-there")
    assert (made.site, made.source, made.endorsers, made.fetch.allowed_hosts) == (None, None, (), ())


def test_the_lists_that_count_are_the_named_ones_and_those_of_image_lists() -> None:
    assert pins().lists == ("examples",)
    assert pins(endorsers=["b", "examples", "a"]).lists == ("b", "examples", "a")
    assert pins(endorsers=["b"]).lists == ("b", "examples")
    assert pins(image_lists=[]).lists == ()
    assert pins().image_list("examples") == LIST
    assert pins().image_list("x") is None


def test_fingerprints_are_shown_for_comparing(pgp: Signer) -> None:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    site = pinned_site("lab", holder("carol", B))
    lines = fingerprints(pins(principals=[holder("a", A), holder("b", pgp)], site=site)).splitlines()
    ones, twos, threes = (" ".join([digit * 4] * count) for digit, count in (("1", 10), ("2", 16), ("3", 16)))
    grouped = " ".join(pgp.key.fingerprint[start : start + 4] for start in range(0, 40, 4))
    assert lines == [
        f"repository   {ones}",
        f"  tree       {twos} …",
        "",
        f"policy       number 1, {threes} …",
        "  1 of 2 principals must agree on it",
        "  a: A <a@example.org>",
        f"    SSH      ssh-ed25519 {A.id.removeprefix('ssh:')}",
        "  b: B <b@example.org>",
        f"    OpenPGP  {grouped}",
        "",
        f"image list   examples {LIST.uuid}, its images endorsed by examples",
        f"  signed by  {LIST.signer}",
        f"  issued by  {LIST.ca}",
        "",
        "site         lab: 1 of 1 administrators approve",
        "  carol: Carol <carol@example.org>",
        f"    SSH      ssh-ed25519 {B.id.removeprefix('ssh:')}",
    ]
    four = " ".join(["4444"] * 16)
    assert fingerprints(pins(site=PinnedSite(name="lab", file="4" * 128))).endswith(f"\n\nsite         lab: this file and no other, {four} …\n")


def test_fingerprints_hold_nothing_that_moves_the_cursor() -> None:
    hostile = Holder(name="a", full_name="Alice \u202e\x1b[31m", email="x\x9b@y", keys=(A.key,))
    text = fingerprints(pins(principals=[hostile]))
    assert "  a: Alice \\u202e\\u001b[31m <x\\u009b@y>\n" in text
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_lists": [LIST, LIST]}, "an image list is pinned twice"),
        ({"quorum": 2}, "more principals must agree than there are"),
        ({"quorum": 0}, "quorum"),
        ({"principals": []}, "principals"),
        ({"principals": [holder("a", A), holder("a", B)]}, "a name is there twice"),
        ({"principals": [holder("a", A), holder("b", A)]}, "one key belongs to a and b: ed25519:"),
        ({"repository": "main"}, "repository"),
        ({"tree": "2" * 64}, "tree"),
        ({"policy": None}, "policy"),
        ({"version": 2}, "version"),
        ({"version": True}, "True is not a number"),
        ({"surprise": 1}, "surprise"),
        ({"source": "a b"}, "source"),
        ({"image_lists": [{**LIST.model_dump(), "signer": "CN=Alice"}]}, "signer"),
        ({"image_lists": [{**LIST.model_dump(), "signer": "/CN=Al\nice"}]}, "signer"),
        ({"fetch": {"allowed_hosts": ["http://x"]}}, "allowed_hosts"),
        ({"crls": "never"}, "crls"),
        ({"site": {"name": "lab"}}, "by its file or by its administrators, not both and not neither"),
        ({"site": {"name": "lab", "file": "1" * 128, "administrators": [holder("a", A)]}}, "not both and not neither"),
        ({"site": {"name": "lab", "administrators": [holder("a", A)], "quorum": 2}}, "more administrators must agree than there are"),
        ({"site": {"name": "lab", "administrators": [holder("a", A), holder("b", A)]}}, "one key belongs to a and b"),
    ],
)
def test_pins_that_cannot_be_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        pins(**change)
    assert told in str(caught.value)


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


def test_keys_in_a_pins_file_are_looked_at_when_it_is_read(pgp: Signer) -> None:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    for change in (
        {"type": "ssh", "key": "ssh-ed25519 AAAA"},
        {"type": "openpgp", "fingerprint": "A" * 40, "armour": pgp.key.armour},
        {"type": "openpgp", "fingerprint": pgp.key.fingerprint, "armour": "junk"},
    ):
        with pytest.raises(ValidationError):
            pins(principals=[{"name": "a", "keys": [change]}])


def test_r5_one_key_as_openpgp_and_as_ssh_belongs_to_one_person(gpg_home: GpgHome) -> None:
    signer = gpg_home.signer(gpg_home.make("twoforms"))
    text = gpg_home.run("--export-ssh-key", signer.key.fingerprint + "!").decode()  # type: ignore[union-attr]
    twin = SSHKey(type="ssh", key=" ".join(text.split()[:2]))
    people = [holder("a", signer), Holder(name="b", keys=(twin,))]
    with pytest.raises(ValidationError, match="one key belongs to a and b"):
        pins(principals=people)
    assert pins(principals=[Holder(name="a", keys=(signer.key, twin))]).policy == PolicyMark(number=1, sha512="3" * 128)
