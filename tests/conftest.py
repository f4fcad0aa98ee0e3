"""Puts tests/ on sys.path so that shared code is imported as `support.…` and `conformance.…`; no test is judged by its time."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["support.openstack"]

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
