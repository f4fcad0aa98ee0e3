"""EC2 in the fault campaign: moto's server behind the proxy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from conformance.faults_families import DISK, LEGACY_MARKS, Config, HttpFamily, look_alikes
from conformance.faults_harness import Thing
from support.ec2place import QUICK, Ec2Region
from support.ec2server import KEYS, REGION, Ec2Server
from vmkeeper.clouds.ec2.cloud import Ec2Cloud
from vmkeeper.clouds.ec2.session import Session
from vmkeeper.clouds.interface import Cloud


def connect(settings: Mapping[str, Any], owner: str, timeout: float) -> Cloud:
    return Ec2Cloud(_session(settings["endpoint"], timeout), owner, bucket=settings["bucket"])


@cache
def _session(endpoint: str, timeout: float) -> Session:
    """Kept from run to run: nothing of it changes what is asked of the server, and making clients takes long."""
    pace = replace(QUICK, read=timeout, connect=timeout, importing=10)
    return Session(region=REGION, endpoint=endpoint, login=lambda: KEYS, named="credentials/ec2.yaml", pace=pace)


def label(method: str, path: str, body: bytes) -> tuple[str, bool]:
    """EC2's action, S3's method on which kind of object, Systems Manager's target."""
    action = parse_qs(body.decode("latin-1")).get("Action", [""])[0] if method == "POST" and path == "/" else ""
    if action:
        return action, not action.startswith(("Describe", "Get"))
    if method == "POST" and path == "/":
        return f"ssm {','.join(sorted(part for part in ('Overwrite', 'ResourceType', 'Value') if part.encode() in body))}", b'"Value"' in body
    parts = urlsplit(path)
    kind = "record" if parts.path.endswith("record.json") else "disk" if "/disk-" in parts.path else "bucket"
    query = "uploads" if "uploads" in parts.query else "list" if "list-type" in parts.query else ""
    return f"{method} {kind} {query}".strip(), method not in ("GET", "HEAD")


class Ec2Family(HttpFamily):
    name = "ec2"
    disk = DISK

    def __init__(self, folder: Path, server: Ec2Server) -> None:
        super().__init__(folder)
        self._region = Ec2Region(server)
        self._urls = self.serve({"ec2": server.url}, label)

    def config(self) -> Config:
        return Config("conformance.faults_ec2:connect", {"endpoint": self._urls["ec2"], "bucket": self._region.bucket}, self.owner)

    def furnish(self) -> None:
        region = self._region
        region.plant("legacy-1 by cloudkeeper", LEGACY_MARKS)
        look_alikes(region.cloud, region.plant, self.owner, self.disk, self.folder)
        region.s3.put_object(Bucket=region.bucket, Key="vmkeeper/their-note", Body=b"theirs")
        region.snapshot("theirs, of no image")

    def reset(self) -> None:
        self._region.clear()

    def close(self) -> None:
        super().close()
        self._region.empty()

    def glance(self) -> Iterable[Thing]:
        region, names = self._region, dict[str, str]()
        for ami in region.amis():
            tags = {tag["Key"]: tag["Value"] for tag in ami["Tags"]}
            owner = tags.get("vmkeeper:owner", "")
            mine = owner == self.owner
            shown = f"{tags['vmkeeper:appliance']} {tags['vmkeeper:version']}" if mine else tags["Name"]
            disabled = ami["State"] == "disabled"
            state = "hidden" if "vmkeeper:hidden-since" in tags else "disabled" if disabled else "active"
            said = [tags.get(f"vmkeeper:{name}", "") for name in ("alias", "expires", "hidden-since", "sha512")]
            names[ami["ImageId"]] = shown
            yield Thing("image", "ours" if mine else owner, shown, state, (tags["Name"], str(ami["Public"]), ami["State"], *said))
        for name, image in region.parameters().items():
            mine = name.startswith(f"/vmkeeper/{self.owner.partition(':')[2]}/")
            yield Thing("alias", "ours" if mine else "", name.rpartition("/")[2], detail=(names.get(image, "an image that is gone"),))

    def inventory(self) -> Iterable[Thing]:
        region = self._region
        yield from self.glance()
        snapshots, loose = region.snapshots(), region.loose_snapshots()
        for snapshot in loose:
            tags = snapshots[snapshot]
            yield Thing("snapshot", "ours" if tags.get("vmkeeper:owner") == self.owner else "", tags.get("Name", "a snapshot"))
        for key in (*region.objects(), *region.half_sent()):
            yield Thing("object", "", key)
