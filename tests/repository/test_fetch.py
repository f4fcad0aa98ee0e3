"""Fetching a followed repository: whole or not at all, out of allowed places only, and never more than is taken (R24, R27, R30)."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.certificates import authority, issue, name
from support.gitserver import GitServer, fake_ssh, git
from support.repo import Repo
from vmkeeper.errors import EnvironmentLacks, Refused, Transient, UserError, VmkeeperError
from vmkeeper.repository import gitprogram
from vmkeeper.repository.fetch import fetch, fetch_bundle
from vmkeeper.repository.gitprogram import FetchLimits
from vmkeeper.repository.source import parse_source
from vmkeeper.repository.tree import Repository


def nowhere(host: str) -> tuple[str, ...]:
    raise AssertionError(f"{host} was resolved")


def here(_host: str) -> tuple[str, ...]:
    return ("127.0.0.1",)


@pytest.fixture(autouse=True)
def somebody(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose configuration is ours."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for variable in [one for one in os.environ if one.startswith(("GIT_", "XDG_"))]:
        monkeypatch.delenv(variable)
    return home


def configure(home: Path, key: str, value: str | Path) -> None:
    git(home, "config", "--file", home / ".gitconfig", "--add", key, str(value))


@pytest.fixture
def source(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path / "srv" / "images.git")
    repo.commit({"README.md": "one"})
    git(repo.folder, "tag", "-a", "-m", "first", "endorse/a/1", "main")
    git(repo.folder, "update-ref", "refs/vmkeeper/freshness", "main")
    git(repo.folder, "update-ref", "refs/pull/1/head", "main")
    return repo


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return tmp_path / "home" / "repository.git"


def refs(folder: Path) -> dict[str, str]:
    """All refs with the objects they point to, as git sees them."""
    lines = git(folder, f"--git-dir={folder}", "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split(" ") for line in lines)


def wanted(repo: Repo) -> dict[str, str]:
    return {ref: oid for ref, oid in refs(repo.folder).items() if not ref.startswith("refs/pull/")}


def leftovers(mirror: Path) -> list[str]:
    """Whatever does not belong into a mirror between two fetches."""
    known = {"HEAD", "config", "objects", "packed-refs", "refs", "vmkeeper"}
    found = [path.name for path in mirror.iterdir() if path.name not in known]
    found += [path.name for path in (mirror / "objects").iterdir() if path.name not in ("pack", "info")]
    found += [path.name for path in (mirror / "objects/pack").iterdir() if path.suffix not in (".pack", ".idx", ".rev")]
    return found + [str(path) for path in (mirror / "refs").iterdir()]


def assert_is(mirror: Path, repo: Repo) -> None:
    assert refs(mirror) == wanted(repo)
    assert leftovers(mirror) == []
    git(mirror, f"--git-dir={mirror}", "fsck", "--strict", "--connectivity-only")
    assert Repository.open(mirror).resolve("refs/heads/main") == repo.repository.head()


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_local_repository_is_mirrored_with_branches_tags_and_our_refs_only(form: str, source: Repo, mirror: Path) -> None:
    fetch(form.format(source.folder), mirror, addresses=nowhere)
    assert_is(mirror, source)
    assert set(refs(mirror)) == {"refs/heads/main", "refs/tags/endorse/a/1", "refs/vmkeeper/freshness"}


def test_what_changes_at_the_source_changes_here_moved_and_removed_tags_too(source: Repo, mirror: Path) -> None:
    git(source.folder, "tag", "gone", "main")
    git(source.folder, "tag", "folder", "main")
    fetch(str(source.folder), mirror, addresses=nowhere)
    first = source.repository.head()
    source.commit({"README.md": "two"})
    git(source.folder, "tag", "-f", "endorse/a/1", "main")
    git(source.folder, "tag", "-d", "gone", "folder")
    git(source.folder, "tag", "folder/inside", "main")
    git(source.folder, "branch", "side", first)
    fetch(str(source.folder), mirror, addresses=nowhere)
    assert_is(mirror, source)
    assert "refs/tags/gone" not in refs(mirror)


def test_a_rewound_source_is_mirrored_as_it_is_for_the_verifier_to_see(source: Repo, mirror: Path) -> None:
    first = source.repository.head()
    source.commit({"README.md": "two"})
    fetch(str(source.folder), mirror, addresses=nowhere)
    git(source.folder, "update-ref", "refs/heads/main", first)
    fetch(str(source.folder), mirror, addresses=nowhere)
    assert_is(mirror, source)


def test_a_source_without_refs_leaves_none(source: Repo, mirror: Path) -> None:
    fetch(str(source.folder), mirror, addresses=nowhere)
    for ref in refs(source.folder):
        git(source.folder, "update-ref", "-d", ref)
    fetch(str(source.folder), mirror, addresses=nowhere)
    assert refs(mirror) == {}


def test_a_second_fetch_of_the_same_writes_nothing(source: Repo, mirror: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in mirror.rglob("*") if path.is_file()}

    fetch(str(source.folder), mirror, addresses=nowhere)
    before = state()
    fetch(str(source.folder), mirror, addresses=nowhere)
    assert state() == before


def test_many_fetches_do_not_leave_a_pack_each(source: Repo, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmkeeper.repository.fetch._PACKS", 3)
    for number in range(6):
        source.commit({"README.md": str(number)})
        fetch(str(source.folder), mirror, addresses=nowhere)
    assert_is(mirror, source)
    assert len(list((mirror / "objects/pack").glob("*.pack"))) <= 4


def test_a_mirror_is_read_while_it_is_fetched_into_again(source: Repo, mirror: Path) -> None:
    fetch(str(source.folder), mirror, addresses=nowhere)
    opened = Repository.open(mirror)
    head = source.commit({"README.md": "two"})
    fetch(str(source.folder), mirror, addresses=nowhere)
    assert opened.resolve("refs/heads/main") == head
    assert opened.at(head).read("README.md") == b"two"


# Where from: refused before git is asked.

REFUSED = {
    "a remote helper": "ext::sh -c touch% PWNED",
    "a remote helper for descriptors": "fd::17",
    "another remote helper": "persistent-https::example.org/x",
    "the git protocol": "git://127.0.0.1/images.git",
    "ftp": "ftp://127.0.0.1/images.git",
    "rsync": "rsync://127.0.0.1/images.git",
    "git over ssh by its old name": "git+ssh://127.0.0.1/images.git",
    "http for a host that is not listed": "http://127.0.0.1/images.git",
    "an option": "--upload-pack=touch PWNED",
    "a short option": "-uPWNED",
    "an ssh option as host": "ssh://-oProxyCommand=touch PWNED/x",
    "an escaped ssh option as host": "ssh://%2doProxyCommand=touch/x",
    "an ssh option as user": "ssh://-oProxyCommand=x@127.0.0.1/x",
    "an ssh option as host in short form": "-oProxyCommand=touch:x",
    "an ssh option after the user": "git@-oProxyCommand=x:y",
    "an option as remote path": "git@127.0.0.1:--upload-pack=x",
    "a newline": "https://127.0.0.1/x\nhttp://evil.example.org/",
    "an escaped newline": "ssh://127.0.0.1/x%0ay",
    "a control character": "https://127.0.0.1/\x1b[31m",
    "a user name for https": "https://user@127.0.0.1/x",
    "a password": "https://user:secret@127.0.0.1/x",
    "a second host": "https://127.0.0.1@evil.example.org/x",
    "a backslash": "https://evil.example.org\\@127.0.0.1/x",
    "a query": "https://127.0.0.1/x?y=z",
    "a host that ends with a dot": "https://example.org./x",
    "a host that is none": "https://exa_mple..org/x",
    "a letter that is none": "https://ex\u0430mple.org/x",
    "no host": "https:///x",
    "no such port": "https://127.0.0.1:70000/x",
    "a file on another machine": "file://server/images.git",
    "an escaped path": "file:///srv/%69mages.git",
    "nothing": "",
    "too long": "https://127.0.0.1/" + "x" * 3000,
}


@pytest.mark.parametrize("address", REFUSED.values(), ids=REFUSED.keys())
def test_other_places_are_refused_before_git_is_asked(address: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gitprogram, "run", lambda *_, **__: pytest.fail("git was asked"))
    with pytest.raises(Refused) as caught:
        fetch(address, mirror, addresses=nowhere)
    assert caught.value.rule == "R24"
    assert caught.value.hint
    assert "secret" not in str(caught.value) or "password" not in str(caught.value)
    assert not mirror.exists()
    assert list(tmp_path.rglob("PWNED")) == []


@given(st.text(max_size=40))
def test_whatever_is_given_is_a_place_or_a_typed_refusal(text: str) -> None:
    try:
        found = parse_source(text)
    except (Refused, UserError):
        return
    assert not found.address.startswith("-")
    assert "::" not in found.address.partition("/")[0]


def test_what_git_is_given_says_host_and_port_in_one_way() -> None:
    found = parse_source("https://Git.Example.ORG/a/b.git")
    assert (found.scheme, found.address, found.host, found.port) == ("https", "https://git.example.org:443/a/b.git", "git.example.org", 443)
    found = parse_source("https://[2001:DB8::1]:8443/b")
    assert (found.address, found.host, found.port) == ("https://[2001:db8::1]:8443/b", "2001:db8::1", 8443)
    for ssh in ("git@example.org:a/b.git", "ssh://git@example.org:2222/a/b.git", "example.org:/srv/a.git"):
        assert (parse_source(ssh).scheme, parse_source(ssh).address) == ("ssh", ssh)


def test_a_folder_that_is_not_there_is_a_users_error(mirror: Path, tmp_path: Path) -> None:
    for address in (str(tmp_path / "none"), f"file://{tmp_path}/none", str(tmp_path)):
        with pytest.raises(UserError):
            fetch(address, mirror, addresses=nowhere)


# Nothing around git's own program has a say.


def test_the_environment_and_the_users_configuration_cannot_run_anything(
    source: Repo, mirror: Path, somebody: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/PWNED\nexit 1\n")
    trap.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("reference-transaction", "post-checkout", "pre-auto-gc", "post-merge"):
        (hooks / hook).symlink_to(trap)
    for key in ("core.fsmonitor", "core.askPass", "credential.helper", "core.alternateRefsCommand", "uploadpack.packObjectsHook", "core.gitProxy"):
        configure(somebody, key, trap)
    configure(somebody, "core.hooksPath", hooks)
    configure(somebody, "protocol.ext.allow", "always")
    configure(somebody, f"url.ext::{trap}.insteadOf", str(source.folder))
    configure(somebody, "fetch.fsckObjects", "false")
    monkeypatch.setenv("GIT_DIR", str(source.folder))
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "ext:file")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(trap))
    monkeypatch.setenv("GIT_EXEC_PATH", str(hooks))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.alternateRefsCommand")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(trap))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "elsewhere"))
    for _ in range(2):
        source.commit({"README.md": os.urandom(4)})
        fetch(str(source.folder), mirror, addresses=nowhere)
    for variable in ("GIT_DIR", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.delenv(variable)
    assert not (tmp_path / "PWNED").exists()
    assert_is(mirror, source)


def test_the_sources_own_configuration_runs_nothing_here(source: Repo, mirror: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/PWNED\nexit 1\n")
    trap.chmod(0o755)
    hook = source.folder / "hooks/post-upload-pack"
    hook.parent.mkdir(exist_ok=True)
    hook.symlink_to(trap)
    for key in ("uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "remote.origin.uploadpack", "core.alternateRefsCommand"):
        git(source.folder, "config", key, trap)
    git(source.folder, "config", "remote.origin.promisor", "true")
    git(source.folder, "config", "remote.origin.url", "ssh://127.0.0.1/x")
    fetch(str(source.folder), mirror, addresses=nowhere)
    assert not (tmp_path / "PWNED").exists()
    assert_is(mirror, source)


def test_nothing_is_checked_out_and_no_submodule_is_looked_at(source: Repo, mirror: Path, tmp_path: Path) -> None:
    inner = Repo(tmp_path / "inner.git")
    commit = inner.commit({"x": "y"})
    blob = source.git.create_blob(f'[submodule "inner"]\n\tpath = inner\n\turl = {inner.folder}\n'.encode())
    tree = git(source.folder, "mktree", stdin=f"100644 blob {blob}\t.gitmodules\n160000 commit {commit}\tinner\n".encode())
    git(source.folder, "update-ref", "refs/heads/main", git(source.folder, "commit-tree", "-m", "submodule", tree))
    fetch(str(source.folder), mirror, addresses=nowhere)
    assert_is(mirror, source)
    assert commit not in Repository.open(mirror).git


def test_an_old_git_is_named_as_what_is_missing(source: Repo, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitprogram, "_OLDEST", (99, 0))
    with pytest.raises(EnvironmentLacks, match=r"99\.0"):
        fetch(str(source.folder), mirror, addresses=nowhere)


# Over http, https and ssh.


@pytest.fixture
def tls(tmp_path: Path, somebody: Path) -> ssl.SSLContext:
    """A server's side of TLS for git.example.org; the user's git knows its authority."""
    root = authority()
    certificate, key = issue(name(("CN", "git.example.org")), root, hosts=("git.example.org",), usage=()).write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(root.pem)
    configure(somebody, "http.sslCAInfo", tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_https_goes_to_the_address_that_was_checked_and_to_no_other(source: Repo, mirror: Path, tls: ssl.SSLContext) -> None:
    asked = []

    def addresses(host: str) -> tuple[str, ...]:
        asked.append(host)
        return ("127.0.0.1",)

    with GitServer(source.folder.parent, tls) as server:
        fetch(server.url("images.git", "git.example.org"), mirror, addresses=addresses)
        assert_is(mirror, source)
        assert asked == ["git.example.org"]
        assert {host for _, host in server.requests} == {f"git.example.org:{server.port}"}


def test_a_proxy_is_not_asked(source: Repo, mirror: Path, tls: ssl.SSLContext, somebody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(somebody, "http.proxy", "http://127.0.0.1:9/")
    for variable in ("http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9/")
    with GitServer(source.folder.parent, tls) as server:
        fetch(server.url("images.git", "git.example.org"), mirror, addresses=here)
    assert_is(mirror, source)


def test_a_certificate_of_nobody_we_know_is_a_users_error(source: Repo, mirror: Path, tls: ssl.SSLContext, somebody: Path) -> None:
    (somebody / ".gitconfig").unlink()
    configure(somebody, "http.sslVerify", "false")
    with GitServer(source.folder.parent, tls) as server, pytest.raises(UserError, match="certificate"):
        fetch(server.url("images.git", "git.example.org"), mirror, addresses=here)
    assert refs(mirror) == {}


def test_a_certificate_for_another_name_is_a_users_error(source: Repo, mirror: Path, tls: ssl.SSLContext) -> None:
    with GitServer(source.folder.parent, tls) as server, pytest.raises(UserError, match="certificate"):
        fetch(server.url("images.git", "other.example.org"), mirror, addresses=here)


def test_http_serves_a_host_that_is_allowed(source: Repo, mirror: Path) -> None:
    with GitServer(source.folder.parent) as server:
        fetch(server.url("images.git"), mirror, addresses=here, allowed_hosts=("127.0.0.1",))
    assert_is(mirror, source)


def test_an_address_that_is_not_allowed_is_refused_before_git_is_asked(mirror: Path) -> None:
    def refuses(host: str) -> tuple[str, ...]:
        raise Refused("R27", "not a public address", where=host)

    with pytest.raises(Refused, match="R27"):
        fetch("https://169.254.169.254/images.git", mirror, addresses=refuses)
    assert not mirror.exists()


def redirect(to: str) -> Callable[[BaseHTTPRequestHandler], bool]:
    def answer(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", to + handler.path)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return answer


def test_a_redirect_is_refused_even_to_the_same_place(source: Repo, mirror: Path) -> None:
    with GitServer(source.folder.parent) as good, GitServer(source.folder.parent) as bad:
        bad.answer = redirect(good.url("").rstrip("/"))
        with pytest.raises(Refused) as caught:
            fetch(bad.url("images.git"), mirror, addresses=here, allowed_hosts=("127.0.0.1",))
        assert caught.value.rule == "R27"
        assert good.requests == []
    assert refs(mirror) == {}


@pytest.mark.parametrize(
    ("status", "error"), [(404, UserError), (403, UserError), (401, UserError), (500, Transient), (503, Transient), (429, Transient)]
)
def test_what_a_web_server_answers_says_what_follows(status: int, error: type[VmkeeperError], mirror: Path, tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        if status == 401:
            handler.send_header("WWW-Authenticate", 'Basic realm="x"')
        handler.end_headers()
        return True

    with GitServer(tmp_path, answer=answer) as server, pytest.raises(error) as caught:
        fetch(server.url("images.git"), mirror, addresses=here, allowed_hosts=("127.0.0.1",))
    assert caught.value.hint
    assert caught.value.why


def test_nobody_who_listens_is_tried_again_later(mirror: Path) -> None:
    with pytest.raises(Transient):
        fetch("https://127.0.0.1:1/images.git", mirror, addresses=here)
    with pytest.raises(Transient):
        fetch("ssh://127.0.0.1:1/images.git", mirror, addresses=nowhere)


def test_a_plain_web_server_is_refused_for_its_objects_are_not_checked(source: Repo, mirror: Path) -> None:
    git(source.folder, "update-server-info")

    def plain(handler: BaseHTTPRequestHandler) -> bool:
        path = source.folder.parent / handler.path.partition("?")[0].lstrip("/")
        data = path.read_bytes() if path.is_file() else b""
        handler.send_response(200 if path.is_file() else 404)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
        return True

    with GitServer(source.folder.parent, answer=plain) as server, pytest.raises(Refused) as caught:
        fetch(server.url("images.git"), mirror, addresses=here, allowed_hosts=("127.0.0.1",))
    assert caught.value.rule == "R24"
    assert refs(mirror) == {}
    assert leftovers(mirror) == []


def test_ssh_is_the_users_own(source: Repo, mirror: Path, somebody: Path, tmp_path: Path) -> None:
    command, notes = fake_ssh(tmp_path)
    configure(somebody, "core.sshCommand", command)
    for address in (f"git@images.example.org:{source.folder}", f"ssh://git@images.example.org:2222{source.folder}"):
        fetch(address, mirror, addresses=nowhere)
    assert_is(mirror, source)
    said = notes.read_text()
    assert "git@images.example.org" in said
    assert "2222" in said
    assert f"git-upload-pack '{source.folder}'" in said


def test_ssh_without_a_key_that_is_let_in_is_a_users_error(mirror: Path, somebody: Path, tmp_path: Path) -> None:
    for said, error in (("Permission denied (publickey).", UserError), ("Host key verification failed.", UserError), ("Connection reset", Transient)):
        command = tmp_path / "ssh"
        command.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 255\n")
        command.chmod(0o755)
        configure(somebody, "core.sshCommand", command)
        with pytest.raises(error) as caught:
            fetch("ssh://images.example.org/x", mirror, addresses=nowhere)
        assert said in str(caught.value)


# Hostile repositories.


def commit_raw(repo: Repo, body: bytes) -> None:
    """Make a tree object out of bytes the head of main."""
    tree = repo.git.odb.write(pygit2.GIT_OBJECT_TREE, body)
    git(repo.folder, "update-ref", "refs/heads/main", git(repo.folder, "commit-tree", "-m", "bad", str(tree)))


def raw_tree(repo: Repo, *entries: tuple[bytes, bytes, bytes]) -> bytes:
    return b"".join(mode + b" " + name + b"\0" + bytes.fromhex(str(repo.git.create_blob(data))) for mode, name, data in entries)


HOSTILE: dict[str, tuple[tuple[bytes, bytes, bytes], ...]] = {
    "the same name twice": ((b"100644", b"a", b"x"), (b"100644", b"a", b"y")),
    "out of order": ((b"100644", b"b", b"x"), (b"100644", b"a", b"y")),
    "a way up": ((b"100644", b"..", b"x"),),
    "git's folder": ((b"100644", b".git", b"x"),),
    "git's folder in capitals": ((b"100644", b".GIT", b"x"),),
    "a slash": ((b"100644", b"a/b", b"x"),),
    "a zero before the mode": ((b"0100644", b"a", b"x"),),
    "a submodule's address that is an option": ((b"100644", b".gitmodules", b'[submodule "x"]\n\turl = -uPWNED\n\tpath = x\n'),),
    "a submodule's address that is a helper": ((b"100644", b".gitmodules", b'[submodule "x"]\n\turl = ext::sh\n\tpath = -x\n'),),
    "a submodule's name that leads up": ((b"100644", b".gitmodules", b'[submodule "../../x"]\n\turl = https://example.org/x\n\tpath = x\n'),),
    "links in place of git's files": ((b"120000", b".gitmodules", b"/etc/passwd"),),
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("how", ["over", "in a bundle"])
def test_objects_that_git_would_not_make_are_refused(
    entries: tuple[tuple[bytes, bytes, bytes], ...], how: str, source: Repo, mirror: Path, tmp_path: Path
) -> None:
    fetch(str(source.folder), mirror, addresses=nowhere)
    before = refs(mirror)
    commit_raw(source, raw_tree(source, *entries))
    git(source.folder, "bundle", "create", "-q", tmp_path / "bundle", "--all")
    with pytest.raises(Refused) as caught:
        fetch(str(source.folder), mirror, addresses=nowhere) if how == "over" else fetch_bundle(tmp_path / "bundle", mirror)
    assert caught.value.rule == "R24"
    assert refs(mirror) == before
    assert leftovers(mirror) == []
    assert source.repository.head() not in Repository.open(mirror).git


def test_a_cut_off_source_is_refused(source: Repo, mirror: Path, tmp_path: Path) -> None:
    source.commit({"README.md": "two"})
    git(tmp_path, "clone", "-q", "--bare", "--depth=1", f"file://{source.folder}", tmp_path / "shallow.git")
    with pytest.raises(Refused, match="R24"):
        fetch(str(tmp_path / "shallow.git"), mirror, addresses=nowhere)
    assert refs(mirror) == {}


def test_a_source_that_lacks_objects_gives_nothing(source: Repo, mirror: Path) -> None:
    source.commit({"README.md": "two"})
    blob = source.repository.at(source.repository.head()).blob_id("README.md")
    (source.folder / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(VmkeeperError):
        fetch(str(source.folder), mirror, addresses=nowhere)
    assert refs(mirror) == {}
    assert leftovers(mirror) == []


def test_a_sha256_repository_is_a_users_error(mirror: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "--object-format=sha256", tmp_path / "new.git")
    git(
        tmp_path / "new.git",
        "update-ref",
        "refs/heads/main",
        git(tmp_path / "new.git", "commit-tree", "-m", "x", git(tmp_path / "new.git", "mktree", stdin=b"")),
    )
    with pytest.raises(UserError, match="SHA-256"):
        fetch(str(tmp_path / "new.git"), mirror, addresses=nowhere)


def noise(size: int) -> bytes:
    return os.urandom(size)


def test_more_bytes_than_are_taken_are_refused_while_they_come(source: Repo, mirror: Path) -> None:
    source.commit({"big": noise(4 << 20)})
    with pytest.raises(Refused) as caught:
        fetch(str(source.folder), mirror, addresses=nowhere, limits=FetchLimits(received=1 << 20))
    assert caught.value.rule == "R24"
    assert refs(mirror) == {}
    assert leftovers(mirror) == []


def test_more_refs_than_are_taken_are_refused(source: Repo, mirror: Path) -> None:
    lines = "".join(f"create refs/tags/t{number} {source.repository.head()}\n" for number in range(300))
    git(source.folder, "update-ref", "--stdin", stdin=lines.encode())
    with pytest.raises(Refused, match="R24"):
        fetch(str(source.folder), mirror, addresses=nowhere, limits=FetchLimits(files=200))
    assert refs(mirror) == {}


@pytest.mark.parametrize("kind", ["file", "commit"])
def test_an_object_that_unpacks_to_too_much_is_refused_though_its_pack_is_small(kind: str, source: Repo, mirror: Path) -> None:
    if kind == "file":
        source.commit({"zeros": bytes(40 << 20)})
        limits = FetchLimits(object=32 << 20)
    else:
        tree = git(source.folder, "rev-parse", "main^{tree}")
        git(source.folder, "update-ref", "refs/heads/main", git(source.folder, "commit-tree", tree, stdin=b" " * (20 << 20) + b"x"))
        limits = FetchLimits()
    with pytest.raises(Refused) as caught:
        fetch(str(source.folder), mirror, addresses=nowhere, limits=limits)
    assert caught.value.rule == "R24"
    assert "object of" in caught.value.what
    assert refs(mirror) == {}
    assert leftovers(mirror) == []


def test_a_server_that_stalls_is_left(mirror: Path, tmp_path: Path, somebody: Path) -> None:
    stall = tmp_path / "ssh"
    stall.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    stall.chmod(0o755)
    configure(somebody, "core.sshCommand", stall)
    with pytest.raises(Refused) as caught:
        fetch("ssh://images.example.org/x", mirror, addresses=nowhere, limits=FetchLimits(seconds=1))
    assert caught.value.rule == "R24"
    assert leftovers(mirror) == []
    program = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/cwd")
    end = time.monotonic() + 30
    while program.exists():
        assert time.monotonic() < end, "the program that stalled is still there"
        time.sleep(0.05)


# Bundles.


def test_a_bundle_brings_what_its_repository_had(source: Repo, mirror: Path, tmp_path: Path) -> None:
    git(source.folder, "bundle", "create", "-q", tmp_path / "bundle", "main", "--tags", "--glob=refs/vmkeeper/*")
    fetch_bundle(tmp_path / "bundle", mirror)
    assert_is(mirror, source)


def test_a_bundle_of_what_is_new_needs_what_is_old(source: Repo, mirror: Path, tmp_path: Path) -> None:
    first = source.repository.head()
    fetch(str(source.folder), mirror, addresses=nowhere)
    source.commit({"README.md": "two"})
    git(source.folder, "bundle", "create", "-q", tmp_path / "bundle", f"{first}..main")
    with pytest.raises(UserError, match="builds on"):
        fetch_bundle(tmp_path / "bundle", tmp_path / "other.git")
    fetch_bundle(tmp_path / "bundle", mirror)
    assert refs(mirror) == {"refs/heads/main": source.repository.head()}


def bundle_of(source: Repo, file: Path) -> bytes:
    git(source.folder, "bundle", "create", "-q", file, "main")
    return file.read_bytes()


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[:-30],
    "a byte of the pack changed": lambda data: data[:-25] + bytes([data[-25] ^ 1]) + data[-24:],
    "a ref to what is not in it": lambda data: data.replace(data.split(b"\n")[1][:40], b"1" * 40, 1),
    "a filter": lambda data: data.replace(b"# v2 git bundle\n", b"# v3 git bundle\n@object-format=sha1\n@filter=blob:none\n"),
    "another hash": lambda data: data.replace(b"# v2 git bundle\n", b"# v3 git bundle\n@object-format=sha256\n"),
    "a ref outside": lambda data: data.replace(b"refs/heads/main", b"refs/heads/../../config"),
    "no bundle": lambda _data: b"hello",
    "empty": lambda _data: b"",
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_bundle_changes_nothing(change: Callable[[bytes], bytes], source: Repo, mirror: Path, tmp_path: Path) -> None:
    fetch(str(source.folder), mirror, addresses=nowhere)
    before = refs(mirror)
    source.commit({"README.md": "two"})
    data = bundle_of(source, tmp_path / "bundle")
    (tmp_path / "bundle").write_bytes(change(data))
    try:
        fetch_bundle(tmp_path / "bundle", mirror)
    except VmkeeperError:
        assert refs(mirror) == before
    else:
        assert set(refs(mirror)) <= {"refs/heads/main"}
        assert change is BROKEN["a ref outside"]
    assert leftovers(mirror) == []
    assert sorted(path.name for path in mirror.parent.iterdir()) == [mirror.name]


def test_a_bundle_that_is_too_large_or_a_link_is_refused(source: Repo, mirror: Path, tmp_path: Path) -> None:
    bundle_of(source, tmp_path / "bundle")
    with pytest.raises(Refused, match="R24"):
        fetch_bundle(tmp_path / "bundle", mirror, limits=FetchLimits(received=100))
    (tmp_path / "link").symlink_to(tmp_path / "bundle")
    with pytest.raises(UserError):
        fetch_bundle(tmp_path / "link", mirror)


# Whole or not at all.


def test_killed_at_every_step_the_mirror_is_as_before_or_after_and_the_next_fetch_completes_it(source: Repo, mirror: Path) -> None:
    fetch(str(source.folder), mirror, addresses=nowhere)
    source.commit({"README.md": "two"})
    git(source.folder, "tag", "second", "main")
    script = Path(__file__).parent.parent / "support/fetchkiller.py"
    done = subprocess.run([sys.executable, script, source.folder, mirror], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
    assert_is(mirror, source)


def test_what_a_killed_fetch_left_is_removed(source: Repo, mirror: Path) -> None:
    fetch(str(source.folder), mirror, addresses=nowhere)
    packs = mirror / "objects/pack"
    (mirror / "incoming-abc/refs").mkdir(parents=True)
    for left in (packs / "tmp_pack_x", packs / ".tmp-1-pack-x.idx", packs / "pack-1.pack", packs / "pack-2.idx", mirror / ".new-packed-refs"):
        left.write_bytes(b"x")
    fetch(str(source.folder), mirror, addresses=nowhere)
    assert_is(mirror, source)


def test_two_fetches_at_once_are_one_after_the_other(source: Repo, mirror: Path) -> None:
    from vmkeeper.repository.fetch import _locked

    with _locked(mirror), pytest.raises(Transient, match="another run"):
        fetch(str(source.folder), mirror, addresses=nowhere)


def test_a_mirror_that_others_wrote_into_is_refused(source: Repo, mirror: Path) -> None:
    fetch(str(source.folder), mirror, addresses=nowhere)
    (mirror / "objects/info/alternates").write_text("/somewhere/else\n")
    with pytest.raises(Refused, match="mirror") as caught:
        fetch(str(source.folder), mirror, addresses=nowhere)
    assert "remove this folder" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_followed_only_when_the_user_says_it_is_safe(source: Repo, mirror: Path, somebody: Path) -> None:
    for path in (source.folder, *source.folder.rglob("*")):
        os.chown(path, 65534, 65534)
    with pytest.raises(UserError, match="somebody else") as caught:
        fetch(str(source.folder), mirror, addresses=nowhere)
    assert "safe.directory" in caught.value.hint
    configure(somebody, "safe.directory", "/elsewhere")
    configure(somebody, "safe.directory", source.folder)
    fetch(str(source.folder), mirror, addresses=nowhere)
    assert refs(mirror)["refs/heads/main"]


def test_a_server_that_never_stops_talking_is_left(mirror: Path, tmp_path: Path, somebody: Path) -> None:
    talk = tmp_path / "fake" / "ssh"
    talk.parent.mkdir()
    talk.write_text("#!/bin/sh\nyes 0044$(printf %040d 1) refs/tags/aaaaaaaaaa\nsleep 60\n")
    talk.chmod(0o755)
    configure(somebody, "core.sshCommand", talk)
    with pytest.raises(VmkeeperError):
        fetch("ssh://images.example.org/x", mirror, addresses=nowhere, limits=FetchLimits(seconds=5, memory=256 << 20))
    assert leftovers(mirror) == []
    shout = "#!/bin/sh\nyes 'remote: lies' >&2\n"
    talk.write_text(shout)
    with pytest.raises(Refused, match="more than is taken"):
        fetch("ssh://images.example.org/x", mirror, addresses=nowhere, limits=FetchLimits(seconds=60, received=1 << 20))
    assert leftovers(mirror) == []
