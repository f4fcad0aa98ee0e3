"""vmkeeper export: from the repository, from a public folder, from a site; printed or written; what goes wrong has a way out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from support.repo import Repo, base, child, locked, released, tools
from support.shelves import BASE, folder, image, two_lists
from vmkeeper.cli.app import main
from vmkeeper.lists import catalogue_json, checksums, descriptor, torrent
from vmkeeper.lists.feeds import feeds


def export(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The command in this process: what it prints, and its exit code."""
    out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in {"NO_COLOR": "1", "COLUMNS": "200", **env}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["vmkeeper", "export", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(sys.argv, code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Two releases of `web`, one of `base` and `tools`."""
    made = Repo(tmp_path_factory.mktemp("export") / "repo")
    made.commit({**tools(), **base(), **child("web", "base", "requirements: {memory: 1GiB, cpus: 2}")})
    made.commit(locked(made))
    made.commit(released(made))
    made.commit(child("web", "base", "description: Newer.\nrequirements: {memory: 2GiB, cpus: 2}"))
    made.commit({path: data for path, data in released(made).items() if "/web/" in path})
    return made


@pytest.fixture
def public(tmp_path: Path) -> Path:
    root = tmp_path / "public"
    folder(root, *two_lists())
    (root / "catalogue.json").write_bytes(catalogue_json.write(two_lists(), BASE))
    return root


def versions(repo: Repo) -> tuple[str, str]:
    """The first and the second version of `web`."""
    from vmkeeper.catalogue.catalogue import Catalogue

    head = repo.repository.head()
    second = Catalogue.at(repo.repository, head).release("web")
    first = Catalogue.at(repo.repository, repo.repository.resolve("HEAD~1")).release("web")
    assert first is not None
    assert second is not None
    return str(first.version), str(second.version)


def test_the_newest_release_is_described(repo: Repo) -> None:
    done = export("descriptor", "web", "-C", repo.folder)
    assert (done.returncode, done.stderr) == (0, "")
    said = descriptor.read(done.stdout.encode())
    version = versions(repo)[1]
    assert (said.version, said.action, said.cpu, said.memory, said.description) == (version, "registration", 2, 2048, "Newer.")
    assert (said.os.distribution, said.os.version) == ("Debian", "12")
    assert [disk.path for disk in said.disks] == [f"web-{version}.qcow2"]


def test_it_is_a_command_of_the_program(repo: Repo) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmkeeper", "export", "descriptor", "web", "-C", str(repo.folder)], capture_output=True, timeout=120, check=True
    )
    assert descriptor.read(done.stdout).version == versions(repo)[1]


def test_the_short_form_says_the_same(repo: Repo) -> None:
    assert export("--descriptor", "web", "-C", repo.folder).stdout == export("descriptor", "web", "-C", repo.folder).stdout
    short = export("--descriptor", "web", "--version", versions(repo)[0], "--expiration", "-C", repo.folder)
    said = descriptor.read(short.stdout.encode())
    assert (said.action, said.version, said.disks) == ("expiration", versions(repo)[0], ())


def test_an_older_release_is_found_in_the_history(repo: Repo) -> None:
    first, second = versions(repo)
    done = export("descriptor", "web", "--version", first, "--path", "/images/web.qcow2", "--group", "a", "--group", "b", "-C", repo.folder)
    said = descriptor.read(done.stdout.encode())
    assert (said.version, said.groups, said.disks[0].path) == (first, ("a", "b"), "/images/web.qcow2")
    assert first != second


def test_it_can_be_written_to_a_file(repo: Repo, tmp_path: Path) -> None:
    done = export("descriptor", "web", "--to", tmp_path / "web.json", "-C", repo.folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert descriptor.read((tmp_path / "web.json").read_bytes()).title == "A child"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["descriptor", "nobody"], "there is no appliance nobody"),
        (["descriptor", "web", "--version", "1.2.3"], "web has no release 1.2.3"),
        (["descriptor", "web", "--version", "newest"], "is not a version"),
        (["descriptor", "web", "--format", "ova"], "has no image in ova"),
        (["descriptor", "tools"], "has no image"),
        (["descriptor", "web", "--site", "a", "--public", "b"], "exclude each other"),
        (["--descriptor", "web", "descriptor", "web"], "it is not said what to export"),
        (["--expiration"], "it is not said what to export"),
        (["catalogue"], "--public is not given"),
    ],
)
def test_what_goes_wrong_has_a_way_out(repo: Repo, words: list[str], said: str) -> None:
    done = export(words[0], "-C", repo.folder, *words[1:]) if not words[0].startswith("-") else export("-C", repo.folder, *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "→" in done.stderr or "write " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_published_image_is_described_with_its_own_file(public: Path) -> None:
    said = descriptor.read(export("descriptor", "debian-12", "--public", public).stdout.encode())
    assert (said.identifier, said.version, said.groups) == (image().uuid, image().version, ("science.example.org",))
    assert Path(said.disks[0].path).read_bytes().startswith(b"these are the bytes")
    assert export("descriptor", "debian-12", "--version", "1", "--public", public).returncode == 1
    assert export("descriptor", "debian-12", "--format", "ova", "--public", public).returncode == 1


def test_every_feed_comes_out_as_it_is_published(public: Path, tmp_path: Path) -> None:
    wanted = {feed.path: feed.content for feed in feeds(two_lists(), BASE)}
    for words in (["catalogue"], ["simplestreams", "--no-digests"], ["checksums"], ["torrents"]):
        done = export(*words, "--public", public, "--to", tmp_path / "out")
        assert (done.returncode, done.stderr) == (0, "")
    assert {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == wanted


def test_what_is_equal_is_left_alone(public: Path, tmp_path: Path) -> None:
    assert export("checksums", "--public", public, "--to", tmp_path / "out").stdout.splitlines() == [
        "wrote empty/SHA512SUMS",
        "wrote science/SHA512SUMS",
    ]
    before = (tmp_path / "out/science/SHA512SUMS").stat().st_ino
    assert export("checksums", "--public", public, "--to", tmp_path / "out").stdout == ""
    assert (tmp_path / "out/science/SHA512SUMS").stat().st_ino == before


def test_a_single_file_is_printed(public: Path) -> None:
    assert torrent.read(export("torrents", "--public", public).stdout.encode()).torrents
    assert len(checksums.read(export("checksums", "science", "--public", public).stdout.encode())) == 6
    shelves, base_url = catalogue_json.read(export("catalogue", "empty", "--public", public, "--base", "https://other.example.org").stdout.encode())
    assert ([shelf.name for shelf in shelves], base_url) == (["empty"], "https://other.example.org")


def test_several_files_want_a_folder(public: Path) -> None:
    done = export("checksums", "--public", public)
    assert done.returncode == 1
    assert "--to DIR" in done.stderr


def test_the_public_folder_may_come_from_the_environment(public: Path) -> None:
    assert export("torrents", VMKEEPER_PUBLIC=str(public)).returncode == 0


def test_streams_get_the_digests_that_mirrors_want(public: Path, tmp_path: Path) -> None:
    assert export("simplestreams", "--public", public, "--to", tmp_path).returncode == 0
    document = json.loads((tmp_path / "streams/v1/science.download.json").read_text())
    items = [item for product in document["products"].values() for version in product["versions"].values() for item in version["items"].values()]
    assert all({"md5", "sha256"} <= set(item) for item in items if item["ftype"].startswith("disk"))
    assert all((tmp_path / item["path"]).is_file() for item in items if item["ftype"] == "lxd.tar.xz")


def test_a_damaged_image_is_told(public: Path, tmp_path: Path) -> None:
    (public / image().path).write_bytes(b"other")
    done = export("simplestreams", "--public", public, "--to", tmp_path)
    assert done.returncode == 1
    assert image().path in done.stderr
    assert not list(tmp_path.rglob("*.download.json"))


def test_a_folder_that_nobody_published_to_is_told(tmp_path: Path) -> None:
    done = export("catalogue", "--public", tmp_path)
    assert done.returncode == 1
    assert "vmkeeper publish" in done.stderr


def test_a_list_that_is_not_there_is_told(public: Path) -> None:
    done = export("catalogue", "sience", "--public", public)
    assert done.returncode == 1
    assert "there are empty, science" in done.stderr


def test_a_catalogue_that_is_broken_is_told_with_its_place(public: Path) -> None:
    (public / "catalogue.json").write_text('{"version": 1, "base": "https://x.example.org", "lists": [{}]}')
    done = export("catalogue", "--public", public)
    assert done.returncode == 1
    assert "lists.0.name" in done.stderr
