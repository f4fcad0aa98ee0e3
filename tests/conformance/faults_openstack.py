"""OpenStack in the fault campaign: a real Keystone and Glance behind proxies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from conformance.faults_families import LEGACY_MARKS, Config, HttpFamily, look_alikes
from conformance.faults_harness import Thing
from conformance.faults_scenario import LEGACY, content
from support.faultproxy import plain_label
from support.openstack import BOOT_SECTOR, Tenants
from vmkeeper.clouds.interface import Cloud
from vmkeeper.clouds.openstack.cloud import OpenStackCloud
from vmkeeper.clouds.openstack.session import Access, Service
from vmkeeper.model.platform import OpenStackPlatform


def connect(settings: Mapping[str, Any], owner: str, timeout: float) -> Cloud:
    """timeout: also of log-ins, by a clouds.yaml of its own."""
    Service.call.__kwdefaults__["timeout"] = (timeout, timeout)  # what a request takes that names none
    new = settings["who"] == "new"
    access = _access(settings, timeout) if new else _kept(json.dumps(dict(settings)), timeout)
    return OpenStackCloud(access, owner=owner, folder=Path(settings["folder"]) / "locks")


@cache
def _kept(settings: str, timeout: float) -> Access:
    return _access(json.loads(settings), timeout)


def _access(settings: Mapping[str, Any], timeout: float) -> Access:
    home = Path(settings["folder"]) / f"within-{timeout}"
    home.mkdir(parents=True, exist_ok=True)
    entry = {**settings["entry"], "api_timeout": timeout}
    new = home / f"clouds.yaml-{os.getpid()}"
    new.touch(mode=0o600)
    new.write_text(json.dumps({"clouds": {"site": entry}}))
    new.rename(home / "clouds.yaml")
    return Access(OpenStackPlatform(type="openstack", cloud="site"), home)


class OpenStackFamily(HttpFamily):
    name = "openstack"
    greeting = 2
    disk = BOOT_SECTOR + bytes(256 * 1024 - 512)

    def __init__(self, folder: Path, tenants: Tenants) -> None:
        super().__init__(folder)
        self._entry = json.loads(tenants.clouds_yaml.read_text())["clouds"]["member"]
        urls = self.serve({"keystone": tenants.url.removesuffix("/v3"), "glance": tenants.glance}, plain_label)
        spoilt = json.dumps(self._entry).replace(tenants.url.removesuffix("/v3"), urls["keystone"])
        self._spoilt = json.loads(spoilt)
        assert self._spoilt != self._entry
        self._api = Access(OpenStackPlatform(type="openstack", cloud="member"), tenants.folder).adapter("image")

    def config(self) -> Config:
        return Config("conformance.faults_openstack:connect", {"entry": self._spoilt, "folder": str(self.folder / "home")}, self.owner)

    def furnish(self) -> None:
        self._plant("legacy-1 by cloudkeeper", LEGACY_MARKS, content(self.disk, f"{LEGACY} 1"))
        look_alikes(self._direct, self._plant, self.owner, self.disk, self.folder)

    def reset(self) -> None:
        for image in self._all():
            if image.get("protected"):
                self._change(image["id"], [{"op": "replace", "path": "/protected", "value": False}])
            answer = self._api.delete(f"/images/{image['id']}")
            assert answer.status_code in (204, 404), answer.text

    def inventory(self) -> Iterable[Thing]:
        for image in self._all():
            owner = image.get("vmkeeper_owner", "")
            mine = owner == self.owner
            label = f"{image['vmkeeper_family']} {image['vmkeeper_version']}" if mine else image["name"]
            state = "active" if (image["status"], image["os_hidden"]) == ("active", False) else "incomplete"
            if image["status"] in ("active", "deactivated") and "vmkeeper_hidden_since" in image:
                state = "hidden"
            elif image["status"] == "active" and image["os_hidden"]:
                state = "not listed"
            elif image["status"] == "deactivated":
                state = "deactivated"
            if "vmkeeper_stage" in image:
                state = "incomplete"
            volatile = ("id", "self", "file", "created_at", "updated_at", "vmkeeper_image", "vmkeeper_owner", "vmkeeper_uploader", "owner")
            said = sorted(f"{key}={value}" for key, value in image.items() if key not in volatile)
            yield Thing("image", "ours" if mine else owner, label, state, tuple(said) if state != "incomplete" else ())
            if mine and state == "active":
                yield Thing("alias", "ours", image["name"]) if image["name"].endswith("-latest") else Thing("name", "ours", image["name"])

    def _direct(self, owner: str) -> Cloud:
        settings = {"entry": self._entry, "folder": str(self.folder / "direct"), "who": "others"}
        return connect(settings, owner, 60.0)

    def _all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for hidden in ("false", "true"):
            answer = self._api.get("/images", params={"limit": 1000, "os_hidden": hidden, "owner": str(self._api.get_project_id())})
            assert answer.status_code == 200, answer.text
            found += answer.json()["images"]
        return found

    def _plant(self, name: str, attributes: Mapping[str, str] = {}, data: bytes | None = None) -> None:
        said = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private", **attributes}
        answer = self._api.post("/images", json=said)
        assert answer.status_code == 201, answer.text
        where = f"/images/{answer.json()['id']}/file"
        stored = self._api.put(where, data=data or self.disk, headers={"Content-Type": "application/octet-stream"})
        assert stored.status_code == 204, stored.text

    def _change(self, image: str, patch: list[dict[str, Any]]) -> None:
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        self._api.patch(f"/images/{image}", data=json.dumps(patch), headers=headers)
