"""A region of EC2 for a test: clients for owners, a look behind their backs, and an end without anything left."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from botocore.exceptions import ClientError

from support.ec2server import KEYS, REGION, Ec2Server
from vmkeeper.clouds.ec2.cloud import Ec2Cloud
from vmkeeper.clouds.ec2.session import Pace, Session

QUICK = Pace(connect=5, read=60, attempts=1, poll=0.02, importing=30, settling=5)
LIVE = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]


@cache
def _session(endpoint: str) -> Session:
    return Session(region=REGION, endpoint=endpoint, login=lambda: KEYS, named="credentials/ec2.yaml", pace=QUICK)


class Ec2Region:
    """A bucket and an account. `endpoint` is where clients go; None is the server itself."""

    def __init__(self, server: Ec2Server) -> None:
        self.server = server
        self.endpoint = server.url
        self.bucket = f"images-{secrets.token_hex(6)}"
        self.ec2, self.s3, self.ssm = (server.client(name) for name in ("ec2", "s3", "ssm"))
        self.s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def session(self) -> Session:
        """Making clients takes long, so that all who go to the same address share them."""
        return _session(self.endpoint)

    def cloud(self, owner: str) -> Ec2Cloud:
        return Ec2Cloud(self.session(), owner, bucket=self.bucket)

    def plant(self, name: str, attributes: Mapping[str, str] = {}, data: bytes = b"") -> str:
        """An image that somebody else made in the same account; its AMI name is unique, its Name is as told."""
        snapshot = self.snapshot("somebody's")
        marks = [{"Key": key, "Value": value} for key, value in {**attributes, "Name": name}.items()]
        return str(
            self.ec2.register_image(
                Name=f"theirs-{secrets.token_hex(4)}",
                Architecture="x86_64",
                RootDeviceName="/dev/sda1",
                VirtualizationType="hvm",
                BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}],
                TagSpecifications=[{"ResourceType": "image", "Tags": marks}],
            )["ImageId"]
        )

    def snapshot(self, description: str) -> str:
        """A snapshot that somebody else made."""
        volume = self.ec2.create_volume(Size=1, AvailabilityZone=f"{REGION}a")["VolumeId"]
        made = str(self.ec2.create_snapshot(VolumeId=volume, Description=description)["SnapshotId"])
        self.ec2.delete_volume(VolumeId=volume)
        return made

    def retag(self, image: str, **tags: str) -> None:
        self.ec2.create_tags(Resources=[image], Tags=[{"Key": key.replace("__", ":"), "Value": value} for key, value in tags.items()])

    def amis(self) -> list[dict[str, Any]]:
        return list(self.ec2.describe_images(Owners=["self"], IncludeDisabled=True)["Images"])

    def ami(self, image: str) -> dict[str, Any]:
        return next(one for one in self.amis() if one["ImageId"] == image)

    def tags(self, image: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.ami(image)["Tags"]}

    def snapshots(self) -> dict[str, dict[str, str]]:
        """Snapshots by id, with their tags."""
        found = self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return {one["SnapshotId"]: {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())} for one in found}

    def loose_snapshots(self) -> set[str]:
        """Snapshots that no image is made of."""
        used = {disk["Ebs"]["SnapshotId"] for one in self.amis() for disk in one["BlockDeviceMappings"]}
        return set(self.snapshots()) - used

    def objects(self) -> list[str]:
        return sorted(one["Key"] for one in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ()))

    def half_sent(self) -> list[str]:
        return [one["Key"] for one in self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())]

    def parameters(self) -> dict[str, str]:
        found = self.ssm.get_parameters_by_path(Path="/", Recursive=True)["Parameters"]
        return {one["Name"]: one["Value"] for one in found}

    def empty(self) -> None:
        """Remove all that is in the account, and the bucket."""
        self.clear()
        self.s3.delete_bucket(Bucket=self.bucket)

    def clear(self) -> None:
        """Remove all that is in the account but for the bucket itself."""
        for reservation in self.ec2.describe_instances(Filters=LIVE)["Reservations"]:
            self.ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in reservation["Instances"]])
        for one in self.amis():
            self.ec2.deregister_image(ImageId=one["ImageId"])
        for snapshot in self.snapshots():
            with suppress(ClientError):
                self.ec2.delete_snapshot(SnapshotId=snapshot)
        for name in self.parameters():
            self.ssm.delete_parameter(Name=name)
        for key in self.objects():
            self.s3.delete_object(Bucket=self.bucket, Key=key)
        for one in self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ()):
            self.s3.abort_multipart_upload(Bucket=self.bucket, Key=one["Key"], UploadId=one["UploadId"])
