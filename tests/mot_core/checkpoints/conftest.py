"""Puts this folder on the path: pytest's importlib mode does not let test modules import their neighbours."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
