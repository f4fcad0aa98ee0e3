"""Programs that others wrote and that read what we publish: where they are, or what is missing.

They are looked for on PATH and in the folder that VMKEEPER_READERS names, into which packages were unpacked
(`dpkg -x PACKAGE.deb FOLDER`): Ubuntu's simplestreams, python3-simplestreams and python3-simplestreams-openstack, Debian's lxd-client.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

UNPACKED = Path(os.environ.get("VMKEEPER_READERS") or "/nonexistent")


@dataclass(frozen=True)
class Reader:
    """A program with the words before its own arguments, and its surroundings."""

    command: Sequence[str]
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *words: object, timeout: int = 120, **env: str) -> subprocess.CompletedProcess[str]:
        surroundings = {**os.environ, "LC_ALL": "C.UTF-8", **self.env, **env}
        return subprocess.run(
            [*self.command, *map(str, words)],
            env=surroundings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def program(name: str, package: str) -> Reader:
    """A program, or the test is skipped saying which package has it."""
    unpacked = UNPACKED / "usr" / "bin" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.exists() else None)
    if found is None:
        pytest.skip(f"{name} ({package}) is neither on PATH nor in the folder of VMKEEPER_READERS")
    library = UNPACKED / "usr" / "lib" / "python3" / "dist-packages"
    if Path(found).read_bytes()[:64].startswith(b"#!") and b"python" in Path(found).read_bytes()[:64]:
        return Reader(["/usr/bin/python3", found], {"PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1"})
    return Reader([found])


def library(module: str, package: str) -> Reader:
    """Python with a library, to run a program of ours against it; or the test is skipped."""
    reader = Reader(["/usr/bin/python3"], {"PYTHONPATH": str(UNPACKED / "usr" / "lib" / "python3" / "dist-packages"), "PYTHONDONTWRITEBYTECODE": "1"})
    if not Path("/usr/bin/python3").exists() or reader.run("-c", f"import {module}").returncode != 0:
        pytest.skip(f"{module} ({package}) is neither installed nor in the folder of VMKEEPER_READERS")
    return reader


def server_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """For a web server at 127.0.0.1, and the file with the certificate that a client has to trust. Valid now: clients look at the clock."""
    folder.mkdir(parents=True)
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context, folder / "certificate.pem"
