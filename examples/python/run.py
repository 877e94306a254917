"""Starts the service on this machine: `cargo dev`, with the same options.

    python run.py
    python run.py --speed 20
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> int:
    try:
        return subprocess.call(["cargo", "dev", *sys.argv[1:]], cwd=REPOSITORY)
    except FileNotFoundError:
        print("cargo 未安装 / cargo is not installed: https://rustup.rs", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
