"""Publishing into a real folder: what a web server would serve, what a killed run leaves, and what the next one makes of it."""

import fcntl
import json
import os
import re
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from support.certificates import NOW, PUBLISHER, authority, issue
from support.davserver import DavServer
from support.producer import NOW as PRODUCED
from support.producer import Producer
from support.publication import DAY, URL, content, decision, desired
from support.repo import BASE, TOOLS, uuid
from support.webserver import WebServer
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.cli.publisher import publish as publish_from_command_line
from vmkeeper.cli.session import Output, Session
from vmkeeper.errors import Transient, UserError
from vmkeeper.execute.feedsigning import Hands
from vmkeeper.execute.listkey import FileKey
from vmkeeper.execute.publication import Place
from vmkeeper.execute.publication import desired as desired_at_head
from vmkeeper.execute.publish import publish
from vmkeeper.execute.walk import Blocked, Done, Failed
from vmkeeper.images.fetch import fetch
from vmkeeper.images.files import PREFIX
from vmkeeper.images.store import Store
from vmkeeper.images.targets_folder import FolderTarget
from vmkeeper.lists.hepix import read
from vmkeeper.lists.smime import Signer, verify
from vmkeeper.model.release import Blob
from vmkeeper.plan.chosen import choose
from vmkeeper.progress import Silent
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.values import sha512_hex

TESTS = Path(__file__).parents[1]
FEEDS = re.compile(r"catalogue\.json|streams(/|$)|torrents\.yaml|[a-z]+/SHA512SUMS")
"""Files of the other forms."""


@pytest.fixture(scope="session")
def trusted():
    return authority()


@pytest.fixture(scope="session")
def signer(trusted):
    person = issue(PUBLISHER, trusted)
    return Signer(person.certificate, person.key)


class Publisher:
    """A store, a public folder and a signer."""

    def __init__(self, folder, signer, trusted):
        self.folder, self.signer, self.trusted = folder, signer, trusted
        self.root = folder / "public"
        self.store = Store(folder / "store")

    def build(self, *words, kind="qcow2", salt=""):
        for one in words:
            self.store.put_bytes(content(*one.split(), kind, salt))

    def place(self, now=NOW, signer=None):
        return Place(FolderTarget(self.root), self.store, Hands(FileKey(signer or self.signer)), now)

    def publish(self, *lists, now=NOW, signer=None):
        outcomes = publish(self.place(now, signer), lists).outcomes
        return tuple(outcome for outcome in outcomes if outcome.action.kind != "digest" or not isinstance(outcome, Done))

    def everything(self):
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))

    def tree(self):
        """Without the other forms of the lists."""
        return [name for name in self.everything() if not FEEDS.match(name)]

    def files(self):
        return [name for name in self.tree() if (self.root / name).is_file()]

    def list(self, name="science", now=NOW):
        return read(verify((self.root / name / "imagelist.signed").read_bytes(), [self.trusted.certificate], now).content)

    def sound(self, name="science"):
        """Every list that is there verifies, and every image that it names is there with its bytes."""
        for image in self.list(name).images:
            path = self.root / image.uri.removeprefix(f"{URL}/")
            assert sha512_hex(path.read_bytes()) == image.sha512
            assert path.stat().st_size == image.size


@pytest.fixture
def publisher(tmp_path, signer, trusted):
    return Publisher(tmp_path, signer, trusted)


def all_done(outcomes):
    assert [type(outcome) for outcome in outcomes] == [Done] * len(outcomes), outcomes
    return [outcome.action.kind for outcome in outcomes if outcome.action.kind not in ("feed", "digest")]


def test_images_and_signed_list_are_published(publisher):
    publisher.build("debian-12 2", "docker 1")
    assert all_done(publisher.publish(desired(decision("debian-12 2"), decision("docker 1")))) == ["publish", "publish", "sign", "index"]
    publisher.sound()
    assert len(publisher.files()) == 4
    assert [image.version for image in publisher.list().images] == ["2", "1"]
    index = json.loads((publisher.root / "imagelists.json").read_bytes())
    assert index["imagelists"]["science"]["uri"] == f"{URL}/science/imagelist.signed"


def test_second_run_touches_nothing(publisher):
    publisher.build("debian-12 2")
    wanted = desired(decision("debian-12 2"))
    publisher.publish(wanted)
    before = {name: (publisher.root / name).stat().st_mtime_ns for name in publisher.tree()}
    assert publisher.publish(wanted, now=NOW + DAY) == ()
    assert {name: (publisher.root / name).stat().st_mtime_ns for name in publisher.tree()} == before


def test_everything_is_readable_by_any_web_server(publisher):
    publisher.build("debian-12 2")
    old = os.umask(0o077)
    try:
        publisher.publish(desired(decision("debian-12 2")))
    finally:
        os.umask(old)
    for name in ["", *publisher.tree()]:
        mode = stat.S_IMODE((publisher.root / name).stat().st_mode)
        assert mode == (0o755 if (publisher.root / name).is_dir() else 0o644), name


def test_update_removes_what_is_no_longer_named(publisher):
    publisher.build("debian-12 2", "debian-12 3", "docker 1")
    publisher.publish(desired(decision("debian-12 2"), decision("docker 1")))
    assert all_done(publisher.publish(desired(decision("debian-12 3")), now=NOW + DAY)) == ["publish", "sign", "remove", "remove"]
    publisher.sound()
    assert [name.split("/")[-1] for name in publisher.files()] == ["imagelists.json", "imagelist.signed", "debian-12-3.qcow2"]
    assert not any((publisher.root / name).is_dir() and not list((publisher.root / name).iterdir()) for name in publisher.tree())


def test_withdrawing_everything_leaves_an_empty_list(publisher):
    publisher.build("debian-12 2")
    publisher.publish(desired(decision("debian-12 2")))
    publisher.publish(desired(), now=NOW + DAY)
    assert publisher.list().images == ()
    assert publisher.tree() == ["imagelists.json", "science", "science/imagelist.signed"]


def test_image_that_the_store_lacks_blocks_its_list_and_no_other(publisher):
    publisher.build("debian-12 2")
    outcomes = publisher.publish(desired(decision("debian-12 2"), decision("docker 1")), desired(decision("debian-12 2"), name="teaching"))
    by_id = {outcome.action.id: outcome for outcome in outcomes}
    assert isinstance(by_id["publish:science/docker"], Failed)
    assert isinstance(by_id["publish:science/docker"].error, UserError)
    assert isinstance(by_id["sign:science"], Blocked)
    assert isinstance(by_id["sign:teaching"], Done)
    assert not (publisher.root / "science" / "imagelist.signed").exists()
    publisher.sound("teaching")
    publisher.build("docker 1")
    all_done(publisher.publish(desired(decision("debian-12 2"), decision("docker 1")), desired(decision("debian-12 2"), name="teaching")))
    publisher.sound()


def test_damaged_file_of_the_store_is_never_published(publisher):
    publisher.build("debian-12 2")
    path = publisher.store.local_path(sha512_hex(content("debian-12", "2")))
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))
    outcomes = publisher.publish(desired(decision("debian-12 2")))
    assert isinstance(outcomes[0], Failed)
    assert outcomes[0].error.rule == "R14"
    assert publisher.files() == []


def test_wrong_bytes_under_a_public_name_are_replaced(publisher):
    publisher.build("debian-12 2")
    path = publisher.root / f"science/images/{desired(decision('debian-12 2')).appliances['debian-12'].uuid}/2/debian-12-2.qcow2"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    all_done(publisher.publish(desired(decision("debian-12 2"))))
    publisher.sound()


@pytest.mark.parametrize("damage", ["text", "signature", "cut", "empty", "stranger"])
def test_damaged_list_is_signed_again(publisher, damage):
    publisher.build("debian-12 2")
    wanted = desired(decision("debian-12 2"))
    publisher.publish(wanted)
    path = publisher.root / "science" / "imagelist.signed"
    data = path.read_bytes()
    if damage == "stranger":
        person = issue(PUBLISHER, authority())
        publisher.publish(wanted, signer=Signer(person.certificate, person.key), now=NOW + DAY)
    else:
        path.write_bytes(
            {"text": data.replace(b"Science", b"Sciencf"), "signature": data.replace(b"MII", b"MIJ"), "cut": data[:500], "empty": b""}[damage]
        )
    assert "sign" in all_done(publisher.publish(wanted, now=NOW + 2 * DAY))
    publisher.sound()


def test_leftovers_go_even_where_nothing_else_is_to_be_done(publisher):
    publisher.build("debian-12 2")
    wanted = desired(decision("debian-12 2"))
    publisher.publish(wanted)
    before = publisher.tree()
    (publisher.root / f"{PREFIX}0").write_bytes(b"x")
    (publisher.root / "science" / "images" / "x" / "1").mkdir(parents=True)
    (publisher.root / "science" / "images" / "x" / "1" / f"{PREFIX}1").write_bytes(b"half")
    assert publisher.publish(wanted) == ()
    assert publisher.tree() == before


def test_two_publishers_at_once_do_not_meet(publisher):
    publisher.build("debian-12 2")
    wanted = desired(decision("debian-12 2"))
    publisher.root.mkdir()
    handle = os.open(publisher.root, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(Transient, match="another run"):
        publisher.publish(wanted)
    os.close(handle)
    all_done(publisher.publish(wanted))


def test_what_is_published_can_be_fetched(publisher, tmp_path):
    publisher.build("debian-12 2")
    with WebServer(publisher.root) as server:
        publisher.publish(desired(decision("debian-12 2"), url=server.url))
        (image,) = publisher.list().images
        fetch([image.uri], Blob(size=image.size, sha512=image.sha512), tmp_path / "got", allow=["127.0.0.1"])
    assert (tmp_path / "got").read_bytes() == content("debian-12", "2")


@pytest.mark.parametrize("what", ["lists", "everything"])
def test_killed_at_any_point_the_next_run_ends_in_the_same_state(tmp_path, trusted, what):
    """A process of its own forks runs that are killed before their first, second, … file system call."""
    work = tmp_path / "work"
    work.mkdir()
    issue(PUBLISHER, trusted).write(work, "person")
    (work / "ca.pem").write_bytes(trusted.pem)
    script, environment = TESTS / "support" / "publishing.py", {**os.environ, "PYTHONPATH": str(TESTS)}
    result = subprocess.run([sys.executable, script, work, what], check=False, capture_output=True, text=True, timeout=900, env=environment)
    assert result.returncode == 0, result.stderr
    points = json.loads(result.stdout)
    assert points["killed"] > 15
    assert points["ends"] == 1


def test_killed_in_the_middle_of_a_copy(publisher, tmp_path):
    """A real kill -9 while an image is being copied out of a store that is slow."""
    publisher.build("debian-12 2")
    publisher.publish(desired(decision("debian-12 2")))
    before = publisher.tree()
    source = tmp_path / "slow"
    os.mkfifo(source)
    code = f"""
from pathlib import Path
from vmkeeper.images.files import temporary, copy_hashed
with open({str(source)!r}, "rb") as slow, temporary(Path({str(publisher.root / "science" / "images" / "new")!r})) as new:
    copy_hashed(slow, new.file)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    with source.open("wb") as pipe:
        pipe.write(bytes(range(256)) * 20_000)
        pipe.flush()
        while not any(path.stat().st_size for path in publisher.root.rglob(f"{PREFIX}*")):
            threading.Event().wait(0.02)
        process.kill()
        process.wait()
    assert publisher.tree() != before
    publisher.publish(desired(decision("debian-12 2")))
    assert publisher.tree() == before


@pytest.fixture
def producer(tmp_path):
    made = Producer(tmp_path / "served", URL, tmp_path)
    store = Store(tmp_path / "store")
    for version in ("1.0", "2.0"):
        store.put_bytes(made.release("debian-12", version))
        made.offer("debian-12", version)
    documents = {"debian-12": BASE.format(uuid=uuid("debian-12")), "tools": TOOLS.format(uuid=uuid("tools"))}
    files = {f"appliances/{name}/appliance.yaml": text for name, text in documents.items()}
    made.repo.commit({**files, "imagelists/main.yaml": made.list_document()}, "list")
    made.lister_pem = tmp_path / "lister.pem"
    made.lister_pem.write_bytes(made.lister.certificate.public_bytes(Encoding.PEM))
    made.lister_key = tmp_path / "lister.key"
    made.lister_key.write_bytes(made.lister.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def at_head(producer, *names, now=PRODUCED):
    repository = producer.repo.repository
    head = repository.head()
    return desired_at_head(Catalogue.at(repository, head), head, names, now, Authorities(()))[0]


def chosen(producer, now=PRODUCED):
    (one,), _ = choose(at_head(producer, now=now)[0], now)
    return str(one.version)


def test_what_is_endorsed_in_a_repository_is_desired(producer):
    (wanted,) = at_head(producer)
    assert choose(wanted, PRODUCED)[0] == ()
    producer.endorse("debian-12", "1.0")
    assert chosen(producer) == "1.0"
    producer.endorse("debian-12", "2.0")
    assert chosen(producer) == "2.0"
    producer.withdraw("debian-12", "2.0")
    assert chosen(producer) == "1.0"
    assert choose(at_head(producer, now=PRODUCED + 70 * DAY)[0], PRODUCED + 70 * DAY)[0] == ()


def test_unknown_list_names_those_that_there_are(producer):
    with pytest.raises(UserError, match="no image list") as caught:
        at_head(producer, "other")
    assert "main" in caught.value.hint


def publish_command(producer, tmp_path, capsys, **options):
    folder = producer.repo.repository.folder
    given = {
        "to": tmp_path / "public",
        "certificate": producer.lister_pem,
        "key": producer.lister_key,
        "directory": folder,
        "store": str(tmp_path / "store"),
    }
    code = publish_from_command_line(**{**given, **options})
    return code, capsys.readouterr().out


def test_command_publishes_and_then_has_nothing_to_do(producer, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Session, "now", PRODUCED)
    code, said = publish_command(producer, tmp_path, capsys)
    assert code == 0
    assert "left out main: debian-12" in said
    producer.endorse("debian-12", "1.0")
    code, said = publish_command(producer, tmp_path, capsys)
    assert code == 0
    assert "verified and in place" in said
    made = read(verify((tmp_path / "public/main/imagelist.signed").read_bytes(), [producer.authority.certificate], PRODUCED).content)
    assert [image.version for image in made.images] == ["1.0"]
    code, said = publish_command(producer, tmp_path, capsys)
    assert code == 0
    assert "Nothing to publish" in said
    code, said = publish_command(producer, tmp_path, capsys, output=Output.json)
    assert json.loads(said)["plan"]["actions"] == []


def test_command_without_a_certificate_says_how_to_give_one(producer, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("VMKEEPER_CERTIFICATE", raising=False)
    with pytest.raises(UserError, match="--certificate is not given") as caught:
        publish_command(producer, tmp_path, capsys, certificate=None)
    assert "git config vmkeeper.certificate" in caught.value.hint
    monkeypatch.setenv("VMKEEPER_CERTIFICATE", str(producer.lister_pem))
    monkeypatch.setattr(Session, "now", PRODUCED)
    assert publish_command(producer, tmp_path, capsys, certificate=None)[0] == 0


@pytest.mark.parametrize("way", ["pkcs12", "signer", "settings"])
def test_command_signs_in_every_way(producer, tmp_path, capsys, monkeypatch, way):
    monkeypatch.setattr(Session, "now", PRODUCED)
    for name in ("CERTIFICATE", "KEY", "PKCS12", "SIGNER"):
        monkeypatch.delenv(f"VMKEEPER_{name}", raising=False)
    producer.endorse("debian-12", "1.0")
    options = {"certificate": None, "key": None}
    if way == "pkcs12":
        file = tmp_path / "lister.p12"
        file.write_bytes(pkcs12.serialize_key_and_certificates(b"x", producer.lister.key, producer.lister.certificate, None, NoEncryption()))
        options["pkcs12"] = file
    else:
        signs = f"openssl cms -sign -binary -outform PEM -md sha256 -signer {producer.lister_pem} -inkey {producer.lister_key}"
        if way == "signer":
            options |= {"certificate": producer.lister_pem, "signer": signs}
        else:
            config = producer.repo.repository.git.config
            config["vmkeeper.certificate"], config["vmkeeper.signer"], config["vmkeeper.public"] = (
                str(producer.lister_pem),
                signs,
                str(tmp_path / "public"),
            )
            options["to"] = None
    assert publish_command(producer, tmp_path, capsys, **options)[0] == 0
    message = (tmp_path / "public/main/imagelist.signed").read_bytes()
    assert len(read(verify(message, [producer.authority.certificate], PRODUCED).content).images) == 1
    assert publish_command(producer, tmp_path, capsys, **options)[1] == "Nothing to publish: every list says what is endorsed.\n"


def test_command_publishes_over_http_with_credentials(producer, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Session, "now", PRODUCED)
    producer.endorse("debian-12", "1.0")
    (tmp_path / "upload.yaml").write_text("username: publisher\npassword: a secret word\n")
    (tmp_path / "upload.yaml").chmod(0o600)
    with DavServer(tmp_path / "dav", user="publisher:a secret word") as server:
        options = {"to": server.url, "to_credentials": tmp_path / "upload.yaml"}
        code, said = publish_command(producer, tmp_path, capsys, **options)
        assert code == 0
        assert "secret word" not in said
        assert (tmp_path / "dav/main/imagelist.signed").is_file()
        changes = len(server.changes)
        assert "Nothing to publish" in publish_command(producer, tmp_path, capsys, **options)[1]
        assert len(server.changes) == changes
        with pytest.raises(UserError, match="401"):
            publish_command(producer, tmp_path, capsys, to=server.url)


def named(publisher):
    """What the catalogue of the public folder says: versions by list and appliance."""
    lists = json.loads((publisher.root / "catalogue.json").read_bytes())["lists"]
    return {one["name"]: {image["appliance"]: image["version"] for image in one["images"]} for one in lists}


def test_lists_that_are_not_named_stay_in_the_other_forms(publisher):
    publisher.build("debian-12 2", "debian-12 3", "docker 1")
    teaching = desired(decision("debian-12 2"), decision("docker 1"), name="teaching")
    publisher.publish(desired(decision("debian-12 2")), teaching)
    both = decision("debian-12 2"), decision("debian-12 3")
    outcomes = publish(publisher.place(NOW + DAY), [desired(*both)], [desired(*both, decision("docker 1"), name="teaching")]).outcomes
    assert "sign:teaching" not in {outcome.action.id for outcome in outcomes}
    assert named(publisher) == {"science": {"debian-12": "3"}, "teaching": {"debian-12": "2", "docker": "1"}}
    assert publish(publisher.place(NOW + DAY), [desired(*both)], [desired(*both, decision("docker 1"), name="teaching")]).outcomes == ()


def test_a_list_that_is_refused_stays_as_it_is_in_the_other_forms(publisher):
    publisher.build("debian-12 2", "docker 1")
    wanted = desired(decision("debian-12 2"), decision("docker 1"))
    publisher.publish(wanted, desired(name="teaching"))
    lost = replace(wanted, decisions=desired(decision("debian-12 2")).decisions)
    done = publish(publisher.place(NOW + DAY), [lost, desired(name="teaching", title="Teaching")])
    assert [error.rule for error in done.publication.refused] == ["R8"]
    assert all(isinstance(outcome, Done) for outcome in done.outcomes)
    assert named(publisher) == {"science": {"debian-12": "2"}, "teaching": {}}
    assert len(publisher.list().images) == 2
    publisher.sound()


def test_a_list_of_one_endorser_in_a_repository(producer):
    producer.endorse("debian-12", "1.0")

    def list_of(endorser):
        document = json.loads(producer.list_document()) | {"endorser": endorser}
        producer.repo.commit({"imagelists/main.yaml": json.dumps(document)}, "list")

    list_of("alice")
    assert chosen(producer) == "1.0"
    list_of("mallory")
    with pytest.raises(UserError, match="mallory is not an endorser of team"):
        at_head(producer)
    producer.repo.commit({"imagelists/other.yaml": json.dumps(json.loads(producer.list_document()) | {"uuid": uuid("other")})}, "other")
    assert [one.name for one in at_head(producer, "other")] == ["other"]


def test_how_much_was_sent_is_told(publisher):
    told = []

    class Told(Silent):
        def amount(self, subject, done, total, unit):
            told.append((subject, done, total, unit))

    publisher.build("debian-12 2")
    publish(publisher.place(), [desired(decision("debian-12 2"))], progress=Told())
    size = len(content("debian-12", "2"))
    assert ("science/debian-12", size, size, "B") in told


def test_an_option_goes_before_what_is_set(producer, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Session, "now", PRODUCED)
    monkeypatch.setenv("VMKEEPER_PKCS12", str(tmp_path / "none.p12"))
    monkeypatch.setenv("VMKEEPER_SIGNER", "false")
    assert publish_command(producer, tmp_path, capsys)[0] == 0
    with pytest.raises(UserError, match=r"none\.p12"):
        publish_command(producer, tmp_path, capsys, certificate=None, key=None)
