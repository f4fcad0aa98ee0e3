"""Real git repositories on disk, made byte by byte: honest ones, and every kind of lie. Nothing here comes from the implementation under test.

Forms: docs/trust.md for tags, statements, policies, pins; git's own for objects and refs. Documents are written as JSON, which is YAML.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pygit2

from conformance.trust.signers import ISSUED, NOW, Signer

OBJECT = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
UUIDS = {"debian-12": "3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11", "alma-9": "7d1f0b9e-2c55-4d0e-8a6b-0c1d2e3f4a5b"}
PREDICATES = {"endorse": "endorsement", "withdraw": "withdrawal", "revoke": "revocation", "approve": "approval"}
Bytes = Callable[[bytes], bytes]
Json = dict[str, Any]


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha512(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest()


def utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def document(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def same(data: bytes) -> bytes:
    return data


def person(name: str, *signers: Signer, **fields: Any) -> Json:
    keys = [signer.listed for signer in signers]
    return {"name": name, "full_name": name.title(), "email": f"{name}@example.org", "keys": keys, **fields}


def tree_digest(files: Mapping[str, tuple[str, bytes]], folder: str = "") -> str:
    """SHA-512 over `MODE SHA512 PATH` lines, sorted by path."""
    prefix = f"{folder}/" if folder else ""
    inside = {path.removeprefix(prefix): entry for path, entry in files.items() if path.startswith(prefix)}
    return sha512(
        b"".join(f"{mode} {sha512(data)} {path}\n".encode() for path, (mode, data) in sorted(inside.items(), key=lambda one: one[0].encode()))
    )


class World:
    """A repository with its policies, people and tags, and the pins of a site. Every method is honest unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = folder / "repo"
        self.site = folder / "site"
        self.git = pygit2.init_repository(str(self.repo), initial_head="main")
        self.line: list[str] = []
        """The mainline, oldest first."""
        self.trees: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.clock = int((ISSUED - timedelta(days=20)).timestamp())
        self.chains: dict[str, list[str]] = {}
        """SHA-512 of every tag object of an endorser, in order."""
        self.raw: dict[str, bytes] = {}
        """Tag objects by ref below refs/tags/."""
        self.documents: dict[str, Json] = {}
        """The next policy: `policy` and endorser lists by name."""
        self.key_files: dict[str, bytes] = {}
        self.signers: dict[str, Signer] = {}
        """The key with which each person signs."""
        self.policy: tuple[int, str | None] = (0, None)
        """Number and content of the last one that was signed."""
        self.pins: Json = {}
        self.ca: dict[str, bytes] = {}

    # Objects

    def write(self, kind: Literal["commit", "tree", "blob", "tag"], data: bytes) -> str:
        return str(self.git.odb.write(OBJECT[kind], data))

    def tree(self, files: Mapping[str, tuple[str, bytes]]) -> str:
        """A tree object of files by path, each a mode and bytes; for 160000 the bytes are the commit's id."""
        entries: list[tuple[bytes, bytes]] = []
        folders: dict[str, dict[str, tuple[str, bytes]]] = {}
        for path, entry in files.items():
            name, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(name, {})[rest] = entry
                continue
            mode, data = entry
            oid = data.decode() if mode == "160000" else self.write("blob", data)
            entries.append((name.encode(), self.entry(mode, name.encode(), oid)))
        for name, inside in folders.items():
            entries.append((name.encode() + b"/", self.entry("40000", name.encode(), self.tree(inside))))
        return self.write("tree", b"".join(raw for _, raw in sorted(entries)))

    @staticmethod
    def entry(mode: str, name: bytes, oid: str) -> bytes:
        return mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid)

    def commit(
        self,
        files: Mapping[str, bytes | None] = {},
        *,
        parents: Sequence[str] | None = None,
        merged: bool = True,
        tree: str = "",
        headers: bytes = b"",
    ) -> str:
        """A commit on the head (or on `parents`) with these files changed; None removes. merged: it is the new head. `tree` overrides."""
        before = list(self.line[-1:]) if parents is None else list(parents)
        now = dict(self.trees[before[0]]) if before else {}
        for path, data in files.items():
            if data is None:
                now.pop(path)
            else:
                now[path] = ("100644", data)
        return self.commit_tree(tree or self.tree(now), now, before, merged=merged, headers=headers)

    def commit_tree(
        self, tree: str, files: dict[str, tuple[str, bytes]], parents: Sequence[str], *, merged: bool = True, headers: bytes = b""
    ) -> str:
        self.clock += 60
        who = f"Forge <forge@example.org> {self.clock} +0000"
        head = f"tree {tree}\n" + "".join(f"parent {one}\n" for one in parents) + f"author {who}\ncommitter {who}\n"
        made = self.write("commit", head.encode() + headers + b"\nwork\n")
        self.trees[made] = files
        if merged:
            self.line.append(made)
            self.branch(made)
        return made

    def branch(self, commit: str) -> None:
        self.ref("refs/heads/main", commit)

    def ref(self, name: str, oid: str) -> None:
        """Written as a file, for git itself would refuse some of these names."""
        path = self.repo / ".git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{oid}\n")

    def drop(self, *tags: str) -> None:
        """A mirror that hides tags."""
        for tag in tags:
            (self.repo / ".git" / "refs" / "tags" / tag).unlink()

    @property
    def head(self) -> str:
        return self.line[-1]

    # Signed tags

    def say(self, kind: str, fields: Json, by: Signer, *, subject: list[Json], **lie: Any) -> str:
        """Sign a statement and put the tag there; its ref below refs/tags/. For the lies see `put`."""
        predicate = {"action": kind, "repository": self.line[0], "key": by.id, "issued": utc(ISSUED), **fields}
        kinds = f"https://vmkeeper.org/{PREDICATES.get(kind, kind)}/v1"
        statement = {"_type": "https://in-toto.io/Statement/v1", "predicate": predicate, "predicateType": kinds, "subject": subject}
        issued = datetime.fromisoformat(predicate["issued"])
        return self.put(statement, by, issued, **lie)

    def put(
        self,
        statement: Json,
        by: Signer,
        issued: datetime,
        *,
        name: str,
        target: str,
        ref: str | None = None,
        header: str | None = None,
        tagger: str | None = None,
        statement_edit: Callable[[Json], Json] = lambda value: value,
        payload: Bytes = same,
        body: Bytes = same,
        signature: Callable[[str], str] = lambda text: text,
        raw: Bytes = same,
        chain: str = "",
        at: datetime | None = None,
    ) -> str:
        """A tag object and its ref. Every part may be another one: `ref`, `header` (the tag line), `tagger`, the statement, its bytes
        (`payload`), the object before (`body`) and after (`raw`) it is signed, the signature. `at`: when the signature says it was made."""
        who = tagger or f"Somebody <somebody@example.org> {int(issued.timestamp())} +0000"
        head = f"object {target}\ntype commit\ntag {name if header is None else header}\ntagger {who}\n\n"
        made = body(head.encode() + payload(canonical(statement_edit(statement))) + b"\n")
        made = raw(made + signature(by.sign(made, at or issued)).encode())
        where = name if ref is None else ref
        self.raw[where] = made
        if chain:
            self.chains.setdefault(chain, []).append(sha512(made))
        self.ref(where if where.startswith("refs/") else f"refs/tags/{where}", self.write("tag", made))
        return where

    def of_endorser(self, endorser: str, commit: str, appliance: str, by: Signer | None, fields: Json) -> tuple[Json, Json, Signer]:
        """What endorsements and withdrawals share, the release record that is meant, and the key."""
        data = self.trees[commit].get(f"appliances/{appliance}/release.yaml", ("", b"{}"))[1]
        record = json.loads(data) or release(appliance, "1")
        chain, key = self.chains.get(endorser, []), by or self.signers[endorser]
        shared = {
            "appliance": appliance, "uuid": record["uuid"], "path": f"appliances/{appliance}", "version": record["version"], "commit": commit,
            "release": sha512(data), "endorser": endorser, "serial": len(chain) + 1, "previous": chain[-1] if chain else None,
            **fields,
        }  # fmt: skip
        return shared, record, key

    def endorse(
        self, endorser: str, commit: str, appliance: str = "debian-12", by: Signer | None = None, lie: Mapping[str, Any] = {}, **fields: Any
    ) -> str:
        """An endorsement of what a commit holds, next in the endorser's chain."""
        changed = {name: fields.pop(name) for name in tuple(fields) if name not in ("not_before", "expires")}
        shared, record, key = self.of_endorser(endorser, commit, appliance, by, {})
        provenance = self.trees[commit].get(f"appliances/{appliance}/provenance.json")
        files = sorted(record["files"], key=lambda one: str(one["format"]))
        said = {
            **shared, "recipe": record["recipe"], "files": files, "manifest": record["manifest"]["sha512"],
            "provenance": sha512(provenance[1]) if provenance else None, "rebuilt": False, "policy": self.policy[0],
            "issued": utc(ISSUED), "not_before": utc(ISSUED), "expires": utc(ISSUED + timedelta(days=30)), **fields, **changed,
        }  # fmt: skip
        subject = [{"name": f"{said['path']}/release.yaml", "digest": {"sha512": said["release"]}}]
        subject += [{"name": f"{appliance}-{said['version']}.{one['format']}", "digest": {"sha512": one["sha512"]}} for one in said["files"]]
        name = f"endorse/{said['appliance']}/{said['version']}/{endorser}/{said['serial']}"
        return self.say("endorse", said, key, subject=subject, **{"name": name, "target": said["commit"], "chain": endorser, **lie})

    def withdraw(
        self, endorser: str, commit: str, appliance: str = "debian-12", by: Signer | None = None, lie: Mapping[str, Any] = {}, **fields: Any
    ) -> str:
        shared, _, key = self.of_endorser(endorser, commit, appliance, by, {"reason": "a hole in it", **fields})
        subject = [{"name": f"{shared['path']}/release.yaml", "digest": {"sha512": shared["release"]}}]
        name = f"withdraw/{appliance}/{shared['version']}/{endorser}/{shared['serial']}"
        return self.say("withdraw", shared, key, subject=subject, **{"name": name, "target": shared["commit"], "chain": endorser, **lie})

    def revoke(self, holder: str, key: str, by: str, signer: Signer | None = None, lie: Mapping[str, Any] = {}, **fields: Any) -> str:
        """A tag that makes a key void from a place in its owner's chain on: by default from the very first."""
        said = {
            "holder": holder,
            "revoked": key,
            "since": {"serial": 0, "sha512": None},
            "by": by,
            "number": 1,
            "commit": self.head,
            "reason": "stolen",
            **fields,
        }
        subject = [{"name": said["revoked"], "digest": {"sha512": sha512(said["revoked"].encode())}}]
        name = f"revoke/{holder}/{by}/{said['number']}"
        return self.say("revoke", said, signer or self.signers[by], subject=subject, **{"name": name, "target": said["commit"], **lie})

    # Policies

    def propose(self, **files: bytes) -> str:
        """A commit with endorsers/ as `documents` say it; in force is nothing of it yet."""
        gone: dict[str, bytes | None] = {path: None for path in self.trees[self.head] if path.startswith("endorsers/")}
        made = {f"endorsers/{name}.yaml": document(one) for name, one in self.documents.items()}
        return self.commit({**gone, **made, **{f"endorsers/{path}": data for path, data in {**self.key_files, **files}.items()}})

    def enact(
        self, *names: str, commit: str | None = None, by: Mapping[str, Signer] = {}, lie: Mapping[str, Any] = {}, count: bool = True, **fields: Any
    ) -> list[str]:
        """These principals sign the endorsers/ tree of a commit (the head) as the next policy. count: later ones follow it."""
        number, previous = self.policy
        at = commit or self.head
        shared = {
            "number": number + 1, "commit": at, "tree": tree_digest(self.trees[at], "endorsers"), "previous": previous,
            "expires": utc(ISSUED + timedelta(days=300)), "repository": self.line[0], **fields,
        }  # fmt: skip
        made = []
        for name in names:
            signer = by.get(name) or self.signers[name]
            subject = [{"name": "endorsers", "digest": {"sha512": shared["tree"]}}]
            tag = f"policy/{shared['number']}/{name}"
            made.append(
                self.say("policy", {**shared, "principal": name}, signer, subject=subject, **{"name": tag, "target": shared["commit"], **lie})
            )
        if count:
            agreed = {field: shared[field] for field in ("repository", "number", "commit", "tree", "previous", "expires")}
            self.policy = (shared["number"], sha512(canonical(agreed)))
        return made

    def next_policy(self, *names: str, **fields: Any) -> list[str]:
        """Propose what `documents` say now, and have these principals sign it."""
        self.propose()
        return self.enact(*names, **fields)

    def pin(self, quorum: int, *principals: str, **fields: Any) -> None:
        """Pins of the policy that was signed last."""
        people = [{"name": one, "full_name": one.title(), "email": f"{one}@example.org", "keys": [self.signers[one].held]} for one in principals]
        root = self.line[0]
        self.pins = {
            "version": 1, "repository": root, "tree": tree_digest(self.trees[root]), "policy": {"number": self.policy[0], "sha512": self.policy[1]},
            "quorum": quorum, "principals": people, **fields,
        }  # fmt: skip

    def vouch(self, builder: str, lie: Mapping[str, Any] = {}, **fields: Any) -> str:
        """The freshness statement that is true now, or what `fields` make of it."""
        chains = [{"endorser": one, "serial": len(made), "sha512": made[-1]} for one, made in sorted(self.chains.items())]
        seen = {
            "commit": self.head, "policy": {"number": self.policy[0], "sha512": self.policy[1]}, "chains": chains,
            "revocations": sorted(sha512(raw) for tag, raw in self.raw.items() if tag.startswith("revoke/")), "lists": [],
        }  # fmt: skip
        said = {**seen, "builder": builder, "issued": utc(NOW - timedelta(hours=1)), "expires": utc(NOW + timedelta(hours=23)), **fields}
        subject = [{"name": "state", "digest": {"sha512": sha512(canonical({field: said[field] for field in seen}))}}]
        where = {"name": "freshness", "ref": "refs/vmkeeper/freshness", "target": said["commit"]}
        return self.say("freshness", said, self.signers[builder], subject=subject, **{**where, **lie})

    # A site

    def save(self) -> None:
        """Write pins and CA folder."""
        (self.site / "ca").mkdir(parents=True, exist_ok=True)
        (self.site / "pins.yaml").write_bytes(document(self.pins))
        for name, data in self.ca.items():
            (self.site / "ca" / name).write_bytes(data)

    def copy_documents(self) -> dict[str, Json]:
        return deepcopy(self.documents)


def release(appliance: str, version: str, **changes: Any) -> Json:
    """A release record."""
    digest = sha512(f"{appliance} {version}".encode())
    files = [
        {"format": "raw", "size": 4096, "virtual_size": 4096, "sha512": digest[::-1]},
        {"format": "qcow2", "size": 2048, "virtual_size": 4096, "sha512": digest},
    ]
    return {
        "appliance": appliance, "uuid": UUIDS[appliance], "version": version, "commit": "b" * 40, "recipe": digest[:64],
        "builder": {"name": "debian", "version": 1}, "rootfs": {"size": 10, "sha512": digest}, "files": files,
        "manifest": {"size": 3, "sha512": "c" * 128}, "packages": 1, "sbom": {"size": 3, "sha512": "d" * 128}, **changes,
    }  # fmt: skip
