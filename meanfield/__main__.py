"""``python -m meanfield`` is the command ``meanfield``."""

from __future__ import annotations

import sys

from meanfield.cli import main

if __name__ == "__main__":
    sys.exit(main())
