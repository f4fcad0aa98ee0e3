"""Images of EC2, looked at behind the client's back: what lies where, what a cut-off run leaves, what a listing costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance.setting import DISK, OWNER, THEN, by_id, ours, spec_of
from support.ec2place import Ec2Region
from support.ec2server import BAD
from vmkeeper.clouds import Account, connect
from vmkeeper.clouds.ec2.errors import mapped
from vmkeeper.clouds.ec2.images import Ec2Images
from vmkeeper.clouds.ec2.snapshots import Snapshots
from vmkeeper.clouds.ec2.staging import Staging
from vmkeeper.clouds.interface import ImageSpec, NotOurs
from vmkeeper.errors import Transient, UserError
from vmkeeper.model.platform import Audience, Ec2Platform


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def kill(*_: Any, **__: Any) -> Any:
    raise Killed


def file_of(tmp_path: Path, data: bytes = DISK) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(data)
    return path


@pytest.fixture
def spec() -> ImageSpec:
    return spec_of(DISK, alias="debian-12")


def requests(cloud: Any) -> list[str]:
    """The operations that a cloud's clients ask for from now on."""
    asked: list[str] = []
    for service in ("ec2", "s3", "ssm"):
        cloud._session.client(service).meta.events.register("before-call", lambda model, **_: asked.append(model.name))
    return asked


def test_an_image_lies_there_with_its_marks_and_nothing_else_is_left(region: Ec2Region, spec: ImageSpec, tmp_path: Path) -> None:
    image = region.cloud(OWNER).upload(spec.model_copy(update={"properties": {"hw_firmware_type": "uefi"}}), file_of(tmp_path))
    ami = region.ami(image.id)
    assert (ami["State"], ami["Architecture"], ami["BootMode"], ami["EnaSupport"]) == ("available", "x86_64", "uefi", True)
    assert region.tags(image.id).items() >= {"Name": "debian-12", "vmkeeper:owner": OWNER, "vmkeeper:alias": "debian-12"}.items()
    (disk,) = ami["BlockDeviceMappings"]
    assert region.snapshots()[disk["Ebs"]["SnapshotId"]]["vmkeeper:owner"] == OWNER
    assert (region.objects(), region.half_sent(), region.loose_snapshots()) == ([], [], set())
    assert region.parameters() == {"/vmkeeper/conformance/debian-12": image.id}


def test_a_listing_costs_one_request_of_each_service_and_writes_nothing(region: Ec2Region, spec: ImageSpec, tmp_path: Path) -> None:
    cloud = region.cloud(OWNER)
    for number in range(3):
        cloud.upload(spec.model_copy(update={"version": spec.version.parse(f"{number}"), "alias": None}), file_of(tmp_path))
    asked = requests(cloud)
    assert len(cloud.images()) == 3
    assert sorted(asked) == ["DescribeImages", "ListObjectsV2"]


def test_use_is_asked_for_once_where_something_is_hidden(region: Ec2Region, spec: ImageSpec, tmp_path: Path) -> None:
    cloud = region.cloud(OWNER)
    for number in range(2):
        older = spec.model_copy(update={"version": spec.version.parse(f"{number}"), "alias": None})
        cloud.update(cloud.upload(older, file_of(tmp_path)).id, older, THEN)
    asked = requests(cloud)
    cloud.images()
    assert sorted(asked) == ["DescribeImages", "DescribeInstances", "ListObjectsV2"]


def test_a_hidden_image_can_be_started_by_nobody(region: Ec2Region, spec: ImageSpec, tmp_path: Path) -> None:
    public = spec.model_copy(update={"audience": Audience(visibility="public")})
    cloud = region.cloud(OWNER)
    image = cloud.upload(public, file_of(tmp_path))
    assert region.ami(image.id)["Public"]
    cloud.update(image.id, public, THEN)
    assert (region.ami(image.id)["State"], region.ami(image.id)["Public"]) == ("disabled", False)
    assert region.parameters() == {}
    cloud.update(image.id, public, None)
    assert (region.ami(image.id)["State"], region.ami(image.id)["Public"]) == ("available", True)


@pytest.mark.parametrize("change", ["enabled", "disabled", "public"])
def test_access_that_somebody_changed_is_drift_and_mended(region: Ec2Region, spec: ImageSpec, tmp_path: Path, change: str) -> None:
    cloud = region.cloud(OWNER)
    image, since = cloud.upload(spec, file_of(tmp_path)), THEN if change == "enabled" else None
    cloud.update(image.id, spec, since)
    match change:
        case "enabled":
            region.ec2.enable_image(ImageId=image.id)
        case "disabled":
            region.ec2.disable_image(ImageId=image.id)
        case "public":
            region.ec2.modify_image_attribute(ImageId=image.id, LaunchPermission={"Add": [{"Group": "all"}]})
    assert ours(cloud)[image.id].drift == (f"it is {change}",)
    cloud.update(image.id, spec, since)
    assert ours(cloud)[image.id].drift == ()


CUTS = {
    "record": (Staging, "send"),
    "file": (Snapshots, "start"),
    "import": (Snapshots, "mark"),
    "marked": (Ec2Images, "_registered"),
    "registered": (Ec2Images, "_come"),
    "image": (Ec2Images, "_ended"),
    "deregistered": (Ec2Images, "_finish"),
    "snapshots": (Staging, "clear"),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("then", ["again", "removed"])
def test_a_run_that_was_cut_off_shows_and_the_next_one_mends_it(
    region: Ec2Region, spec: ImageSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str, then: str
) -> None:
    cloud, file = region.cloud(OWNER), file_of(tmp_path)
    there = cut in ("deregistered", "snapshots") and cloud.upload(spec, file)
    with monkeypatch.context() as patch:
        patch.setattr(*CUTS[cut], kill)
        with pytest.raises(Killed):
            cloud.delete(there.id) if there else cloud.upload(spec, file)
    found = ours(cloud)
    assert found, "what was cut off shows"
    assert all(image.spec is not None and image.spec.key == spec.key for image in found.values())
    if then == "again":
        image = region.cloud(OWNER).upload(spec, file)
        assert list(ours(cloud)) == [image.id]
        assert len(region.snapshots()) == 1
    else:
        for image_id in found:
            region.cloud(OWNER).delete(image_id)
        assert ours(cloud) == {}
        assert region.snapshots() == {}
        assert region.parameters() == {}
    assert (region.objects(), region.half_sent(), region.loose_snapshots()) == ([], [], set())


def test_an_upload_in_parts_that_was_cut_off_is_ended(region: Ec2Region, spec: ImageSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Staging, "send", kill)
        with pytest.raises(Killed):
            region.cloud(OWNER).upload(spec, file_of(tmp_path))
    (record,) = region.objects()
    region.s3.create_multipart_upload(Bucket=region.bucket, Key=record.replace("record.json", "disk-00.raw"))
    region.s3.create_multipart_upload(Bucket=region.bucket, Key="somebody/else.raw")
    region.cloud(OWNER).upload(spec, file_of(tmp_path))
    assert region.half_sent() == ["somebody/else.raw"]


def test_a_large_file_goes_in_parts_and_is_checked_as_a_whole(region: Ec2Region, tmp_path: Path) -> None:
    data = DISK * 17
    image = region.cloud(OWNER).upload(spec_of(data), file_of(tmp_path, data))
    assert image.state == "active"
    assert (region.objects(), region.half_sent()) == ([], [])


def test_a_file_that_ec2_does_not_take_is_an_error_with_its_reason_and_leaves_nothing(region: Ec2Region, tmp_path: Path) -> None:
    data = BAD.ljust(4096, b"\0")
    with pytest.raises(UserError, match="does not take") as error:
        region.cloud(OWNER).upload(spec_of(data), file_of(tmp_path, data))
    assert "Disk validation failed" in error.value.why
    assert (region.objects(), region.snapshots(), region.amis()) == ([], {}, [])


def test_a_format_that_ec2_does_not_take_is_told_before_anything_is_sent(region: Ec2Region, spec: ImageSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="qcow2") as error:
        region.cloud(OWNER).upload(spec.model_copy(update={"format": "qcow2"}), file_of(tmp_path))
    assert "formats: [raw]" in error.value.hint
    assert region.objects() == []


def test_a_parameter_that_is_somebody_elses_is_left_alone(region: Ec2Region, spec: ImageSpec, tmp_path: Path) -> None:
    region.ssm.put_parameter(Name="/vmkeeper/conformance/debian-12", Value="ami-theirs", Type="String")
    cloud = region.cloud(OWNER)
    image = cloud.upload(spec, file_of(tmp_path))
    cloud.delete(image.id)
    assert region.parameters() == {"/vmkeeper/conformance/debian-12": "ami-theirs"}


def test_files_of_others_in_the_bucket_are_left_alone(region: Ec2Region, spec: ImageSpec, tmp_path: Path) -> None:
    theirs = ["vmkeeper/conformance2/x/record.json", "vmkeeper/conformance..east/x/disk.raw", "vmkeeper/conformance/a-note", "disk.raw"]
    for key in theirs:
        region.s3.put_object(Bucket=region.bucket, Key=key, Body=b"theirs")
    cloud = region.cloud(OWNER)
    cloud.delete(cloud.upload(spec, file_of(tmp_path)).id)
    assert cloud.images() == ()
    assert region.objects() == sorted(theirs)


def test_several_regions_are_several_places_with_marks_of_their_own(region: Ec2Region, tmp_path: Path) -> None:
    places = [{"name": name, "region": "eu-west-1", "bucket": region.bucket} for name in ("east", "west")]
    platform = Ec2Platform.model_validate({"type": "ec2", "places": places, "endpoint": region.endpoint, "credentials": "aws"})
    account = Account(site="here", home=tmp_path, folder=tmp_path, login=lambda name: {"aws": ("testing", "a secret key")}[name])
    clouds = connect(platform, account)
    assert {name: cloud.owner for name, cloud in clouds.items()} == {"east": "vmkeeper:here/east", "west": "vmkeeper:here/west"}
    image = clouds["east"].upload(spec_of(DISK), file_of(tmp_path))
    assert by_id(clouds["west"])[image.id].owner == "vmkeeper:here/east"
    assert region.objects() == []
    assert list(connect(platform.model_copy(update={"places": platform.places[:1]}), account)) == [""]


def test_a_wrong_login_names_the_entry_and_the_right_and_no_secret(region: Ec2Region) -> None:
    for code, status in (("UnauthorizedOperation", 403), ("ExpiredToken", 400), ("Whatever", 401)):
        said = {"Error": {"Code": code, "Message": "AKIASECRET"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        with pytest.raises(UserError) as error, mapped("list images", region.session().where):
            raise ClientError(said, "DescribeImages")
        assert "credentials/ec2.yaml" in error.value.where
        assert "ec2:DescribeImages" in error.value.hint
        assert "AKIASECRET" not in f"{error.value} {error.value.hint}"


def test_nobody_at_the_endpoint_may_pass(region: Ec2Region) -> None:
    region.endpoint = "http://127.0.0.1:1"
    with pytest.raises(Transient, match="nobody answers there"):
        region.cloud(OWNER).images()


def test_a_copy_that_took_our_tags_along_is_somebody_elses(region: Ec2Region, spec: ImageSpec, tmp_path: Path) -> None:
    cloud = region.cloud(OWNER)
    image = cloud.upload(spec, file_of(tmp_path))
    copy = region.plant("a copy", region.tags(image.id))
    assert (by_id(cloud)[copy].owner, by_id(cloud)[copy].spec) == (None, None)
    with pytest.raises(NotOurs):
        cloud.delete(copy)
    assert cloud.upload(spec, file_of(tmp_path)).id == image.id


@pytest.mark.parametrize("key", ["vmkeeper:image", "vmkeeper:key"])
def test_an_image_whose_own_marks_somebody_changed_is_still_ours(region: Ec2Region, spec: ImageSpec, tmp_path: Path, key: str) -> None:
    cloud = region.cloud(OWNER)
    image = cloud.upload(spec, file_of(tmp_path))
    region.ec2.create_tags(Resources=[image.id], Tags=[{"Key": key, "Value": "something else"}])
    assert by_id(cloud)[image.id].owner == OWNER
    cloud.update(image.id, spec, None)
    assert ours(cloud)[image.id].drift == ()
    assert region.tags(image.id)[key] != "something else"


def test_a_record_outlives_what_it_names(region: Ec2Region, spec: ImageSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = region.cloud(OWNER)
    with monkeypatch.context() as patch:
        patch.setattr(cloud._session.client("s3"), "delete_object", lambda **_: {})
        with pytest.raises(Transient, match="still there"):
            cloud.upload(spec, file_of(tmp_path))
    assert [name.rpartition("/")[2][:5] for name in region.objects()] == ["disk-", "recor"]
    assert region.cloud(OWNER).upload(spec, file_of(tmp_path)).state == "active"
    assert region.objects() == []
