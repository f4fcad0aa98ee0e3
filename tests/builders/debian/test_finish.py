"""What an image gets at its end: who may log in, how it boots, what it is."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

from support.recipes import layer, recipe
from vmkeeper.builders.debian.bill import Installed, installed, manifest, sbom
from vmkeeper.builders.debian.finish import cloud_cfg, finish, grub_cfg, identifier, sshd_config
from vmkeeper.builders.debian.packages import snapshot_address
from vmkeeper.builders.debian.tar import RootTar
from vmkeeper.errors import UserError
from vmkeeper.model.appliance import Archive, Users


def root(folder: Path, *names: str) -> RootTar:
    with tarfile.open(folder / "root.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(f"./{name}"), io.BytesIO())
    return RootTar(folder / "root.tar")


BOOTABLE = ("vmlinuz", "initrd.img", "etc/cloud/cloud.cfg.d", "etc/ssh/sshd_config.d")


def test_image_knows_what_it_is(tmp_path: Path) -> None:
    made = recipe(layer(), disk=True)
    files = {file.path: file.data for file in finish(made, root(tmp_path, *BOOTABLE))}
    assert json.loads(files["etc/vmkeeper/appliance.json"]) == {"appliance": "app", "uuid": made.uuid, "recipe": made.digest()}
    uuid = str(identifier(made.digest(), "root"))
    assert uuid.encode() in files["etc/fstab"]
    assert f"root=UUID={uuid} ro console=tty0 console=ttyS0".encode() in files["boot/grub/grub.cfg"]


def test_image_without_a_kernel_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        finish(recipe(layer(), disk=True), root(tmp_path, "etc/cloud/cloud.cfg.d"))
    assert "vmlinuz" in str(caught.value)
    assert "linux-image" in caught.value.hint


def test_image_without_cloud_init_or_sshd_gets_no_settings_for_them(tmp_path: Path) -> None:
    paths = [file.path for file in finish(recipe(layer(), disk=True), root(tmp_path, "vmlinuz", "initrd.img"))]
    assert not [path for path in paths if "cloud" in path or "ssh" in path]


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        (Users(default="debian", sudo=True, root_login=False), {"disable_root": True, "ssh_pwauth": False}),
        (Users(default="debian", sudo=False, root_login=True), {"disable_root": False, "ssh_pwauth": False}),
        (Users(), {"disable_root": True, "ssh_pwauth": False, "users": []}),
    ],
)
def test_users_policy(users: Users, expected: dict[str, object]) -> None:
    config = json.loads(cloud_cfg(users).partition(b"\n")[2])
    user = config.pop("system_info", {}).get("default_user")
    assert config == expected
    if users.default:
        assert user["lock_passwd"] is True
        assert user["sudo"] == (["ALL=(ALL) NOPASSWD:ALL"] if users.sudo else None)
        assert not {"passwd", "hashed_passwd", "plain_text_passwd", "ssh_authorized_keys"} & user.keys()


@pytest.mark.parametrize(("root_login", "expected"), [(True, b"prohibit-password"), (False, b"no"), (None, b"no")])
def test_sshd_takes_keys_only(*, root_login: bool | None, expected: bytes) -> None:
    config = sshd_config(Users(root_login=root_login))
    assert b"PasswordAuthentication no\n" in config
    assert b"PermitRootLogin " + expected + b"\n" in config


def test_grub_shows_itself_on_the_serial_console() -> None:
    assert b"serial --unit=0" in grub_cfg("app", "0-0", "quiet")


def test_identifiers_differ_by_purpose_and_recipe_and_never_else() -> None:
    assert identifier("a" * 64, "root") == identifier("a" * 64, "root")
    assert len({identifier(digest * 64, purpose) for digest in "ab" for purpose in ("root", "disk", "efi")}) == 6


STATUS = b"""Package: web
Status: install ok installed
Architecture: amd64
Version: 1:1.0-1

Package: old
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: base
Status: install ok installed
Architecture: all
Version: 2
"""


def test_manifest_lists_installed_packages_in_order() -> None:
    assert manifest(installed(STATUS)) == b"base 2 all\nweb 1:1.0-1 amd64\n"


def test_bill_of_materials_is_valid_and_the_same_every_time() -> None:
    made = recipe(layer())
    packages = installed(STATUS)
    first = sbom(made, packages)
    assert first == sbom(made, reversed(packages))
    bill = json.loads(first)
    assert len(Bom.from_json(bill).components) == 2  # type: ignore[attr-defined]
    assert bill["specVersion"] == "1.6"
    assert [component["purl"] for component in bill["components"]] == [
        "pkg:deb/debian/base@2?arch=all&distro=bookworm",
        "pkg:deb/debian/web@1:1.0-1?arch=amd64&distro=bookworm",
    ]
    assert bill["metadata"]["component"]["version"] == made.digest()


def test_package_names_with_plus_signs_make_valid_addresses() -> None:
    assert b"pkg:deb/debian/g%2B%2B@4%3A12.2.0-3" in sbom(recipe(layer()), [Installed("g++", "4:12.2.0-3", "amd64")]).replace(b"@4:12", b"@4%3A12")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://deb.debian.org/debian", "http://snapshot.debian.org/archive/debian/20261101T060000Z/pool/a.deb"),
        ("http://deb.debian.org/debian-security/", "http://snapshot.debian.org/archive/debian-security/20261101T060000Z/pool/a.deb"),
        ("http://archive.example.org/own", None),
    ],
)
def test_snapshot_address(uri: str, expected: str | None) -> None:
    assert snapshot_address(Archive(name="a", uri=uri, suite="s"), "pool/a.deb", datetime(2026, 11, 1, tzinfo=UTC)) == expected
