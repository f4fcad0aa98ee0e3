"""Whatever boto3 raises is one of our errors, which says what the next step is, and holds nothing that was shown to the cloud."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from support.ec2place import Ec2Region
from vmkeeper.clouds.ec2.alias import Aliases
from vmkeeper.clouds.ec2.errors import mapped, part
from vmkeeper.clouds.interface import Gone, InUse, NoRoom
from vmkeeper.errors import Transient, UserError, VmkeeperError

SECRET = "AKIAIOSFODNN7EXAMPLE"


def said(code: str, status: int = 400) -> boto.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "as it is"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "RegisterImage")


CASES: list[tuple[BaseException, type[VmkeeperError]]] = [
    (said("UnauthorizedOperation", 403), UserError),
    (said("AccessDenied", 403), UserError),
    (said("SignatureDoesNotMatch", 403), UserError),
    (said("ExpiredToken"), UserError),
    (said("SomethingNew", 401), UserError),
    (said("SomethingNew", 403), UserError),
    (said("InvalidParameterValue"), UserError),
    (said("NoSuchBucket", 404), UserError),
    (said("InvalidAMIID.NotFound"), Gone),
    (said("InvalidInstanceID.NotFound"), Gone),
    (said("NoSuchKey", 404), Gone),
    (said("404", 404), Gone),
    (said("InvalidSnapshot.InUse"), InUse),
    (said("SnapshotLimitExceeded"), NoRoom),
    (said("InstanceLimitExceeded"), NoRoom),
    (said("VcpuLimitExceeded"), NoRoom),
    (said("InsufficientInstanceCapacity"), NoRoom),
    (said("RequestLimitExceeded", 503), Transient),
    (said("RequestLimitExceeded"), Transient),
    (said("Throttling"), Transient),
    (said("SlowDown", 503), Transient),
    (said("InternalError", 500), Transient),
    (said("SomethingNew", 502), Transient),
    (said("SomethingNew", 429), Transient),
    (said("503", 503), Transient),
    (said("", 400), Transient),
    (said("Unknown", 200), Transient),
    (boto.EndpointConnectionError(endpoint_url=f"https://x/?X-Amz-Credential={SECRET}"), Transient),
    (boto.ConnectTimeoutError(endpoint_url="https://x"), Transient),
    (boto.ReadTimeoutError(endpoint_url="https://x"), Transient),
    (boto.ConnectionClosedError(endpoint_url="https://x"), Transient),
    (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), Transient),
    (ResponseParserError(f"<html>{SECRET}"), Transient),
    (ConnectionResetError(), Transient),
    (TimeoutError(), Transient),
    (boto.NoCredentialsError(), UserError),
    (boto.PartialCredentialsError(provider="env", cred_var=SECRET), UserError),
    (boto.ProfileNotFound(profile="site"), UserError),
    (boto.CredentialRetrievalError(provider="process", error_msg=SECRET), UserError),
    (boto.NoRegionError(), UserError),
]


@pytest.mark.parametrize(("error", "wanted"), CASES, ids=lambda case: str(case)[:60] if isinstance(case, BaseException) else case.__name__)
def test_each_error_says_what_the_next_step_is(error: BaseException, wanted: type[VmkeeperError]) -> None:
    with pytest.raises(VmkeeperError) as raised, mapped("register the image", "EC2 eu-west-1 (default credentials)"):
        raise error
    assert type(raised.value) is wanted
    text = f"{raised.value} {raised.value.hint}"
    assert "could not register the image" in text
    assert "EC2 eu-west-1" in text
    assert SECRET not in text


def test_what_is_no_failure_of_the_cloud_is_left_as_it_is() -> None:
    with pytest.raises(KeyError), mapped("list images", "EC2"):
        raise KeyError("Images")


@pytest.mark.parametrize("answer", [{}, {"Images": None}, {"ResponseMetadata": {}}])
def test_an_answer_that_lacks_what_it_must_have_is_no_answer(answer: dict[str, Any]) -> None:
    with pytest.raises(Transient, match="makes no sense"):
        part(answer, "Images", "list images", "EC2")


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnknownOperationException", "404"])
def test_where_parameters_are_not_allowed_there_are_none(region: Ec2Region, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    session = region.session()

    def refuse(**_: Any) -> None:
        raise said(code, 400)

    for name in ("get_parameter", "put_parameter", "delete_parameter"):
        monkeypatch.setattr(session.client("ssm"), name, refuse)
    Aliases(session, "vmkeeper:here").point("debian-12", "ami-1")
    Aliases(session, "vmkeeper:here").drop("debian-12", "ami-1")
    if code != "404":
        monkeypatch.setattr(session.client("ssm"), "get_parameter", lambda **_: (_ for _ in ()).throw(said("InternalServerError", 500)))
        with pytest.raises(Transient):
            Aliases(session, "vmkeeper:here").point("debian-12", "ami-1")
