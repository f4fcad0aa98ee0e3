"""Which accelerator is chosen, with a real guest where QEMU is there and stand-ins for QEMU where its failures matter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmkeeper.boot import probe
from vmkeeper.errors import EnvironmentLacks, UserError

KVM = Path("/dev/kvm")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A PATH with only what `emulator(script)` puts there, a device file and a boot id of our own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(probe, "_KVM", tmp_path / "kvm")
    monkeypatch.setattr(probe, "_BOOT_ID", tmp_path / "boot_id")
    monkeypatch.setattr(probe, "_PATIENCE", 1)
    (tmp_path / "kvm").touch()
    (tmp_path / "boot_id").write_text("first boot\n")

    def emulator(body: str) -> None:
        file = programs / probe.QEMU
        file.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo "QEMU 1.0"; exit; fi\necho tried >> {tmp_path}/tries\n{body}\n')
        file.chmod(0o755)

    return emulator


SPEAKS = r"""for word; do case "$word" in file,id=console,path=*) echo "guest code runs" > "${word#file,id=console,path=}";; esac; done"""


def tries(tmp_path: Path) -> int:
    return len((tmp_path / "tries").read_text().splitlines()) if (tmp_path / "tries").exists() else 0


def test_kvm_is_chosen_where_a_guest_runs_and_tried_once_a_boot(bench, tmp_path: Path) -> None:
    bench(SPEAKS)
    for _ in range(3):
        assert probe.choose(cache=tmp_path / "cache").name == "kvm"
    assert tries(tmp_path) == 1
    (tmp_path / "boot_id").write_text("second boot\n")
    assert probe.choose(cache=tmp_path / "cache").name == "kvm"
    assert tries(tmp_path) == 2


@pytest.mark.parametrize(
    ("body", "why"),
    [("sleep 60", "did not get anywhere"), ("echo 'failed to set MSR' >&2; exit 1", "failed to set MSR"), ("exit 0", "without having done its work")],
)
def test_tcg_is_chosen_where_guests_do_not_run_with_kvm(bench, tmp_path: Path, body: str, why: str) -> None:
    if "work" in why:
        body = SPEAKS.replace("guest code runs", "something else")
    bench(body)
    chosen = probe.choose(cache=tmp_path / "cache")
    assert chosen.name == "tcg"
    assert why in chosen.why
    with pytest.raises(UserError, match="KVM does not work"):
        probe.choose("kvm", cache=tmp_path / "cache")
    assert tries(tmp_path) == 1


def test_no_device_means_tcg_without_trying(bench, tmp_path: Path) -> None:
    bench(SPEAKS)
    (tmp_path / "kvm").unlink()
    assert probe.choose(cache=tmp_path / "cache") == probe.Accelerator("tcg", f"KVM does not work: there is no {tmp_path}/kvm")
    assert tries(tmp_path) == 0


def test_tcg_that_is_asked_for_is_taken_without_trying(bench, tmp_path: Path) -> None:
    bench(SPEAKS)
    assert probe.choose("tcg", cache=tmp_path / "cache").name == "tcg"
    assert tries(tmp_path) == 0


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"key": 1}', "\xff"])
def test_a_broken_cache_is_as_good_as_none(bench, tmp_path: Path, content: str) -> None:
    bench(SPEAKS)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/kvm.json").write_text(content, encoding="latin-1")
    assert probe.choose(cache=tmp_path / "cache").name == "kvm"
    assert json.loads((tmp_path / "cache/kvm.json").read_text())["trouble"] == ""


def test_a_cache_that_cannot_be_written_is_no_error(bench, tmp_path: Path) -> None:
    bench(SPEAKS)
    (tmp_path / "cache").touch()
    assert probe.choose(cache=tmp_path / "cache").name == "kvm"


def test_missing_programs_are_named_with_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "environment", lambda: {"PATH": str(tmp_path)})
    monkeypatch.setattr(probe, "_OVMF", ())
    monkeypatch.setattr(probe, "program", lambda name, package: (_ for _ in ()).throw(EnvironmentLacks(name, hint=f"apt-get install {package}")))
    hints = {problem.hint for problem in probe.lacks("bios", "uefi")}
    assert hints == {"apt-get install qemu-system-x86", "apt-get install qemu-utils", "apt-get install util-linux", "apt-get install ovmf"}
    with pytest.raises(EnvironmentLacks) as lacking:
        probe.choose()
    assert lacking.value.hint == "apt-get install qemu-system-x86"
    with pytest.raises(EnvironmentLacks):
        probe.uefi()


@pytest.mark.skipif(bool(probe.lacks()), reason="needs QEMU (apt-get install qemu-system-x86 qemu-utils)")
def test_the_probing_guest_really_runs() -> None:
    assert probe.try_accelerator(probe.qemu(), probe.Accelerator("tcg"), patience=30) == ""
