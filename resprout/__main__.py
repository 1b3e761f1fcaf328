"""Makes `python -m resprout` the same as the command `resprout`."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
