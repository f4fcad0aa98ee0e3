"""`catalogue.json`: everything that a public folder offers, for programs; docs/feeds.md tells each field.

The reader is strict (R22, R25): no unknown key, no value of another type, no path that leads out of the folder. The writer goes
through the same models, so it refuses whatever the reader would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.json_schema import GenerateJsonSchema

from vmkeeper.documents.guard import UNSEEN
from vmkeeper.documents.json_guard import read_json
from vmkeeper.documents.schema import DIALECT
from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.lists.shelf import CompressedFile, PublishedPatch, Shelf, ShelvedImage
from vmkeeper.model.base import Document, FirstFormat, Inconsistent, repeated
from vmkeeper.values import Sha512, Time, Uuid, visible

PATH = "catalogue.json"
MAX_BYTES = 64 << 20


def _inside(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise Inconsistent(f"{path!r} has an empty part, . or ..", hint="write the plain path below the public folder")
    return path


def _sorted(names: tuple[str, ...]) -> tuple[str, ...]:
    if list(names) != sorted(set(names)):
        raise Inconsistent("the names are not sorted, or one is there twice")
    return names


Text = str
Bytes = Annotated[int, Field(ge=0, lt=2**63)]
FolderPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+~:@%/-]+$", max_length=1000), AfterValidator(_inside)]
"""A path below the public folder that is the same text in an address, in a shell and in `SHA512SUMS`."""
Address = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*:[\x21-\x7e]+$")]


class _Part(Document):
    model_config = ConfigDict(strict=True, from_attributes=True)


class CataloguePatch(_Part):
    """A zstd patch beside an image."""

    path: FolderPath
    """Where the patch is."""
    size: Bytes
    """Bytes of the patch."""
    sha512: Sha512
    """Of the patch."""
    base_sha512: Sha512
    """Of the file that it is applied to."""
    base_size: Bytes
    """Bytes of that file."""
    base_version: Text
    """Version of that file."""
    base_appliance: Text
    """The appliance itself, or its parent."""
    memory: Bytes
    """Bytes of memory that applying it takes, about."""


class CatalogueFile(_Part):
    """The whole image, compressed with zstd."""

    path: FolderPath
    """Where it is."""
    size: Bytes
    """Bytes, compressed."""
    sha512: Sha512
    """Of the compressed file."""


class CatalogueImage(_Part):
    """One image file of one list."""

    appliance: Text
    """The appliance's name."""
    uuid: Uuid
    """The appliance for ever; dc:identifier."""
    version: Text
    """The release; hv:version."""
    title: Text
    """What it is."""
    description: Text
    """What it is for."""
    path: FolderPath
    """Where the image file is."""
    uri: Address
    """Its whole address, as on the image list."""
    format: Text
    """`qcow2`, `raw`, `vmdk`, …"""
    size: Bytes
    """Bytes of the file."""
    virtual_size: Bytes
    """Bytes that the guest sees."""
    sha512: Sha512
    """Of the file."""
    architecture: Text
    """`x86_64`, `aarch64`."""
    os: Text
    """`Linux`."""
    osname: Text
    """Distribution."""
    osversion: Text
    """Its version."""
    release: Text
    """Codename of the distribution's release, or empty."""
    memory: Bytes | None
    """Bytes that a machine needs; null: not said."""
    cpus: Annotated[int, Field(ge=0, lt=2**31)] | None
    """Processors that a machine needs; null: not said."""
    commit: Text
    """The commit that was built."""
    recipe: Text
    """Digest of all that decided its bytes."""
    endorsers: Annotated[tuple[Text, ...], AfterValidator(_sorted)]
    """Who answers for it, sorted."""
    endorsed: Time
    """When the first of them did."""
    expires: Time
    """Until when it may be used."""
    group: Text
    """ad:group."""
    mpuri: Text
    """ad:mpuri."""
    patches: tuple[CataloguePatch, ...]
    """Ways to it from an older file."""
    compressed: CatalogueFile | None
    """The same file, compressed with zstd; null: there is none."""


class CatalogueList(_Part):
    """One published list."""

    name: Text
    """Its folder."""
    uuid: Uuid
    """dc:identifier."""
    title: Text
    """dc:title."""
    description: Text
    """dc:description."""
    source: Text
    """dc:source."""
    vo: Text
    """ad:vo: the virtual organisation that it is for."""
    version: Text
    """hv:version."""
    path: FolderPath
    """Where the signed list is."""
    uri: Address
    """Its whole address."""
    created: Time
    """When it was signed."""
    expires: Time
    """Until when it is valid."""
    endorser: Text
    """Distinguished name of its signer."""
    images: tuple[CatalogueImage, ...]
    """What is on it."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        index = repeated((image.uuid, image.format) for image in self.images)
        if index is not None:
            raise Inconsistent(f"{self.images[index].uuid} is there twice as {self.images[index].format}", "images", index)
        return self


class Catalogue(_Part):
    """The whole document."""

    version: FirstFormat
    """Of this format."""
    base: Address
    """Address of the public folder; every path is relative to it."""
    lists: tuple[CatalogueList, ...]
    """By name."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        for what in ("name", "uuid"):
            index = repeated(getattr(one, what) for one in self.lists)
            if index is not None:
                raise Inconsistent(f"two lists have the {what} {getattr(self.lists[index], what)}", "lists", index, what)
        return self


def write(shelves: Sequence[Shelf], base_url: str) -> bytes:
    """The catalogue's JSON: UTF-8, keys in a fixed order, lists by name. Raises ValueError for what `read` would refuse."""
    lists = tuple(sorted(shelves, key=lambda shelf: shelf.name))
    try:
        made = Catalogue.model_validate({"version": 1, "base": base_url, "lists": lists})
    except ValidationError as error:
        raise ValueError(f"a catalogue that nobody could read: {_first(error)}") from None
    return plain_json(made.model_dump(mode="json"))


def read(data: bytes, file: str = PATH) -> tuple[tuple[Shelf, ...], str]:
    """The shelves of a catalogue, by name, and the address of its folder. Raises Problems (R22, and what has not the form)."""
    read_json(data, file, limit=MAX_BYTES)
    try:
        made = Catalogue.model_validate_json(data, strict=True)
    except ValidationError as error:
        problems = [
            Problem(Place(file, field=".".join(map(str, one["loc"]))), visible(one["msg"])[:300]) for one in error.errors(include_url=False)[:100]
        ]
        raise Problems(problems) from None
    return tuple(_shelf(one) for one in made.lists), made.base


def schema() -> str:
    """The JSON Schema of the catalogue (draft 2020-12): its form, without what no schema can say (no list twice, names sorted)."""
    return plain_schema(Catalogue, "catalogue.schema.json", f"What a public folder offers ({PATH})")


def plain_schema(model: type[Document], name: str, title: str) -> str:
    """The JSON Schema of a model, without the titles that pydantic makes up from field names."""
    made = model.model_json_schema(schema_generator=_Untitled)
    head = {"$schema": DIALECT, "$id": name, "title": title}
    return json.dumps({**head, **{key: value for key, value in made.items() if key not in head}}, indent=2, ensure_ascii=False) + "\n"


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  pydantic's name for it
        return False


def _first(error: ValidationError) -> str:
    one = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"


def _shelf(one: CatalogueList) -> Shelf:
    return Shelf(**{**_fields(one), "images": tuple(_image(image) for image in one.images)})


def _image(image: CatalogueImage) -> ShelvedImage:
    patches = tuple(PublishedPatch(**_fields(patch)) for patch in image.patches)
    compressed = CompressedFile(**_fields(image.compressed)) if image.compressed else None
    return ShelvedImage(**{**_fields(image), "patches": patches, "compressed": compressed})


def _fields(part: _Part) -> dict[str, Any]:
    return {name: getattr(part, name) for name in type(part).model_fields}


def plain_json(value: Any) -> bytes:
    """JSON as people read it: two spaces, UTF-8, what cannot be seen escaped, one line end at the end. ValueError: not Unicode, NaN."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return (re.sub(UNSEEN, _escaped, text) + "\n").encode()


def _escaped(match: re.Match[str]) -> str:
    if "\ud800" <= match[0] <= "\udfff":
        raise ValueError(f"half a character ({match[0]!r}) cannot be written")
    return f"\\u{ord(match[0]):04x}"
