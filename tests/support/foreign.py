"""Another organisation that publishes signed image lists, and a site that takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from cryptography.hazmat.primitives.serialization import Encoding

from support.here import Here
from support.producer import NOW, PARTITION, Authority
from support.tinyvm import boot_sector
from support.webserver import Page, WebServer
from vmkeeper.lists import hepix, smime
from vmkeeper.lists.hepix import HepixEndorser, HepixImage, HepixList
from vmkeeper.values import Size, sha512_hex


def image_uuid(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, f"{name}.images.example.org"))


def disk(name: str, version: str, size: int = 4096) -> bytes:
    """A raw disk that has a partition table and says its name when it is booted."""
    sector = boot_sector(f"{name} {version}", "halt")
    return (sector[:446] + PARTITION + sector[462:]).ljust(size, b"\0")


class Organisation:
    """Lists at a web server: `images` are on the next list that is published."""

    def __init__(self, server: WebServer, authority: Authority | None = None, *, name: str = "science", common_name: str = "Publisher") -> None:
        self.server, self.name = server, name
        self.authority = authority or Authority("Foreign Authority")
        self.signer = self.authority.signer(common_name)
        self.uuid = image_uuid(f"list-{name}")
        self.images: dict[str, HepixImage] = {}
        self.version = 0
        self.etag: str | None = None

    @property
    def path(self) -> str:
        return f"/{self.name}/image.list"

    @property
    def url(self) -> str:
        return self.server.url + self.path

    @property
    def page(self) -> Page:
        return self.server.pages[self.path]

    def endorser(self) -> dict[str, str]:
        return {"dn": str(self.signer.subject), "ca": str(self.signer.issuer)}

    def entry(self, **changes: Any) -> dict[str, Any]:
        """An item of a site's `foreign:`."""
        return {"name": self.name, "url": self.url, "endorser": self.endorser(), **changes}

    def offer(self, name: str, version: str = "1.0", *, data: bytes | None = None, serve: bool = True, **changes: Any) -> HepixImage:
        """Put an image on the next list and its file on the server."""
        data = disk(name, version) if data is None else data
        path = f"/{self.name}/images/{re.sub('[^a-z0-9.]+', '-', f'{name}-{version}'.lower())}.raw"
        if serve:
            self.server.serve(path, data, etag=f'"{sha512_hex(data)[:16]}"')
        image = HepixImage(
            uuid=image_uuid(f"{self.name}-{name}"),
            uri=self.server.url + path,
            version=version,
            size=Size(len(data)),
            sha512=sha512_hex(data),
            title=name,
            description=f"The image {name}",
            expires=NOW + timedelta(days=50),
            hypervisor="KVM",
            format="raw",
            arch="x86_64",
            os="Linux",
            osname="Debian",
            osversion="12",
            comments="",
            group="General group",
            mpuri=f"https://marketplace.example.org/{name}",
            user_fullname="A Publisher",
            user_guid="1",
            user_uri="https://marketplace.example.org/",
        )
        self.images[name] = replace(image, **changes)
        return self.images[name]

    def list(self, **changes: Any) -> HepixList:
        self.version += 1
        fields: dict[str, Any] = {
            "uuid": self.uuid,
            "title": self.name.title(),
            "description": "Images",
            "source": "example.org",
            "version": f"2026.11.20.{self.version}",
            "uri": self.url,
            "created": NOW - timedelta(hours=1),
            "expires": NOW + timedelta(days=20),
            "endorser": HepixEndorser(**self.endorser(), email="publisher@example.org", creator="A Publisher"),
            "vo": "science.example.org",
            "images": tuple(self.images.values()),
        }
        return HepixList(**{**fields, **changes})

    def publish(self, *, signer: smime.Signer | None = None, **changes: Any) -> bytes:
        """Sign a list of what is offered and put it up."""
        return self.publish_text(hepix.write(self.list(**changes)), signer=signer)

    def publish_text(self, text: str, *, signer: smime.Signer | None = None) -> bytes:
        return self.put(smime.sign(text, signer or self.signer))

    def publish_json(self, change: Any, **changes: Any) -> bytes:
        """Publish a list whose JSON `change` was applied to."""
        value = json.loads(hepix.write(self.list(**changes)))
        change(value["hv:imagelist"])
        return self.publish_text(json.dumps(value))

    def put(self, message: bytes, **how: Any) -> bytes:
        """Put any message up where the list is."""
        self.server.serve(self.path, message, **{"etag": f'"{sha512_hex(message)[:16]}"', **how})
        return message

    def requests(self) -> list[dict[str, str]]:
        """Headers of the requests for the list."""
        return [request.headers for request in self.server.requests if request.path == self.path]


class Subscriber(Here):
    """A site that takes foreign lists; its own producer offers nothing unless a test says so."""

    def __init__(self, folder: Path, server: WebServer) -> None:
        super().__init__(folder, server)
        self.producer.publish()
        self.init()

    def takes(self, *entries: dict[str, Any], **changes: Any) -> None:
        """Change the site's file: what it takes, and whatever else."""
        self.producer.site(foreign=list(entries), **{"approve": [], "subscribe": [], **changes})

    def trusts(self, *authorities: Authority) -> None:
        """Put certificates into the site's CA folder."""
        for number, one in enumerate(authorities):
            (self.home.ca / f"{number:08x}.0").write_bytes(one.certificate.public_bytes(Encoding.PEM))

    def files(self) -> dict[str, bytes]:
        """Everything in the site's folder."""
        return {str(path.relative_to(self.home.folder)): path.read_bytes() for path in sorted(self.home.folder.rglob("*")) if path.is_file()}

    def kept_lists(self) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(path.name for path in self.home.lists.iterdir())
        return []


def approved(*names: str) -> list[dict[str, str]]:
    return [{"appliance": name} for name in names]


def later(days: float) -> datetime:
    return NOW + timedelta(days=days)


def found(outcomes: Iterable[Any]) -> list[str]:
    """Outcomes in few words, failures too: `done register a 1`."""
    return [f"{type(one).__name__.lower()} {one.action.kind} {one.action.subject}" for one in outcomes]
