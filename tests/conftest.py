"""Puts tests/ on sys.path so that shared code is imported as `support.…` and `conformance.…`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
