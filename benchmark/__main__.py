"""Runs the benchmarks one after the other, or those that are named: `python -m benchmark [name ...]`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> int:
    known = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    chosen = sys.argv[1:] or known
    unknown = set(chosen) - set(known)
    if unknown:
        print(f"benchmark: expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}")
        return 2
    for name in chosen:
        module = importlib.import_module(f"benchmark.bench_{name}")
        print(f"\n== {name}: {(module.__doc__ or '').splitlines()[0]}")
        module.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
