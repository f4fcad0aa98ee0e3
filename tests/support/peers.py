"""Made-up repositories published as lists, for other programs to read: every field, key, digest and chain varied; and where those programs are."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from support.certificates import DAY, Identity, authority, ec_key, issue, name, rsa_key
from support.publication import appliance, decision, desired, plan, the_list
from support.x509 import revocation_list
from vmkeeper.lists.hepix import HepixImage, HepixList, publish_text
from vmkeeper.lists.smime import Signer, sign
from vmkeeper.model.imagelist import ImageList
from vmkeeper.plan.publication import ListSigner
from vmkeeper.trust.keys.names import DistinguishedName
from vmkeeper.values import Size, format_time

REAL_NOW = datetime.now(UTC).replace(microsecond=0)
"""Other programs look at the machine's clock."""
VARIETY = 24
COUNTS = (0, 1, 2, 3, 5, 8, 13, 20, 35, 50)
TEXTS = (
    "Debian 12",
    "Größe ünï 🖥 日本語",
    'quotes " and \\ and / and <&>',
    "long " + "word " * 400,
    "two\nlines\tand a tab",
    "{{ .Name }} %s ${x}",
    "Łódź\u00a0non\u2011breaking",
    "-----BEGIN PKCS7-----",
    "--boundary\n--",
    "From the start",
)
EXTENSION = {"x:supply": {"patches": [{"uri": "https://images.example.org/a.zst", "size": 1, "base": {"sha512": "ab"}}], "compressed": None}}
"""A key that nobody knows, with something in it."""
KEYS = {
    "RSA 2048": lambda: rsa_key(2048),
    "RSA 3072": lambda: rsa_key(3072),
    "P-256": ec_key,
    "P-384": lambda: ec_key(ec.SECP384R1()),
}


@dataclass(frozen=True)
class Publication:
    """A published list of a made-up repository."""

    number: int
    kind: str
    list: HepixList
    message: bytes
    signer: Identity

    def write(self, folder: Path) -> Path:
        file = folder / f"{self.number:02}.signed"
        file.write_bytes(self.message)
        return file


@dataclass(frozen=True)
class Trust:
    """Authorities with signers below them, some with one between."""

    root: Identity
    middle: Identity
    signers: tuple[tuple[str, Identity, tuple[Identity, ...]], ...]

    def ca_dir(self, folder: Path) -> Path:
        """A CA folder in IGTF layout as every reader wants it: names by hash, revocation lists, namespaces and signing policies."""
        folder.mkdir(parents=True)
        for number, one in enumerate((self.root, self.middle)):
            stem = f"ca{number}"
            (folder / f"{stem}.pem").write_bytes(one.pem)
            revoked = revocation_list(one, made=REAL_NOW - DAY, until=REAL_NOW + 7 * DAY)
            (folder / f"{stem}.crl.pem").write_bytes(revoked.public_bytes(Encoding.PEM))
            subject = str(DistinguishedName.of(one.certificate.subject))
            line = f'TO Issuer "{subject}" PERMIT Subject "/DC=org/DC=example/.*"\n'
            (folder / f"{stem}.namespaces").write_text(line)
            policy = f"access_id_CA   X509    '{subject}'\npos_rights     globus  CA:sign\ncond_subjects  globus  '\"/DC=org/DC=example/*\"'\n"
            (folder / f"{stem}.signing_policy").write_text(policy)
        subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True, timeout=60)
        for link in list(folder.iterdir()):
            if link.is_symlink():
                data = link.read_bytes()
                link.unlink()
                link.write_bytes(data)
        for made in folder.glob("*.pem"):
            made.unlink()
        return folder


@cache
def trust() -> Trust:
    """One root with an authority below it; signers of every kind below either."""
    valid = {"start": REAL_NOW - 30 * DAY, "end": REAL_NOW + 365 * DAY}
    org = (("DC", "org"), ("DC", "example"))
    root = authority(name(*org, ("CN", "Peers Root")), key=rsa_key(), **valid)
    middle = authority(name(*org, ("CN", "Peers Users")), root, key=rsa_key(), **valid)
    signers = []
    for kind, key in KEYS.items():
        for chained in (False, True):
            above = middle if chained else root
            who = issue(name(*org, ("O", "Images"), ("CN", f"Publisher {kind}{' below' if chained else ''}")), above, key=key(), **valid)
            signers.append((f"{kind}{' in a chain' if chained else ''}", who, (middle,) if chained else ()))
    return Trust(root, middle, tuple(signers))


def _repository(number: int) -> Any:
    """The list that a made-up repository describes, with endorsed releases."""
    chance = random.Random(number)
    count = COUNTS[number % len(COUNTS)]

    def text() -> str:
        return chance.choice(TEXTS)

    names = [f"image-{index}" for index in range(count)]
    made = {
        one: appliance(
            one,
            title=text().replace("\n", " ").replace("\t", " ")[:120].strip(),
            description=text(),
            architecture=chance.choice(["x86_64", "aarch64"]),
            distribution=chance.choice([{"name": "debian", "version": "12"}, {"version": "9.4"}, {"name": "debian", "release": "trixie"}]),
            requirements=chance.choice([{}, {"memory": "512MiB", "cpus": 1}, {"memory": str(Size(3 << 40)), "cpus": 64}]),
        )
        for one in names
    }
    listed = [
        {
            "appliance": one,
            "group": chance.choice(["General group", "Größe", "a/b"]),
            "comments": chance.choice(["", text()]),
            **chance.choice([{}, {"mpuri": f"https://appdb.example.org/store/vo/image/{one}:{number}/"}]),
        }
        for one in names
    ]
    decisions = [
        decision(
            f"{one} {chance.choice(['2026.11.20.7', '1', '3.2.1'])}", expires=(REAL_NOW + chance.randint(2, 300) * DAY,), formats=("qcow2", "raw")
        )
        for one in names
    ]
    spec = {"description": text(), "title": f"List {number}", "vo": chance.choice(["", "vo.example.org"])}
    owner = {"name": "Image Publisher", "email": "images@example.org", **chance.choice([{}, {"url": "https://images.example.org/~me"}])}
    spec |= {"lifetime": chance.choice(["2d", "28d", "90d"]), "renew_before": "1d"}
    found = desired(*decisions, name=f"list-{number}", appliances=made, owner=owner, **spec)
    return replace(found, spec=ImageList.model_validate({**found.spec.model_dump(mode="json"), "appliances": listed}))


@cache
def publications() -> tuple[Publication, ...]:
    """The lists of all made-up repositories, signed in turn by every kind of signer and digest."""
    return tuple(_published(number) for number in range(VARIETY))


def _published(number: int) -> Publication:
    kind, who, chain = trust().signers[number % len(trust().signers)]
    digest = "sha512" if number % 3 == 1 else "sha256"
    signer = Signer(who.certificate, who.key, tuple(one.certificate for one in chain))
    terms = ListSigner(str(signer.subject), str(signer.issuer), who.certificate.not_valid_after_utc)
    found = the_list(plan(_repository(number), now=REAL_NOW - timedelta(minutes=1), signer=terms))
    if number % 2:
        found = replace(
            found, images=tuple(replace(image, extra={**image.extra, **EXTENSION}) for image in found.images), extra={"x:list": [1, None]}
        )
    return Publication(number, f"{len(found.images)} images, {kind}, {digest}", found, sign(publish_text(found), signer, digest), who)


@cache
def hostile() -> tuple[bytes, ...]:
    """Lists that no reader may take: one that was changed after it was signed, and one by a stranger under the publisher's name."""
    good = publications()[1]
    valid = {"start": REAL_NOW - 30 * DAY, "end": REAL_NOW + 365 * DAY}
    stranger = issue(good.signer.certificate.subject, authority(trust().root.certificate.subject, key=rsa_key(), **valid), key=rsa_key(), **valid)
    changed = good.message.replace(b"images.example.org", b"images.example.net")
    assert changed != good.message
    return changed, sign(publish_text(good.list), Signer(stranger.certificate, stranger.key))


# -- what a list means


def meaning(found: HepixList) -> dict[str, Any]:
    """What every reader must find in it."""
    return {
        "dc:identifier": found.uuid,
        "dc:title": found.title,
        "dc:description": found.description,
        "dc:source": found.source,
        "hv:version": found.version,
        "hv:uri": found.uri,
        "dc:date:created": format_time(found.created),
        "dc:date:expires": format_time(found.expires),
        "ad:vo": found.vo,
        "hv:dn": found.endorser.dn,
        "hv:ca": found.endorser.ca,
        "hv:email": found.endorser.email,
        "dc:creator": found.endorser.creator,
        "images": [_image(image) for image in found.images],
    }


def _image(image: HepixImage) -> dict[str, Any]:
    assert image.expires is not None
    return {
        "dc:identifier": image.uuid,
        "dc:title": image.title,
        "dc:description": image.description,
        "dc:date:expires": format_time(image.expires),
        "hv:uri": image.uri,
        "hv:version": image.version,
        "hv:format": image.format,
        "hv:hypervisor": image.hypervisor,
        "hv:size": int(image.size),
        "sl:checksum:sha512": image.sha512,
        "sl:arch": image.arch,
        "sl:os": image.os,
        "sl:osname": image.osname,
        "sl:osversion": image.osversion,
        "sl:comments": image.comments,
        "ad:group": image.group,
        "ad:mpuri": image.mpuri,
        "ad:user:fullname": image.user_fullname,
        "ad:user:guid": image.user_guid,
        "ad:user:uri": image.user_uri,
    }


def differences(read: dict[str, Any], found: HepixList) -> list[str]:
    """Where a reader's account differs, for the keys that it gives and that are ours; a list's images are compared one by one."""
    expected = meaning(found)
    said = {key: value for key, value in read.items() if key in expected and key != "images"}
    wrong = [f"{key}: {value!r}, not {expected[key]!r}" for key, value in said.items() if value != expected[key]]
    if len(read["images"]) != len(expected["images"]):
        return [*wrong, f"{len(read['images'])} images, not {len(expected['images'])}"]
    for number, (one, two) in enumerate(zip(read["images"], expected["images"], strict=True)):
        wrong += [f"image {number}: {key}: {value!r}, not {two[key]!r}" for key, value in one.items() if key in two and value != two[key]]
    return wrong


# -- other programs


READERS = Path(__file__).parents[1] / "peers" / "readers"


def peers_folder() -> Path | None:
    """Where other programs' sources are kept between runs: the folder of VMKEEPER_PEERS."""
    found = os.environ.get("VMKEEPER_PEERS")
    return Path(found) if found else None


def environment(folder: Path | None, name: str, *requirements: str) -> Path:
    """A virtual environment with these packages, kept in the folder of VMKEEPER_PEERS or made in `folder`; skips where they cannot be had."""
    home = (peers_folder() or folder or Path()) / name
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True, timeout=300)
        done = subprocess.run([str(python), "-m", "pip", "install", "-q", *requirements], check=False, capture_output=True, timeout=900)
        if done.returncode:
            shutil.rmtree(home, ignore_errors=True)
            pytest.skip(f"{' '.join(requirements)} cannot be installed: {done.stderr.decode(errors='replace')[-200:]}")
    return python


def checkout(*names: str) -> list[Path]:
    """Folders with other projects' sources; the test is skipped where one is missing."""
    folder = peers_folder()
    missing = [one for one in names if folder is None or not (folder / one).is_dir()]
    if folder is None or missing:
        pytest.skip(f"{', '.join(missing)} is missing: put a checkout into the folder of VMKEEPER_PEERS (tests/peers/README.md)")
    return [folder / one for one in names]


def program(name: str) -> str:
    """Where a program is, in the folder of VMKEEPER_PEERS or on the path; the test is skipped where it is not."""
    folder = peers_folder()
    if found := shutil.which(name, path=folder) or shutil.which(name):
        return found
    pytest.skip(f"{name} is missing (tests/peers/README.md)")


def accounts(command: Sequence[str | Path], data: Iterable[Any] = (), **env: str) -> Iterator[dict[str, Any]]:
    """What a reader says of each list: one JSON object a line. data: what it gets on standard input, in the same form."""
    text = "".join(f"{json.dumps(one)}\n" for one in data).encode()
    done = subprocess.run(list(map(str, command)), input=text, env={**os.environ, **env}, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    for line in done.stdout.decode().splitlines():
        if line.startswith("{"):
            yield json.loads(line)
