"""What ssh-keygen is started with, which file of a pair is read, and names of keys that are no text."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path

import pytest

from support.keys import ssh_key, ssh_public, sshsig
from support.refusals import refusal
from vmkeeper.trust.keys import ssh

DATA = b"what is signed\n"
RECORDER = """#!{python}
import json, os, sys
with open({seen!r}, "w") as file:
    json.dump({{"words": sys.argv[1:], "environment": dict(os.environ)}}, file)
words = [word for word in sys.argv[1:] if word != "-U"]
words[-1] = {key!r}
os.execv({real!r}, [{real!r}, *words])
"""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    return ssh_key(folder)


@pytest.fixture
def seen(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ssh-keygen is started with is written here; then the real one signs with the key's file."""
    real = shutil.which("ssh-keygen")
    assert real
    tool, file = tmp_path / "bin/ssh-keygen", tmp_path / "seen.json"
    tool.parent.mkdir()
    tool.write_text(RECORDER.format(python=sys.executable, seen=str(file), key=str(key), real=real))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    return file


def test_a_literal_key_is_signed_for_by_the_agent_and_only_by_it(key: Path, seen: Path) -> None:
    public = ssh_public(key)
    assert ssh.verify(public, DATA, ssh.sign(f"key::{public}", DATA))
    words = json.loads(seen.read_text())["words"]
    assert words[:6] == ["-Y", "sign", "-U", "-n", "git", "-f"]
    ssh.sign(str(key), DATA)
    assert json.loads(seen.read_text())["words"] == ["-Y", "sign", "-n", "git", "-f", str(key)]


def test_whoever_asks_for_a_passphrase_is_reached(key: Path, seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = {"DISPLAY": ":7", "SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "prefer", "WAYLAND_DISPLAY": "wayland-7"}
    for name, value in asking.items():
        monkeypatch.setenv(name, value)
    ssh.sign(str(key), DATA)
    assert asking.items() <= json.loads(seen.read_text())["environment"].items()
    monkeypatch.delenv("DISPLAY")
    ssh.sign(str(key), DATA)
    assert "DISPLAY" not in json.loads(seen.read_text())["environment"]


def test_the_public_file_beside_a_key_is_read_before_the_key(tmp_path: Path) -> None:
    """A key on a token or behind a passphrase could not be asked."""
    (tmp_path / "locked").write_text("not for reading\n")
    (tmp_path / "locked.pub").write_bytes(b"ssh-ed25519 AAAA comment-\xff\n")
    assert ssh.public_key_of(str(tmp_path / "locked")) == ssh.public_key_of(str(tmp_path / "locked.pub")) == "ssh-ed25519 AAAA"


def test_a_type_that_is_no_text_is_shown_all_the_same() -> None:
    blob = b"\0\0\0\x02a\xff"
    assert ssh.signing_key(sshsig(blob, b"\0\0\0\x01x")).type == "a\ufffd"


def test_a_fingerprint_loses_its_padding_and_nothing_else() -> None:
    ends = set()
    for number in range(400):
        found = ssh.PublicKey("x", str(number).encode()).fingerprint
        assert len(base64.b64decode(found.removeprefix("SHA256:") + "=", validate=True)) == 32
        ends.add(found[-1])
    assert "8" in ends
    assert ssh.PublicKey("x", b"").fingerprint == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


def test_a_public_key_is_a_type_and_base64_and_nothing_else(key: Path) -> None:
    text = ssh_public(key)
    assert ssh.read_public_key(text).type == "ssh-ed25519"
    for changed in (f"{text} comment", f"{text} AAAA", text.replace("AAAA", "AA*AA", 1)):
        rule, what, _ = refusal(lambda changed=changed: ssh.read_public_key(changed))  # type: ignore[misc]
        assert (rule, what) == ("R10", "the SSH key is not base64")
    assert refusal(lambda: ssh.read_public_key(text.replace("ssh-ed25519", "ssh-rsa")))[2] == "ssh-rsa"
