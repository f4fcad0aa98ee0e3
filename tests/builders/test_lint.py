"""What the lint of a root file system finds, one small tar a rule, and what it leaves alone."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.builders.lint import Lint, lint

PEM = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
OPENSSL = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
LOCKED = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
OPENSSH = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
PGP = b"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\nlQdGBF0000000000000000000000000000000\n-----END PGP PRIVATE KEY BLOCK-----\n"
LEGACY = (
    b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n" + b"QUJD" * 16 + b"\n-----END RSA PRIVATE KEY-----\n"
)
AGE = b"# created: 2026\nAGE-SECRET-KEY-1" + b"Q" * 58 + b"\n"
PUTTY = b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n"
HASH = "$y$j9T$abc$def"


@dataclass
class Node:
    data: bytes = b""
    mode: int = 0o644
    type: bytes = tarfile.REGTYPE
    link: str = ""
    pax: dict[str, str] = field(default_factory=dict)


def folder(mode: int = 0o755) -> Node:
    return Node(mode=mode, type=tarfile.DIRTYPE)


def link(target: str) -> Node:
    return Node(mode=0o777, type=tarfile.SYMTYPE, link=target)


CLEAN = {
    "": folder(),
    "bin": link("usr/bin"),
    "tmp": folder(0o1777),
    "etc/passwd": Node(b"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n"),
    "etc/shadow": Node(b"root:*:20000:0:99999:7:::\ndaemon:!:20000::::::\ntester:!*:1::::::\n", 0o640),
    "etc/gshadow": Node(b"root:*::\nsudo:!::\nx:!!::\ny:::\n", 0o640),
    "etc/machine-id": Node(b"uninitialized\n"),
    "var/lib/dbus/machine-id": link("/etc/machine-id"),
    "etc/ssh/sshd_config": Node(b"#PermitEmptyPasswords yes\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"),
    "etc/sudoers": Node(b"# ALL NOPASSWD\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n", 0o440),
    "etc/apt/apt.conf.d/00x": Node(b'// Acquire::http::Proxy "http://proxy:3142";\nAPT::Install-Recommends "false";\n'),
    "etc/apt/sources.list": Node(b"deb http://deb.debian.org/debian bookworm main\n"),
    "etc/cloud/cloud.cfg.d/90.cfg": Node(b"system_info:\n  default_user:\n    lock_passwd: true\n    # password: x\nssh_pwauth: false\n"),
    "root/.bashrc": Node(b"HISTFILE=~/.bash_history\n"),
    "root/.bash_history": Node(),
    "root/.ssh/authorized_keys": Node(b"# nobody\n\n"),
    "var/log/dpkg.log": Node(),
    "var/log/journal": folder(0o2755),
    "var/lib/dhcp/dhclient.leases": Node(),
    "var/lib/cloud/scripts/per-boot/x": Node(b"#!/bin/sh\n", 0o755),
    "var/lib/systemd/random-seed": Node(),
    "usr/bin/su": Node(b"\x7fELF", 0o4755),
    "usr/bin/ping": Node(b"\x7fELF", 0o755, pax={"SCHILY.xattr.security.capability": "x"}),
    "usr/bin/hard": Node(mode=0o4755, type=tarfile.LNKTYPE, link="usr/bin/su"),
    "usr/lib/libtls.so": Node(b"\x7fELF\0" + PEM + b"\0"),
    "usr/share/doc/p/examples.txt": Node(b"an example:\n" + OPENSSH),
    "usr/share/doc/p/prose": Node(b"-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n"),
    "usr/lib/python3/dist-packages/p/__pycache__/keys.cpython-311.pyc": Node(b"\0" + PEM),
    "etc/ssl/certs/ca.pem": Node(b"-----BEGIN CERTIFICATE-----\nMIIB\n"),
    "dev/null": Node(mode=0o666, type=tarfile.CHRTYPE),
    "var/lib/dpkg/info/p.list": Node(
        b"/.\n/bin/su\n/usr/bin/ping\n/usr/bin/hard\n/usr/lib/libtls.so\n/usr/share/doc/p/examples.txt\n/usr/lib/python3/dist-packages/p/keys.py\n/usr/lib/d/tool\n"
    ),
    "var/lib/dpkg/diversions": Node(b"/usr/lib/d/tool\n/usr/lib/d/tool.distrib\nother\n"),
    "usr/lib/d/tool.distrib": Node(b"\x7fELF", 0o2755),
}


def tar(nodes: dict[str, Node], *, prefix: str = "./") -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, node in nodes.items():
            info = tarfile.TarInfo(prefix + path)
            info.size, info.mode, info.type, info.linkname, info.pax_headers = len(node.data), node.mode, node.type, node.link, node.pax
            archive.addfile(info, io.BytesIO(node.data))
    out.seek(0)
    return out


def found(nodes: dict[str, Node], **more: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    result = lint(tar({**CLEAN, **nodes}), **more)
    return [(f.rule, f.path) for f in result.errors], [(f.rule, f.path) for f in result.findings]


@pytest.mark.parametrize("prefix", ["./", "/", ""])
def test_a_clean_system_has_nothing(prefix: str) -> None:
    assert lint(tar(CLEAN, prefix=prefix)) == Lint((), ())


ERRORS = [
    ("private-key", "opt/app/server.key", Node(PEM)),
    ("private-key", "etc/ssl/private/x.pem", Node(b"certificate first\n" + OPENSSL)),
    ("private-key", "root/.ssh/id_ed25519", Node(OPENSSH, 0o600)),
    ("private-key", "srv/locked", Node(LOCKED)),
    ("private-key", "srv/legacy", Node(LEGACY)),
    ("private-key", "srv/windows", Node(PEM.replace(b"\n", b"\r\n"))),
    ("private-key", "usr/local/lib/blob", Node(b"\0" * 5_000_000 + PEM + b"\0" * 5_000_000)),
    ("private-key", "usr/local/lib/edge", Node(b"\0" * (4 * 1024 * 1024 - 40) + PEM + b"\0" * 2_000_000)),
    ("private-key", "home/a/key.asc", Node(PGP)),
    ("private-key", "home/a/keys.txt", Node(AGE)),
    ("private-key", "home/a/key.ppk", Node(PUTTY)),
    ("host-key", "etc/ssh/ssh_host_ed25519_key", Node(OPENSSH, 0o600)),
    ("host-key", "etc/ssh/ssh_host_rsa_key.pub", Node(b"ssh-rsa AAAA root@builder\n")),
    ("password-hash", "etc/shadow", Node(f"root:{HASH}:1::::::\n".encode())),
    ("password-hash", "etc/shadow-", Node(f"root:!{HASH}:1::::::\n".encode())),
    ("password-hash", "etc/gshadow", Node(f"sudo:{HASH}::\n".encode())),
    ("password-hash", "etc/passwd", Node(f"root:{HASH}:0:0::/root:/bin/sh\n".encode())),
    ("password-hash", "etc/cloud/cloud.cfg.d/99-x.cfg", Node(b"users:\n- name: a\n  plain_text_passwd: secret\n")),
    ("password-hash", "etc/cloud/cloud.cfg", Node(b"password: secret\n")),
    ("empty-password", "etc/shadow", Node(b"root:*:1::::::\nguest::1::::::\n")),
    ("empty-password", "etc/passwd", Node(b"root::0:0::/root:/bin/sh\n")),
    ("uid-0", "etc/passwd", Node(b"root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\n")),
    ("uid-0", "etc/passwd", Node(b"root:x:0:0::/:/bin/sh\ntoor:x:00:0::/:/bin/sh\n")),
    ("machine-id", "etc/machine-id", Node(b"0123456789abcdef0123456789abcdef\n")),
    ("machine-id", "var/lib/dbus/machine-id", Node(b"0123456789abcdef0123456789abcdef\n")),
    ("shell-history", "root/.bash_history", Node(b"mysql -psecret\n")),
    ("shell-history", "home/a/.python_history", Node(b"x\n")),
    ("shell-history", "home/a/.viminfo", Node(b"x\n")),
    ("authorized-keys", "root/.ssh/authorized_keys", Node(b"ssh-ed25519 AAAA x\n")),
    ("authorized-keys", "etc/ssh/authorized_keys/a", Node(b"ssh-ed25519 AAAA x\n")),
    ("credentials", "root/.aws/credentials", Node(b"[default]\n")),
    ("credentials", "home/a/.netrc", Node(b"machine x login y password z\n")),
    ("credentials", "home/a/.pgpass", Node(b"h:5432:d:u:p\n")),
    ("credentials", "home/a/.git-credentials", Node(b"x\n")),
    ("credentials", "home/a/.docker/config.json", Node(b"{}")),
    ("credentials", "home/a/.kube/config", Node(b"x")),
    ("credentials", "home/a/.config/openstack/clouds.yaml", Node(b"clouds: {}\n")),
    ("credentials", "etc/openstack/secure.yaml", Node(b"clouds: {}\n")),
    ("credentials", "home/a/project-openrc.sh", Node(b"export OS_USERNAME=x\n")),
    ("credentials", "etc/krb5.keytab", Node(b"\5\2x")),
    ("credentials", "root/.gnupg/private-keys-v1.d/A.key", Node(b"x")),
    ("credentials", "etc/apt/auth.conf.d/x.conf", Node(b"machine x login y password z\n")),
    ("credentials", "etc/apt/sources.list", Node(b"deb https://me:secret@repo.example.org/debian bookworm main\n")),
    ("credentials", "etc/pip.conf", Node(b"index-url = https://me:secret@repo.example.org/simple\n")),
    ("apt-proxy", "etc/apt/apt.conf.d/01proxy", Node(b'Acquire::http::Proxy "http://proxy:3142";\n')),
    ("apt-proxy", "etc/apt/apt.conf", Node(b'Acquire { http { Proxy "http://proxy:3142"; }; };\n')),
    ("token", "opt/app/env", Node(b"export OS_PASSWORD=hunter2\n")),
    ("token", "etc/app.ini", Node(b"key = AKIAABCDEFGHIJKLMNOP\n")),
    ("token", "home/a/notes", Node(b"ghp_" + b"a" * 36)),
    ("instance-data", "var/lib/cloud/instances/i-1/user-data.txt", Node(b"#cloud-config\n")),
    ("instance-data", "var/lib/cloud/data/instance-id", Node(b"i-1\n")),
    ("instance-data", "run/cloud-init/instance-data.json", Node(b"{}")),
    ("journal", "var/log/journal/0123/system.journal", Node(b"LPKSHHRH")),
    ("random-seed", "var/lib/systemd/random-seed", Node(b"x" * 32)),
    ("random-seed", "var/lib/systemd/credential.secret", Node(b"x" * 32)),
    ("dhcp-lease", "var/lib/dhcp/dhclient.eth0.leases", Node(b"lease {}\n")),
    ("dhcp-lease", "run/systemd/netif/leases/2", Node(b"ADDRESS=\n")),
    ("world-writable", "etc/cron.d/x", Node(b"x", 0o666)),
    ("world-writable", "srv/open", folder(0o777)),
    ("setuid", "usr/local/bin/helper", Node(b"\x7fELF", 0o4755)),
    ("setuid", "usr/local/bin/group", Node(b"\x7fELF", 0o2755)),
    ("setuid", "usr/local/bin/linked", Node(mode=0o4755, type=tarfile.LNKTYPE, link="usr/bin/su")),
    ("setuid", "usr/local/bin/caps", Node(b"\x7fELF", 0o755, pax={"SCHILY.xattr.security.capability": "x"})),
    ("sudo", "etc/sudoers.d/90-x", Node(b"tester ALL=(ALL) NOPASSWD:ALL\n")),
    ("sshd", "etc/ssh/sshd_config.d/x.conf", Node(b"PermitEmptyPasswords yes\n")),
]


@pytest.mark.parametrize(("rule", "path", "node"), ERRORS, ids=[f"{rule}-{path}" for rule, path, _ in ERRORS])
def test_is_an_error(rule: str, path: str, node: Node) -> None:
    assert found({path: node}) == ([(rule, "/" + path)], [])


FINDINGS = [
    ("log", "var/log/apt/history.log", Node(b"x")),
    ("snakeoil-key", "etc/ssl/private/ssl-cert-snakeoil.key", Node(PEM)),
    ("instance-data", "var/lib/cloud/seed/nocloud/user-data", Node(b"#cloud-config\n")),
    ("sshd", "etc/ssh/sshd_config", Node(b"PermitRootLogin yes\n")),
    ("sshd", "etc/cloud/cloud.cfg.d/91.cfg", Node(b"ssh_pwauth: true\n")),
]


@pytest.mark.parametrize(("rule", "path", "node"), FINDINGS, ids=[f"{rule}-{path}" for rule, path, _ in FINDINGS])
def test_is_a_finding(rule: str, path: str, node: Node) -> None:
    assert found({path: node}) == ([], [(rule, "/" + path)])


FROM_PACKAGES = [
    ("a key file elsewhere than in /etc", "usr/share/p/test.key", Node(PEM), ([], ["private-key"])),
    ("a key file in /etc", "etc/p/key.pem", Node(PEM), (["private-key"], [])),
    ("a file anybody may write to", "var/games/scores", Node(b"x", 0o666), ([], ["world-writable"])),
    ("a folder anybody may write to", "var/spool/p", folder(0o777), ([], ["world-writable"])),
    ("a password in an example address", "etc/p/proxy.conf", Node(b"# http://user:pass@proxy:3128\n"), ([], [])),
    ("a host key all the same", "etc/ssh/ssh_host_rsa_key", Node(OPENSSH), (["host-key"], [])),
    ("an openrc that is no cloud's", "usr/share/p/x-openrc", Node(b"x"), ([], [])),
]


@pytest.mark.parametrize(("_", "path", "node", "expected"), FROM_PACKAGES, ids=[case[0] for case in FROM_PACKAGES])
def test_a_package_brought(_: str, path: str, node: Node, expected: tuple[list[str], list[str]]) -> None:
    errors, findings = found({path: node, "var/lib/dpkg/info/q:amd64.list": Node(f"/{path}\n".encode())})
    assert ([rule for rule, _ in errors], [rule for rule, _ in findings]) == expected


def test_default_user_may_become_root_without_a_password_and_nobody_else() -> None:
    sudoers = Node(b"debian ALL=(ALL) NOPASSWD:ALL\n%wheel ALL=(ALL) NOPASSWD:ALL\n")
    result = lint(tar({**CLEAN, "etc/sudoers.d/x": sudoers}), default_user="debian")
    assert [finding.what for finding in result.errors] == ["%wheel may become root without a password"]
    assert found({"etc/sudoers.d/x": Node(b"debian ALL=(ALL) NOPASSWD:ALL\n")}, default_user="debian") == ([], [])


def test_order_of_the_tar_does_not_matter() -> None:
    nodes = {**CLEAN, **{path: node for _, path, node in ERRORS[:20]}}
    backwards = dict(reversed(nodes.items()))
    assert lint(tar(nodes)) == lint(tar(backwards))


def test_no_secret_is_repeated() -> None:
    result = lint(tar({path: node for _, path, node in ERRORS}))
    said = "".join(f"{finding.path}{finding.what}" for finding in (*result.errors, *result.findings))
    assert not any(secret in said for secret in ("hunter2", "secret@", "AKIA", HASH, "ghp_"))


def test_a_path_cannot_forge_lines_of_the_report() -> None:
    (finding,) = lint(tar({"srv/a\nb\x1b[31m": Node(b"x", 0o666)})).errors
    assert finding.path == "/srv/a\\u000ab\\u001b[31m"


def test_the_tar_is_read_as_a_stream(tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(tar({**CLEAN, "srv/x": Node(b"x", 0o666)}).getvalue())
    with subprocess.Popen(["cat", tmp_path / "tar"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert [finding.rule for finding in lint(process.stdout).errors] == ["world-writable"]


def test_what_is_not_a_tar_is_an_error() -> None:
    with pytest.raises(tarfile.TarError):
        lint(io.BytesIO(b"not a tar" * 1000))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([path for _, path, _ in ERRORS]), st.binary(max_size=300), max_size=6))
def test_no_content_makes_it_fail(contents: dict[str, bytes]) -> None:
    result = lint(tar({path: Node(data) for path, data in contents.items()}))
    assert {finding.path for finding in (*result.errors, *result.findings)} <= {"/" + path for path in contents}
