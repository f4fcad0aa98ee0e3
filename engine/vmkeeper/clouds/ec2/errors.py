"""What boto3 raises as errors of ours. Nothing that is shown to the cloud is ever in a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from boto3.exceptions import Boto3Error
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from vmkeeper.clouds.interface import Gone, InUse, NoRoom
from vmkeeper.errors import Transient, UserError, VmkeeperError


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


DENIED = _names(
    "AccessDenied AccessDeniedException AllAccessDisabled AuthFailure AuthorizationError Blocked ExpiredToken ExpiredTokenException Forbidden "
    "IncompleteSignature InvalidAccessKeyId InvalidClientTokenId InvalidToken MissingAuthenticationToken NotAuthorized OptInRequired "
    "PendingVerification RequestExpired RequestTimeTooSkewed SignatureDoesNotMatch UnauthorizedOperation UnrecognizedClientException 401 403"
)
GONE = _names(
    "InvalidAMIID.NotFound InvalidAMIID.Unavailable InvalidAMIID.Malformed InvalidInstanceID.NotFound InvalidInstanceID.Malformed "
    "InvalidSnapshot.NotFound InvalidSnapshotID.Malformed NoSuchKey NoSuchUpload ParameterNotFound 404"
)
IN_USE = frozenset({"InvalidSnapshot.InUse", "OperationNotPermitted.InUse"})
FULL = ("LimitExceeded", "InsufficientInstanceCapacity", "InsufficientCapacity", "InsufficientHostCapacity", "QuotaExceeded", "MaxIOPSLimitExceeded")
LATER = _names(
    "Throttling ThrottlingException ThrottledException RequestLimitExceeded RequestThrottled TooManyRequestsException SlowDown Unavailable "
    "ServiceUnavailable InternalError InternalFailure InternalServerError RequestTimeout RequestTimeoutException ServerInternal OperationAborted "
    "ConditionalRequestConflict IncorrectState IncorrectInstanceState PriorRequestNotComplete BadDigest IncompleteBody"
)
_NO_LOGIN = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.CredentialRetrievalError,
    boto.ConfigParseError,
    boto.NoRegionError,
    boto.InvalidRegionError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.NoAuthTokenError,
    boto.UnauthorizedSSOTokenError,
)


def code_of(error: BaseException) -> str:
    """EC2's name for what went wrong; "" where it named nothing."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, boto.ClientError) else ""


@contextmanager
def mapped(doing: str, where: str, service: str = "ec2") -> Iterator[None]:
    """Turn what boto3 raises into what the next step is: `Transient`, `UserError`, `Gone`, `InUse` or `NoRoom`.

    doing: after "could not". where: whose cloud and which region, as people call it.
    """
    try:
        yield
    except boto.ClientError as error:
        raise _of_client(error, doing, where, service) from error
    except _NO_LOGIN as error:
        hint = "look at platform.profile, platform.credentials and the places' regions in the site's file, and at AWS's own configuration"
        raise UserError(f"could not {doing}: there is no login that could be used", where=where, why=type(error).__name__, hint=hint) from error
    except (boto.BotoCoreError, Boto3Error, ResponseParserError, boto.HTTPClientError, ConnectionError, TimeoutError) as error:
        raise _of_transport(error, doing, where) from error


def part(answer: Mapping[str, Any], name: str, doing: str, where: str) -> Any:
    """A part that an answer must have; raises Transient where it has not."""
    if answer.get(name) is None:
        raise Transient(f"could not {doing}", where=where, why=f"the answer makes no sense: it has no {name}")
    return answer[name]


def _of_client(error: Any, doing: str, where: str, service: str) -> VmkeeperError:
    code, status = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = str(error.response.get("Error", {}).get("Message", ""))[:300]
    what, why = f"could not {doing}", f"{code}: {message}" if message else code
    if code in DENIED or (status in (401, 403) and code not in GONE):
        hint = f"the account needs the right {service}:{error.operation_name}, and credentials that have not expired"
        return UserError(what, where=where, why=code or str(status), hint=hint)
    if code in GONE:
        return Gone(what, where=where, why=why)
    if code in IN_USE:
        return InUse(what, where=where, why=why)
    if code in LATER:
        return Transient(what, where=where, why=why)
    if code.endswith(FULL):
        return NoRoom(what, where=where, why=why, hint="ask AWS for a higher quota, or remove what is not needed")
    if status >= 500 or status in (408, 429) or not code or code.isdigit() or status < 400:
        return Transient(what, where=where, why=why or str(status))
    if code == "NoSuchBucket":
        return UserError(what, where=where, why="there is no such bucket", hint="make the bucket in the place's region, or name another one")
    return UserError(what, where=where, why=why)


def _of_transport(error: BaseException, doing: str, where: str) -> VmkeeperError:
    """A transfer wraps what befell it; what the cloud said in it counts."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, boto.ClientError):
        return _of_client(cause, doing, where, "s3")
    return Transient(f"could not {doing}", where=where, why=_words(error))


def _words(error: BaseException) -> str:
    """Which kind of failure it was: the message may hold a signed address."""
    named = {
        "EndpointConnectionError": "nobody answers there",
        "ConnectTimeoutError": "no connection in time",
        "ReadTimeoutError": "no answer in time",
    }
    return named.get(type(error).__name__, type(error).__name__)
