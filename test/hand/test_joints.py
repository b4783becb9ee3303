"""Joint names, orders and the skeleton agree with each other."""

import numpy as np

from h2onet_ros.hand.joints import (
    FINGER_NAMES,
    JOINT_NAMES,
    MANO_JOINT_NAMES,
    MANO_PARENTS,
    MANO_TO_STANDARD,
    SKELETON,
)


def test_standard_order_takes_each_joint_from_its_place_in_mano() -> None:
    mano_with_tips = [*MANO_JOINT_NAMES, *(f"{finger}_4" for finger in FINGER_NAMES)]
    assert [mano_with_tips[i] for i in MANO_TO_STANDARD] == list(JOINT_NAMES)
    assert sorted(MANO_TO_STANDARD) == list(range(21))


def test_skeleton_is_a_tree_of_five_chains_from_the_wrist() -> None:
    parents = {int(child): int(parent) for parent, child in SKELETON}
    assert sorted(parents) == list(range(1, 21))
    for child, parent in parents.items():
        finger, number = JOINT_NAMES[child].split("_")
        assert JOINT_NAMES[parent] == ("wrist" if number == "1" else f"{finger}_{int(number) - 1}")


def test_skeleton_and_mano_parents_tell_the_same_tree() -> None:
    parents = {int(child): int(parent) for parent, child in SKELETON}
    for standard, mano in enumerate(MANO_TO_STANDARD):
        if 0 < mano < 16:
            assert MANO_TO_STANDARD[parents[standard]] == MANO_PARENTS[mano]
    assert np.all(MANO_PARENTS[1:] < np.arange(1, 16))
