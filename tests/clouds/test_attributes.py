"""Specs in the words of clouds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.clouds.attributes import GIB, description, guest, marks_of_others, needs, words
from vmkeeper.clouds.interface import ImageSpec, SourceFile
from vmkeeper.values import Size, Version

UUID = "0b0f8a0e-3c1c-4f5e-8b7a-2f8b3f0f7a21"
LIST = "7f6f1c1e-8d5e-4a52-9a0e-0d8d0c7f5a11"
KVM = {"sl:os": "Linux", "sl:osname": "Debian", "sl:osversion": "12", "hv:hypervisor": "KVM"}


def spec_of(properties: dict[str, str] | None = None, **more: object) -> ImageSpec:
    said: dict[str, object] = {
        "name": "debian-12-2026.11.1",
        "appliance": "debian-12",
        "uuid": UUID,
        "version": Version("2026.11.1"),
        "format": "qcow2",
        "size": Size(1000),
        "virtual_size": Size(10 * GIB),
        "sha512": "a" * 128,
        "list": LIST,
        "expires": datetime(2027, 5, 1, tzinfo=UTC),
        "properties": properties or {},
    }
    return ImageSpec(**(said | more))


@pytest.mark.parametrize(
    ("osname", "distro"),
    [
        ("Debian", "debian"),
        ("Debian GNU/Linux", "debian"),
        ("Ubuntu", "ubuntu"),
        ("CentOS Stream", "centos"),
        ("Scientific Linux", "scientificlinux"),
        ("Red Hat Enterprise Linux", "rhel"),
        ("RHEL", "rhel"),
        ("AlmaLinux", "almalinux"),
        ("Rocky Linux", "rocky"),
        ("openSUSE Leap", "opensuse"),
        ("Arch Linux", "arch"),
        ("Windows Server 2022", "windows"),
        ("CernVM", "cernvm"),
        ("TinyCore", "tinycore"),
        ("Other", ""),
        ("Linux", ""),
        ("", ""),
    ],
)
def test_distributions_have_libosinfos_short_names(osname: str, distro: str) -> None:
    assert guest(spec_of({"sl:osname": osname})).os_distro == distro


@pytest.mark.parametrize(
    ("said", "version"), [("12", "12"), ("20.04 LTS", "20.04"), ("6.6", "6.6"), ("v3.1", "3.1"), ("unknown", ""), ("TinyCoreLinux", "TinyCoreLinux")]
)
def test_versions_are_the_distributors_numbers(said: str, version: str) -> None:
    assert guest(spec_of({"sl:osversion": said})).os_version == version


@pytest.mark.parametrize(
    ("said", "os_type"),
    [
        ({"sl:os": "Linux"}, "linux"),
        ({"sl:osname": "Debian"}, "linux"),
        ({"sl:os": "Windows"}, "windows"),
        ({"sl:osname": "Windows 11", "sl:os": "other"}, "windows"),
        ({"sl:os": "FreeBSD"}, ""),
        ({}, ""),
        ({"os_type": "windows", "sl:os": "Linux"}, "windows"),
    ],
)
def test_only_the_types_that_nova_knows_are_said(said: dict[str, str], os_type: str) -> None:
    assert guest(spec_of(said)).os_type == os_type


def test_a_linux_for_kvm_asks_for_virtio() -> None:
    assert words(spec_of(KVM)) == {
        "os_type": "linux",
        "os_distro": "debian",
        "os_version": "12",
        "architecture": "x86_64",
        "hw_disk_bus": "virtio",
        "hw_vif_model": "virtio",
    }


@pytest.mark.parametrize("other", [{"hv:hypervisor": "VMware"}, {"hv:hypervisor": ""}, {"sl:os": "Windows", "sl:osname": "Windows"}])
def test_what_is_not_a_linux_for_kvm_asks_for_no_virtual_hardware(other: dict[str, str]) -> None:
    assert not [name for name in words(spec_of(KVM | other)) if name.startswith("hw_")]


def test_nothing_is_made_up_about_an_image_that_says_nothing() -> None:
    assert words(spec_of()) == {"architecture": "x86_64"}


def test_uefi_on_x86_64_asks_for_the_machine_that_its_firmware_is_made_for() -> None:
    said = words(spec_of(KVM | {"hw_firmware_type": "uefi"}))
    assert (said["hw_firmware_type"], said["hw_machine_type"]) == ("uefi", "q35")


def test_arm_needs_uefi_and_no_other_machine() -> None:
    said = words(spec_of(KVM, architecture="aarch64"))
    assert said["hw_firmware_type"] == "uefi"
    assert "hw_machine_type" not in said


def test_what_a_spec_says_in_the_clouds_own_words_comes_first() -> None:
    said = {"hw_disk_bus": "scsi", "os_distro": "devuan", "os_version": "5", "hw_qemu_guest_agent": "yes", "os_require_quiesce": "yes", "note": "x"}
    made = words(spec_of(KVM | said))
    del said["note"]
    assert said.items() <= made.items()
    assert "note" not in made


@given(st.integers(min_value=0, max_value=2**50))
def test_the_least_disk_holds_the_image_and_is_no_gibibyte_larger(size: int) -> None:
    disk = needs(spec_of(virtual_size=Size(size))).disk
    assert disk * GIB >= size
    assert (disk - 1) * GIB < size or disk == 0


def test_least_and_recommended_sizes() -> None:
    found = needs(spec_of({"hv:ram_minimum": "1024", "hv:core_minimum": "2", "ad:ram_recommended": "4096", "ad:core_recommended": "1"}))
    assert (found.memory, found.cpus, found.recommended_memory, found.recommended_cpus) == (1024, 2, 4096, 2)


@pytest.mark.parametrize("text", ["", "much", "-1", "1.5", "99999999999", "4294967296", "１２"])
def test_sizes_that_make_no_sense_are_not_said(text: str) -> None:
    assert needs(spec_of({"hv:ram_minimum": text})).memory == 0


def test_what_other_tools_write_is_written_too() -> None:
    marks = marks_of_others(spec_of(KVM | {"ad:mpuri": "https://example.org/x", "ad:vo": "some.vo", "hv:ram_minimum": "512", "title": "Debian 12"}))
    assert marks["NIFTY_APPLIANCE_ID"] == marks["CLOUDKEEPER_APPLIANCE_ID"] == UUID
    assert marks["CLOUDKEEPER_APPLIANCE_MPURI"] == "https://example.org/x"
    assert marks["CLOUDKEEPER_APPLIANCE_OPERATING_SYSTEM"] == "Linux Debian 12"
    assert marks["CLOUDKEEPER_APPLIANCE_RAM"] == "512"
    assert marks["CLOUDKEEPER_APPLIANCE_EXPIRATION_DATE"] == "1809129600"
    assert marks["CLOUDKEEPER_IMAGE_FORMAT"] == "QCOW2"
    assert "CLOUDKEEPER_APPLIANCE_GROUP" not in marks


def test_other_tools_are_told_of_the_file_that_was_signed() -> None:
    marks = marks_of_others(spec_of(source=SourceFile(format="ova", size=Size(7), sha512="b" * 128)))
    assert (marks["CLOUDKEEPER_IMAGE_CHECKSUM"], marks["CLOUDKEEPER_IMAGE_SIZE"], marks["CLOUDKEEPER_IMAGE_FORMAT"]) == ("b" * 128, "7", "OVA")


def test_a_description_is_one_line() -> None:
    assert description(spec_of({"title": "Debian\n 12"})) == "Debian 12, version 2026.11.1, good until 2027-05-01T00:00:00Z"


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_whatever_lists_say_the_words_are_short_and_plain(system: str, name: str, version: str) -> None:
    for text in words(spec_of({"sl:os": system, "sl:osname": name, "sl:osversion": version})).values():
        assert 0 < len(text) <= 64
        assert "\n" not in text
