"""Modules beside the tests can be imported (pytest runs them with --import-mode=importlib)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
