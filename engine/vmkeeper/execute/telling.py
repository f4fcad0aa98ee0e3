"""Tells a site's handlers what its run does to images: what is about to happen is written down before, what happened after.

    ProcessPrefix
      SubscriptionImageNew, AvailablePrefix   (the image is registered or shown)   AvailablePostfix
      ExpirePrefix                            (the old one is hidden)              ExpirePostfix
    ProcessPostfix

A run that is killed is taken up by the next one: what had happened is told, what had not is tried again without telling its
beginning twice. Telling never keeps an action from being carried out; what cannot be written down is a note.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, TypeVar
from uuid import uuid4

from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.errors import UserError
from vmkeeper.execute.imagefolder import ImageFolder, expired_name
from vmkeeper.execute.post import Post
from vmkeeper.execute.spool import Entry, Spool, entry_name, stamped
from vmkeeper.lists.events import Event, EventImage, event_image, make
from vmkeeper.model.handler import EventName
from vmkeeper.plan.actions import Action
from vmkeeper.plan.imageactions import HideImage, RegisterImage, ShowImage
from vmkeeper.plan.plan import Plan
from vmkeeper.plan.wanted import Current, Note, Subscribed
from vmkeeper.progress import Progress

_SESSION = "session"
_Result = TypeVar("_Result")
_Happening = Literal["Available", "Expire"]


def at_place(image: str, place: str) -> str:
    """An image's id as it is told from those at the site's other places."""
    return f"{image} @{place}" if place else image


def addresses(lists: Iterable[Subscribed]) -> dict[str, str]:
    """Where the files of images are that the lists offer: `ImageSpec.key` → URI."""
    return {offer.spec.key: offer.supply.uri for found in lists if isinstance(found.state, Current) for offer in found.state.offers}


class Telling:
    """One run. Enter it with the site's lock held, carry the plan out with `around`, leave it, and give up the lock before `delivered`."""

    def __init__(
        self,
        post: Post,
        plan: Plan,
        images: Iterable[CloudImage],
        uris: Mapping[str, str],
        clock: Callable[[], datetime],
        progress: Progress | None = None,
    ) -> None:
        """images: what the site has at the cloud, its own ones only, with ids by `at_place`, seen before the run did anything.

        Of an image that is at several places it is told that it is available once it is at one, and that it expired once it is at none.
        """
        self._post, self._clock, self._uris = post, clock, uris
        self._spool, self._folder = Spool(post.spool), ImageFolder(post.images, post.find)
        self._programs = any(handler.program is not None for handler in post.handlers)
        self._on = bool(post.handlers) or self._spool.exists()
        self._delivery = post.delivery(self._spool, clock, progress)
        self._lock = threading.RLock()
        self._notes: list[Note] = []
        self._session = ""
        self._begun: dict[str, Entry] = {}
        self._given_up: list[str] = []
        self._done: list[Action] = []
        self._planned = {entry_name(kind, spec.key) for action in plan.actions if (kind := _happening(action)) and (spec := _spec(action))}
        marked = [image for image in images if image.spec is not None]
        self._known = {image.spec.uuid for image in marked if image.spec}
        self._copies: dict[str, set[str]] = defaultdict(set)
        self._available: dict[str, dict[str, ImageSpec]] = defaultdict(dict)
        for image in marked:
            if image.spec and image.state == "active":
                self._copies[image.spec.key].add(image.id)
                self._available[image.spec.uuid][image.spec.key] = image.spec

    # -- a run

    def __enter__(self) -> Self:
        if self._on:
            self._guarded(self._start)
        return self

    def _start(self) -> None:
        for handler in self._post.handlers:
            self._spool.enrol(handler)
        if self._programs:
            self._folder.make()
        self._delivery.start()
        self._begun = self._spool.begun() if self._post.handlers else {}
        if _SESSION in self._begun:
            self._in_session()
        if not self._begun and not self._spool.numbers():
            self._folder.clear_expired()
        ends_first = sorted(self._begun.keys() - {_SESSION}, key=lambda name: (self._begun[name].event.type != "ExpirePostfix", name))
        for name in ends_first:
            self._guarded(lambda name=name: self._recover(name))  # type: ignore[misc]

    def around(self, perform: Callable[[Action], str]) -> Callable[[Action], str]:
        """The same, telling of it before and, where it succeeds, afterwards."""
        if not self._on or not self._post.handlers:
            return perform

        def telling(action: Action) -> str:
            self._guarded(lambda: self._begin(action))
            text = perform(action)
            with self._lock:
                self._done.append(action)
            self._guarded(self._catch_up)
            return text

        return telling

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._delivery.stop()
        elif self._on:
            self._guarded(self._close)
            self._delivery.close()

    def _close(self) -> None:
        self._catch_up()
        for name in self._given_up:
            self._spool.forget(name)
        if self._session:
            self._settle(_SESSION, stamped(self._begun[_SESSION].event, self._clock(), self._session))
        self._folder.keep_only({uuid for uuid, versions in self._available.items() if versions} if self._programs else ())

    def delivered(self) -> tuple[Note, ...]:
        """Wait for the handlers; what people should know of them."""
        if not self._on:
            return ()
        notes = self._guarded(self._delivery.finish) or ()
        return (*dict.fromkeys(self._notes), *notes)

    # -- what happens

    def _begin(self, action: Action) -> str:
        """Before an action: gives the name of what begins, "" where it is nothing that is told."""
        kind, spec = _happening(action), _spec(action)
        if kind is None or spec is None:
            return ""
        with self._lock:
            self._catch_up(but=action)
            if isinstance(action, HideImage):
                self._copies[spec.key].discard(at_place(action.image, action.place))
                if self._copies[spec.key]:
                    return ""  # the same image is there twice and goes once
            name = entry_name(kind, spec.key)
            if kind == "Available" and name not in self._begun and spec.key in self._available[spec.uuid]:
                return ""  # it is at another place
            if name not in self._begun:
                self._open(name, kind, spec, new=isinstance(action, RegisterImage) and spec.uuid not in self._known)
            self._tell_before(name)
            return name

    def _open(self, name: str, kind: _Happening, spec: ImageSpec, *, new: bool = False) -> None:
        """Write down what is about to happen, before anybody is told."""
        session, now, key = self._in_session(), self._clock(), f"{spec.key} {uuid4()}"
        replaced = kind == "Expire" and self._newer(spec)
        image = event_image(spec, uri=self._uris.get(spec.key, ""), filename=self._present(kind, spec))

        def event(which: EventName, told: EventImage) -> Event:
            return make(which, session, self._post.site, now, key=key, image=told, replaced=replaced)

        if kind == "Expire":
            later = self._expiring(image, replaced, now)
            entry = Entry(before=(event("ExpirePrefix", image),), event=event("ExpirePostfix", later))
        else:
            first = (event("SubscriptionImageNew", image.model_copy(update={"filename": ""})),) if new else ()
            entry = Entry(before=(*first, event("AvailablePrefix", image)), event=event("AvailablePostfix", image))
        self._write_begun(name, entry)

    def _write_begun(self, name: str, entry: Entry) -> None:
        self._spool.begin(name, entry)
        self._begun[name] = entry

    def _tell_before(self, name: str) -> None:
        """Tell what has to be told of what begins, unless an earlier run did."""
        entry = self._begun[name]
        if entry.before:
            for event in entry.before:
                self._spool.add(event)
            self._write_begun(name, entry.model_copy(update={"before": ()}))

    def _catch_up(self, but: Action | None = None) -> None:
        """Tell of the actions that succeeded, in their order: after one that could not be told nothing is, until it can. but: not of this one."""
        with self._lock:
            while self._done and self._done[0] is not but:
                action = self._done[0]
                if name := self._begin(action):
                    self._end(name, action)
                del self._done[0]

    def _end(self, name: str, action: Action) -> None:
        spec = _spec(action)
        if isinstance(action, HideImage):
            self._available[action.spec.uuid].pop(action.spec.key, None)
            self._expired(name)
        elif spec is not None:
            self._available[spec.uuid][spec.key] = spec
            self._made_available(name)

    def _made_available(self, name: str) -> None:
        event = stamped(self._begun[name].event, self._clock(), self._in_session())
        if self._programs and event.image and not self._newer(event.image):
            offered = self._folder.offer(event.image)
            event = event.model_copy(update={"image": event.image.model_copy(update={"filename": offered})})
        self._settle(name, event)

    def _expired(self, name: str) -> None:
        """An image went. Where only an older version of it is left, that one is told (again) to be the one that is available."""
        now, before = self._clock(), self._begun[name].event
        if before.image is None:
            return
        replaced = self._newer(before.image)
        image = self._expiring(before.image, replaced, now)
        event = stamped(before, now, self._in_session()).model_copy(update={"replaced": replaced, "image": image})
        if not replaced and image.filename:
            self._folder.expire(image, image.filename)
        older = None if replaced else max(self._available[image.uuid].values(), key=lambda one: one.version, default=None)
        again = entry_name("Available", f"{older.key} after {before.id}") if older else ""
        if older and again not in self._begun:
            self._open(again, "Available", older)
        self._settle(name, event)
        if older:
            self._guarded(lambda: self._again(again))

    def _again(self, name: str) -> None:
        self._tell_before(name)
        self._made_available(name)

    def _settle(self, name: str, event: Event) -> None:
        self._spool.close(name, event)
        del self._begun[name]

    def _in_session(self) -> str:
        """The session's id; its beginning is told before the first thing that happens in it."""
        if not self._session:
            if _SESSION not in self._begun:
                session, now = str(uuid4()), self._clock()
                first, last = make("ProcessPrefix", session, self._post.site, now), make("ProcessPostfix", session, self._post.site, now)
                self._write_begun(_SESSION, Entry(before=(first,), event=last))
            self._tell_before(_SESSION)
            self._session = self._begun[_SESSION].event.session
        return self._session

    # -- after a crash

    def _recover(self, name: str) -> None:
        """Tell the end of what an earlier run began, if it came to it; what did not is tried again or forgotten."""
        entry = self._begun.get(name)
        if entry is None:
            return  # told with another one
        if entry.done or entry.event.image is None:
            self._settle(name, entry.event)
            return
        image = entry.event.image
        spec = next((spec for spec in self._available[image.uuid].values() if _is(spec, image)), None)
        if (entry.event.type == "AvailablePostfix") == (spec is not None):
            self._in_session()
            self._tell_before(name)
            if spec is not None:
                self._made_available(name)
            else:
                self._expired(name)
        elif name not in self._planned:
            self._given_up.append(name)

    # -- small things

    def _newer(self, image: ImageSpec | EventImage) -> bool:
        return any(other.version > image.version for other in self._available[image.uuid].values())

    def _present(self, kind: _Happening, spec: ImageSpec) -> str:
        """The name that the image's file has, or is about to have, in the folder of images."""
        return spec.uuid if self._programs and (kind == "Available" or self._folder.has(spec.uuid)) else ""

    def _expiring(self, image: EventImage, replaced: bool, now: datetime) -> EventImage:
        """The image as it is told when it has expired: under the name of its expired file, unless a newer one took its place."""
        known = image.filename if image.filename not in ("", image.uuid) else expired_name(image.uuid, now)
        return image.model_copy(update={"filename": "" if not self._programs else image.uuid if replaced else known})

    def _guarded(self, work: Callable[[], _Result]) -> _Result | None:
        """Do what only concerns handlers: its failure is a note."""
        try:
            return work()
        except (UserError, OSError) as error:
            self._notes.append(Note("events", f"{error}; handlers may not hear of all that this run did"))
            return None


def _happening(action: Action) -> _Happening | None:
    match action:
        case RegisterImage() | ShowImage():
            return "Available"
        case HideImage():
            return "Expire"
    return None


def _spec(action: Action) -> ImageSpec | None:
    return action.spec if isinstance(action, RegisterImage | ShowImage | HideImage) else None


def _is(spec: ImageSpec, image: EventImage) -> bool:
    return (spec.uuid, spec.version, spec.signed.sha512) == (image.uuid, image.version, image.sha512)
