"""Programs of `train`, called as from the command line but in this process."""

import sys


def call(main, arguments):
    """Run a program's `main`; it must succeed."""
    before = sys.argv
    sys.argv = ["program", *map(str, arguments)]
    try:
        code = main()
    finally:
        sys.argv = before
    assert code == 0
