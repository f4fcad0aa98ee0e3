"""Which builders there are, each one entry."""

from __future__ import annotations

from collections.abc import Mapping

from vmkeeper.builders.debian.builder import DebianBuilder
from vmkeeper.builders.interface import Builder

BUILDERS: Mapping[str, Builder] = {"debian": DebianBuilder()}
"""All builders by the name that `builder.name` gives."""
