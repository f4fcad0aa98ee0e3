"""What gpg is given beside its arguments, what its listing may hold, and temporary homes at the edge of what sockets allow."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from support.keys import NOW, Signer
from vmkeeper.errors import UserError
from vmkeeper.trust.keys import openpgp
from vmkeeper.trust.keys.interface import Claim
from vmkeeper.trust.keys.openpgp import GpgVerifier, primary_fingerprint, short_folder

DATA = b"what is signed\n"
ROOM = 107
"""Bytes of a Unix socket's address on Linux."""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A gpg that does `script`."""
    file = folder / "gpg"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_gpg_has_a_home_of_its_own_and_no_input_that_it_was_not_given(pgp: Signer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    signature = pgp.sign(DATA)
    gpg = shutil.which("gpg")
    wrapper = f'cat > {tmp_path}/input; for last; do :; done; echo "$HOME" > "{tmp_path}/$last.home"; cp {tmp_path}/input "{tmp_path}/$last.input"'
    stand_in(tmp_path, monkeypatch, f'{wrapper}\nexec {gpg} "$@" < {tmp_path}/input')
    with GpgVerifier() as verifier:
        assert verifier.verify(Claim(pgp.key, DATA, signature), NOW).key == pgp.id
        (home,) = verifier._homes.values()
    for last in ("--import", "--verify", "--list-keys"):
        assert (tmp_path / f"{last}.home").read_text() == f"{home.folder}\n"
    assert (tmp_path / "--list-keys.input").read_bytes() == b""
    assert (tmp_path / "--import.input").read_bytes() != b""


def test_a_home_that_is_gone_already_is_no_error(pgp: Signer) -> None:
    with GpgVerifier() as verifier:
        assert verifier.verify(Claim(pgp.key, DATA, pgp.sign(DATA)), NOW)
        (home,) = verifier._homes.values()
        shutil.rmtree(home.folder)
    assert verifier._homes == {}


@pytest.mark.parametrize("over", [0, 1])
def test_a_temporary_folder_is_used_as_long_as_its_sockets_have_room(monkeypatch: pytest.MonkeyPatch, over: int) -> None:
    base = Path(tempfile.mkdtemp(prefix="vmk-", dir="/tmp"))
    taken = len("/vmk-12345678/S.gpg-agent.browser")
    place = base / ("x" * (ROOM - taken - len(f"{base}/") + over))
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    try:
        made = short_folder()
        assert made.name.startswith("vmk-")
        assert (made.parent == place) == (not over)
        made.rmdir()
    finally:
        shutil.rmtree(base)


FIRST, SECOND, OF_SUBKEY = "A" * 40, "B" * 40, "C" * 40


def listing(*records: str) -> str:
    return "\n".join(records) + "\n"


def secret(fingerprint: str) -> tuple[str, ...]:
    return (f"sec:u:255:22:{fingerprint[-16:]}:1767225600:::u:::scESC:::+::ed25519:::0:", f"fpr:::::::::{fingerprint}:")


SUBKEY = ("ssb:u:255:18:CCCCCCCCCCCCCCCC:1767225600::::::e:::+::cv25519::", f"fpr:::::::::{OF_SUBKEY}:")
ALICE, EVE = "uid:u::::1767225600::D::Alice <a@example.org>::::::::::0:", f"uid:u::::::D::Eve sec:u fpr:::::::::{SECOND}: x::::::::::0:"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (listing(*secret(FIRST), ALICE, *SUBKEY), [FIRST]),
        (listing(*secret(FIRST), EVE, *SUBKEY), [FIRST]),
        (listing(*secret(FIRST), ALICE, *SUBKEY, *secret(SECOND), ALICE), [FIRST, SECOND]),
        (listing(*SUBKEY), []),
        ("", []),
    ],
    ids=["a subkey", "a user id that looks like records", "two keys", "no primary key", "nothing"],
)
def test_only_primary_keys_are_found_for_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, found: list[str]) -> None:
    (tmp_path / "listing").write_text(text)
    stand_in(tmp_path, monkeypatch, f'printf "%s\\n" "$@" > {tmp_path}/words; cat {tmp_path}/listing; exit 2')
    if len(found) == 1:
        assert primary_fingerprint("ABX!") == found[0]
    else:
        with pytest.raises(UserError) as caught:
            primary_fingerprint("ABX!")
        assert caught.value.why == ", ".join(found)
    assert (tmp_path / "words").read_text().split() == ["--batch", "--with-colons", "--list-secret-keys", "--", "ABX"]


def test_the_terminal_is_that_of_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.ttyname", lambda number: f"/dev/pts/{number}")
    assert openpgp._terminal() == {"GPG_TTY": "/dev/pts/2"}
