"""A site whose run is told to handlers: a cloud in memory, made-up images, files of the cache in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.sitescenario import NOW, OWNER, content, spec
from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.errors import Transient
from vmkeeper.execute.post import Post
from vmkeeper.execute.spool import Spool
from vmkeeper.execute.telling import Telling
from vmkeeper.execute.walk import Outcome, walk
from vmkeeper.lists.events import Event
from vmkeeper.model.handler import Handler
from vmkeeper.plan.actions import Action
from vmkeeper.plan.plan import Plan, ordered
from vmkeeper.plan.site import DeleteImage, HideImage, RegisterImage, ShowImage, UpdateImage
from vmkeeper.plan.supply import Supply
from vmkeeper.plan.wanted import Note, label
from vmkeeper.values import sha512_hex


def handler(name: str = "list", **fields: Any) -> Handler:
    """A handler; without `program`, `webhook` or `file` one that appends to events/NAME.jsonl."""
    ways = {"program", "webhook", "file"} & fields.keys()
    return Handler.model_validate({"name": name, **({} if ways else {"file": f"{name}.jsonl"}), **fields})


def write_program(home: Path, name: str, text: str) -> Path:
    path = home / "handlers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def lines(home: Path, file: str = "list.jsonl") -> list[dict[str, Any]]:
    path = home / "events" / file
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def told(home: Path, file: str = "list.jsonl") -> list[str]:
    """`AvailablePrefix debian-12 2`, …, as a file handler was told; `ProcessPrefix` alone."""
    found = []
    for line in lines(home, file):
        data = line["data"]
        found.append(" ".join([line["type"].removeprefix("vmkeeper."), *([data["appliance"], data["hv:version"]] if "appliance" in data else [])]))
    return found


def image_file(words: str) -> bytes:
    return content(*words.split())


class TellingSite:
    """Each run is given what it does as words: `register debian-12 2`, `hide debian-12 1 after register debian-12 2`, …"""

    def __init__(self, folder: Path, *handlers: Handler, there: tuple[str, ...] = ()) -> None:
        self.home = folder
        self.handlers = handlers
        self.world = World()
        self.now = NOW
        self.fails: set[str] = set()
        self.cache = folder / "cache"
        for number, words in enumerate(there):
            self.put(f"i{number}", words)

    def put(self, key: str, words: str, state: str = "active") -> None:
        said = self.spec(words)
        self.world.images[key] = CloudImage(id=key, name=said.name, owner=OWNER, spec=said, state=state)  # type: ignore[arg-type]

    @staticmethod
    def spec(words: str) -> ImageSpec:
        return spec(words, properties={"title": words.split(maxsplit=1)[0], "sl:os": "linux", "ad:vo": "tests"})

    @property
    def spool(self) -> Spool:
        return Spool(self.post.spool)

    @property
    def post(self) -> Post:
        return Post(self.home, "here", self.handlers, self.find, ("127.0.0.1",))

    def find(self, sha512: str) -> Path | None:
        path = self.cache / sha512
        return path if path.exists() else None

    def images(self) -> list[CloudImage]:
        return [image for image in self.world.images.values() if image.owner == OWNER]

    def action(self, words: str) -> Action:
        first, *needs = words.split(" after ")
        kind, subject = first.split(" ", 1)
        said = self.spec(subject)
        fields: dict[str, Any] = {
            "subject": label(said),
            "reason": "so it is",
            "spec": said,
            "needs": tuple(need.replace(" ", ":", 1) for need in needs),
        }
        if kind == "register":
            return RegisterImage(**fields, supply=Supply(uri=f"https://images.example.org/{subject.replace(' ', '/')}"))
        kinds = {"hide": HideImage, "show": ShowImage, "update": UpdateImage, "delete": DeleteImage}
        here = next((image.id for image in self.images() if image.spec and image.spec.key == said.key), "gone")
        return kinds[kind](**fields, image=here)

    def telling(self, plan: Plan) -> Telling:
        uris = {a.spec.key: a.supply.uri for a in plan.actions if isinstance(a, RegisterImage)}
        return Telling(self.post, plan, self.images(), uris, lambda: self.now)

    def plan(self, *words: str) -> Plan:
        return Plan("", "", ordered(self.action(one) for one in words))

    def perform(self, action: Action) -> str:
        if action.id in self.fails:
            raise Transient("it fails")
        cloud = MemoryCloud(OWNER, self.world)
        match action:
            case RegisterImage(spec=said):
                self.cache.mkdir(parents=True, exist_ok=True)
                data = content(said.appliance, str(said.version))
                path = self.cache / sha512_hex(data)
                path.write_bytes(data)
                cloud.upload(said, path)
            case ShowImage(image=key, spec=said) | UpdateImage(image=key, spec=said):
                cloud.update(key, said, None)
            case HideImage(image=key, spec=said):
                cloud.update(key, said, self.now)
            case DeleteImage(image=key):
                cloud.delete(key)
        return "done"

    def run(self, *words: str, workers: int = 2, perform: Callable[[Action], str] | None = None) -> tuple[tuple[Outcome, ...], tuple[Note, ...]]:
        plan = self.plan(*words)
        telling = self.telling(plan)
        with telling:
            outcomes = walk(plan, telling.around(perform or self.perform), workers=workers)
        return outcomes, telling.delivered()

    def waiting(self) -> list[Event]:
        spool = self.spool
        return [spool.read(number) for number in spool.numbers()]


class JournalSite(TellingSite):
    """A site whose cloud is a file with one line a change, so that a killed process leaves a cloud as it was then."""

    @property
    def journal(self) -> Path:
        return self.home / "journal"

    def changes(self) -> list[tuple[str, str]]:
        """(active or hidden, `NAME VERSION`), in order."""
        found = [line.partition(" ") for line in self.journal.read_text().splitlines()] if self.journal.exists() else []
        return [(state, words) for state, _, words in found]

    def images(self) -> list[CloudImage]:
        made = []
        for words, state in {words: state for state, words in self.changes()}.items():
            said = self.spec(words)
            made.append(CloudImage(id=words, name=said.name, owner=OWNER, spec=said, state=state))  # type: ignore[arg-type]
        return made

    def perform(self, action: Action) -> str:
        assert isinstance(action, RegisterImage | ShowImage | HideImage)
        words = action.subject
        if isinstance(action, RegisterImage):
            self.cache.mkdir(exist_ok=True)
            (self.cache / action.spec.sha512).write_bytes(content(*words.split()))
        with os.fdopen(os.open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as file:
            file.write(f"{'hidden' if isinstance(action, HideImage) else 'active'} {words}\n")
        return "done"

    def towards(self, *wanted: str) -> list[str]:
        """What a plan would do to have exactly these images active."""
        here = {image.id: image.state for image in self.images()}
        coming = [f"{'show' if one in here else 'register'} {one}" for one in wanted if here.get(one) != "active"]
        words = list(coming)
        for one, state in here.items():
            if state == "active" and one not in wanted:
                mine = [other for other in coming if other.split()[1] == one.split()[0]]
                words.append(" after ".join([f"hide {one}", *mine]))
        return words

    def reach(self, *wanted: str, workers: int = 1) -> tuple[Note, ...]:
        """One run that has exactly these images active."""
        return self.run(*self.towards(*wanted), workers=workers)[1]
