"""The benchmarks are no package that is installed: they are run from the top of the source."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))
