"""The open hand is a sound, right, closed hand, and the hand model treats poses and files as it says."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2onet_ros.hand.joints import FINGER_NAMES, JOINT_NAMES, MANO_JOINT_NAMES, PART_NAMES, SKELETON
from h2onet_ros.hand.model import HandModel, HandModelError, open_hand, rotation_matrices

HAND = open_hand()


def random_poses(count: int, seed: int = 0) -> np.ndarray:
    """Poses within the limits, also turned as a whole."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(HAND.pose_limits[..., 0], HAND.pose_limits[..., 1], (count, 16, 3))
    return HAND.pose_from_angles(angles)


def random_shapes(count: int, seed: int = 1) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).standard_normal((count, HAND.shape_count)), -2.5, 2.5)


def directed_edges(faces: np.ndarray) -> list[tuple[int, int]]:
    return [(int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3)]


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = vertices[faces].transpose(1, 0, 2).astype(np.float64)
    return float(np.sum(a * np.cross(b, c)) / 6)


def bend(finger: str, degrees: float, axis: int = 0, number: int = 1) -> np.ndarray:
    """Pose with one joint at an angle about its anatomical axis."""
    angles = np.zeros((16, 3))
    angles[MANO_JOINT_NAMES.index(f"{finger}_{number}"), axis] = np.radians(degrees)
    return HAND.pose_from_angles(angles)


def tip(finger: str) -> int:
    return JOINT_NAMES.index(f"{finger}_4")


class TestOpenHand:
    def test_size(self) -> None:
        assert (HAND.vertex_count, len(HAND.faces), HAND.shape_count) == (800, 1596, 10)

    def test_mesh_is_closed_and_faces_look_outwards(self) -> None:
        directed = directed_edges(HAND.faces)
        assert len(set(directed)) == len(directed)
        assert {(b, a) for a, b in directed} == set(directed)
        assert HAND.vertex_count - len(directed) // 2 + len(HAND.faces) == 2, (
            "Euler characteristic of a sphere"
        )
        assert 1e-4 < signed_volume(HAND.template, HAND.faces) < 6e-4, (
            "a hand without wrist has 0.1 to 0.6 litres"
        )

    def test_every_vertex_is_used(self) -> None:
        assert len(np.unique(HAND.faces)) == HAND.vertex_count
        assert len(np.unique(HAND.uv_faces)) == len(HAND.uv)

    def test_texture_points_lie_in_the_texture_and_do_not_flip(self) -> None:
        assert HAND.uv.min() >= 0
        assert HAND.uv.max() <= 1
        ring = {*HAND.wrist_ring.tolist()}
        outside_wrist = np.array([len(ring & {*face}) < 2 for face in HAND.faces.tolist()])
        a, b, c = HAND.uv[HAND.uv_faces[outside_wrist]].transpose(1, 0, 2)
        areas = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        assert np.all(areas > 0)

    def test_each_vertex_has_its_texture_points_to_itself(self) -> None:
        owner: dict[int, int] = {}
        for vertex, point in zip(HAND.faces.ravel().tolist(), HAND.uv_faces.ravel().tolist()):
            assert owner.setdefault(point, vertex) == vertex

    def test_wrist_is_the_centre_of_its_ring_at_the_origin(self) -> None:
        assert len(HAND.wrist_ring) == 20
        ring = set(directed_edges(HAND.faces))
        loop = list(zip(HAND.wrist_ring.tolist(), np.roll(HAND.wrist_ring, -1).tolist()))
        assert all(edge in ring for edge in loop)
        for shape in random_shapes(5):
            posed = HAND.pose(None, shape)
            np.testing.assert_allclose(posed.joints[0], 0, atol=2e-7)
            np.testing.assert_allclose(posed.vertices[HAND.wrist_ring].mean(axis=0), 0, atol=2e-7)

    def test_is_a_right_hand_in_the_documented_frame(self) -> None:
        """x to the thumb's side, y from the fingertips to the wrist, z from the palm to the back."""
        joints = HAND.pose().joints
        knuckles = joints[[JOINT_NAMES.index(f"{f}_1") for f in ("index", "middle", "ring", "little")]]
        assert np.all(np.diff(knuckles[:, 0]) < -0.005)
        assert np.all(joints[[tip(f) for f in FINGER_NAMES], 1] < -0.08)
        fist = HAND.pose(sum(bend(f, 70) for f in FINGER_NAMES[1:])).joints
        assert np.all(fist[[tip(f) for f in FINGER_NAMES[1:]], 2] < -0.04), "fingers bend towards -z"

    def test_is_as_large_as_a_hand(self) -> None:
        joints = HAND.pose(None, random_shapes(200)).joints
        lengths = 1000 * np.linalg.norm(joints[:, SKELETON[:, 1]] - joints[:, SKELETON[:, 0]], axis=-1)
        palm = lengths[:, JOINT_NAMES.index("middle_1") - 1]
        assert 96 < palm.mean() < 100
        assert 3 < palm.std() < 8
        middle = lengths[:, JOINT_NAMES.index("middle_2") - 1 : JOINT_NAMES.index("middle_4")].sum(axis=1)
        assert 75 < middle.mean() < 95

    @pytest.mark.parametrize("finger", FINGER_NAMES)
    def test_parts_follow_the_fingers(self, finger: str) -> None:
        part = PART_NAMES.index(finger)
        count = int(np.sum(HAND.vertex_part == part))
        assert 60 <= count <= 160
        assert HAND.vertex_part[HAND.tip_vertices[part]] == part
        moved = np.linalg.norm(HAND.pose(bend(finger, 30)).vertices - HAND.template, axis=1)
        assert np.median(moved[HAND.vertex_part == part]) > 0.01
        others = (HAND.vertex_part != part) & (HAND.vertex_part != PART_NAMES.index("palm"))
        assert moved[others].max() < 0.004
        corners = HAND.vertex_part[HAND.faces]
        assert np.array_equal(HAND.face_part == part, np.sum(corners == part, axis=1) >= 2)

    @pytest.mark.parametrize("finger", FINGER_NAMES)
    def test_tip_is_the_end_of_its_finger(self, finger: str) -> None:
        part = PART_NAMES.index(finger)
        base, last = (HAND.pose().joints[JOINT_NAMES.index(f"{finger}_{i}")] for i in (1, 3))
        members = HAND.template[HAND.vertex_part == part]
        along = (members - last) @ (last - base)
        of_tip = (HAND.template[HAND.tip_vertices[part]] - last) @ (last - base)
        assert of_tip >= along.max() - 0.004 * np.linalg.norm(last - base)

    def test_regressed_joints_agree_with_the_posed_skeleton(self) -> None:
        posed = HAND.pose(random_poses(300), random_shapes(300))
        error = 1000 * np.linalg.norm(HAND.joints(posed.vertices) - posed.joints, axis=-1)
        assert error.mean() < 0.5
        assert error.max() < 4.0

    def test_regressor_has_no_negative_weights(self) -> None:
        assert HAND.joint_regressor.min() >= 0
        assert HAND.skin_weights.min() >= 0

    def test_flexion_bends_to_the_palm_and_abduction_to_the_thumb(self) -> None:
        rest = HAND.pose().joints
        for finger in FINGER_NAMES[1:]:
            assert HAND.pose(bend(finger, 20)).joints[tip(finger), 2] < rest[tip(finger), 2] - 0.01
            assert HAND.pose(bend(finger, 10, axis=1)).joints[tip(finger), 0] > rest[tip(finger), 0] + 0.005
            turned = HAND.pose(bend(finger, 10, axis=2)).joints[tip(finger)]
            assert np.linalg.norm(turned - rest[tip(finger)]) < 0.008, "twist hardly moves the tip"
        across = HAND.pose(bend("thumb", 30)).joints[tip("thumb")]
        assert across[0] < rest[tip("thumb"), 0] - 0.01, "the thumb flexes across the palm"
        away = HAND.pose(bend("thumb", 20, axis=1)).joints[tip("thumb")]
        assert away[2] < rest[tip("thumb"), 2] - 0.01, "the thumb abducts away from the palm"

    def test_joint_axes_are_rotations(self) -> None:
        products = HAND.joint_axes @ HAND.joint_axes.transpose(0, 2, 1)
        np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=1e-5)
        np.testing.assert_allclose(np.linalg.det(HAND.joint_axes), 1, atol=1e-5)

    def test_limits_hold_the_template_and_nothing_impossible(self) -> None:
        assert np.all(HAND.pose_limits[..., 0] <= 0)
        assert np.all(HAND.pose_limits[..., 1] >= 0)
        for finger in FINGER_NAMES[1:]:
            flexion = np.degrees(
                [HAND.pose_limits[MANO_JOINT_NAMES.index(f"{finger}_{i}"), 0] for i in (1, 2, 3)]
            )
            assert np.all(flexion[:, 0] >= -30)
            assert np.all(flexion[:, 1] <= 110)

    def test_shape_components_are_ordered_and_the_first_is_size(self) -> None:
        flat = HAND.shape_basis.reshape(-1, HAND.shape_count).astype(np.float64)
        strength = np.linalg.norm(flat, axis=0)
        assert np.all(np.diff(strength) < 0)
        cosines = (flat / strength).T @ (flat / strength)
        np.testing.assert_allclose(cosines, np.eye(HAND.shape_count), atol=1e-3)
        volumes = [
            signed_volume(HAND.shaped(np.eye(HAND.shape_count)[0] * s), HAND.faces) for s in (-2, 0, 2)
        ]
        assert volumes[0] < volumes[1] < volumes[2]


class TestPose:
    def test_no_rotation_gives_the_template(self) -> None:
        np.testing.assert_allclose(HAND.pose(np.zeros((16, 3))).vertices, HAND.template, atol=1e-7)

    def test_turning_the_wrist_turns_everything_about_it(self) -> None:
        pose, shape = random_poses(1)[0], random_shapes(1)[0]
        pose[0] = 0
        straight = HAND.pose(pose, shape)
        pose[0] = [0.3, -1.2, 0.8]
        turned = HAND.pose(pose, shape)
        rotation = rotation_matrices(pose[0])
        wrist = straight.joints[0]
        np.testing.assert_allclose(
            turned.vertices, (straight.vertices - wrist) @ rotation.T + wrist, atol=1e-6
        )
        np.testing.assert_allclose(turned.joints, (straight.joints - wrist) @ rotation.T + wrist, atol=1e-6)

    def test_bones_keep_their_length(self) -> None:
        joints = HAND.pose(random_poses(20)).joints
        bones = joints[:, SKELETON[:, 1]] - joints[:, SKELETON[:, 0]]
        lengths = np.linalg.norm(bones, axis=-1)
        not_tips = [i for i, (_, child) in enumerate(SKELETON) if not JOINT_NAMES[child].endswith("4")]
        np.testing.assert_allclose(lengths[:, not_tips], lengths[:1, not_tips].repeat(20, 0), atol=1e-6)

    def test_a_batch_equals_its_members(self) -> None:
        poses, shapes = random_poses(4), random_shapes(4)
        batch = HAND.pose(poses, shapes)
        assert batch.vertices.shape == (4, 800, 3)
        assert batch.joints.shape == (4, 21, 3)
        assert batch.vertices.dtype == batch.joints.dtype == np.float32
        for i in range(4):
            single = HAND.pose(poses[i], shapes[i])
            np.testing.assert_allclose(single.vertices, batch.vertices[i], atol=1e-7)
            np.testing.assert_allclose(single.joints, batch.joints[i], atol=1e-7)

    def test_leading_dimensions_broadcast(self) -> None:
        poses, shapes = random_poses(3), random_shapes(2)
        grid = HAND.pose(poses[:, None], shapes[None])
        assert grid.vertices.shape == (3, 2, 800, 3)
        np.testing.assert_allclose(grid.vertices[2, 1], HAND.pose(poses[2], shapes[1]).vertices, atol=1e-7)
        np.testing.assert_allclose(
            HAND.pose(poses[0], shapes).vertices[1], HAND.pose(poses[0], shapes[1]).vertices, atol=1e-7
        )
        np.testing.assert_allclose(HAND.pose(poses).vertices[1], HAND.pose(poses[1]).vertices, atol=1e-7)

    def test_standard_regressor_is_the_matrix_of_joints(self) -> None:
        vertices = HAND.pose(random_poses(2)).vertices
        matrix = HAND.standard_regressor()
        assert matrix.shape == (21, 800)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(
            np.einsum("jv,bvc->bjc", matrix, vertices), HAND.joints(vertices), atol=1e-7
        )
        tips = HAND.joints(vertices)[:, [tip(f) for f in FINGER_NAMES]]
        np.testing.assert_allclose(tips, vertices[:, HAND.tip_vertices], atol=1e-6)

    @pytest.mark.parametrize(
        ("pose", "shape"), [(np.zeros((15, 3)), None), (np.zeros(48), None), (None, np.zeros(9))], ids=str
    )
    def test_wrong_shapes_are_told(self, pose: np.ndarray | None, shape: np.ndarray | None) -> None:
        with pytest.raises(ValueError, match="must have the shape"):
            HAND.pose(pose, shape)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.floats(-6, 6), min_size=3, max_size=3))
    def test_rotation_matrices_are_rotations_about_their_vector(self, vector: list[float]) -> None:
        rotation = rotation_matrices(np.array(vector))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(rotation @ vector, vector, atol=1e-12)
        angle = np.linalg.norm(vector)
        np.testing.assert_allclose(np.trace(rotation), 1 + 2 * np.cos(angle), atol=1e-12)
        negative = rotation_matrices(-np.array(vector))
        np.testing.assert_allclose(rotation @ negative, np.eye(3), atol=1e-12)

    def test_small_rotations_are_exact(self) -> None:
        np.testing.assert_allclose(
            rotation_matrices(np.array([0, 0, 1e-9])), [[1, -1e-9, 0], [1e-9, 1, 0], [0, 0, 1]], atol=1e-18
        )


class TestFiles:
    def test_saved_hand_is_the_same_when_loaded(self, tmp_path: Path) -> None:
        path = tmp_path / "hand.npz"
        HAND.save(path)
        loaded = HandModel.load(path)
        for item in fields(HandModel):
            np.testing.assert_array_equal(getattr(loaded, item.name), getattr(HAND, item.name))

    def test_missing_file_is_an_os_error(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="nothing"):
            HandModel.load(tmp_path / "nothing.npz")

    @pytest.mark.parametrize(
        "content", [b"", b"not a zip file", b"PK\x03\x04 damaged"], ids=["empty", "text", "damaged"]
    )
    def test_other_files_are_told(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "hand.npz"
        path.write_bytes(content)
        with pytest.raises(HandModelError, match=r"hand\.npz"):
            HandModel.load(path)

    def test_other_npz_files_are_told(self, tmp_path: Path) -> None:
        path = tmp_path / "other.npz"
        np.savez(path, template=np.zeros((3, 3)))
        with pytest.raises(HandModelError, match="not a hand model"):
            HandModel.load(path)

    def test_pickles_inside_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "hand.npz"
        arrays = {
            item.name: getattr(HAND, item.name) for item in fields(HandModel) if item.name != "pose_basis"
        }
        arrays["template"] = np.array([{"not": "numbers"}], dtype=object)
        np.savez(path, format=np.array("h2onet_ros hand model 1"), **arrays)
        with pytest.raises(HandModelError, match="allow_pickle"):
            HandModel.load(path)

    def test_missing_array_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "hand.npz"
        arrays = {
            item.name: getattr(HAND, item.name) for item in fields(HandModel) if item.name != "pose_basis"
        }
        del arrays["skin_weights"]
        np.savez(path, format=np.array("h2onet_ros hand model 1"), **arrays)
        with pytest.raises(HandModelError, match="lacks skin_weights"):
            HandModel.load(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"faces": HAND.faces + 1}, "faces holds indices outside"),
            ({"skin_weights": HAND.skin_weights * 2}, "rows of skin_weights"),
            ({"template": HAND.template[:-1]}, "entries where other arrays have"),
            ({"template": np.full_like(HAND.template, np.nan)}, "not finite"),
            ({"parents": np.full(16, 3)}, "parents"),
            ({"joint_axes": HAND.joint_axes[:15]}, r"joint_axes must have the shape \(16, 3, 3\)"),
            ({"vertex_part": HAND.vertex_part + 6}, "vertex_part holds indices outside"),
        ],
        ids=["faces", "weights", "sizes", "nan", "parents", "axes", "parts"],
    )
    def test_arrays_that_do_not_fit_are_told(self, change: dict[str, np.ndarray], message: str) -> None:
        with pytest.raises(HandModelError, match=message):
            replace(HAND, **change)
