"""Importing into a real repository: what is verified, that files appear all together, and that `check` accepts what comes out."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pygit2
import pytest

from support.certificates import NOW, PUBLISHER, Identity, authority, ca_folder, issue, rsa_key
from support.foreignlists import IMAGE_UUID, comfy_template, vmcaster_database, vmcaster_image, vmcaster_list
from support.killpoints import in_child, killed_at
from support.lists import image, image_list
from support.repo import Repo, base, locked, tools
from support.x509 import openssl
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check
from vmkeeper.errors import Problems, Refused, Transient, UserError
from vmkeeper.execute.importing import Wish, Written, import_files, observe, write_all
from vmkeeper.lists.hepix import publish_text
from vmkeeper.lists.imports.outcome import NewFile
from vmkeeper.lists.smime import Signer, sign
from vmkeeper.model.appliance import Appliance
from vmkeeper.repository.tree import Repository

SCIENCE = "https://images.example.org/science/imagelist.signed"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A clone with a base appliance."""
    bare = Repo(tmp_path / "bare")
    bare.commit({**tools(), **base()})
    bare.commit(locked(bare))
    pygit2.clone_repository(str(bare.folder), str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture(scope="session")
def trusted() -> Identity:
    return authority()


@pytest.fixture(scope="session")
def publisher(trusted: Identity) -> Identity:
    return issue(PUBLISHER, trusted, key=rsa_key())


def catalogue(work: Path) -> Catalogue:
    repository = Repository.open(work)
    return Catalogue(repository, repository.worktree())


def run(work: Path, source: Any, *files: Path, **how: Any) -> Written:
    return import_files(Wish(source=source, files=files, **how), catalogue(work), NOW)


def state(work: Path) -> dict[str, bytes]:
    return {str(path.relative_to(work)): path.read_bytes() for path in work.rglob("*") if path.is_file() and ".git" not in path.parts}


def signed(folder: Path, publisher: Identity, **changes: Any) -> Path:
    file = folder / "list.signed"
    text = publish_text(image_list(image(), **{"uri": SCIENCE, **changes}))
    file.write_bytes(sign(text, Signer(publisher.certificate, publisher.key)))
    return file


def notes(done: Written) -> str:
    return "\n".join(map(str, done.imported.notes))


def test_check_accepts_a_list_whose_images_inherit(work: Path, tmp_path: Path, publisher: Identity) -> None:
    done = run(work, "hepix-list", signed(tmp_path, publisher), inherits="base")
    assert done.written == ("imagelists/science.yaml", "appliances/debian-12/appliance.yaml", "endorsers/science.yaml")
    assert check(catalogue(work)) == ()
    made = catalogue(work).resolved("debian-12").appliance
    assert (made.uuid, made.title, made.architecture, made.formats) == (image().uuid, "Debian 12", "x86_64", ("qcow2",))


def test_what_is_missing_without_a_parent_is_what_the_notes_say(work: Path, tmp_path: Path, publisher: Identity) -> None:
    done = run(work, "hepix-list", signed(tmp_path, publisher))
    assert "debian-12: builder: an image has no recipe" in notes(done)
    problems = check(catalogue(work))
    assert {problem.place.file for problem in problems} == {"appliances/debian-12/appliance.yaml"}
    assert {problem.place.field for problem in problems} == {"builder.tools", "disk.boot", "users.default"}


def test_a_second_import_changes_nothing_and_a_changed_file_is_kept(work: Path, tmp_path: Path, publisher: Identity) -> None:
    file = signed(tmp_path, publisher)
    run(work, "hepix-list", file, inherits="base")
    before = state(work)
    again = run(work, "hepix-list", file, inherits="base")
    assert (again.written, again.unchanged) == ((), ("imagelists/science.yaml",))
    assert state(work) == before
    listed, machine = work / "imagelists" / "science.yaml", work / "appliances" / "debian-12" / "appliance.yaml"
    listed.write_text(listed.read_text() + "# mine\n")
    machine.write_text(machine.read_text().replace("Debian 12", "Mine"))
    edited = state(work)
    with pytest.raises(Problems, match="is there already, with other content"):
        run(work, "hepix-list", file, inherits="base")
    assert state(work) == edited
    run(work, "hepix-list", file, inherits="base", replace=True)
    assert state(work) == before


def test_a_signed_list_is_verified_where_authorities_are_given(work: Path, tmp_path: Path, publisher: Identity, trusted: Identity) -> None:
    file = signed(tmp_path, publisher)
    done = run(work, "hepix-list", file)
    assert "signature: was not verified" in notes(done)
    shutil.rmtree(work / "endorsers")
    done = run(work, "hepix-list", file, ca_dir=ca_folder(tmp_path / "ca", trusted), replace=True)
    assert "signature" not in notes(done)
    assert "hv:endorser: names /DC=org/CN=Image Publisher, but the list is signed by /DC=org/DC=example/O=Images/CN=Image Publisher" in notes(done)
    assert done.imported.foreign[0].endorser.dn == "/DC=org/DC=example/O=Images/CN=Image Publisher"


def test_a_list_of_a_stranger_is_refused_and_nothing_written(work: Path, tmp_path: Path, publisher: Identity) -> None:
    before = state(work)
    folder = ca_folder(tmp_path / "ca", authority())
    with pytest.raises(Refused) as caught:
        run(work, "hepix-list", signed(tmp_path, publisher), ca_dir=folder)
    assert caught.value.rule == "R19"
    file = signed(tmp_path, publisher)
    file.write_bytes(file.read_bytes().replace(b"Science", b"Sciencf"))
    with pytest.raises(Refused):
        run(work, "hepix-list", file, ca_dir=folder)
    assert state(work) == before


def test_sha1_is_taken_only_where_one_says_so(work: Path, tmp_path: Path, publisher: Identity, trusted: Identity) -> None:
    publisher.write(tmp_path, "me")
    (tmp_path / "text").write_text(publish_text(image_list(uri=SCIENCE)))
    words = ("-signer", tmp_path / "me.pem", "-inkey", tmp_path / "me.key", "-in", tmp_path / "text", "-md", "sha1", "-out", tmp_path / "list.signed")
    openssl("cms", "-sign", *words)
    folder = ca_folder(tmp_path / "ca", trusted)
    with pytest.raises(Refused) as caught:
        run(work, "hepix-list", tmp_path / "list.signed", ca_dir=folder)
    assert caught.value.rule == "R11"
    done = run(work, "hepix-list", tmp_path / "list.signed", ca_dir=folder, sha1=True)
    assert "was made with SHA-1" in notes(done)
    assert done.imported.foreign[0].sha1


def test_a_list_without_a_signature_says_so(work: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.json").write_text(publish_text(image_list(uri=SCIENCE)))
    assert "signature: there is none" in notes(run(work, "hepix-list", tmp_path / "plain.json"))


def test_an_image_that_cannot_be_read_is_left_out_and_told(work: Path, tmp_path: Path) -> None:
    document = json.loads(publish_text(image_list(image(), uri=SCIENCE)))
    document["hv:imagelist"]["hv:images"].append({"hv:image": {"dc:identifier": "x"}})
    (tmp_path / "plain.json").write_text(json.dumps(document))
    done = run(work, "hepix-list", tmp_path / "plain.json")
    assert "appliances/debian-12/appliance.yaml" in done.written
    assert "hv:images[1].dc:identifier: 'x' is not a UUID; the image was left out" in notes(done)


def test_vmcasters_database_with_two_lists_that_share_an_image(work: Path, tmp_path: Path) -> None:
    second = vmcaster_list(**{"dc:identifier": "3a1df02c-121a-461d-b720-521903ef99f0", "dc:title": "Second"})
    file = vmcaster_database(tmp_path / "dish.db", vmcaster_list(), second)
    done = run(work, "vmcaster", file, inherits="base", endorsed_by="lab")
    assert done.written == ("imagelists/lab-images.yaml", "appliances/debian-worker/appliance.yaml", "imagelists/second.yaml")
    assert done.imported.foreign == ()
    assert [problem.what for problem in check(catalogue(work))] == ["there is no endorser list lab", "there is no endorser list lab"]
    with pytest.raises(UserError, match="2 lists cannot all be called x"):
        run(work, "vmcaster", file, name="x")
    assert observe(catalogue(work)).appliances[IMAGE_UUID] == "debian-worker"


def test_comfys_template_is_found_around_its_description(work: Path, tmp_path: Path) -> None:
    file = comfy_template(tmp_path / "templates")
    done = run(work, "comfy", file)
    assert "appliances/debian-8/provision/init.sh" in done.written
    assert not any(path.endswith("~") for path in done.written)
    machine = catalogue(work).appliance("debian-12")
    assert isinstance(machine, Appliance)
    assert machine.packages == ("openssh-server", "build-essential")
    before = state(work)
    shutil.rmtree(work / "appliances" / "debian-12")
    (work / "appliances" / "debian-8" / "provision" / "init.sh").unlink()
    run(work, "comfy", file)
    assert state(work) == before
    assert {problem.place.file.split("/")[1] for problem in check(catalogue(work))} == {"debian-12", "debian-8"}


def test_comfys_uuids_are_the_repositorys_own(tmp_path: Path) -> None:
    file = comfy_template(tmp_path / "templates")
    uuids = []
    for name in ("one", "two"):
        bare = Repo(tmp_path / f"{name}.git")
        bare.commit({"README.md": name})
        pygit2.clone_repository(str(bare.folder), str(tmp_path / name))
        run(tmp_path / name, "comfy", file)
        uuids += list(observe(catalogue(tmp_path / name)).appliances)
    assert len(set(uuids)) == 4


def test_mistakes_of_whoever_calls_are_told(work: Path, tmp_path: Path) -> None:
    bare = Repo(tmp_path / "other")
    bare.commit({"README.md": "x"})
    (tmp_path / "x").write_text("x")
    cases: list[tuple[Path, Any, dict[str, Any], str]] = [
        (bare.folder, "hepix-list", {}, "without a work tree"),
        (work, "comfy", {"name": "x"}, "hold no image list"),
        (work, "hepix-list", {"inherits": "nobody"}, "there is no appliance nobody"),
        (work, "vmcaster", {}, "none of vmcaster's files"),
        (work, "hepix-list", {}, "this is not a message"),
    ]
    for place, source, how, said in cases:
        found = Repository.open(place)
        whole = Catalogue(found, found.at(found.head()) if found.git.is_bare else found.worktree())
        with pytest.raises((UserError, Refused), match=said):
            import_files(Wish(source=source, files=(tmp_path / "x",), **how), whole, NOW)
    with pytest.raises(UserError, match="cannot be read"):
        run(work, "hepix-list", tmp_path / "absent")


def files(work: Path) -> list[NewFile]:
    return [NewFile("imagelists/a.yaml", b"new a\n"), NewFile("appliances/x/appliance.yaml", b"x\n"), NewFile("endorsers/a.yaml", b"e\n")]


def test_nothing_is_written_where_one_file_cannot_be(work: Path) -> None:
    (work / "imagelists").mkdir()
    (work / "imagelists" / "a.yaml").write_text("old a\n")
    (work / "endorsers").write_text("a file where a folder should be\n")
    before = state(work)
    with pytest.raises(UserError):
        write_all(Repository.open(work), files(work), replacing=True)
    assert state(work) == before
    assert not (work / "appliances" / "x").exists()


def test_links_are_not_followed(work: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (work / "imagelists").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a link is in the way"):
        write_all(Repository.open(work), files(work), replacing=True)
    (work / "imagelists").unlink()
    (work / "imagelists").mkdir()
    (work / "imagelists" / "a.yaml").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text("s")
    with pytest.raises(Problems):
        write_all(Repository.open(work), files(work), replacing=False)
    write_all(Repository.open(work), files(work), replacing=True)
    assert (tmp_path / "secret").read_text() == "s"
    assert (work / "imagelists" / "a.yaml").read_bytes() == b"new a\n"


def test_one_import_at_a_time(work: Path) -> None:
    repository = Repository.open(work)
    with (repository.private / "importing.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Transient, match="another import"):
            write_all(repository, files(work), replacing=False)


def test_killed_anywhere_the_next_import_makes_it_whole(work: Path) -> None:
    (work / "imagelists").mkdir()
    (work / "imagelists" / "a.yaml").write_text("old a\n")
    start = work.parent / "start"
    shutil.copytree(work, start)
    killed = 0
    while True:
        shutil.rmtree(work)
        shutil.copytree(start, work)
        died = killed_at(killed, lambda: write_all(Repository.open(work), files(work), replacing=True))
        assert (work / "imagelists" / "a.yaml").read_bytes() in (b"old a\n", b"new a\n")
        assert in_child(lambda: write_all(Repository.open(work), files(work), replacing=True)) == 0
        assert {(work / file.path).read_bytes() == file.data for file in files(work)} == {True}
        assert not (work / ".git" / "vmkeeper" / "importing").exists()
        assert not list(work.rglob(".vmkeeper-new-*"))
        if not died:
            break
        killed += 1
    assert killed > 15


def vmkeeper(work: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vmkeeper", *map(str, words)]
    return subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_says_what_it_wrote_and_what_is_to_do(work: Path, tmp_path: Path, publisher: Identity, trusted: Identity) -> None:
    file, folder = signed(tmp_path, publisher), ca_folder(tmp_path / "ca", trusted)
    done = vmkeeper(work, "import", "hepix-list", file, "--ca-dir", folder, "--list", "ours", "--inherits", "base")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == ["wrote imagelists/ours.yaml", "wrote appliances/debian-12/appliance.yaml", "wrote endorsers/ours.yaml"]
    assert "foreign:" in lines
    assert "  - name: ours" in lines
    assert "sl:checksum:sha512, dc:date:expires" in done.stdout
    assert vmkeeper(work, "check", "--worktree").returncode == 0
    (work / "imagelists" / "ours.yaml").write_text("x: y\n")
    done = vmkeeper(work, "import", "hepix-list", file, "--list", "ours", "--inherits", "base", "--output", "json")
    assert done.returncode == 1
    assert "imagelists/ours.yaml" in done.stderr
    done = vmkeeper(work, "import", "hepix-list", file, "--list", "ours", "--inherits", "base", "--output", "json", "--force")
    shown = json.loads(done.stdout)
    assert shown["written"] == ["imagelists/ours.yaml", "endorsers/ours.yaml"]
    assert shown["foreign"][0]["url"] == SCIENCE
    assert {"subject", "field", "what"} == set(shown["notes"][0])
    assert vmkeeper(work, "import", "hepix-list", file, "--list", "../x").returncode == 1


def test_an_export_with_unreadable_identifiers_names_them_all(work: Path, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(json.dumps(vmcaster_list(vmcaster_image("a"), vmcaster_image("b"))))
    done = vmkeeper(work, "import", "vmcaster", tmp_path / "export.json")
    assert done.returncode == 1
    assert done.stderr.count("is not a UUID") == 2
