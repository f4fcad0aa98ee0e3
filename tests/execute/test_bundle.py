"""Bundles carried on a disk: whole or said not to be, complete for a site, and worth nothing where they were changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.gitserver import git
from support.producer import NOW, Producer
from support.webserver import WebServer
from vmkeeper.cli.app import app
from vmkeeper.errors import Problems, Refused, UserError, VmkeeperError
from vmkeeper.execute.bundle import CONTENTS, REPOSITORY, Bundle, open_bundle, read_bundle, write_bundle
from vmkeeper.execute.following import MIRROR, follow
from vmkeeper.lists.smime import verify
from vmkeeper.values import sha512_hex

URL = "https://images.example.org"


@pytest.fixture
def producer(tmp_path: Path) -> Producer:
    """Two releases, published in a folder; their list names a web server that is not there."""
    made = Producer(tmp_path / "www", URL, tmp_path)
    made.release("debian-12", "2026.11.1", size=8192)
    made.release("worker", "2026.11.1")
    for name in ("debian-12", "worker"):
        made.endorse(name, "2026.11.1")
        made.offer(name, "2026.11.1")
    made.publish()
    return made


def written(producer: Producer, disk: Path, **how: object) -> Bundle:
    return write_bundle(producer.repo.repository, "main", disk, public=str(producer.folder), **how)  # type: ignore[arg-type]


def image(producer: Producer, name: str) -> bytes:
    return (producer.folder / f"main/images/{name}-2026.11.1.raw").read_bytes()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_holds_the_repository_the_lists_and_their_images(producer: Producer, tmp_path: Path) -> None:
    disk, home = tmp_path / "disk", tmp_path / "home"
    made = written(producer, disk)
    assert made == read_bundle(disk)
    assert made.lists() == ("main",)
    shutil.rmtree(producer.folder)
    head = producer.repo.repository.head()
    repository = follow(home, tmp_path, bundle=disk)
    assert repository.resolve("refs/heads/main") == head == made.contents.head
    tags = [name for name in repository.git.references if name.startswith("refs/tags/")]
    assert set(tags) == {name for name in producer.repo.git.references if name.startswith("refs/tags/")}
    carried = read_bundle(disk)
    ca = producer.authority.write(tmp_path)
    assert verify(carried.list_bytes("main"), ca, NOW).content
    for one in producer.images.values():
        path = carried.image_path(one.sha512)
        assert path is not None
        assert sha512_hex(path.read_bytes()) == one.sha512


def test_a_bundle_names_what_it_holds(producer: Producer, tmp_path: Path) -> None:
    written(producer, tmp_path / "disk")
    said = json.loads((tmp_path / "disk" / CONTENTS).read_bytes())
    there = tree(tmp_path / "disk")
    del there[CONTENTS]
    assert {held["path"]: held["sha512"] for held in said["files"]} == {path: sha512_hex(data) for path, data in there.items()}
    assert said["head"] == producer.repo.repository.head()


def test_written_again_it_is_completed_and_what_nothing_names_goes(producer: Producer, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    written(producer, disk)
    (disk / "my-notes.txt").write_text("mine")
    old = producer.images["worker"].sha512
    producer.all("worker", "2026.11.2")
    (producer.folder / "main/images/debian-12-2026.11.1.raw").unlink()
    made = written(producer, disk)
    assert made.image_path(old) is None
    assert made.image_path(producer.images["worker"].sha512) is not None
    assert made.image_path(producer.images["debian-12"].sha512) is not None
    assert (disk / "my-notes.txt").read_text() == "mine"
    assert not [path for path in disk.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert made.contents.head == producer.repo.repository.head()


def test_a_file_that_rotted_on_the_disk_is_written_again(producer: Producer, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    made = written(producer, disk)
    for path in [disk / held.path for held in made.contents.files]:
        data = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    written(producer, disk)
    for held in read_bundle(disk).contents.files:
        assert sha512_hex((disk / held.path).read_bytes()) == held.sha512
    open_bundle(disk, tmp_path / "mirror.git")


def test_only_the_lists_that_are_named_are_taken_along(producer: Producer, tmp_path: Path) -> None:
    fields = {**json.loads(producer.list_document()), "uuid": "00000000-0000-4000-8000-000000000001"}
    producer.repo.commit({"imagelists/other.yaml": json.dumps(fields)})
    assert written(producer, tmp_path / "disk", lists=("main",)).lists() == ("main",)
    with pytest.raises(UserError, match="no image list"):
        written(producer, tmp_path / "disk", lists=("none",))
    with pytest.raises(UserError):
        written(producer, tmp_path / "disk")


def test_lists_and_images_come_from_where_they_were_published(producer: Producer, tmp_path: Path) -> None:
    with WebServer(tmp_path / "www") as server:
        other = Producer(tmp_path / "www", server.url, tmp_path / "other")
        other.all("debian-12", "2026.11.1")
        made = write_bundle(other.repo.repository, "main", tmp_path / "disk", allowed_hosts=("127.0.0.1",))
        assert len(made.contents.files) == 3
        with pytest.raises(Refused, match="R27"):
            write_bundle(other.repo.repository, "main", tmp_path / "refused")
        moved = write_bundle(producer.repo.repository, "main", tmp_path / "moved", public=server.url, allowed_hosts=("127.0.0.1",))
        assert moved.lists() == ("main",)


def test_an_image_with_other_bytes_is_not_taken_along(producer: Producer, tmp_path: Path) -> None:
    path = producer.folder / "main/images/worker-2026.11.1.raw"
    path.write_bytes(image(producer, "worker")[:-1] + b"x")
    with pytest.raises(Refused, match="R14"):
        written(producer, tmp_path / "disk")
    with pytest.raises(UserError, match="no bundle"):
        read_bundle(tmp_path / "disk")


def test_a_list_cannot_name_files_of_this_machine(producer: Producer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(image(producer, "worker"))
    producer.offer("worker", "2026.11.1", uri=secret.as_uri())
    producer.publish()
    with pytest.raises(Refused, match="R27"):
        written(producer, tmp_path / "disk")
    producer.offer("worker", "2026.11.1", uri=f"{URL}/../secret")
    producer.publish()
    with pytest.raises(Refused, match="R27"):
        written(producer, tmp_path / "disk")


# Reading what somebody carried here.


@pytest.fixture
def disk(producer: Producer, tmp_path: Path) -> Path:
    written(producer, tmp_path / "disk")
    return tmp_path / "disk"


def rewrite(disk: Path, change: Callable[[dict[str, object]], object]) -> None:
    said = json.loads((disk / CONTENTS).read_bytes())
    change(said)
    (disk / CONTENTS).write_text(json.dumps(said))


def cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


NOT_WHOLE: dict[str, Callable[[Path], object]] = {
    "no contents": lambda disk: (disk / CONTENTS).unlink(),
    "an image is missing": lambda disk: next(disk.glob("sha512/*/*")).unlink(),
    "an image is cut short": lambda disk: cut(next(disk.glob("sha512/*/*"))),
    "the repository is missing": lambda disk: (disk / REPOSITORY).unlink(),
    "a list is missing": lambda disk: (disk / "lists/main/imagelist.signed").unlink(),
    "contents twofold": lambda disk: (disk / CONTENTS).write_text('{"head": "1", "head": "2", "files": []}'),
    "contents of another kind": lambda disk: (disk / CONTENTS).write_text("[]"),
    "contents that are no JSON": lambda disk: (disk / CONTENTS).write_text("{"),
    "contents with more in it": lambda disk: rewrite(disk, lambda said: said.update(run="sh")),
    "a file outside": lambda disk: rewrite(disk, lambda said: said.update(files=[{"path": "../www/x", "size": 1, "sha512": "a" * 128}])),
    "a file of the machine": lambda disk: rewrite(disk, lambda said: said.update(files=[{"path": "/etc/passwd", "size": 1, "sha512": "a" * 128}])),
    "contents are a link": lambda disk: ((disk / CONTENTS).rename(disk / "x"), (disk / CONTENTS).symlink_to("x")),
    "contents are a pipe": lambda disk: ((disk / CONTENTS).unlink(), os.mkfifo(disk / CONTENTS)),
}


@pytest.mark.parametrize("spoil", NOT_WHOLE.values(), ids=NOT_WHOLE.keys())
def test_a_bundle_that_is_not_whole_is_said_to_be_so(spoil: Callable[[Path], object], disk: Path, tmp_path: Path) -> None:
    spoil(disk)
    with pytest.raises((UserError, Problems)):
        open_bundle(disk, tmp_path / "mirror.git")
    assert not (tmp_path / "mirror.git").exists()


def test_links_in_a_bundle_lead_nowhere(disk: Path, tmp_path: Path) -> None:
    bundle = read_bundle(disk)
    path = next(disk.glob("sha512/*/*"))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert bundle.image_path(path.name) is None
    (disk / "lists").rename(tmp_path / "lists")
    (disk / "lists").symlink_to(tmp_path / "lists")
    with pytest.raises(UserError, match="does not hold"):
        bundle.list_bytes("main")


@pytest.mark.parametrize("name", ["../main", "", "none", ".", "main/../main", "\x1b[31m"])
def test_a_list_that_is_not_there_is_a_users_error(name: str, disk: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_bundle(disk).list_bytes(name)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 128, "a" * 127, "0" * 128])
def test_a_digest_that_is_none_has_no_file(digest: str, disk: Path) -> None:
    assert read_bundle(disk).image_path(digest) is None


def test_an_endless_list_is_not_read_to_its_end(disk: Path) -> None:
    bundle = read_bundle(disk)
    os.truncate(disk / "lists/main/imagelist.signed", 1 << 40)
    with pytest.raises(Refused, match="R25"):
        bundle.list_bytes("main")


@pytest.mark.parametrize("place", ["header", "middle", "end"])
def test_a_repository_that_was_changed_in_the_bundle_does_not_harm_the_mirror(place: str, disk: Path, producer: Producer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    head = follow(home, tmp_path, bundle=disk).resolve("refs/heads/main")
    producer.all("worker", "2026.11.2")
    written(producer, disk)
    data = (disk / REPOSITORY).read_bytes()
    at = {"header": 20, "middle": len(data) // 2, "end": len(data) - 25}[place]
    (disk / REPOSITORY).write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
    with pytest.raises(VmkeeperError):
        follow(home, tmp_path, bundle=disk)
    assert git(home / MIRROR, "rev-parse", "main") == head
    with pytest.raises(VmkeeperError):
        follow(tmp_path / "new", tmp_path, bundle=disk)


# Killed, and from the command line.


def test_killed_at_any_step_the_next_run_completes_it_and_no_half_is_taken_for_whole(producer: Producer, tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "support/bundlekiller.py"
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, script, producer.repo.folder, producer.folder, tmp_path / "disk"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


@pytest.fixture
def runner() -> Iterator[CliRunner]:
    return CliRunner()


def test_the_command_writes_a_bundle_and_says_what_is_in_it(producer: Producer, tmp_path: Path, runner: CliRunner) -> None:
    words = ["bundle", str(tmp_path / "disk"), "-C", str(producer.repo.folder), "--public", str(producer.folder)]
    done = runner.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "main" in done.stdout
    assert "4 files" in done.stdout
    done = runner.invoke(app, [*words, "--output", "json"])
    assert json.loads(done.stdout)["head"] == producer.repo.repository.head()
