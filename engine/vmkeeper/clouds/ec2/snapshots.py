"""Snapshots: imported from a file in S3, found again by what we marked, removed when no image is made of them.

EC2 marks an import task with tags in the call that starts it, but not the snapshot that comes of it; until we tag that, the task names it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from vmkeeper.clouds.ec2.marks import KEY, OWNER, tags_on
from vmkeeper.clouds.ec2.session import Session
from vmkeeper.clouds.interface import Gone, InUse
from vmkeeper.errors import Transient, UserError

ATTEMPT = "vmkeeper:attempt"
FORMATS = {"raw": "RAW", "vmdk": "VMDK", "vhd": "VHD"}
"""What EC2 imports, and how it calls that (API reference, SnapshotDiskContainer)."""
_ENDED = ("deleted", "deleting", "cancelled", "error")


class ImportFailed(UserError):
    """EC2 does not take the file."""


class ImportLost(Transient):
    """EC2 gave an import up; another one may do."""


class Snapshots:
    """One owner's snapshots in one region."""

    def __init__(self, session: Session, owner: str, role: str | None) -> None:
        self._session = session
        self._owner = owner
        self._role = role

    def imported(self, attempt: str) -> str | None:
        """The snapshot that an attempt's import came to, waited for; None where none was started. Raises ImportFailed, Transient."""
        task = self._task(attempt)
        end = time.monotonic() + self._session.pace.importing
        while task is not None:
            detail = task.get("SnapshotTaskDetail", {})
            status, message = detail.get("Status", ""), str(detail.get("StatusMessage", ""))
            if status == "completed" and detail.get("SnapshotId"):
                return str(detail["SnapshotId"])
            if status in _ENDED and message.startswith("ClientError"):
                hint = "EC2 imports raw, stream-optimised vmdk and vhd files; see site.formats"
                raise ImportFailed("EC2 does not take the file", where=self._session.where, why=message or status, hint=hint)
            if status in _ENDED:
                raise ImportLost("EC2 did not import the file", where=self._session.where, why=message)
            if time.monotonic() > end:
                raise Transient("EC2 is still importing the file", where=self._session.where, why=message or status)
            time.sleep(self._session.pace.poll)
            task = self._look(task["ImportTaskId"])
        return None

    def start(self, attempt: str, key: str, image_format: str, bucket: str, name: str, title: str) -> None:
        """Have a file in S3 made a snapshot; again for the same attempt starts nothing."""
        tags = {OWNER: self._owner, KEY: key, ATTEMPT: attempt, "Name": title}
        role: dict[str, Any] = {"RoleName": self._role} if self._role else {}
        self._session.call(
            "ec2",
            "import_snapshot",
            f"have {title} imported",
            "ImportTaskId",
            ClientToken=attempt,
            Description=f"{title} of {self._owner}",
            DiskContainer={"Format": FORMATS[image_format], "UserBucket": {"S3Bucket": bucket, "S3Key": name}, "Description": title},
            TagSpecifications=[{"ResourceType": "import-snapshot-task", "Tags": pairs(tags)}],
            **role,
        )

    def mark(self, snapshot: str, attempt: str, key: str, title: str) -> None:
        """Tag a snapshot as ours."""
        tags = {OWNER: self._owner, KEY: key, ATTEMPT: attempt, "Name": title}
        self._session.call("ec2", "create_tags", "mark the snapshot", Resources=[snapshot], Tags=pairs(tags))

    def abandon(self, attempt: str, keep: Iterable[str] = ()) -> None:
        """End an attempt's import and remove what came of it, where no image is made of it."""
        task = self._task(attempt)
        detail = task.get("SnapshotTaskDetail", {}) if task else {}
        if task and detail.get("Status") not in ("completed", *_ENDED):
            with suppress(Gone, UserError):  # it may have ended meanwhile
                self._session.call("ec2", "cancel_import_task", "end the import", ImportTaskId=task["ImportTaskId"])
            detail = self._look(task["ImportTaskId"]).get("SnapshotTaskDetail", {})
            if detail.get("Status") not in ("completed", *_ENDED):
                raise Transient("an import that is not wanted any more goes on", where=self._session.where)
        marked = self._session.listed(
            "ec2",
            "describe_snapshots",
            "Snapshots",
            "list snapshots",
            OwnerIds=["self"],
            Filters=[{"Name": f"tag:{ATTEMPT}", "Values": [attempt]}],
        )
        found = {str(each["SnapshotId"]) for each in marked if tags_on(each).get(OWNER) == self._owner}
        self.delete(({*found, str(detail["SnapshotId"])} if detail.get("SnapshotId") else found) - set(keep))

    def delete(self, snapshots: Iterable[str]) -> None:
        """Remove snapshots but for those that an image is made of; raises Transient where one is still there afterwards."""
        kept = set()
        for each in sorted(snapshots):
            try:
                self._session.call("ec2", "delete_snapshot", "delete the snapshot", SnapshotId=each)
            except InUse:
                kept.add(each)
            except Gone:
                continue
            if each not in kept and self._there(each):
                raise Transient("a snapshot that was deleted is still there", where=self._session.where, why=each)

    def _there(self, snapshot: str) -> bool:
        with suppress(Gone):
            self._session.call("ec2", "describe_snapshots", "look at the snapshot", "Snapshots", SnapshotIds=[snapshot])
            return True
        return False

    def _look(self, task: str) -> Any:
        """How far a task is."""
        listed = self._session.listed("ec2", "describe_import_snapshot_tasks", "ImportSnapshotTasks", "look at the import", ImportTaskIds=[task])
        found = next((each for each in listed if each.get("ImportTaskId") == task), None)
        if found is None:
            raise Transient("an import cannot be found any more", where=self._session.where, why=task)
        return found

    def _task(self, attempt: str) -> Any:
        """An attempt's import task."""
        listed = self._session.listed("ec2", "describe_import_snapshot_tasks", "ImportSnapshotTasks", "look at the imports")
        return next((each for each in listed if tags_on(each).get(ATTEMPT) == attempt and tags_on(each).get(OWNER) == self._owner), None)


def pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags as EC2 wants them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
