"""Instances of EC2, looked at behind the client's back."""

from __future__ import annotations

import base64
import gzip
import random
import string
from pathlib import Path
from typing import Any

import pytest

from conformance.setting import DISK, OWNER, machine_of, our_machines, spec_of
from support.ec2place import LIVE, Ec2Region
from vmkeeper.clouds.ec2.cloud import Ec2Cloud
from vmkeeper.clouds.interface import CloudImage, Gone, NotOurs
from vmkeeper.errors import Transient, UserError
from vmkeeper.values import Size


@pytest.fixture
def cloud(region: Ec2Region) -> Ec2Cloud:
    return region.cloud(OWNER)


@pytest.fixture
def image(cloud: Ec2Cloud, tmp_path: Path) -> CloudImage:
    file = tmp_path / "disk.raw"
    file.write_bytes(DISK)
    return cloud.upload(spec_of(DISK), file)


def instances(region: Ec2Region) -> list[dict[str, Any]]:
    return [one for reservation in region.ec2.describe_instances(Filters=LIVE)["Reservations"] for one in reservation["Instances"]]


def user_data(region: Ec2Region, machine: str) -> bytes:
    found = region.ec2.describe_instance_attribute(InstanceId=machine, Attribute="userData")["UserData"]
    return base64.b64decode(found["Value"])


def test_a_machine_bears_its_marks_and_is_what_was_asked_for(cloud: Ec2Cloud, region: Ec2Region, image: CloudImage) -> None:
    wanted = machine_of(image).model_copy(
        update={"flavour": "t3.micro", "user_data": "#cloud-config\n", "disk": Size.parse("9GiB"), "ports": (22, 443)}
    )
    machine = cloud.start(wanted)
    (there,) = instances(region)
    tags = {tag["Key"]: tag["Value"] for tag in there["Tags"]}
    assert there["InstanceType"] == "t3.micro"
    assert tags.items() >= {"Name": "c-master-1", "vmkeeper:owner": OWNER, "vmkeeper:generation": "a" * 64, "vmkeeper:cluster": "c"}.items()
    assert user_data(region, machine.id) == b"#cloud-config\n"
    volume = region.ec2.describe_volumes(VolumeIds=[there["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])["Volumes"][0]
    assert volume["Size"] == 9
    assert set(machine.ports) == {22, 443}
    assert all(port == (machine.address, number) or port[1] == number for number, port in machine.ports.items())


def test_a_machine_without_a_flavour_gets_the_smallest_type_that_is_large_enough(cloud: Ec2Cloud, region: Ec2Region, image: CloudImage) -> None:
    cloud.start(machine_of(image).model_copy(update={"cpus": 4, "memory": Size.parse("6GiB")}))
    (there,) = instances(region)
    (kind,) = region.ec2.describe_instance_types(InstanceTypes=[there["InstanceType"]])["InstanceTypes"]
    assert kind["VCpuInfo"]["DefaultVCpus"] == 4
    assert 6 * 1024 <= kind["MemoryInfo"]["SizeInMiB"] <= 8 * 1024
    assert "x86_64" in kind["ProcessorInfo"]["SupportedArchitectures"]


def test_a_machine_larger_than_all_types_is_an_error(cloud: Ec2Cloud, region: Ec2Region, image: CloudImage) -> None:
    with pytest.raises(UserError, match="no instance type") as error:
        cloud.start(machine_of(image).model_copy(update={"cpus": 4000}))
    assert "flavour" in error.value.hint
    assert instances(region) == []


def test_long_user_data_goes_compressed_and_what_is_too_long_even_then_is_refused(cloud: Ec2Cloud, region: Ec2Region, image: CloudImage) -> None:
    text = "#cloud-config\n" + "# the same again\n" * 5000
    machine = cloud.start(machine_of(image).model_copy(update={"flavour": "t3.micro", "user_data": text}))
    assert gzip.decompress(user_data(region, machine.id)).decode() == text
    noise = "".join(random.Random(5).choices(string.printable, k=60_000))
    with pytest.raises(UserError, match="too long"):
        cloud.start(machine_of(image).model_copy(update={"name": "c-master-2", "flavour": "t3.micro", "user_data": noise}))


def test_an_answer_that_gets_lost_starts_no_second_machine(
    cloud: Ec2Cloud, region: Ec2Region, image: CloudImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = machine_of(image).model_copy(update={"flavour": "t3.micro"})
    with monkeypatch.context() as patch:
        patch.setattr(cloud, "_look", lambda _id: (_ for _ in ()).throw(Transient("lost")))
        with pytest.raises(Transient):
            cloud.start(wanted)
        patch.setattr(cloud, "_instances", lambda *_: [])  # it does not show yet
        with pytest.raises(Transient):
            cloud.start(wanted)
    assert len(instances(region)) == 1
    assert cloud.start(wanted).id == instances(region)[0]["InstanceId"]


def test_a_machine_that_was_removed_can_be_started_again_with_the_same_words(cloud: Ec2Cloud, image: CloudImage) -> None:
    wanted = machine_of(image).model_copy(update={"flavour": "t3.micro"})
    had = set()
    for _ in range(3):
        machine = cloud.start(wanted)
        had.add(machine.id)
        cloud.stop(machine.id)
    assert len(had) == 3
    assert our_machines(cloud) == ()


def test_a_stopped_machine_is_started_again(cloud: Ec2Cloud, region: Ec2Region, image: CloudImage) -> None:
    wanted = machine_of(image).model_copy(update={"flavour": "t3.micro"})
    machine = cloud.start(wanted)
    region.ec2.stop_instances(InstanceIds=[machine.id])
    assert [one.state for one in our_machines(cloud)] == ["stopped"]
    assert cloud.start(wanted).id == machine.id
    assert [one.state for one in our_machines(cloud)] == ["running"]


def test_the_console_is_readable_and_empty_for_a_machine_that_is_gone(cloud: Ec2Cloud, image: CloudImage) -> None:
    machine = cloud.start(machine_of(image).model_copy(update={"flavour": "t3.micro"}))
    assert "Linux" in cloud.console(machine.id)
    cloud.stop(machine.id)
    assert cloud.console("i-00000000000000000") == ""


def test_an_image_that_somebody_disabled_starts_nothing(cloud: Ec2Cloud, region: Ec2Region, image: CloudImage) -> None:
    region.ec2.disable_image(ImageId=image.id)
    with pytest.raises(Gone):
        cloud.start(machine_of(image))
    assert instances(region) == []


def test_an_instance_that_took_our_tags_along_is_somebody_elses(cloud: Ec2Cloud, region: Ec2Region, image: CloudImage) -> None:
    machine = cloud.start(machine_of(image).model_copy(update={"flavour": "t3.micro"}))
    tags = [{"ResourceType": "instance", "Tags": instances(region)[0]["Tags"]}]
    made = region.ec2.run_instances(ImageId=image.id, InstanceType="t3.micro", MinCount=1, MaxCount=1, ClientToken="theirs", TagSpecifications=tags)
    assert [one.id for one in our_machines(cloud)] == [machine.id]
    with pytest.raises(NotOurs):
        cloud.stop(made["Instances"][0]["InstanceId"])
