"""A small Debian archive: packages made by dpkg-deb, indexes signed with a key of its own, in a folder for a web server."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vmkeeper.model.appliance import Archive


class Signer:
    """A gpg key in a home of its own."""

    def __init__(self, name: str = "archive") -> None:
        self._home = tempfile.TemporaryDirectory(prefix="gpg-")
        self._run("--quick-generate-key", f"{name}@example.org", "ed25519", "sign", "never")

    def _run(self, *words: str, stdin: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", self._home.name, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", *words]
        return subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=60).stdout

    def keyring(self) -> bytes:
        return self._run("--export")

    def clearsign(self, text: bytes) -> bytes:
        return self._run("--digest-algo", "SHA512", "--clearsign", stdin=text)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self._home.name, "--kill", "all"], check=False, timeout=60)
        self._home.cleanup()


@dataclass
class DebArchive:
    """Packages put in with `add` are in the index that `publish` writes and signs."""

    folder: Path
    signer: Signer
    suite: str = "tiny"
    stanzas: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, name: str, version: str = "1.0", *, files: dict[str, str] | None = None, **fields: str) -> Path:
        """Make a package; `fields` are control fields with _ for -."""
        control = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "A Tester <tester@example.org>", "Description": name}
        control |= {key.replace("_", "-"): value for key, value in fields.items()}
        path = self.folder / f"pool/{name}_{version.replace(':', '%3a')}.deb"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as root:
            tree = Path(root, "tree")
            (tree / "DEBIAN").mkdir(parents=True)
            tree.chmod(0o755)
            (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
            for file, text in (files or {}).items():
                (tree / file).parent.mkdir(parents=True, exist_ok=True)
                (tree / file).write_text(text)
            subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(path)], check=True, capture_output=True)
        data = path.read_bytes()
        index = {**control, "Filename": path.relative_to(self.folder).as_posix(), "Size": str(len(data)), "SHA256": hashlib.sha256(data).hexdigest()}
        self.stanzas[name, version] = "".join(f"{key}: {value}\n" for key, value in index.items())
        return path

    def drop(self, name: str, version: str) -> None:
        """Take a version out of index and pool, as a mirror does when a newer one comes."""
        del self.stanzas[name, version]
        (self.folder / f"pool/{name}_{version}.deb").unlink()

    def publish(self, date: datetime = datetime(2026, 11, 1, tzinfo=UTC), signer: Signer | None = None) -> None:
        """Write the indexes and sign them."""
        packages = "\n".join(self.stanzas.values()).encode()
        folder = self.folder / "dists" / self.suite
        (folder / "main/binary-amd64").mkdir(parents=True, exist_ok=True)
        (folder / "main/binary-amd64/Packages").write_bytes(packages)
        digest = hashlib.sha256(packages).hexdigest()
        release = (
            f"Origin: Tiny\nSuite: {self.suite}\nCodename: {self.suite}\nDate: {date:%a, %d %b %Y %H:%M:%S} UTC\nArchitectures: amd64\n"
            f"Components: main\nSHA256:\n {digest} {len(packages)} main/binary-amd64/Packages\n"
        )
        (folder / "InRelease").write_bytes((signer or self.signer).clearsign(release.encode()))

    def at(self, url: str, name: str = "tiny") -> Archive:
        """The archive as an appliance names it."""
        return Archive(name=name, uri=url, suite=self.suite, keyring="keyrings/tiny.gpg")
