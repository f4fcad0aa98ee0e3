"""Clusters carried out at a cloud in memory whose machines answer, or do not, on real sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.producer import NOW, Producer
from support.webserver import WebServer
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.clouds.interface import CloudMachine, MachineSpec
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.errors import Problems, UserError
from vmkeeper.execute.cluster import Up, down, planned, public_keys, up
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.pinning import Wishes, pin, proposal
from vmkeeper.execute.ready import NotReady, answers_ssh, takes_connections, wait_ready
from vmkeeper.execute.site import reconcile
from vmkeeper.execute.walk import Done, Failed
from vmkeeper.model.cluster import Ready

OWNER = "vmkeeper:here"
CLUSTER = {
    "name": "demo",
    "services": {"web": {"fixed": True, "appliance": {"name": "debian-12"}, "context": "web", "ready": {"timeout": "3s"}}},
    "placement": [{"site": "here"}],
}


class Guest:
    """A TCP port that greets as it is told; "" holds the connection open, None drops it."""

    def __init__(self, greeting: bytes | None = b"SSH-2.0-test\r\n") -> None:
        self.greeting = greeting
        self._server = socket.create_server(("127.0.0.1", 0))
        self.end = self._server.getsockname()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            if self.greeting is None:
                connection.close()
            else:
                self._open.append(connection)
                connection.sendall(self.greeting)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()
        for connection in self._open:
            connection.close()


class Answering(MemoryCloud):
    """Machines whose SSH port is a guest of the test."""

    guest: Guest

    def machines(self) -> tuple[CloudMachine, ...]:
        return tuple(replace(machine, ports={22: self.guest.end}) for machine in super().machines())


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.close()


class Place:
    def __init__(self, folder: Path, server: WebServer, guest: Guest) -> None:
        self.producer = Producer(folder / "www", server.url, folder)
        self.producer.all("debian-12", "2026.11.1")
        self.home = SiteHome(folder / "home")
        self.world = World()
        self.cloud = Answering(OWNER, self.world)
        self.cloud.guest = guest
        self.repository = self.producer.repo.repository
        self.commit(CLUSTER)
        ca = self.producer.authority.write(folder)
        self.pin = lambda: pin(self.home, proposal(self.repository, "here", Wishes((ca,), allowed_hosts=("127.0.0.1",)), NOW), (ca,))
        self.pin()
        self.producer.accepted = self.pin

    def commit(self, cluster: dict, context: dict | None = None) -> None:
        self.producer.repo.commit({"clusters/demo.yaml": json.dumps(cluster), "clusters/contexts/web.yaml": json.dumps(context or {"title": "Web"})})

    def reconcile(self) -> None:
        reconcile(self.repository, self.home, "here", lambda: NOW, connect=lambda _: {"": self.cloud})

    def up(self, **options) -> Up:
        made, cloud = planned(self.repository, self.home, "demo", "here", NOW, connect=lambda _: {"": self.cloud}, **options)
        return up(made, cloud, Catalogue.at(self.repository, made.plan.head), sleep=lambda _: None)

    def names(self) -> list[str]:
        return [machine.name for machine in self.world.machines.values()]


@pytest.fixture
def place(tmp_path: Path, guest: Guest) -> Iterator[Place]:
    with WebServer(tmp_path / "www") as server:
        yield Place(tmp_path, server, guest)


def test_up_starts_waits_and_says_how_to_log_in_and_the_second_time_does_nothing(place: Place) -> None:
    place.reconcile()
    done = place.up(public_keys=("ssh-ed25519 AAAA",))
    assert [type(outcome) for outcome in done.outcomes] == [Done]
    assert [running.login for running in done.running] == [f"ssh -p {place.cloud.guest.end[1]} 127.0.0.1"]
    assert place.names() == ["demo-web"]
    again = place.up()
    assert (again.outcomes, len(again.running), place.names()) == ((), 1, ["demo-web"])


def test_the_image_in_use_outlives_its_grace_period_until_the_cluster_is_down(place: Place) -> None:
    place.reconcile()
    place.up()
    place.producer.withdraw("debian-12", "2026.11.1")
    place.producer.site(retire={"grace": "0s"})
    place.reconcile()
    place.reconcile()
    assert [image.state for image in place.world.images.values()] == ["hidden"]
    with pytest.raises(Problems, match="no image of debian-12"):
        place.up()
    down(place.home, "demo", "here", cloud=place.cloud)
    place.reconcile()
    assert place.world.images == {}


def test_nothing_starts_from_an_image_that_is_not_there_or_not_endorsed(place: Place) -> None:
    with pytest.raises(Problems) as error:
        place.up()
    assert "vmkeeper reconcile here" in error.value.problems[0].hint
    place.reconcile()
    place.producer.withdraw("debian-12", "2026.11.1")
    with pytest.raises(Problems):
        place.up()
    assert place.names() == []


def test_down_removes_the_machines_and_the_second_time_does_nothing(place: Place) -> None:
    place.reconcile()
    place.up()
    assert len(down(place.home, "demo", "here", cloud=place.cloud)) == 1
    assert place.names() == []
    assert down(place.home, "demo", "here", cloud=place.cloud) == ()


def test_killed_while_waiting_the_next_run_waits_on(place: Place) -> None:
    place.reconcile()

    class Killed(BaseException):
        pass

    def kill(_: float) -> None:
        raise Killed

    place.cloud.guest.greeting = None
    made, cloud = planned(place.repository, place.home, "demo", "here", NOW, connect=lambda _: {"": place.cloud})
    with pytest.raises(Killed):
        up(made, cloud, Catalogue.at(place.repository, made.plan.head), sleep=kill)
    place.cloud.guest.greeting = b"SSH-2.0-test\r\n"
    done = place.up()
    assert (done.outcomes, len(done.running), place.names()) == ((), 1, ["demo-web"])


def test_a_machine_that_does_not_answer_in_time_fails_with_the_end_of_its_console(place: Place) -> None:
    place.reconcile()
    place.cloud.guest.greeting = None
    place.commit({**CLUSTER, "services": {"web": {**CLUSTER["services"]["web"], "ready": {"timeout": "0s"}}}})
    (outcome,) = place.up().outcomes
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, NotReady)
    assert "SSH does not answer" in outcome.error.what
    assert place.names() == ["demo-web"]


def machine(world: World, cloud: MemoryCloud) -> CloudMachine:
    return cloud.start(MachineSpec(name="m", cluster="c", service="s", generation="0" * 64, image=world.plant()))


@pytest.mark.parametrize("state", ["stopped", "failed", "gone"])
def test_a_machine_that_ends_while_it_is_waited_for_fails_at_once(guest: Guest, state: str) -> None:
    world = World()
    cloud = Answering(OWNER, world)
    cloud.guest = guest
    guest.greeting = None
    made = machine(world, cloud)
    world.consoles[made.id] = "Kernel panic\x1b[31m\n"

    def end(_: float) -> None:
        if state == "gone":
            world.machines.clear()
        else:
            world.machines[made.id] = replace(made, state=state)

    with pytest.raises(NotReady) as error:
        wait_ready(cloud, made, Ready(), "mark", sleep=end)
    assert "Kernel panic\\u001b[31m" in error.value.why
    assert state in error.value.what


def test_a_machine_that_must_say_so_is_ready_when_it_has(guest: Guest) -> None:
    world = World()
    cloud = Answering(OWNER, world)
    cloud.guest = guest
    made = machine(world, cloud)
    pauses = []

    def speak(seconds: float) -> None:
        pauses.append(seconds)
        world.consoles[made.id] += "boot\nmark\n" if len(pauses) == 2 else "boot\n"

    wait_ready(cloud, made, Ready(console=True), "mark", sleep=speak)
    assert len(pauses) == 2


@pytest.mark.parametrize(
    ("greeting", "ssh", "takes"), [(b"SSH-2.0-x\r\n", True, True), (b"HTTP", False, True), (b"", False, True), (None, False, False)]
)
def test_what_answers(greeting: bytes | None, ssh: bool, takes: bool) -> None:
    guest = Guest(greeting)
    try:
        assert answers_ssh(guest.end, timeout=0.5) is ssh
        assert takes_connections(guest.end, timeout=0.5) is takes
    finally:
        guest.close()
    assert not answers_ssh(guest.end)
    assert not takes_connections(guest.end)


def test_public_keys_are_read_and_private_ones_refused(tmp_path: Path) -> None:
    good, private = tmp_path / "id.pub", tmp_path / "id"
    good.write_text("# mine\nssh-ed25519 AAAA a comment\n\nssh-rsa BBBB\n")
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert public_keys((good, good)) == ("ssh-ed25519 AAAA", "ssh-rsa BBBB")
    for bad in (private, tmp_path / "absent"):
        with pytest.raises(UserError):
            public_keys((bad,))


def test_a_cluster_that_is_not_there_names_those_that_are(place: Place) -> None:
    with pytest.raises(UserError) as error:
        planned(place.repository, place.home, "dmeo", "here", NOW, connect=lambda _: {"": place.cloud})
    assert "demo" in error.value.hint
