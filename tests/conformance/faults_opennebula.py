"""OpenNebula in the fault campaign: the stand-in for oned behind the proxy."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from conformance.faults_families import DISK, LEGACY_MARKS, Config, HttpFamily, look_alikes
from conformance.faults_harness import Thing
from conformance.faults_scenario import LEGACY, content
from support.onesite import account_for, plant, platform_for, pool, templates
from support.opennebula import Setting
from vmkeeper.clouds.interface import Cloud
from vmkeeper.clouds.opennebula.account import Patience
from vmkeeper.clouds.opennebula.cloud import places

QUICK = Patience(transfer=20, others=0.2, gone=5, stop=5, poll=0.02)
_READS = ("info", "infoextended", "version", "config")


def connect(settings: Mapping[str, Any], owner: str, timeout: float) -> Cloud:
    one = Setting(settings["endpoint"], settings["user"], settings["password"], ("default",), folder=Path(settings["shared"]))
    account = account_for(one, Path(settings["folder"]), owner.removeprefix("vmkeeper:"))
    return places(platform_for(one, settings["transport"]), account, patience=replace(QUICK, answer=timeout, allocate=timeout))[""]


def label(_method: str, _path: str, body: bytes) -> tuple[str, bool]:
    """XML-RPC's method."""
    found = re.search(rb"<methodName>([^<]*)</methodName>", body)
    name = found[1].decode() if found else "?"
    return name, name.rpartition(".")[2] not in _READS


class OpenNebulaFamily(HttpFamily):
    name = "opennebula"
    disk = DISK

    def __init__(self, folder: Path, one: Setting, transport: str = "path") -> None:
        super().__init__(folder)
        self._one, self._transport = one, transport
        self._url = self.serve({"oned": one.endpoint.removesuffix("/RPC2")}, label)["oned"]
        self._before = {kind: set(pool(one, f"one.{kind}pool.info")) for kind in ("image", "template")}

    def config(self) -> Config:
        return self._config(f"{self._url}/RPC2")

    def _config(self, endpoint: str) -> Config:
        one = self._one
        said = {"endpoint": endpoint, "user": one.user, "password": one.password, "shared": str(one.folder)}
        return Config(
            "conformance.faults_opennebula:connect", {**said, "folder": str(self.folder / "home"), "transport": self._transport}, self.owner
        )

    def furnish(self) -> None:
        plant(self._one, "legacy-1 by cloudkeeper", LEGACY_MARKS, content(self.disk, f"{LEGACY} 1"))
        direct = self._config(self._one.endpoint)
        look_alikes(lambda owner: replace(direct, owner=owner).cloud(30), lambda name: plant(self._one, name), self.owner, self.disk, self.folder)

    def reset(self) -> None:
        one = self._one
        for kind in ("template", "image"):
            for _ in range(200):
                left = [number for number in pool(one, f"one.{kind}pool.info") if number not in self._before[kind]]
                if not left:
                    break
                for number in left:
                    one.answer(f"one.{kind}.unlock", number)
                    if "--force" in str(one.answer(f"one.{kind}.delete", number)[1]):
                        one.answer("one.image.delete", number, True)
                time.sleep(0.02)
        assert one.folder is not None
        for file in one.folder.rglob("*"):
            if file.is_file():
                file.unlink()

    def inventory(self) -> Iterable[Thing]:
        one, labels = self._one, dict[int, str]()
        for number, image in sorted(pool(one, "one.imagepool.info").items()):
            if number in self._before["image"]:
                continue
            said = {each.tag: each.text or "" for each in image.findall("TEMPLATE/*")}
            owner = said.get("VMKEEPER_OWNER", "")
            mine, name = owner == self.owner, image.findtext("NAME") or ""
            labels[number] = f"{said.get('VMKEEPER_APPLIANCE')} {said.get('VMKEEPER_VERSION')}" if mine else name
            state = {"1": "active", "2": "active", "3": "disabled"}.get(image.findtext("STATE") or "", "incomplete")
            if "VMKEEPER_UNVERIFIED" in said:
                state = "incomplete"
            elif "VMKEEPER_HIDDEN_SINCE" in said:
                state = "hidden"
            rights = "".join(each.text or "" for each in image.findall("PERMISSIONS/*"))
            more = sorted(f"{key}={value}" for key, value in said.items() if key not in ("VMKEEPER_OWNER", "PATH"))
            yield Thing("image", "ours" if mine else owner, labels[number], state, (rights, *more) if state != "incomplete" else ())
        for number, template in sorted(templates(one).items()):
            if number not in self._before["template"]:
                owner = template.findtext("TEMPLATE/VMKEEPER_OWNER") or ""
                target = template.findtext("TEMPLATE/DISK/IMAGE_ID") or "-1"
                mine = owner == self.owner
                name = template.findtext("NAME") or ""
                yield Thing("alias" if mine else "template", "ours" if mine else owner, name, detail=(labels.get(int(target), "nothing"),))
        assert one.folder is not None
        for file in sorted(one.folder.rglob("*")):
            if file.is_file():
                yield Thing("file", "", file.name)
