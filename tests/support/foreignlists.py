"""Lists as other programs and AppDB write them, vmcaster's database, and comfy's templates, for tests."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

LIST_UUID = "9b6fad19-d913-4cca-b77d-c4b4fcd9dc36"
IMAGE_UUID = "7b1aea46-8776-4447-9450-00e720fc042c"
OTHER_UUID = "2934ec2b-7a67-4b96-ba16-6775d66898d0"
DN = "/C=DE/O=GermanGrid/OU=Images/CN=Image Publisher"
CA = "/C=DE/O=GermanGrid/CN=GridKa-CA"


def vmcaster_image(identifier: str = IMAGE_UUID, **changes: Any) -> dict[str, Any]:
    """An image's keys as vmcaster keeps them: all text."""
    fields = {
        "dc:identifier": identifier,
        "dc:title": "Debian worker",
        "dc:description": "A worker node.",
        "hv:hypervisor": "kvm",
        "hv:format": "qcow2",
        "hv:size": 2147483648,
        "hv:uri": "https://dish.example.org:2880/worker.qcow2",
        "hv:version": "0.0.7",
        "sl:arch": "x86_64",
        "sl:checksum:sha512": "cd" * 64,
        "sl:comments": "",
        "sl:os": "Linux",
        "sl:osname": "Debian",
        "sl:osversion": "12.5",
    }
    return {key: value for key, value in {**fields, **changes}.items() if value is not None}


def vmcaster_list(*images: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What `vmcaster --select-imagelist UUID --show-imagelist` prints."""
    body = {
        "dc:identifier": LIST_UUID,
        "dc:title": "Lab images",
        "dc:description": "Images of the lab.",
        "dc:source": "Lab",
        "dc:date:created": "2014-02-03T10:00:00Z",
        "dc:date:expires": "2014-03-03T10:00:00Z",
        "hv:uri": "https://dish.example.org:2880/lab.image.list",
        "hv:version": "0.0.12",
        "hv:endorser": {"hv:x509": {"hv:dn": DN, "hv:ca": CA, "dc:creator": "Image Publisher", "hv:email": "images@example.org"}},
        "hv:images": [{"hv:image": image} for image in images or (vmcaster_image(),)],
    }
    return {"hv:imagelist": {key: value for key, value in {**body, **changes}.items() if value is not None}}


def vmcaster_database(file: Path, *lists: Mapping[str, Any], linked: bool = True) -> Path:
    """vmcaster's database (the tables of vmcasterpub/dishpubdb.py) with these lists; `linked` False: as old versions kept images."""
    old = "" if linked else ', "fkImageList" INTEGER'
    with closing(sqlite3.connect(file)) as base:
        base.executescript(f"""
            create table endorser (id integer primary key, subject varchar(100) not null unique);
            create table "endorserMetadata" (id integer primary key, "fkEndorser" integer, key varchar(200), value varchar(200));
            create table imagelist (id integer primary key, identifier varchar(50) not null unique, updated datetime);
            create table "ImagelistMetadata" (id integer primary key, "fkImageList" integer, key varchar(200), value varchar(200));
            create table "Image" (id integer primary key, identifier varchar(50) not null unique {old});
            create table "ImageMetadata" (id integer primary key, "fkImage" integer, key varchar(200), value varchar(200));
            create table "Endorsement" (id integer primary key, "fkImageList" integer, "fkEndorser" integer);
        """)
        if linked:
            base.execute('create table "ImageListImage" (id integer primary key, "fkImageList" integer, "fkImage" integer)')
        for made in lists:
            _insert(base, made["hv:imagelist"], linked)
        base.commit()
    return file


def _insert(base: sqlite3.Connection, body: Mapping[str, Any], linked: bool) -> None:
    at = base.execute("insert into imagelist (identifier) values (?)", (body["dc:identifier"],)).lastrowid
    for key, value in body.items():
        if key not in ("dc:identifier", "hv:images", "hv:endorser"):
            base.execute('insert into "ImagelistMetadata" ("fkImageList", key, value) values (?, ?, ?)', (at, key, str(value)))
    for item in body["hv:images"]:
        image = item["hv:image"]
        known = base.execute('select id from "Image" where identifier = ?', (image["dc:identifier"],)).fetchone()
        if known:
            here = known[0]
        elif linked:
            here = base.execute('insert into "Image" (identifier) values (?)', (image["dc:identifier"],)).lastrowid
        else:
            here = base.execute('insert into "Image" (identifier, "fkImageList") values (?, ?)', (image["dc:identifier"], at)).lastrowid
        if linked:
            base.execute('insert into "ImageListImage" ("fkImageList", "fkImage") values (?, ?)', (at, here))
        for key, value in image.items() if not known else ():
            if key != "dc:identifier":
                base.execute('insert into "ImageMetadata" ("fkImage", key, value) values (?, ?, ?)', (here, key, str(value)))
    several = body.get("hv:endorser", [])
    for one in several if isinstance(several, list) else [several]:
        details = one["hv:x509"]
        base.execute("insert or ignore into endorser (subject) values (?)", (details["hv:dn"],))
        who = base.execute("select id from endorser where subject = ?", (details["hv:dn"],)).fetchone()[0]
        base.execute('insert into "Endorsement" ("fkImageList", "fkEndorser") values (?, ?)', (at, who))
        for key, value in details.items():
            if key != "hv:dn":
                base.execute('insert into "endorserMetadata" ("fkEndorser", key, value) values (?, ?, ?)', (who, key, str(value)))


def comfy_description(**changes: Any) -> dict[str, Any]:
    """A description with comfy's keys, as its Debian template has them."""
    made = {
        "name": "Debian",
        "versions": [
            {
                "major_version": "12",
                "minor_version": "5",
                "patch_version": "0",
                "codename": "bookworm",
                "iso_url": "http://images.example.org/12.5.0/amd64/iso-cd/debian-12.5.0-amd64-netinst.iso",
                "iso_checksum": "ab" * 32,
            },
            {
                "major_version": "8",
                "minor_version": "2",
                "patch_version": "0",
                "codename": "jessie",
                "iso_url": "http://images.example.org/8.2.0/amd64/iso-cd/debian-8.2.0-amd64-netinst.iso",
                "iso_checksum": "cd" * 32,
            },
        ],
        "boot_command": " install auto=true priority=critical preseed/url=http://{{ .HTTPIP }}:{{ .HTTPPort }}",
        "qemu": {"accelerator": "kvm", "qemuargs": [["-m", "1024M"], ["-smp", "2"]]},
        "virtualbox": {
            "guest_os_type": "Debian_64",
            "vboxmanage": [["modifyvm", "{{.Name}}", "--memory", "2048"]],
            "guest_additions_mode": "disable",
        },
    }
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


PRESEED = """\
d-i netcfg/get_hostname string debian
d-i pkgsel/include string openssh-server \\
    build-essential Bad_Name
popularity-contest popularity-contest/participate boolean false
"""
KICKSTART = """\
lang en_US.UTF-8
%packages
# basics
@core
wget
tmux
%end
%post
/usr/bin/yum -y upgrade
%end
"""


def comfy_template(folder: Path, name: str = "debian", answers: str | None = PRESEED, **changes: Any) -> Path:
    """A template folder as comfy keeps it; gives the description's path."""
    home = folder / name
    (home / "scripts").mkdir(parents=True)
    (home / "files").mkdir()
    (home / "scripts" / "init.sh").write_text("#!/bin/bash\napt-get update\n")
    (home / "scripts" / "init.sh~").write_text("old\n")
    (home / "files" / "grub").write_text("GRUB_TIMEOUT=0\n")
    (home / "files" / "bad name").write_text("x\n")
    if answers is not None:
        (home / f"{name}.cfg.erb").write_text(answers)
    file = home / f"{name}.description"
    file.write_text(json.dumps(comfy_description(**changes)))
    return file
