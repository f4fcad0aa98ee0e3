"""The stable name of an appliance's newest image as a parameter of Systems Manager, where the account may write those.

`/vmkeeper/SITE/ALIAS` (`/vmkeeper/SITE/PLACE/ALIAS`) holds the image's id, so that `resolve:ssm:NAME` starts the newest.
A parameter of that name which is not ours is left alone. The tag `vmkeeper:alias` says the same in any case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vmkeeper.clouds.ec2.errors import DENIED, code_of
from vmkeeper.clouds.ec2.marks import OWNER
from vmkeeper.clouds.ec2.session import Session
from vmkeeper.clouds.ec2.snapshots import pairs
from vmkeeper.clouds.interface import Gone
from vmkeeper.errors import Transient, VmkeeperError

_ABSENT = frozenset({"UnknownOperationException", "InvalidAction", "NotImplemented", "UnsupportedOperation", "404", "405", "501"})
_VAGUE = "400"
"""An answer without a reason: of a cloud that has no such service, or cut off on its way."""


class Aliases:
    """One owner's parameters in one region. Where they are not allowed or not known at all, nothing happens."""

    def __init__(self, session: Session, owner: str) -> None:
        self._session = session
        self._owner = owner

    def point(self, alias: str, image: str) -> None:
        """Have the alias name an image."""
        with self._where_allowed(alias):
            there = self._value(alias)
            if there == image or (there is not None and not self._ours(alias)):
                return
            new = {"Tags": pairs({OWNER: self._owner})} if there is None else {"Overwrite": True}
            self._session.call("ssm", "put_parameter", "name the newest image", Name=self._name(alias), Value=image, Type="String", **new)
            if self._value(alias) != image:
                raise Transient("the newest image has not got its name", where=self._session.where)

    def drop(self, alias: str, image: str) -> None:
        """Have the alias not name this image any more; another one may bear it already."""
        with self._where_allowed(alias):
            if self._value(alias) == image and self._ours(alias):
                with suppress(Gone):
                    self._session.call("ssm", "delete_parameter", "take the name away", Name=self._name(alias))
                if self._value(alias) == image:
                    raise Transient("an image has still got its name", where=self._session.where)

    def _name(self, alias: str) -> str:
        """Letters, digits and `_.-` are allowed (API reference, PutParameter)."""
        return f"/vmkeeper/{self._owner.removeprefix('vmkeeper:')}/{re.sub('[^A-Za-z0-9_.-]', '-', alias)}"

    def _value(self, alias: str) -> str | None:
        with suppress(Gone):
            return str(
                self._session.call("ssm", "get_parameter", "look at the newest image's name", "Parameter", Name=self._name(alias))["Parameter"][
                    "Value"
                ]
            )
        return None

    def _ours(self, alias: str) -> bool:
        doing = "look at whose a name is"
        found = self._session.call("ssm", "list_tags_for_resource", doing, "TagList", ResourceType="Parameter", ResourceId=self._name(alias))
        return any((tag.get("Key"), tag.get("Value")) == (OWNER, self._owner) for tag in found["TagList"])

    @contextmanager
    def _where_allowed(self, alias: str) -> Iterator[None]:
        try:
            yield
        except VmkeeperError as error:
            code = code_of(error.__cause__) if error.__cause__ else ""
            if code in DENIED or code in _ABSENT or (code == _VAGUE and self._is_vague(alias)):
                return
            raise

    def _is_vague(self, alias: str) -> bool:
        """Whether the service gives no reason a second time either."""
        try:
            self._value(alias)
        except VmkeeperError as error:
            return error.__cause__ is not None and code_of(error.__cause__) == _VAGUE
        return False
