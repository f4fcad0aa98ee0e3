"""The version of what each builder does. It rises when the same recipe would give other bytes, which rebuilds everything."""

from __future__ import annotations

from vmkeeper.model.recipe import BuilderVersion

VERSIONS: dict[str, BuilderVersion] = {
    "debian": BuilderVersion(name="debian", version=2),
}
