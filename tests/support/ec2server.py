"""An EC2 on 127.0.0.1: moto's server in a process of its own, mended where it is further from EC2 than our client can bear.

moto forgets the tags, name, architecture and snapshot that an image is registered with, lists disabled images unasked and
knows no import of snapshots, no deprecation and no client token. What stands here instead follows the EC2 API reference.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from support.motoserver import MotoServer

KEYS = ("testing", "a secret key")
REGION = "eu-west-1"
NO_QUOTA = "stands for all snapshots that the account may have"
BAD = b"bad disk"
"""What a disk begins with that the import refuses."""


class Ec2Server(MotoServer):
    """`url` is the endpoint of all services."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        super().__init__((__file__,), MOTO_EC2_LOAD_DEFAULT_AMIS="false", PYTHONPATH=str(Path(__file__).parents[1]))

    def client(self, service: str) -> Any:
        """A client that looks at the server behind the back of the one that is tried."""
        if service not in self._clients:
            import boto3

            session = boto3.session.Session(aws_access_key_id=KEYS[0], aws_secret_access_key=KEYS[1], region_name=REGION)
            self._clients[service] = session.client(service, endpoint_url=self.url)
        return self._clients[service]


def mend() -> None:  # noqa: C901 - one function for each action
    """Replace what moto does otherwise than EC2; for this process."""
    from moto.core.responses import ActionResult
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models.amis import Ami
    from moto.ec2.responses import EC2Response
    from moto.ec2.utils import random_ami_id
    from moto.s3.models import s3_backends

    def tags(self: Any, kind: str) -> dict[str, str]:
        found = self._get_param("TagSpecifications", [])
        return {tag["Key"]: tag.get("Value", "") for one in found if one["ResourceType"] == kind for tag in one["Tags"]}

    def register_image(self: Any) -> ActionResult:
        backend, name = self.ec2_backend, self._get_param("Name")
        if any(ami.name == name for ami in backend.amis.values()):
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
        if not re.fullmatch(r"[A-Za-z0-9 ()\[\]./'@_-]{3,128}", name):
            raise EC2ClientError("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long")
        snapshot = backend.get_snapshot(self._get_param("BlockDeviceMappings")[0]["Ebs"]["SnapshotId"])
        ami = Ami(backend, random_ami_id(), name=name, description=self._get_param("Description"), region_name=f"{backend.region_name}a")
        del backend.snapshots[ami.ebs_snapshot.id]
        ami.ebs_snapshot, snapshot.from_ami = snapshot, ami.id
        ami.architecture, ami.root_device_name = self._get_param("Architecture"), self._get_param("RootDeviceName")
        ami.virtualization_type, ami.ena_support = self._get_param("VirtualizationType"), self._get_param("EnaSupport")
        ami.boot_mode = self._get_param("BootMode")
        ami.add_tags(tags(self, "image"))
        backend.amis[ami.id] = ami
        return ActionResult({"ImageId": ami.id})

    def describe_images(self: Any) -> ActionResult:
        backend, ids = self.ec2_backend, self._get_param("ImageIds", [])
        wanted = ids + [ami for ami in backend.amis if not ids]
        if missing := [ami for ami in ids if ami not in backend.amis]:
            raise EC2ClientError("InvalidAMIID.NotFound", f"The image id '[{missing[0]}]' does not exist")
        owners = [backend.account_id if owner == "self" else owner for owner in self._get_param("Owners", [])]
        disabled, first, most = self._get_param("IncludeDisabled"), int(self._get_param("NextToken") or 0), int(self._get_param("MaxResults") or 1000)
        found = [backend.amis[ami] for ami in wanted]
        found = [ami for ami in found if (not owners or ami.owner_id in owners) and (disabled or ami.state != "disabled")]
        for each in self._get_param("Filters", []):
            found = [ami for ami in found if ami.get_filter_value(each["Name"]) in each["Values"]]
        more = str(first + most) if len(found) > first + most else None
        return ActionResult({"Images": found[first : first + most], "NextToken": more})

    def import_snapshot(self: Any) -> ActionResult:
        backend, disk = self.ec2_backend, self._get_param("DiskContainer")
        tasks, token = backend.__dict__.setdefault("import_tasks", {}), self._get_param("ClientToken")
        task = next((task for task in tasks.values() if token and task["token"] == token), None)
        if any(snapshot.description == NO_QUOTA for snapshot in backend.snapshots.values()):
            raise EC2ClientError("SnapshotLimitExceeded", "Maximum allowed active snapshot limit exceeded")
        if task is None:
            bucket, key = disk["UserBucket"]["S3Bucket"], disk["UserBucket"]["S3Key"]
            stored = s3_backends[backend.account_id]["aws"].buckets.get(bucket)
            if stored is None or key not in stored.keys:
                raise EC2ClientError("InvalidParameter", f"The disk {key} cannot be found in the bucket {bucket}")
            data = stored.keys[key].value
            number = f"import-snap-{len(tasks) + 1:017x}"
            task = {"id": number, "token": token, "data": data, "tags": tags(self, "import-snapshot-task"), "status": "active", "disk": disk}
            tasks[number] = task
        return ActionResult(seen(task))

    def seen(task: dict[str, Any]) -> dict[str, Any]:
        detail = {"Status": task["status"], "Format": task["disk"]["Format"], "DiskImageSize": float(len(task["data"]))}
        detail |= {key: task[name] for key, name in (("SnapshotId", "snapshot"), ("StatusMessage", "message")) if task.get(name)}
        made = [{"Key": key, "Value": value} for key, value in task["tags"].items()]
        return {"ImportTaskId": task["id"], "SnapshotTaskDetail": detail, "Tags": made, "Description": ""}

    def describe_import_snapshot_tasks(self: Any) -> ActionResult:
        backend, ids = self.ec2_backend, self._get_param("ImportTaskIds", [])
        shown = []
        for task in [task for task in backend.__dict__.get("import_tasks", {}).values() if not ids or task["id"] in ids]:
            shown.append(seen(task))
            if task["status"] == "active":  # the next look finds it done
                if task["data"].startswith(BAD):
                    task |= {"status": "deleted", "message": "ClientError: Disk validation failed"}
                else:
                    volume = backend.create_volume(size=1, zone_name=f"{backend.region_name}a")
                    snapshot = backend.create_snapshot(volume.id, f"Created by AWS-VMImport service for {task['id']}")
                    backend.delete_volume(volume.id)
                    task |= {"status": "completed", "snapshot": snapshot.id}
        return ActionResult({"ImportSnapshotTasks": shown})

    def cancel_import_task(self: Any) -> ActionResult:
        task = self.ec2_backend.__dict__.get("import_tasks", {})[self._get_param("ImportTaskId")]
        before, task["status"] = task["status"], "deleted"
        return ActionResult({"ImportTaskId": task["id"], "PreviousState": before, "State": "deleted"})

    def deprecate(self: Any) -> ActionResult:
        self.ec2_backend.amis[self._get_param("ImageId")].deprecation_time = self._get_param("DeprecateAt")
        return ActionResult({"Return": True})

    def permit_no_more(self: Any) -> ActionResult:
        disabled(self)
        self.ec2_backend.amis[self._get_param("ImageId")].launch_permissions.clear()
        return ActionResult({"Return": True})

    def run_instances(self: Any) -> ActionResult:
        backend, token, ami = self.ec2_backend, self._get_param("ClientToken"), self._get_param("ImageId")
        for reservation in backend.reservations.values():
            for instance in reservation.instances:
                if token and instance.client_token == token:
                    if instance._state.name == "terminated":
                        raise EC2ClientError("IdempotentInstanceTerminated", "The client token is that of a terminated instance")
                    return ActionResult(reservation)
        if ami not in backend.amis:
            raise EC2ClientError("InvalidAMIID.NotFound", f"The image id '[{ami}]' does not exist")
        if backend.amis[ami].state != "available":
            raise EC2ClientError("InvalidAMIID.Unavailable", f"The image id '[{ami}]' is no longer available")
        return started(self)

    disabled, started = EC2Response.disable_image, EC2Response.run_instances
    made = [register_image, describe_images, import_snapshot, describe_import_snapshot_tasks, cancel_import_task, run_instances]
    for method in made:
        setattr(EC2Response, method.__name__, method)
    EC2Response.disable_image, EC2Response.enable_image_deprecation = permit_no_more, deprecate


if __name__ == "__main__":
    sys.path.pop(0)
    mend()
    from moto.server import main

    main(["-H", "127.0.0.1", "-p", "0"])
