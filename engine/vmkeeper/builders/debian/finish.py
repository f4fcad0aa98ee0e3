"""What an image gets at its end, beyond its layers: boot and mount configuration, who may log in, what it is.

Pure: from a recipe and what the root file system has to the files to add. No password and no key is ever written.
"""

from __future__ import annotations

import json
from uuid import UUID

from vmkeeper.builders.debian.tar import NewFile, RootTar
from vmkeeper.errors import UserError
from vmkeeper.model.appliance import Users
from vmkeeper.model.recipe import Recipe
from vmkeeper.values import Sha256, sha256_hex

KERNEL_OPTIONS = "console=tty0 console=ttyS0,115200"
"""The kernel command line of appliances that give none: the serial console is what clouds show."""

_SUDO = "ALL=(ALL) NOPASSWD:ALL"


def identifier(recipe: Sha256, purpose: str) -> UUID:
    """A UUID for one purpose in images of one recipe: random to look at, the same in every build."""
    return UUID(bytes=bytes.fromhex(sha256_hex(f"{recipe} {purpose}".encode()))[:16], version=4)


def finish(recipe: Recipe, rootfs: RootTar) -> tuple[NewFile, ...]:
    """The files that make a root file system the image of this recipe. Raises UserError where there is no kernel."""
    files = [NewFile("etc/vmkeeper/appliance.json", about(recipe))]
    if recipe.disk is not None:
        for link in ("vmlinuz", "initrd.img"):
            if link not in rootfs:
                hint = "add linux-image-cloud-amd64 and initramfs-tools to its packages, or make it abstract"
                raise UserError(f"the image has no /{link} to boot", where=f"appliances/{recipe.appliance}", hint=hint)
        root = str(identifier(recipe.digest(), "root"))
        files.append(NewFile("etc/fstab", f"UUID={root} / ext4 rw,relatime,errors=remount-ro 0 1\n".encode()))
        files.append(NewFile("boot/grub/grub.cfg", grub_cfg(recipe.appliance, root, recipe.disk.kernel_options or KERNEL_OPTIONS)))
    if "etc/cloud/cloud.cfg.d" in rootfs:
        files.append(NewFile("etc/cloud/cloud.cfg.d/95_vmkeeper.cfg", cloud_cfg(recipe.users)))
    if "etc/ssh/sshd_config.d" in rootfs:
        files.append(NewFile("etc/ssh/sshd_config.d/10-vmkeeper.conf", sshd_config(recipe.users)))
    return tuple(files)


def about(recipe: Recipe) -> bytes:
    """What the image is, for programs inside it."""
    fields = {"appliance": recipe.appliance, "uuid": recipe.uuid, "recipe": recipe.digest()}
    return json.dumps(fields, indent=2).encode() + b"\n"


def grub_cfg(title: str, root: str, options: str) -> bytes:
    """GRUB's configuration. It boots what /vmlinuz and /initrd.img link to, so a kernel upgrade needs no GRUB in the image."""
    return f"""\
# Written by vmkeeper. The kernel is what /vmlinuz links to; packages keep the links up to date.
set timeout=0
if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
fi
menuentry '{title}' {{
    linux /vmlinuz root=UUID={root} ro {options}
    initrd /initrd.img
}}
""".encode()


def cloud_cfg(users: Users) -> bytes:
    """cloud-init's defaults for users (JSON is YAML)."""
    config: dict[str, object] = {"disable_root": not users.root_login, "ssh_pwauth": False}
    if users.default is None:
        config["users"] = []
    else:
        user: dict[str, object] = {
            "name": users.default,
            "gecos": users.default,
            "shell": "/bin/bash",
            "lock_passwd": True,
            "groups": list(users.groups),
        }
        config["system_info"] = {"default_user": {**user, "sudo": [_SUDO] if users.sudo else None}}
    return b"#cloud-config\n" + json.dumps(config, indent=2).encode() + b"\n"


def sshd_config(users: Users) -> bytes:
    """sshd's policy: keys only."""
    root = "prohibit-password" if users.root_login else "no"
    return f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin {root}\n".encode()
