"""Virtual machines at an OpenNebula, beyond what all clouds do."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conformance.setting import DISK, machine_of, our_machines, spec_of
from support.onesite import clouds, owned_by, platform_for, tidy
from support.opennebula import Setting, standing_in
from vmkeeper.clouds.interface import Cloud, CloudImage, Gone, NoRoom, NotOurs
from vmkeeper.clouds.opennebula.machines import _state
from vmkeeper.errors import UserError
from vmkeeper.values import Size

USER_DATA = '#cloud-config\nwrite_files:\n- content: "]]> $USER[NAME] é"\n'


@pytest.fixture(scope="module", params=["6.10.0.1", "7.4.0"])
def server(request: pytest.FixtureRequest) -> Iterator[Setting]:
    with standing_in(request.param) as setting:
        yield setting


@pytest.fixture
def one(server: Setting) -> Iterator[Setting]:
    with tidy(server):
        yield server


@pytest.fixture
def cloud(one: Setting, tmp_path: Path) -> Cloud:
    return owned_by(one, tmp_path, "vmkeeper:here")


@pytest.fixture
def image(cloud: Cloud, tmp_path: Path) -> CloudImage:
    (tmp_path / "disk.raw").write_bytes(DISK)
    return cloud.upload(spec_of(DISK), tmp_path / "disk.raw")


def test_a_machine_is_made_as_it_is_said(one: Setting, cloud: Cloud, image: CloudImage) -> None:
    wanted = machine_of(image).model_copy(update={"cpus": 2, "disk": Size.parse("2GiB"), "user_data": USER_DATA, "ports": (22, 443)})
    machine = cloud.start(wanted)
    found = one.xml("one.vm.info", int(machine.id))
    assert (found.findtext("NAME"), found.findtext("TEMPLATE/VCPU"), found.findtext("TEMPLATE/MEMORY")) == ("c-master-1", "2", "128")
    assert (found.findtext("TEMPLATE/DISK/IMAGE_ID"), found.findtext("TEMPLATE/DISK/SIZE")) == (image.id, "2048")
    assert base64.b64decode(found.findtext("TEMPLATE/CONTEXT/USER_DATA", "")).decode() == USER_DATA
    assert found.findtext("TEMPLATE/CONTEXT/USERDATA_ENCODING") == "base64"
    assert found.findtext("USER_TEMPLATE/VMKEEPER_OWNER") == "vmkeeper:here"
    assert set(machine.ports) == {22, 443}
    cloud.stop(machine.id)
    assert cloud.machines() == ()


def test_a_flavour_is_a_vm_template(one: Setting, cloud: Cloud, image: CloudImage) -> None:
    name = f"{one.prefix}small"
    made = one.call(
        "one.template.allocate", f"<TEMPLATE><NAME>{name}</NAME><CPU>0.5</CPU><MEMORY>96</MEMORY><NIC><NETWORK>private</NETWORK></NIC></TEMPLATE>"
    )
    for flavour in (name, str(made)):
        machine = cloud.start(machine_of(image).model_copy(update={"flavour": flavour}))
        found = one.xml("one.vm.info", int(machine.id))
        assert (found.findtext("TEMPLATE/MEMORY"), found.findtext("TEMPLATE/DISK/IMAGE_ID")) == ("96", image.id)
        assert machine.address == found.findtext("TEMPLATE/NIC/IP")
        assert machine.address
        cloud.stop(machine.id)
    with pytest.raises(UserError, match="no such VM template"):
        cloud.start(machine_of(image).model_copy(update={"flavour": "none"}))
    with pytest.raises(Gone):
        cloud.start(machine_of(image).model_copy(update={"flavour": "4711"}))


def test_two_that_start_the_same_machine_get_one(one: Setting, tmp_path: Path, image: CloudImage) -> None:
    clients = [owned_by(one, tmp_path, "vmkeeper:here") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda client: client.start(machine_of(image)), clients))
    assert len(our_machines(clients[0])) == 1
    assert {machine.id for machine in made} == {our_machines(clients[0])[0].id}
    clients[0].stop(made[0].id)


def test_a_machine_that_was_switched_off_is_started_again(one: Setting, cloud: Cloud, image: CloudImage) -> None:
    assert one.standin is not None
    machine = cloud.start(machine_of(image))
    one.standin.settle()
    one.call("one.vm.action", "poweroff-hard", int(machine.id))
    one.standin.settle()
    assert [found.state for found in our_machines(cloud)] == ["stopped"]
    assert cloud.start(machine_of(image)).id == machine.id
    assert [found.state for found in our_machines(cloud)] != ["stopped"]
    cloud.stop(machine.id)


def test_a_machine_that_waits_for_a_host_is_stopped(one: Setting, cloud: Cloud, image: CloudImage) -> None:
    assert one.standin is not None
    one.standin.tell(scheduling=False)
    try:
        machine = cloud.start(machine_of(image))
        assert machine.state == "starting"
        cloud.stop(machine.id)
        assert cloud.machines() == ()
    finally:
        one.standin.tell(scheduling=True)


def test_somebody_who_copies_our_mark_does_not_make_his_machine_ours(one: Setting, cloud: Cloud) -> None:
    mark = "<VMKEEPER_OWNER>vmkeeper:here</VMKEEPER_OWNER><VMKEEPER_GENERATION>x</VMKEEPER_GENERATION>"
    made = one.call("one.vm.allocate", f"<TEMPLATE><NAME>c-master-1</NAME><CPU>1</CPU><MEMORY>64</MEMORY>{mark}</TEMPLATE>", True, user="alice")
    assert [(found.id, found.owner) for found in cloud.machines()] == [(str(made), None)]
    with pytest.raises(NotOurs):
        cloud.stop(str(made))


def test_a_quota_is_told(one: Setting, tmp_path: Path) -> None:
    mine = clouds(one, tmp_path, platform_for(one), "here", user="alice")[""]
    (tmp_path / "disk.raw").write_bytes(DISK)
    image = mine.upload(spec_of(DISK), tmp_path / "disk.raw")
    alice = int(one.xml("one.image.info", int(image.id)).findtext("UID", ""))
    one.call("one.user.quota", alice, 'VM=[VMS="0",CPU="-2",MEMORY="-2",SYSTEM_DISK_SIZE="-2"]')
    try:
        with pytest.raises(NoRoom):
            mine.start(machine_of(image))
    finally:
        one.call("one.user.quota", alice, 'VM=[VMS="-2",CPU="-2",MEMORY="-2",SYSTEM_DISK_SIZE="-2"]')
    assert mine.machines() == ()


@pytest.mark.parametrize(
    ("state", "lcm", "expected"),
    [
        (1, 0, "starting"),
        (2, 0, "starting"),
        (3, 1, "starting"),
        (3, 3, "running"),
        (3, 36, "failed"),
        (3, 39, "failed"),
        (3, 12, "running"),
        (8, 0, "stopped"),
        (9, 0, "stopped"),
        (7, 0, "failed"),
        (11, 0, "failed"),
    ],
)
def test_states_are_those_of_all_clouds(state: int, lcm: int, expected: str) -> None:
    assert _state(state, lcm) == expected
