"""What OpenStack's answers mean for the caller. No answer's text is believed to be more than text, and no credential is ever in it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager

import yaml  # type: ignore[import-untyped]
from keystoneauth1 import exceptions as keystone
from openstack.exceptions import ConfigException

from vmkeeper.clouds.interface import Gone, NoRoom
from vmkeeper.errors import Transient, UserError, VmkeeperError

_LONGEST = 300


class Conflict(Transient):
    """409: what is there does not allow it now; the caller may know what that means."""


class Forbidden(UserError):
    """403: the account lacks a right."""


class NoService(UserError):
    """The catalogue has no such service in this region."""


class Unsupported(VmkeeperError):
    """404, 405 or 501 for something that not every cloud offers."""


def error_for(status: int, reason: str, doing: str, where: str) -> VmkeeperError:
    """The error for an answer of 400 and above. `doing`: as in "may not ...", such as `publish images`."""
    if status == 401:
        return UserError("the cloud does not take the credentials", where=where, why=reason, hint="renew them in clouds.yaml")
    if status in (403, 413) and re.search(r"quota|limit|exceeded", reason, re.IGNORECASE):
        return NoRoom(f"no room or quota left to {doing}", where=where, why=reason)
    if status == 403:
        hint = "give the account a role that may, or change what the site asks for"
        return Forbidden(f"the account may not {doing}", where=where, why=reason, hint=hint)
    if status == 404:
        return Gone(f"it is not there: could not {doing}", where=where, why=reason)
    if status == 409:
        return Conflict(f"could not {doing} now", where=where, why=reason)
    if status in (413, 507):
        return NoRoom(f"no room to {doing}", where=where, why=reason)
    if status in (408, 425, 429) or status >= 500:
        return Transient(f"could not {doing}", where=where, why=f"HTTP {status}: {reason}")
    return UserError(f"the cloud refused to {doing}", where=where, why=f"HTTP {status}: {reason}")


def reason_in(text: str, content_type: str = "") -> str:
    """What the body of an error says, in one line: Glance answers with HTML pages, the others with JSON."""
    if "json" in content_type:
        found = re.search(r'"message"\s*:\s*"((?:[^"\\]|\\.)*)"', text)
        text = found[1].replace('\\"', '"').replace("\\n", " ") if found else text
    text = re.sub(r"(?s)<(title|h1|style|script)>.*?</\1>", " ", text)
    text = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:_LONGEST]


@contextmanager
def translated(where: str, doing: str) -> Iterator[None]:
    """Errors of the client libraries become ours. Their texts name options and addresses, never the values of secrets."""
    try:
        yield
    except keystone.Unauthorized as error:
        hint = "renew them in clouds.yaml; application credentials and tokens expire"
        raise UserError("the cloud does not take the credentials", where=where, why=_said(error), hint=hint) from None
    except keystone.SSLError as error:
        raise UserError("the cloud's certificate is not trusted", where=where, why=_said(error), hint="name its authority as cacert") from None
    except keystone.CatalogException as error:
        hint = "look at region_name and interface in clouds.yaml, and at the site's places"
        raise NoService(f"could not {doing}", where=where, why=_said(error), hint=hint) from None
    except (keystone.AuthPluginException, ConfigException) as error:
        raise UserError("the entry in clouds.yaml cannot be used", where=where, why=_said(error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else ""
        raise UserError("clouds.yaml is not YAML that can be read", where=where, why=line) from None
    except keystone.HttpError as error:
        raise error_for(error.http_status or 500, _said(error), doing, where) from None
    except keystone.ClientException as error:
        raise Transient(f"could not {doing}", where=where, why=_said(error)) from None


def _said(error: Exception) -> str:
    return reason_in(str(error))
