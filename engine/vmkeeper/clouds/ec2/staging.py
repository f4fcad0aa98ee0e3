"""What lies in S3 while an image comes or goes, so that nothing in between is without our mark.

    PREFIX SITE/KEY/record.json         what is under way, written before anything else and removed last
    PREFIX SITE/KEY/disk-ATTEMPT.FORMAT the image's file, until its snapshot is there

A site at one of several places has its folder at SITE..PLACE, which is no site's name.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from botocore.exceptions import ClientError
from pydantic import StringConstraints, ValidationError

from vmkeeper.clouds.ec2.errors import code_of, mapped
from vmkeeper.clouds.ec2.marks import key_of
from vmkeeper.clouds.ec2.session import Session
from vmkeeper.clouds.interface import Gone, ImageSpec
from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.files import reported
from vmkeeper.model.base import Document

RECORD = "record.json"
_SNAPSHOT = Annotated[str, StringConstraints(pattern=r"^snap-[0-9a-f]{1,40}$")]


class Record(Document):
    """`record.json`: an upload or a deletion that is under way."""

    doing: Literal["upload", "delete"]
    owner: str
    spec: ImageSpec
    attempt: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    """Ties the file, the import and the snapshot of one upload together."""
    image: str = ""
    """A deletion: which image goes."""
    snapshots: tuple[_SNAPSHOT, ...] = ()
    """A deletion: its snapshots."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What lies in one key's folder: names of the objects, and the record, None where there is none that can be read."""

    key: str
    objects: tuple[str, ...]
    record: Record | None = None


class Staging:
    """One owner's folder in a bucket."""

    def __init__(self, session: Session, owner: str, bucket: str, prefix: str) -> None:
        self._session = session
        self._owner = owner
        self._bucket = bucket
        self._folder = f"{prefix}{owner.removeprefix('vmkeeper:').replace('/', '..')}/"

    def pending(self, key: str = "") -> tuple[Pending, ...]:
        """What is under way, or was when a run was cut off; one listing, and one reading for each."""
        return tuple(Pending(each, tuple(names), self._read(each, names)) for each, names in sorted(self._names(key).items()))

    def _names(self, key: str) -> dict[str, list[str]]:
        """The objects by key."""
        found = defaultdict[str, list[str]](list)
        inside = f"{self._folder}{key}/" if key else self._folder
        listing = self._session.listed("s3", "list_objects_v2", "Contents", "list the bucket", proof="Name", Bucket=self._bucket, Prefix=inside)
        for each in listing:
            parts = str(each["Key"]).removeprefix(self._folder).split("/")
            if len(parts) == 2:
                found[parts[0]].append(str(each["Key"]))
        return {each: sorted(names) for each, names in found.items()}

    def claim(self, record: Record) -> Record:
        """Write a record where there is none; the one that counts: this, or what another had written before."""
        key = key_of(self._owner, record.spec)
        with suppress(_Taken):
            self._put(key, record, only_new=True)
            return record
        there = next((one.record for one in self.pending(key) if one.record), None)
        if there is None:
            raise Transient("what is under way changed meanwhile", where=self._session.where)
        return there

    def disk(self, record: Record) -> str:
        """Name of the object that an upload's file goes to."""
        return f"{self._folder}{key_of(self._owner, record.spec)}/disk-{record.attempt}.{record.spec.format}"

    def send(self, record: Record, file: Path) -> None:
        """Put the image's file, hashed while it is read; S3 checks each part by its SHA-256. Raises Refused R14."""
        spec = record.spec
        marks = {"vmkeeper-owner": self._owner, "sha512": spec.sha512, "version": str(spec.version), "appliance": spec.appliance}
        with reported("read the image file", file), file.open("rb") as opened:
            source = _Hashing(opened, spec.size)
            with mapped(f"put {spec.name} into the bucket {self._bucket}", self._session.where, "s3"):
                self._session.client("s3").upload_fileobj(
                    source, self._bucket, self.disk(record), ExtraArgs={"ChecksumAlgorithm": "SHA256", "Metadata": marks}
                )
        if (source.size, source.digest.hexdigest()) != (spec.size, spec.sha512):
            raise not_endorsed(spec, file)
        head = self._session.call("s3", "head_object", "look at the file in the bucket", "ContentLength", Bucket=self._bucket, Key=self.disk(record))
        if head["ContentLength"] != spec.size or head.get("Metadata", {}).get("sha512") != spec.sha512:
            raise Transient("the file in the bucket is not the one that was sent", where=f"{self._bucket}/{self.disk(record)}")

    def note(self, record: Record) -> None:
        """Write or replace a record."""
        self._put(key_of(self._owner, record.spec), record, only_new=False)

    def clear(self, key: str) -> None:
        """Remove everything of a key, the record last. Raises Transient where something is still there afterwards."""
        half = self._half_sent(key)
        for name, upload in half:
            with suppress(Gone):
                self._session.call("s3", "abort_multipart_upload", "end an upload", Bucket=self._bucket, Key=name, UploadId=upload)
        if half and self._half_sent(key):
            raise Transient("an upload in parts that was ended goes on", where=f"{self._bucket}/{self._folder}{key}")
        record = f"{self._folder}{key}/{RECORD}"
        names = self._names(key).get(key, [])
        self._remove([name for name in names if name != record], key)
        self._remove([name for name in names if name == record], key)

    def _remove(self, names: list[str], key: str) -> None:
        """Remove objects, and look that they are gone: any answer at all says that they were removed."""
        for name in names:
            self._session.call("s3", "delete_object", "remove a file from the bucket", Bucket=self._bucket, Key=name)
        if names and not set(names).isdisjoint(self._names(key).get(key, [])):
            raise Transient("what was removed from the bucket is still there", where=f"{self._bucket}/{self._folder}{key}")

    def _half_sent(self, key: str) -> list[tuple[str, str]]:
        """Uploads in parts that nobody ended."""
        inside = f"{self._folder}{key}/"
        doing = "list uploads in the bucket"
        found = self._session.listed("s3", "list_multipart_uploads", "Uploads", doing, proof="Bucket", Bucket=self._bucket, Prefix=inside)
        return [(str(each["Key"]), str(each["UploadId"])) for each in found if str(each["Key"]).startswith(inside)]

    def _read(self, key: str, names: list[str]) -> Record | None:
        """A record; None where there is none, or what is there is none of ours."""
        name = f"{self._folder}{key}/{RECORD}"
        if name not in names:
            return None
        try:
            answer = self._session.call("s3", "get_object", "read what is under way", "Body", Bucket=self._bucket, Key=name, ChecksumMode="ENABLED")
            with mapped("read what is under way", self._session.where, "s3"):
                data = answer["Body"].read(1 << 20)
        except Gone:
            return None
        if "Metadata" not in answer or not answer.get("ETag"):
            raise Transient("could not read what is under way", where=self._session.where, why="the answer makes no sense")
        try:
            record = Record.model_validate_json(data)
        except ValidationError:
            return None
        return record if record.owner == self._owner and key_of(self._owner, record.spec) == key else None

    def _put(self, key: str, record: Record, *, only_new: bool) -> None:
        data = record.model_dump_json().encode()
        name, options = f"{self._folder}{key}/{RECORD}", {"IfNoneMatch": "*"} if only_new else {}
        doing = f"write to the bucket {self._bucket}"
        try:
            with mapped(doing, self._session.where, "s3"):
                self._session.client("s3").put_object(
                    Bucket=self._bucket,
                    Key=name,
                    Body=data,
                    ContentType="application/json",
                    ChecksumAlgorithm="SHA256",
                    Metadata={"vmkeeper-owner": self._owner},
                    **options,
                )
        except UserError as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and code_of(cause) in ("PreconditionFailed", "412"):
                raise _Taken from None
            raise
        if self._read(key, [name]) != record:
            raise Transient("what was written to the bucket is not there", where=f"{self._bucket}/{name}")


class _Taken(Exception):
    """There is a record already."""


class _Hashing:
    """A file that is read once, from its beginning to its end; one byte more than expected is enough to know."""

    def __init__(self, file: object, expected: int) -> None:
        self._file = file
        self._expected = expected
        self.digest = hashlib.sha512()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes."""
        room = self._expected + 1 - self.size
        data: bytes = self._file.read(room if size < 0 else min(size, room))  # type: ignore[attr-defined]
        self.digest.update(data)
        self.size += len(data)
        return data


def new_attempt() -> str:
    """Ties what one upload makes together; never the same twice."""
    return secrets.token_hex(16)


def not_endorsed(spec: ImageSpec, file: Path) -> Refused:
    """The error for other bytes than were signed for."""
    why = f"expected {int(spec.size)} bytes with sha512 {spec.sha512[:16]}…"
    return Refused("R14", "the bytes are not the ones that were endorsed", where=str(file), why=why)
