"""`appliances/NAME/release.yaml`: the record of one build, committed by CI."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from vmkeeper.model.appliance import Format
from vmkeeper.model.base import Document
from vmkeeper.model.recipe import BuilderVersion
from vmkeeper.values import CommitId, Name, Sha256, Sha512, Size, Uuid, Version, visible

Shown = Annotated[str, AfterValidator(visible)]
"""Text that a program said; control characters are escaped."""


class ImageFile(Document):
    """One image file of a release."""

    format: Format
    """The format."""
    size: Size
    """Bytes of the file."""
    virtual_size: Size
    """Bytes the guest sees."""
    sha512: Sha512
    """SHA-512 of the file."""


class Blob(Document):
    """A file in the store."""

    size: Size
    """Bytes of the file."""
    sha512: Sha512
    """SHA-512 of the file; its address in the store."""


class TestResult(Document):
    """What one test said."""

    __test__ = False
    name: Shown
    """APPLIANCE/FILE."""
    outcome: Literal["passed", "failed"]
    """How it ended."""


class TestRun(Document):
    """The boot test that let the release through."""

    __test__ = False
    inputs: Sha256
    """Digest of the test scripts and their settings."""
    results: tuple[TestResult, ...]
    """What each test said."""
    report: Blob | None = None
    """JUnit report with the console, in the store."""


class LintFinding(Document):
    """Something in the root file system that a person should look at but that does not stop a release."""

    rule: Name
    """The rule that found it."""
    path: Shown
    """Where it is."""
    what: Shown
    """What is odd about it."""


class Release(Document):
    """The record of one build."""

    appliance: Name
    """The appliance."""
    uuid: Uuid
    """Its UUID."""
    version: Version
    """Derived from the commit: its date and its height on the first-parent line."""
    commit: CommitId
    """The commit that was built."""
    recipe: Sha256
    """Recipe digest."""
    builder: BuilderVersion
    """What made it."""
    parent: Sha256 | None = None
    """Recipe digest of the parent appliance."""
    rootfs: Blob
    """The root file system as a tar, in the store."""
    raw_sha512: Sha512 | None = None
    """SHA-512 of the raw disk that every format was made from; an abstract appliance has none."""
    files: tuple[ImageFile, ...] = ()
    """The image files; an abstract appliance has none."""
    manifest: Blob
    """List of packages (`NAME VERSION ARCHITECTURE` lines, sorted), in the store."""
    packages: Annotated[int, Field(ge=0)]
    """How many packages are installed."""
    sbom: Blob
    """CycloneDX bill of materials, in the store."""
    tests: TestRun | None = None
    """The boot test; an abstract appliance has none."""
    lint: tuple[LintFinding, ...] = ()
    """Findings that a person should look at before endorsing."""
