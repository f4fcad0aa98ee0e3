"""Virtual machines of the stand-in: states, what they take and give back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support.oneinside import Inside


@pytest.fixture(params=["6.10.0.1", "7.4.0"])
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Inside]:
    inside = Inside(tmp_path, request.param)
    yield inside
    inside.close()


def test_a_machine_is_deployed_and_terminated(one: Inside) -> None:
    image = one.image("a")
    one.hold()
    oid = one.machine(one.template("t", disk=f'IMAGE_ID="{image}"'))
    assert one.state("vm", oid) == "3/1"
    assert one.said("image", image, "STATE", "RUNNING_VMS", "VMS/ID") == ("2", "1", str(oid))
    one.hold(False)
    one.settle()
    assert one.state("vm", oid) == "3/3"
    one.call("vm.action", "terminate", oid)
    one.settle()
    assert one.state("vm", oid) == "6"
    assert one.said("image", image, "STATE", "RUNNING_VMS") == ("1", "0")


@pytest.mark.parametrize("action", ["terminate", "terminate-hard", "poweroff", "resume"])
def test_a_machine_that_is_being_deployed_takes_no_action(one: Inside, action: str) -> None:
    one.hold()
    oid = one.machine(one.template("t"))
    assert one.refused("vm.action", action, oid) == (2048, f'Error performing action "{action}": This action is not available for state PROLOG')
    one.call("vm.recover", oid, 3)
    assert one.state("vm", oid) == "6"


def test_recovering_is_an_administrators_right(one: Inside) -> None:
    oid = one.machine(one.template("t", user="alice"), user="alice")
    assert one.refused("vm.recover", oid, 3, user="alice") == (512, f"User [2] : Not authorized to perform ADMIN VM [{oid}].")


def test_a_machine_is_switched_off_and_on(one: Inside) -> None:
    oid = one.machine(one.template("t"))
    one.settle()
    one.call("vm.action", "poweroff", oid)
    one.settle()
    assert one.state("vm", oid) == "8"
    one.call("vm.action", "resume", oid)
    one.settle()
    assert one.state("vm", oid) == "3/3"


def test_a_machine_on_hold_waits_to_be_released(one: Inside) -> None:
    oid = one.machine(one.template("t"), hold=True)
    one.settle()
    assert one.state("vm", oid) == "2"
    one.call("vm.action", "release", oid)
    one.settle()
    assert one.state("vm", oid) == "3/3"


def test_a_machine_waits_for_an_image_that_is_being_copied(one: Inside) -> None:
    one.hold()
    image = one.image("a", settle=False)
    oid = one.machine(one.template("t", disk=f'IMAGE_ID="{image}"'))
    assert (one.state("image", image), one.state("vm", oid)) == ("9", "10")
    one.hold(False)
    one.settle()
    assert (one.state("image", image), one.state("vm", oid)) == ("2", "3/3")


def test_a_machine_fails_with_its_image(one: Inside) -> None:
    one.oned.lies.tell(name="error-image")
    one.hold()
    image = one.image("a", settle=False)
    oid = one.machine(one.template("t", disk=f'IMAGE_ID="{image}"'))
    one.hold(False)
    one.settle()
    assert (one.state("image", image), one.state("vm", oid)) == ("5", "11")


def test_a_persistent_image_is_for_one_machine(one: Inside) -> None:
    image = one.image("a", more="PERSISTENT=YES")
    template = one.template("t", disk=f'IMAGE_ID="{image}"')
    one.machine(template)
    code, why = one.refused("template.instantiate", template, "vm", False, "", False)
    assert (code, why.partition(". ")[2]) == (16384, f"DISK 0: Cannot acquire image {image}, it is persistent and already in use")


def test_what_was_taken_is_given_back_where_something_else_is_lacking(one: Inside) -> None:
    image = one.image("a")
    template = one.template("t", disk=f'IMAGE_ID="{image}"', more='NIC=[NETWORK_ID="99"]')
    one.refused("template.instantiate", template, "vm", False, "", False)
    assert one.said("image", image, "STATE", "RUNNING_VMS") == ("1", "0")


def test_a_user_may_use_any_image_by_its_id_and_none_of_others_by_name(one: Inside) -> None:
    image = one.image("a")
    by_id = one.template("t", disk=f'IMAGE_ID="{image}"', user="alice")
    by_name = one.template("u", disk='IMAGE="a",IMAGE_UNAME="oneadmin"', user="alice")
    assert one.machine(by_id, user="alice") >= 0
    code, why = one.refused("template.instantiate", by_name, "vm", False, "", False, user="alice")
    assert (code, why) == (512, f"User [2] : Not authorized to perform USE IMAGE [{image}].")


def test_addresses_are_leased_and_given_back(one: Inside) -> None:
    template = one.template("t", more='NIC=[NETWORK="private"]')
    machines = [one.machine(template) for _ in range(3)]
    assert [one.said("vm", oid, "TEMPLATE/NIC/IP")[0] for oid in machines] == ["10.0.0.10", "10.0.0.11", "10.0.0.12"]
    one.settle()
    one.call("vm.action", "terminate-hard", machines[0])
    one.settle()
    assert one.said("vm", one.machine(template), "TEMPLATE/NIC/IP", "TEMPLATE/NIC/MAC") == ("10.0.0.10", "02:00:0a:00:00:0a")
    assert one.said("vn", 0, "USED_LEASES") == ("3",)


def test_the_context_is_filled_and_stored(one: Inside) -> None:
    one.call("user.update", 2, 'SSH_PUBLIC_KEY="ssh-ed25519 AAAA"', 1)
    more = 'CONTEXT=[NETWORK="YES",SSH_PUBLIC_KEY="$USER[SSH_PUBLIC_KEY]",SET_HOSTNAME="$NAME",USER_DATA="abc"]\nNIC=[NETWORK="private",NETWORK_UNAME="oneadmin"]'
    oid = one.machine(one.template("t", more=more, user="alice"), user="alice")
    context = one.info("vm", oid).find("TEMPLATE/CONTEXT")
    assert context is not None
    said = {child.tag: child.text for child in context}
    assert said["SSH_PUBLIC_KEY"] == "ssh-ed25519 AAAA"
    assert (said["SET_HOSTNAME"], said["USER_DATA"], said["ETH0_IP"]) == ("vm", "abc", "10.0.0.10")


def test_attributes_that_are_no_machines_own_are_the_users(one: Inside) -> None:
    oid = one.machine(one.template("t", more='MARK="a"\nLABELS="b"'), extra='MARK="c"\nMORE="d"')
    mark = one.info("vm", oid).find("USER_TEMPLATE")
    assert mark is not None
    assert {child.tag: child.text for child in mark} == {"LABELS": "b", "MARK": "c", "MORE": "d"}
    one.call("vm.update", oid, 'MARK="e"', 1)
    assert one.said("vm", oid, "USER_TEMPLATE/MARK", "USER_TEMPLATE/MORE") == ("e", "d")


def test_a_full_host_leaves_machines_waiting(one: Inside) -> None:
    template = one.template("t")
    first = one.machine(template, extra="MEMORY=16000")
    second = one.machine(template, extra="MEMORY=1000")
    one.settle()
    assert (one.state("vm", first), one.state("vm", second)) == ("3/3", "1")
    assert one.said("vm", second, "USER_TEMPLATE/SCHED_MESSAGE") != (None,)


def test_a_quota_of_machines(one: Inside) -> None:
    one.call("user.quota", 2, 'VM=[VMS="1"]')
    template = one.template("t", user="alice")
    one.machine(template, user="alice")
    code, why = one.refused("template.instantiate", template, "vm", False, "", False, user="alice")
    assert (code, why) == (512, "User [2] : user [2] limit of 1 reached for VMS quota.")


def test_machines_are_listed_by_state(one: Inside) -> None:
    template = one.template("t")
    machines = [one.machine(template, hold=True) for _ in range(3)]
    one.call("vm.action", "terminate", machines[0])

    def ids(method: str, state: int) -> list[int]:
        return [int(body.findtext("ID", "")) for body in ElementTree.fromstring(one.call(method, -2, -1, -1, state))]

    for method in ("vmpool.info", "vmpool.infoextended"):
        assert ids(method, -1) == [machines[2], machines[1]]
        assert ids(method, -2) == machines[::-1]
        assert ids(method, 6) == [machines[0]]
    assert one.info("vm", machines[1]).find("PERMISSIONS") is not None


def test_a_template_goes_with_its_images_if_wanted(one: Inside) -> None:
    free, used = one.image("a"), one.image("b")
    one.machine(one.template("user", disk=f'IMAGE_ID="{used}"'))
    one.call("template.delete", one.template("t", disk=f'IMAGE_ID="{free}"]\nDISK=[IMAGE_ID="{used}"'), True)
    one.settle()
    assert (one.state("image", free), one.state("image", used)) == ("gone", "2")


@pytest.mark.parametrize(
    ("disk", "why"),
    [
        ('IMAGE_ID="0",SIZE="2"', "SIZE of 2MB is less than the image [0] size of 3MB."),
        ('TYPE="swap"', "SIZE attribute must be a positive integer value."),
        ('TYPE="other",SIZE="5"', "Unknown disk type OTHER"),
        ('IMAGE_ID="77"', "Image with ID: 77 does not exist"),
    ],
)
def test_disks_that_cannot_be(one: Inside, disk: str, why: str) -> None:
    one.image("a")
    code, said = one.refused("template.instantiate", one.template("t", disk=disk), "vm", False, "", False)
    assert (code, said) == (16384, f"Error allocating a new virtual machine template. DISK 0: {why}")


def test_a_disk_may_be_larger_than_its_image(one: Inside) -> None:
    image = one.image("a")
    oid = one.machine(one.template("t", disk=f'IMAGE_ID="{image}",SIZE="20"'))
    assert one.said("vm", oid, "TEMPLATE/DISK/SIZE", "TEMPLATE/DISK/ORIGINAL_SIZE") == ("20", "3")


def test_a_network_has_the_addresses_of_its_ranges_and_no_more(one: Inside) -> None:
    for wrong in ('IP="10.0.0",SIZE="2"', 'IP="10.0.0.1",SIZE="x"', 'IP="255.255.255.255",SIZE="9"'):
        assert one.refused("vn.allocate", f'NAME="n"\nVN_MAD="dummy"\nAR=[TYPE="IP4",{wrong}]')[0] == 8192
    ranges = 'AR=[TYPE="IP4",IP="10.1.0.1",SIZE="1"]\nAR=[TYPE="IP4",IP="10.2.0.1",SIZE="1"]'
    network = one.call("vn.allocate", f'NAME="n"\nVN_MAD="dummy"\n{ranges}')
    template = one.template("t", more=f'NIC=[NETWORK_ID="{network}"]')
    machines = [one.machine(template, hold=True) for _ in range(2)]
    code, why = one.refused("template.instantiate", template, "vm", True, "", False)
    assert (code, "Cannot get IP/MAC lease" in why) == (16384, True)
    leases = [[found.text for found in given.iterfind("LEASES/LEASE/VM")] for given in one.info("vn", network).iterfind("AR_POOL/AR")]
    assert leases == [[str(oid)] for oid in machines]
    assert one.refused("vn.delete", network)[0] == 2048
