"""What a demo has to make up because no organisation stands behind it: keys, certificates, a web server, its own addresses."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmkeeper.documents.dump import dump
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import load
from vmkeeper.images.files import write_file
from vmkeeper.model.endorser import Endorser, EndorserList
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.keys import Person, SSHKey
from vmkeeper.model.policy import Builder, Freshness, Policy
from vmkeeper.run import program

LIST = "science"
SITE = "laptop"
ENDORSER = "demo"
PRINCIPAL = "maintainer"
BUILDER = "ci"
_DAYS = 30


def new_ssh_key(path: Path) -> str:
    """A new Ed25519 key without a passphrase in `path` and `path.pub`; returns type and base64 of the public half."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(
        [program("ssh-keygen", package="openssh-client"), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def list_signer(folder: Path) -> None:
    """A certificate authority (ca.pem) and a certificate with its key for signing lists (list.pem, list.key)."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _name("vmkeeper demo CA"), _name("vmkeeper demo publisher")
    ca = _certificate(ca_name, ca_name, ca_key.public_key(), authority=True).sign(ca_key, hashes.SHA256())
    leaf = _certificate(name, ca_name, key.public_key(), authority=False).sign(ca_key, hashes.SHA256())
    write_file(folder / "ca.pem", ca.public_bytes(serialization.Encoding.PEM))
    write_file(folder / "list.pem", leaf.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_file(folder / "list.key", private, mode=0o600)


def _name(common: str) -> x509.Name:
    parts = ((NameOID.DOMAIN_COMPONENT, "org"), (NameOID.DOMAIN_COMPONENT, "example"), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_usage(authority=authority), critical=True)
    )
    return builder if authority else builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)


def _usage(*, authority: bool) -> x509.KeyUsage:
    off = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **off)


def tailor(repository: Path, keys: Mapping[str, str], url: str, *, without: Collection[str] = ()) -> tuple[str, ...]:
    """Let the demo's people govern, build and endorse, and the list be published at its address; returns the paths it wrote.

    keys: SSH public keys of `PRINCIPAL`, `BUILDER` and `ENDORSER`. without: appliances that the list shall not name.
    """
    listed = load(KINDS["imagelist"], (repository / f"imagelists/{LIST}.yaml").read_bytes(), f"imagelists/{LIST}.yaml")
    assert isinstance(listed, ImageList)
    path = f"endorsers/{listed.endorsed_by}.yaml"
    endorsers = load(KINDS["endorsers"], (repository / path).read_bytes(), path)
    assert isinstance(endorsers, EndorserList)
    held = {name: (SSHKey(type="ssh", key=key),) for name, key in keys.items()}
    person = Endorser(name=ENDORSER, full_name="Demo Endorser", email="demo@example.org", keys=held[ENDORSER])
    write_file(repository / path, dump(endorsers.model_copy(update={"endorsers": (person,), "quorum": 1})))
    policy = Policy(
        title="Policy of the demo",
        quorum=1,
        principals=(Person(name=PRINCIPAL, full_name="Demo Maintainer", email="maintainer@example.org", keys=held[PRINCIPAL]),),
        builders=(Builder(name=BUILDER, id="https://ci.example.org/demo", keys=held[BUILDER]),),
        freshness=Freshness(signers=(BUILDER,)),
    )
    write_file(repository / "endorsers/policy.yaml", dump(policy))
    kept = tuple(entry for entry in listed.appliances if entry.appliance not in without)
    write_file(repository / f"imagelists/{LIST}.yaml", dump(listed.model_copy(update={"url": url, "appliances": kept})))
    return path, "endorsers/policy.yaml", f"imagelists/{LIST}.yaml"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of 127.0.0.1, as any web server would; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
