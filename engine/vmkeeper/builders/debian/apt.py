"""apt in a private root: indexes of the given archives only, verified by their signatures, and its resolver.

The host's apt.conf counts (proxies, validity checks); its sources, keys, preferences, hooks and installed packages do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

from debian.deb822 import Deb822

from vmkeeper.errors import Place, Problem, Problems, Refused, Transient, UserError
from vmkeeper.model.appliance import Architecture, Archive
from vmkeeper.run import ProgramFailed, Result, program, run
from vmkeeper.values import Name, sha256_hex

KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")
"""Where Debian's package debian-archive-keyring puts the keys of Debian's archives."""

DPKG_ARCHITECTURE: Mapping[Architecture, str] = {"x86_64": "amd64", "aarch64": "arm64"}

_CONF = """\
#clear APT::Update;
#clear APT::Architectures;
#clear APT::Default-Release;
#clear APT::Never-MarkAuto-Sections;
#clear DPkg;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::GzipIndexes "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{folder}/state";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Log "{folder}/log";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "-";
"""


@dataclass(frozen=True, slots=True)
class Index:
    """One verified Packages file of an archive."""

    archive: Archive
    packages: Path
    release_sha256: str
    """SHA-256 of the text that the archive's signature covers."""
    date: datetime

    def stanzas(self) -> Iterator[bytes]:
        """Each package's stanza, without the empty line."""
        return (stanza for stanza in self.packages.read_bytes().split(b"\n\n") if stanza.strip())


class Apt:
    """apt-get with everything of its own below `folder`, which one process at a time may use."""

    def __init__(self, folder: Path, architecture: Architecture, archives: tuple[Archive, ...], keyrings: Mapping[Name, bytes]) -> None:
        self._folder = folder
        self._archives = archives
        for part in ("state", "lists/partial", "cache/archives/partial", "log", "keyrings"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._dpkg = DPKG_ARCHITECTURE[architecture]
        (folder / "apt.conf").write_text(_CONF.format(folder=folder, architecture=self._dpkg))
        (folder / "sources.list").write_text("".join(self._source(archive, keyrings.get(archive.name)) for archive in archives))
        self.installed(())

    def installed(self, stanzas: Iterable[bytes]) -> None:
        """Tell the resolver what is installed already: index stanzas or control files."""
        status = (b"\n".join([*_fields(stanza), b"Status: install ok installed"]) + b"\n\n" for stanza in stanzas)
        (self._folder / "status").write_bytes(b"".join(status))

    def update(self) -> None:
        """Bring the indexes up to date; what has not changed is not downloaded again. Raises Refused, Transient."""
        try:
            self._apt("update", timeout=900)
        except ProgramFailed as failed:
            raise _update_error(failed) from None

    def indexes(self) -> tuple[Index, ...]:
        """The verified indexes, in the order of the archives. To be called after `update`."""
        listed = self._apt("indextargets", "--format", "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(METAKEY)\t$(FILENAME)", "Created-By: Packages").text
        found: dict[tuple[str, str, str], tuple[str, Path]] = {}
        for line in listed.splitlines():
            uri, suite, component, key, file = line.split("\t")
            found[uri.rstrip("/"), suite.rstrip("/"), component] = (key, Path(file))
        indexes = []
        for archive in self._archives:
            for component in archive.components:
                key, path = found[archive.uri.rstrip("/"), archive.suite.rstrip("/"), component]
                signed = _signed_text(path, key)
                date = parsedate_to_datetime(str(Deb822(signed)["Date"])).astimezone(UTC)
                indexes.append(Index(archive, path, sha256_hex(signed), date))
        return tuple(indexes)

    def resolve(self, appliance: Name, names: Iterable[str]) -> tuple[str, ...]:
        """The addresses of the packages to install for `names`. Raises Problems for what cannot be installed."""
        try:
            result = self._apt("install", "--yes", "--no-remove", "--no-upgrade", "--print-uris", *sorted(set(names)))
        except ProgramFailed as failed:
            raise _resolve_error(appliance, failed) from None
        return tuple(unquote(match[1]) for match in re.finditer(r"(?m)^'([^']+)' \S+ \d+ \S*$", result.text))

    def _apt(self, *words: str, timeout: float = 120) -> Result:
        return run([program("apt-get", package="apt"), "-c", self._folder / "apt.conf", "-q", *words], timeout=timeout)

    def _source(self, archive: Archive, keyring: bytes | None) -> str:
        if keyring is not None:
            path = self._folder / "keyrings" / f"{archive.name}.{'asc' if keyring.startswith(b'-----') else 'gpg'}"
            path.write_bytes(keyring)
        else:
            path = debian_keyring()
        return f"deb [arch={self._dpkg} target=Packages signed-by={path}] {archive.uri} {archive.suite} {' '.join(archive.components)}\n"


def debian_keyring() -> Path:
    """The host's copy of Debian's archive keys. Raises UserError naming the package that has them."""
    for path in KEYRINGS:
        if Path(path).is_file():
            return Path(path)
    raise UserError("the keys of Debian's archives are not on this machine", hint="apt-get install debian-archive-keyring")


def _fields(stanza: bytes) -> Iterator[bytes]:
    """The lines of a stanza that the resolver needs, without those that a dpkg status file does not have."""
    skip = False
    for line in stanza.strip(b"\n").split(b"\n"):
        if not line.startswith((b" ", b"\t")):
            skip = line.split(b":")[0] in (b"Filename", b"Size", b"MD5sum", b"SHA1", b"SHA256", b"Description", b"Description-md5", b"Tag", b"Status")
        if not skip:
            yield line


def _signed_text(packages: Path, metakey: str) -> bytes:
    """The signed text of the Release file next to a Packages file, as apt verified and kept it."""
    stem = packages.name.removesuffix(metakey.replace("/", "_"))
    inline = packages.with_name(f"{stem}InRelease")
    if not inline.is_file():
        return packages.with_name(f"{stem}Release").read_bytes()
    _, lines, _ = Deb822.split_gpg_and_payload(iter(inline.read_bytes().splitlines()), strict={"whitespace-separates-paragraphs": False})
    return b"".join(line.removeprefix(b"- ") + b"\n" for line in lines)


def _update_error(failed: ProgramFailed) -> UserError | Refused | Transient:
    said = _apt_errors(failed)
    if any(word in said for word in ("GPG error", "not signed", "NO_PUBKEY", "BADSIG", "EXPKEYSIG", "Hash Sum mismatch", "expired")):
        return Refused(
            "R14",
            "the signature of a package archive does not verify",
            why=said,
            hint="give the archive its keyring in appliance.yaml; for Debian's own, update the package debian-archive-keyring",
        )
    if "404" in said or "does not have a Release file" in said:
        return UserError(
            "a package archive does not have what the appliance names", why=said, hint="correct uri, suite and components of the archive"
        )
    return Transient("a package archive did not answer", why=said, hint="try again; behind a proxy, set it in apt.conf or http_proxy")


def _resolve_error(appliance: Name, failed: ProgramFailed) -> UserError:
    said = _apt_errors(failed)
    place = Place(file=f"appliances/{appliance}/appliance.yaml", field="packages")
    missing = re.findall(r"(?:Unable to locate package|Package '?|no installation candidate for) ?([a-z0-9][a-z0-9+.-]+)", said)
    if "Unable to locate" in said or "no installation candidate" in said:
        hint = "look for its name in the distribution's release, or add the archive that has it"
        return Problems(Problem(place, f"no archive has the package {name}", hint) for name in missing)
    stdout = failed.result.text if failed.result else ""
    unmet = stdout[stdout.find("The following packages have unmet dependencies") :].strip() if "unmet dependencies" in stdout else ""
    return UserError(
        "the packages cannot be installed together", where=place, why=unmet or said, hint="refresh the parent first, or change the packages"
    )


def _apt_errors(failed: ProgramFailed) -> str:
    if failed.result is None:
        return failed.why
    lines = failed.result.stderr.decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if line.startswith(("E:", "W:"))) or "\n".join(lines[-5:])
