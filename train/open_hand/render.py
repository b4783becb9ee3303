"""Pictures of the hand to look at: several poses from several sides, part colours or a skin texture."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import moderngl
import numpy as np

from h2onet_ros.hand.model import OPEN_HAND_PATH, HandModel, rotation_matrices
from train.open_hand.poses import POSE_NAMES, named_angles
from train.synthetic.geometry import HandSurface

PART_COLOURS = np.array(
    [
        [0.90, 0.35, 0.30],
        [0.95, 0.75, 0.25],
        [0.35, 0.75, 0.40],
        [0.30, 0.65, 0.90],
        [0.65, 0.45, 0.85],
        [0.8, 0.8, 0.78],
    ]
)
VIEWS = {
    "palm": (0.0, 0.0, 0.0),
    "back": (0.0, np.pi, 0.0),
    "thumb side": (0.0, np.pi / 2, 0.0),
    "little side": (0.0, -np.pi / 2, 0.0),
    "tips": (-1.1, 0.0, 0.0),
}
TILE = 360
HALF_EXTENT = 0.125

_VERTEX_SHADER = """
#version 330
in vec3 position; in vec3 normal; in vec3 colour; in vec2 uv;
uniform float extent;
out vec3 n; out vec3 c; out vec2 t;
void main() {
    n = normal; c = colour; t = uv;
    gl_Position = vec4(position.x / extent, -position.y / extent, position.z / extent, 1.0);
}
"""
_FRAGMENT_SHADER = """
#version 330
in vec3 n; in vec3 c; in vec2 t;
uniform sampler2D skin; uniform bool textured;
out vec4 pixel;
void main() {
    float light = 0.35 + 0.65 * max(dot(normalize(n), normalize(vec3(-0.4, -0.6, -0.8))), 0.0);
    vec3 base = textured ? texture(skin, t).rgb : c;
    if (!gl_FrontFacing) base = vec3(1.0, 0.0, 1.0);
    pixel = vec4(base * light, 1.0);
}
"""


class Renderer:
    """Orthographic pictures; inside faces show in magenta."""

    def __init__(self, hand: HandModel, skin: np.ndarray | None):
        self.hand = hand
        self.surface = HandSurface(hand)
        self.context = moderngl.create_context(standalone=True, backend="egl")  # type: ignore[arg-type]
        self.program = self.context.program(vertex_shader=_VERTEX_SHADER, fragment_shader=_FRAGMENT_SHADER)
        self.target = self.context.framebuffer(
            [self.context.renderbuffer((TILE, TILE), 3, samples=4)],
            self.context.depth_renderbuffer((TILE, TILE), samples=4),
        )
        self.resolved = self.context.framebuffer([self.context.renderbuffer((TILE, TILE), 3)])
        self.program["extent"] = HALF_EXTENT
        self.program["textured"] = skin is not None
        if skin is not None:
            height, width = skin.shape[:2]
            texture = self.context.texture((width, height), 3, np.ascontiguousarray(skin[::-1]).tobytes())
            texture.build_mipmaps()
            texture.use()
        self.context.enable(moderngl.DEPTH_TEST)

    def picture(self, vertices: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """`(TILE, TILE, 3)` RGB of `vertices (V, 3)` as the camera sees them."""
        normals = self.surface.normals(vertices[None])[0]
        corners = self.hand.faces.ravel()
        colours = np.repeat(PART_COLOURS[self.hand.face_part], 3, axis=0)
        texture = self.hand.uv[self.hand.uv_faces.ravel()]
        data = np.concatenate([(vertices - centre)[corners], normals[corners], colours, texture], axis=1)
        buffer = self.context.buffer(data.astype("f4").tobytes())
        array = self.context.vertex_array(
            self.program, [(buffer, "3f 3f 3f 2f", "position", "normal", "colour", "uv")]
        )
        # Looking along +z with y down mirrors twice, so that outside faces stay counter-clockwise on screen.
        self.target.use()
        self.target.clear(0.13, 0.14, 0.16, depth=1.0)
        array.render()
        self.context.copy_framebuffer(self.resolved, self.target)
        pixels = np.frombuffer(self.resolved.read(components=3), np.uint8).reshape(TILE, TILE, 3)
        array.release()
        buffer.release()
        return pixels[::-1]


def sheet(
    hand: HandModel, names: tuple[str, ...], skin: np.ndarray | None, shape: np.ndarray | None = None
) -> np.ndarray:
    """One row per pose, one column per view."""
    renderer = Renderer(hand, skin)
    rows = []
    for name in names:
        pose = hand.pose_from_angles(named_angles(name))
        tiles = []
        for view, turn in VIEWS.items():
            pose[0] = 0
            vertices = hand.pose(pose, shape).vertices @ rotation_matrices(np.array(turn)).T
            tile = renderer.picture(vertices, (vertices.min(axis=0) + vertices.max(axis=0)) / 2).copy()
            cv2.putText(
                tile,
                f"{name}, {view}",
                (8, 20),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.5,
                (220, 220, 220),
                1,
                cv2.LINE_AA,
            )
            tiles.append(tile)
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("output", type=Path, help="PNG to write")
    parser.add_argument("--hand", type=Path, default=OPEN_HAND_PATH, help="hand model (npz)")
    parser.add_argument("--skin", type=Path, help="texture in MakeHuman's layout; without one, part colours")
    parser.add_argument("--poses", nargs="+", choices=POSE_NAMES, default=list(POSE_NAMES))
    arguments = parser.parse_args()
    skin = None
    if arguments.skin is not None:
        skin = cv2.imread(str(arguments.skin))
        if skin is None:
            parser.error(f"--skin: expected an image, cannot read {arguments.skin}")
        skin = skin[..., ::-1]
    picture = sheet(HandModel.load(arguments.hand), tuple(arguments.poses), skin)
    if not cv2.imwrite(str(arguments.output), picture[..., ::-1]):
        parser.error(f"cannot write {arguments.output}")


if __name__ == "__main__":
    main()
