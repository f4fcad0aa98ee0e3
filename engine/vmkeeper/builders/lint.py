"""What a world-readable image must not hold, looked for in a root file system's tar in one pass.

An error stops a release; a finding is for a person to look at. Something that a package brought (dpkg's own lists say so) is
public already and at most a finding. Refuses nothing itself and reads no secret out: only paths and kinds are reported.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

from vmkeeper.model.release import LintFinding
from vmkeeper.values import visible

_CHUNK = 4 << 20
_OVERLAP = 16 << 10
_SMALL = 1 << 20
"""Files up to this size are also searched for tokens and read for rules on their content."""

_HOME = r"(?:/root|/home/[^/]+|/etc/skel|/var/lib/[^/]+|/srv/[^/]+|/opt/[^/]+|)"

_KEYS = (
    (
        b"PRIVATE KEY",
        re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*\n(?:[A-Za-z-]+: .*\n)*\s*[A-Za-z0-9+/=]{16,}"),
        "a private key",
    ),
    (b"PuTTY-User-Key-File-", re.compile(rb"^PuTTY-User-Key-File-[23]: ", re.MULTILINE), "a PuTTY private key"),
    (b"AGE-SECRET-KEY-1", re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{58}"), "an age private key"),
)
_TOKENS = re.compile(
    rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{50}|\bglpat-[A-Za-z0-9_-]{20}|\bxox[abp]-[0-9]{8}"
    rb"|^\s*(?:export\s+)?(?:OS_PASSWORD|OS_APPLICATION_CREDENTIAL_SECRET|AWS_SECRET_ACCESS_KEY|VAULT_TOKEN)=[\"']?[^\s\"'$]+",
    re.MULTILINE,
)
_OF_PACKAGES_ONLY = re.compile(r"/usr/(?!local/).*|/var/lib/(?:dpkg|apt)/.*|/boot/.*")
"""Not searched for tokens: it takes long, and what is there came from packages."""
_COMPILED = re.compile(r"__pycache__/([^/]+)\.cpython-\d+(?:\.opt-\d)?\.pyc$")
"""Python's compiled form, made when a package is installed."""
_URL_WITH_PASSWORD = re.compile(rb"\bhttps?://[^/\s:@]+:[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class PathRule:
    """A file that, unless it is empty, must not be there. `packaged`: whether one that a package brought is wrong as well."""

    rule: str
    path: re.Pattern[str]
    what: str
    error: bool = True
    packaged: bool = True


def _files(rule: str, pattern: str, what: str, *, error: bool = True, packaged: bool = True) -> PathRule:
    return PathRule(rule, re.compile(pattern), what, error, packaged)


PATH_RULES = (
    _files(
        "host-key", r"/etc/(?:ssh/ssh_host_\w+_key(?:\.pub)?|dropbear/dropbear_\w+_host_key)", "an SSH host key: every machine would have the same"
    ),
    _files(
        "shell-history", r".*/\.(?:(?:bash|zsh|ash|sh|python|mysql|psql|sqlite|rediscli|node_repl)_history|lesshst|viminfo)", "what somebody typed"
    ),
    _files(
        "random-seed",
        r"/var/lib/(?:systemd|urandom)/random-seed|.*/loader/random-seed|/var/lib/systemd/credential\.secret",
        "a secret that must differ",
    ),
    _files("random-seed", r"/var/lib/NetworkManager/(?:secret_key|seen-bssids)", "a secret that must differ"),
    _files(
        "dhcp-lease",
        r"/(?:var/lib/(?:dhcp|dhclient|NetworkManager|dhcpcd)|run/systemd/netif/leases)/.*(?:lease.*|\d+)",
        "a lease of the building machine",
    ),
    _files("journal", r"/(?:var|run)/log/journal/.*", "a journal of the building machine"),
    _files("log", r"/var/log/(?!journal/).*", "a log of the building machine", error=False, packaged=False),
    _files("instance-data", r"/var/lib/cloud/(?:instances?/|data/|sem/|instance$).*|/run/cloud-init/.*", "cloud-init's data of another machine"),
    _files("instance-data", r"/var/lib/cloud/seed/.*", "first-boot data that every machine would use", error=False),
    _files(
        "credentials",
        _HOME + r"/\.(?:aws/credentials|netrc|pgpass|git-credentials|vault-token|s3cfg|boto|pypirc|my\.cnf|mylogin\.cnf)",
        "credentials",
    ),
    _files(
        "credentials",
        _HOME + r"/\.(?:kube/config|docker/config\.json|azure/.*|oci/.*|one/one_auth|config/(?:gcloud/.*|gh/hosts\.yml))",
        "credentials",
    ),
    _files("credentials", r".*/(?:rclone\.conf|[^/]*openrc(?:\.sh)?)", "credentials", packaged=False),
    _files("credentials", _HOME + r"/\.config/openstack/(?:clouds|secure)\.ya?ml|/etc/openstack/(?:clouds|secure)\.ya?ml", "cloud credentials"),
    _files("credentials", r".*\.keytab|" + _HOME + r"/\.gnupg/(?:private-keys-v1\.d/.*|secring\.gpg)", "secret keys"),
    _files("snakeoil-key", r"/etc/ssl/private/ssl-cert-snakeoil\.key", "a self-signed key: every machine would have the same", error=False),
)


@dataclass(frozen=True, slots=True)
class Lint:
    """What was found, each ordered by path and rule: `errors` stop a release, `findings` are shown with it."""

    errors: tuple[LintFinding, ...]
    findings: tuple[LintFinding, ...]


@dataclass(frozen=True, slots=True)
class _Hit:
    rule: str
    path: str
    what: str
    error: bool = True
    packaged: bool | None = True
    """What a package having brought it makes of it: True nothing else, False a finding, None nothing at all."""


def lint(tar: BinaryIO, *, default_user: str = "") -> Lint:
    """Look through an uncompressed tar, read once and never seeked.

    default_user: whom the image lets become root without a password. Raises tarfile.TarError for what is not a tar.
    """
    hits: list[_Hit] = []
    packaged: set[str] = set()
    merged: dict[str, str] = {}
    with tarfile.open(fileobj=tar, mode="r|") as archive:
        for member in archive:
            path = "/" + member.name.removeprefix("./").strip("/")
            if member.issym():
                merged[path] = "/" + member.linkname.lstrip("/")
                continue
            hits += _permissions(path, member)
            file = archive.extractfile(member) if member.isreg() and member.size else None
            if file is None:
                continue
            small = file.read() if member.size <= _SMALL else None
            if path.startswith("/var/lib/dpkg/") and small is not None:
                packaged |= _owned(path, small)
            hits += _by_path(path)
            hits += _keys(path, _chunks(file) if small is None else (small,))
            if small is not None:
                hits += _by_content(path, small, default_user)
    return _verdict(hits, _resolved(packaged, merged))


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _verdict(hits: list[_Hit], packaged: set[str]) -> Lint:
    errors: set[LintFinding] = set()
    findings: set[LintFinding] = set()
    named = {(hit.path, hit.rule) for hit in hits}
    for hit in hits:
        from_package = _COMPILED.sub(r"\1.py", hit.path) in packaged
        if from_package and hit.packaged is None:
            continue
        if hit.rule == "private-key" and ({(hit.path, "host-key"), (hit.path, "snakeoil-key"), (hit.path, "credentials")} & named):
            continue
        finding = LintFinding(rule=hit.rule, path=visible(hit.path), what=hit.what + (" (from a package)" if from_package else ""))
        (errors if hit.error and not (from_package and hit.packaged is False) else findings).add(finding)
    return Lint(_sorted(errors), _sorted(findings))


def _sorted(found: set[LintFinding]) -> tuple[LintFinding, ...]:
    return tuple(sorted(found, key=lambda finding: (finding.path, finding.rule, finding.what)))


def _owned(path: str, data: bytes) -> set[str]:
    """Paths of packages, as dpkg's lists and diversions tell."""
    lines = data.decode(errors="replace").splitlines()
    if re.fullmatch(r"/var/lib/dpkg/info/[^/]+\.list", path):
        return set(lines)
    return set(lines[1::3]) if path == "/var/lib/dpkg/diversions" else set()


def _resolved(packaged: set[str], merged: dict[str, str]) -> set[str]:
    """dpkg's lists say /bin/su where /bin is a link to /usr/bin."""
    return packaged | {merged["/" + top] + "/" + rest for top, _, rest in (path[1:].partition("/") for path in packaged) if "/" + top in merged}


def _permissions(path: str, member: tarfile.TarInfo) -> Iterator[_Hit]:
    if member.isdir():
        if member.mode & 0o002 and not member.mode & 0o1000:
            yield _Hit("world-writable", path, "a folder that anybody may write to, without the sticky bit", packaged=False)
        return
    if not (member.isreg() or member.islnk()):
        return
    if member.mode & 0o002:
        yield _Hit("world-writable", path, "a file that anybody may write to", packaged=False)
    if member.mode & 0o6000:
        yield _Hit("setuid", path, "runs with its owner's or group's rights and is of no package", packaged=None)
    if "SCHILY.xattr.security.capability" in member.pax_headers:
        yield _Hit("setuid", path, "has file capabilities and is of no package", packaged=None)


def _by_path(path: str) -> Iterator[_Hit]:
    for rule in PATH_RULES:
        if rule.path.fullmatch(path):
            yield _Hit(rule.rule, path, rule.what, rule.error, True if rule.packaged else None)


def _keys(path: str, chunks: Iterable[bytes]) -> Iterator[_Hit]:
    """Private keys by content. In /etc one that a package brought is an error too, since it may be used there; elsewhere a finding
    if the file is a key, and nothing if it only contains one: libraries and manuals have them for their tests and examples."""
    before, start = b"", True
    for chunk in chunks:
        data = before + chunk if before else chunk
        for needle, pattern, what in _KEYS:
            if needle in data and (match := pattern.search(data)):
                packaged = True if path.startswith("/etc/") else False if start and not data[: match.start()].strip() else None
                yield _Hit("private-key", path, what, packaged=packaged)
        before, start = data[-_OVERLAP:], False


def _by_content(path: str, data: bytes, default_user: str) -> Iterator[_Hit]:
    for pattern, check in _CONTENT_RULES:
        if pattern.fullmatch(path):
            yield from check(path, data, default_user)
    if not _OF_PACKAGES_ONLY.fullmatch(path) and b"\0" not in data[:8192] and _TOKENS.search(data):
        yield _Hit("token", path, "what looks like an access token or password of a cloud or forge", packaged=None)


def _lines(data: bytes, comment: str = "#") -> Iterator[str]:
    for line in data.decode(errors="replace").splitlines():
        if line.strip() and not line.lstrip().startswith(comment):
            yield line.strip()


def _passwords(path: str, data: bytes, _user: str) -> Iterator[_Hit]:
    for line in _lines(data):
        name, _, rest = line.partition(":")
        password = rest.partition(":")[0]
        if password == "" and "gshadow" not in path:
            yield _Hit("empty-password", path, f"{visible(name)} may log in without a password")
        elif password.lstrip("!*") not in ("", "x"):
            yield _Hit("password-hash", path, f"{visible(name)} has a password hash")


def _users(path: str, data: bytes, _user: str) -> Iterator[_Hit]:
    for line in _lines(data):
        fields = line.split(":")
        if len(fields) > 2 and fields[2].lstrip("0") == "" and fields[0] != "root":
            yield _Hit("uid-0", path, f"{visible(fields[0])} has the rights of root")


def _authorized(path: str, data: bytes, _user: str) -> Iterator[_Hit]:
    if any(_lines(data)):
        yield _Hit("authorized-keys", path, "somebody's key opens every machine made from the image")


def _machine_id(path: str, data: bytes, _user: str) -> Iterator[_Hit]:
    if data.strip() not in (b"", b"uninitialized"):
        yield _Hit("machine-id", path, "a machine's identity: every machine would have the same")


def _sudoers(path: str, data: bytes, user: str) -> Iterator[_Hit]:
    for line in _lines(data):
        who = line.split()[0]
        if "NOPASSWD" in line and who != user:
            yield _Hit("sudo", path, f"{visible(who)} may become root without a password")


def _apt(path: str, data: bytes, _user: str) -> Iterator[_Hit]:
    text = "\n".join(_lines(data, "//"))
    if re.search(r"(?i)(?:^|::|\s)(?:https?::)?proxy(?:-auto-detect)?(?:::\S+)?\s+\"[^\"]+\"", text):
        yield _Hit("apt-proxy", path, "the building machine's proxy", packaged=None)


def _apt_login(path: str, _data: bytes, _user: str) -> Iterator[_Hit]:
    yield _Hit("credentials", path, "a login for a package archive")


def _url_password(path: str, data: bytes, _user: str) -> Iterator[_Hit]:
    if _URL_WITH_PASSWORD.search(data):
        yield _Hit("credentials", path, "an address with a password in it", packaged=None)


def _cloud_config(path: str, data: bytes, _user: str) -> Iterator[_Hit]:
    for line in _lines(data):
        if re.match(r"-?\s*(?:password|passwd|plain_text_passwd|hashed_passwd)\s*:\s*[^\s#]", line):
            yield _Hit("password-hash", path, "a password that every machine would have", packaged=None)
        if re.match(r"ssh_pwauth\s*:\s*[\"']?(?i:true|yes|1)\b", line):
            yield _Hit("sshd", path, "logins with a password are allowed over SSH", error=False)


def _sshd(path: str, data: bytes, _user: str) -> Iterator[_Hit]:
    for line in _lines(data):
        word, _, value = line.partition(" ")
        setting = (word.lower(), value.strip().lower())
        if setting == ("permitemptypasswords", "yes"):
            yield _Hit("sshd", path, "logins with an empty password are allowed")
        elif setting in (("permitrootlogin", "yes"), ("passwordauthentication", "yes")):
            yield _Hit("sshd", path, f"{word} yes", error=False)


_CONTENT_RULES: tuple[tuple[re.Pattern[str], Callable[[str, bytes, str], Iterator[_Hit]]], ...] = tuple(
    (re.compile(pattern), check)
    for pattern, check in (
        (r"/etc/g?shadow-?|/etc/passwd-?", _passwords),
        (r"/etc/passwd-?", _users),
        (r".*/\.ssh/authorized_keys2?|/etc/ssh/authorized_keys(?:\.d)?/.*|/etc/ssh/authorized_keys", _authorized),
        (r"/etc/machine-id|/var/lib/dbus/machine-id", _machine_id),
        (r"/etc/sudoers|/etc/sudoers\.d/.*", _sudoers),
        (r"/etc/apt/apt\.conf|/etc/apt/apt\.conf\.d/.*", _apt),
        (r"/etc/apt/auth\.conf|/etc/apt/auth\.conf\.d/.*", _apt_login),
        (r"/etc/.*", _url_password),
        (r"/etc/cloud/.*\.cfg", _cloud_config),
        (r"/etc/ssh/sshd_config|/etc/ssh/sshd_config\.d/.*", _sshd),
    )
)
