"""Provenance as a builder signs it: an in-toto statement of SLSA's in a DSSE envelope. Forms: docs/provenance.md, SLSA 1.0, DSSE 1.0."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from conformance.trust.forge import Bytes, Json, World, canonical, document, release, same, sha512, utc
from conformance.trust.signers import ISSUED, Signer
from conformance.trust.worlds import CI, Change, base, people

IN_TOTO = "application/vnd.in-toto+json"
BUILDER = "https://ci.example.org/build"


def statement(world: World, record: bytes, builder: str = BUILDER) -> Json:
    """What a builder says of a release record."""
    made = json.loads(record)
    stem = f"{made['appliance']}-{made['version']}"
    files = [(f"{stem}.{one['format']}", one["sha512"]) for one in sorted(made["files"], key=lambda one: str(one["format"]))]
    beside = [
        (f"{stem}.rootfs.tar", made["rootfs"]["sha512"]),
        (f"{stem}.manifest", made["manifest"]["sha512"]),
        (f"{stem}.sbom", made["sbom"]["sha512"]),
    ]
    subject = [(f"appliances/{made['appliance']}/release.yaml", sha512(record)), *files, *beside]
    external = {"repository": world.line[0], **{field: made[field] for field in ("appliance", "version", "commit", "recipe")}}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha512": digest}} for name, digest in subject],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://vmkeeper.org/build/v1",
                "externalParameters": external,
                "internalParameters": {"builder": made["builder"]},
                "resolvedDependencies": [{"name": "source", "digest": {"gitCommit": made["commit"]}}],
            },
            "runDetails": {
                "builder": {"id": builder, "version": {"vmkeeper": "1.0"}},
                "metadata": {
                    "invocationId": "urn:uuid:6f1f7b51-66a5-4a1a-9b0c-0d8f3d2f1a10", "startedOn": utc(ISSUED), "finishedOn": utc(ISSUED),
                },
            },
        },
    }  # fmt: skip


def envelope(payload: bytes, by: Signer, keyid: str = "") -> Json:
    """A DSSE envelope with one signature."""
    covered = b"DSSEv1 %d %b %d %b" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
    signature = {"keyid": keyid or by.id, "sig": base64.b64encode(by.sign(covered, ISSUED).encode()).decode()}
    return {"payload": base64.b64encode(payload).decode(), "payloadType": IN_TOTO, "signatures": [signature]}


def sealed(
    world: World,
    record: bytes,
    by: Signer,
    edit: Callable[[Json], Json] = lambda value: value,
    payload: Bytes = same,
    wrapped: Callable[[Json], Json] = lambda value: value,
    written: Callable[[Json], bytes] = lambda value: canonical(value) + b"\n",
    **how: Any,
) -> bytes:
    """The file provenance.json; every part of it may be another one."""
    return written(wrapped(envelope(payload(canonical(edit(statement(world, record)))), by, **how)))


def built(world: World, appliance: str, version: str, by: Signer = CI, record: Json | None = None, **how: Any) -> str:
    """A commit with a release and its provenance."""
    data = document(record or release(appliance, version))
    folder = f"appliances/{appliance}"
    return world.commit({f"{folder}/release.yaml": data, f"{folder}/provenance.json": sealed(world, data, by, **how)})


def provenanced(world: World, **fields: Any) -> None:
    """Policy 2 has the builder ci, and the base's releases are recorded again with provenance and endorsed by alice and erin."""
    people(world, ci=CI)
    world.documents["policy"].update(builders=[{"name": "ci", "id": BUILDER, "keys": [world.signers["ci"].listed]}], **fields)
    world.next_policy("anna", "dora")
    for endorser, appliance, version in (
        ("alice", "debian-12", "2026.5.1.3"),
        ("alice", "debian-12", "2026.5.2.4"),
        ("erin", "alma-9", "2026.5.3.5"),
    ):
        world.endorse(endorser, built(world, appliance, version), appliance)


def with_builder(**fields: Any) -> Change:
    """The base with a builder in its policy."""

    def start(world: World) -> None:
        base(world)
        provenanced(world, **fields)

    return start
