"""Draws batches of scenes off screen with OpenGL: colour, what each pixel shows, and the hand alone.

Works without a display through EGL (on a CPU by Mesa's llvmpipe: set `LP_NUM_THREADS=0` and run one process a
core; on a GPU as it is). Scenes lie side by side as tiles of one framebuffer, so that little is spent on
calls. Camera axes are x right, y down, z forward; row 0 of every image is the top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import moderngl
import numpy as np

from train.synthetic.backgrounds import Light
from train.synthetic.geometry import SOUP_WIDTH

NEAR, FAR = 0.02, 12.0

_COLOUR_VERTEX = """
#version 330
in vec3 in_position; in vec3 in_normal; in vec3 in_texture; in vec3 in_colour; in vec3 in_misc;
uniform mat4 projection; uniform mat4 shadow;
out vec3 position; out vec3 normal; out vec3 texture_at; out vec3 colour; out vec2 look; out vec3 shadow_at;
flat out int identity;
void main() {
    position = in_position; normal = in_normal; texture_at = in_texture; colour = in_colour;
    look = in_misc.xy;
    identity = int(in_misc.z + 0.5);
    shadow_at = (shadow * vec4(in_position, 1.0)).xyz;
    gl_Position = projection * vec4(in_position, 1.0);
}
"""

_COLOUR_FRAGMENT = """
#version 330
in vec3 position; in vec3 normal; in vec3 texture_at; in vec3 colour; in vec2 look; in vec3 shadow_at;
flat in int identity;
uniform sampler2DArray layers; uniform sampler2D shadows; uniform vec4 shadow_tile;
uniform vec3 ambient[9]; uniform vec3 sun_direction; uniform vec3 sun; uniform float exposure;
layout(location = 0) out vec4 pixel;
layout(location = 1) out int shown;

float lit(float slope) {
    vec2 at = shadow_at.xy;
    if (any(greaterThan(abs(at), vec2(0.97)))) return 1.0;
    float depth = shadow_at.z * 0.5 + 0.5 - 0.004 - 0.012 * (1.0 - slope);
    vec2 step = 1.0 / vec2(textureSize(shadows, 0));
    vec2 centre = shadow_tile.xy + (at * 0.5 + 0.5) * shadow_tile.zw;
    float sum = 0.0;
    for (int i = -1; i <= 1; i += 2) for (int j = -1; j <= 1; j += 2)
        sum += texture(shadows, centre + vec2(i, j) * step * 0.8).r < depth ? 0.0 : 0.25;
    return sum;
}

void main() {
    vec3 n = normalize(normal), eye = normalize(-position);
    if (dot(n, eye) < 0.0 && identity > 6) n = -n;
    vec3 albedo = colour;
    // The layer's fraction, up to a quarter, asks for ever coarser colours of the texture.
    float layer = floor(texture_at.z + 0.02);
    float coarse = 16.0 * max(texture_at.z - layer, 0.0);
    vec3 at = vec3(texture_at.xy, layer);
    if (layer > -0.5) albedo *= pow(texture(layers, at, coarse).rgb, vec3(2.2));
    bool skin = identity < 9;
    float slope = dot(n, sun_direction);
    // Skin lets light in beside where it falls, red the farthest.
    vec3 wrap = skin ? vec3(0.28, 0.12, 0.08) : vec3(0.0);
    vec3 diffuse = max((vec3(slope) + wrap) / (1.0 + wrap), 0.0) * lit(max(slope, 0.0));
    vec3 round = ambient[0] * 0.282095 + ambient[1] * 0.488603 * n.y + ambient[2] * 0.488603 * n.z
        + ambient[3] * 0.488603 * n.x + ambient[4] * 1.092548 * n.x * n.y + ambient[5] * 1.092548 * n.y * n.z
        + ambient[6] * 0.315392 * (3.0 * n.z * n.z - 1.0) + ambient[7] * 1.092548 * n.x * n.z
        + ambient[8] * 0.546274 * (n.x * n.x - n.y * n.y);
    vec3 open = skin ? pow(vec3(look.x), vec3(0.8, 1.05, 1.1)) : vec3(look.x);
    vec3 light = max(round, 0.02) * open + sun * diffuse;
    vec3 half_way = normalize(sun_direction + eye);
    float shine = pow(max(dot(n, half_way), 0.0), 12.0 + 40.0 * look.y) * look.y * (slope > 0.0 ? 1.0 : 0.0);
    float rim = pow(1.0 - max(dot(n, eye), 0.0), 4.0) * 0.12 * look.y;
    vec3 result = (albedo * light + sun * shine * 0.5 * diffuse + max(round, 0.0) * rim * open) * exposure;
    result = result / (1.0 + 0.22 * result);
    pixel = vec4(pow(clamp(result, 0.0, 1.0), vec3(1.0 / 2.2)), 1.0);
    shown = identity;
}
"""

_PLAIN_VERTEX = """
#version 330
in vec3 in_position;
uniform mat4 projection;
void main() { gl_Position = projection * vec4(in_position, 1.0); }
"""
_DEPTH_FRAGMENT = "#version 330\nvoid main() {}\n"
_MASK_FRAGMENT = "#version 330\nlayout(location = 0) out int shown;\nvoid main() { shown = 1; }\n"

_LAYOUT = "3f 3f 3f 3f 3f"
_ATTRIBUTES = ("in_position", "in_normal", "in_texture", "in_colour", "in_misc")


@dataclass(frozen=True)
class Shot:
    """One image to draw.

    Attributes:
        soup: corners `(n, 15)`, the labelled hand's first (see `geometry`).
        hand_corners: how many of them are the labelled hand's.
        camera: `(3, 3)` intrinsics for an image of `Renderer.size` pixels a side.
        light: light in camera axes.
        centre: `(3,)` point around which shadows are cast, metres.
        shadow_radius: how far around it, metres.
        exposure: factor on linear light.
    """

    soup: np.ndarray
    hand_corners: int
    camera: np.ndarray
    light: Light
    centre: np.ndarray
    exposure: float
    shadow_radius: float = 0.19


@dataclass(frozen=True)
class Drawn:
    """Result of one shot: `image` RGBA `(N, N, 4)` uint8 with alpha 0 where nothing was drawn; `ids` `(N, N)`
    uint8 of what is in front (see `geometry`); `alone` `(N, N)` bool, the hand's pixels without anything
    else."""

    image: np.ndarray
    ids: np.ndarray
    alone: np.ndarray


def projection_matrix(camera: np.ndarray, width: int, height: int) -> np.ndarray:
    """OpenGL's projection `(4, 4)` of a pinhole camera whose row 0 ends up first in the buffer."""
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[0, 2] = 2 * camera[0, 0] / width, 2 * (camera[0, 2] + 0.5) / width - 1
    matrix[1, 1], matrix[1, 2] = 2 * camera[1, 1] / height, 2 * (camera[1, 2] + 0.5) / height - 1
    matrix[2, 2], matrix[2, 3] = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    matrix[3, 2] = 1
    return matrix


def shadow_matrix(direction: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Orthographic view `(4, 4)` from the sun (unit vector to it) of what lies within `radius` metres."""
    other = np.array([1.0, 0, 0]) if abs(direction[0]) < 0.8 else np.array([0, 1.0, 0])
    right = np.cross(other, direction)
    right /= np.linalg.norm(right)
    axes = np.stack([right / radius, np.cross(direction, right) / radius, -direction / (2 * radius)])
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = -axes @ centre
    return matrix


class Renderer:
    """An off-screen drawing surface of `columns x rows` tiles, each `size = (width, height)` pixels.

    `layers` `(n, N, N, 3)` uint8 are the textures that a soup's `layer` column names; `shadow_size` is the
    side of each shot's shadow map.

    Raises:
        RuntimeError: no OpenGL context could be made.
    """

    def __init__(
        self,
        layers: np.ndarray,
        size: tuple[int, int],
        columns: int = 8,
        rows: int = 8,
        shadow_size: int = 192,
    ) -> None:
        try:
            self.context = moderngl.create_context(standalone=True, backend="egl")  # type: ignore[arg-type]
        except Exception as error:
            raise RuntimeError(
                f"No off-screen OpenGL ({error}). Without a GPU install Mesa's software renderer: Debian "
                "packages libegl1 libegl-mesa0 libgl1-mesa-dri libgl1."
            ) from error
        gl = self.context
        self.size, self.columns, self.rows = size, columns, rows
        self._shadow_size = shadow_size
        extent = (size[0] * columns, size[1] * rows)
        # Any: a program's members are uniforms here, which its type does not tell.
        self._colour: Any = gl.program(vertex_shader=_COLOUR_VERTEX, fragment_shader=_COLOUR_FRAGMENT)
        self._depth: Any = gl.program(vertex_shader=_PLAIN_VERTEX, fragment_shader=_DEPTH_FRAGMENT)
        self._mask: Any = gl.program(vertex_shader=_PLAIN_VERTEX, fragment_shader=_MASK_FRAGMENT)
        self._textures = gl.texture_array(
            (*layers.shape[2:0:-1], len(layers)), 3, np.ascontiguousarray(layers)
        )
        self._textures.build_mipmaps()
        self._textures.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self._shadow_map = gl.depth_texture((shadow_size * columns, shadow_size * rows))
        self._shadow_map.compare_func = ""
        self._shadow_map.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self._shadows = gl.framebuffer(depth_attachment=self._shadow_map)
        self._image = gl.texture(extent, 4)
        self._ids = gl.texture(extent, 1, dtype="i1")
        self._target = gl.framebuffer([self._image, self._ids], gl.depth_renderbuffer(extent))
        self._alone = gl.framebuffer([gl.texture(extent, 1, dtype="i1")], gl.depth_renderbuffer(extent))
        self._buffer = gl.buffer(reserve=4 * SOUP_WIDTH * 1024)
        self._bind_buffer()
        gl.enable(moderngl.DEPTH_TEST)

    @property
    def capacity(self) -> int:
        """Shots that one `draw` takes at most."""
        return self.columns * self.rows

    def _bind_buffer(self) -> None:
        gl, skip = self.context, 4 * (SOUP_WIDTH - 3)
        self._colour_array = gl.vertex_array(self._colour, [(self._buffer, _LAYOUT, *_ATTRIBUTES)])
        positions = [(self._buffer, f"3f {skip}x", "in_position")]
        self._depth_array = gl.vertex_array(self._depth, positions)
        self._mask_array = gl.vertex_array(self._mask, positions)

    def _upload(self, shots: list[Shot]) -> np.ndarray:
        """Bring all corners over; returns where each shot's begin, `(len(shots) + 1,)`."""
        corners = np.ascontiguousarray(np.concatenate([shot.soup for shot in shots]), np.float32)
        if corners.nbytes > self._buffer.size:
            for array in (self._colour_array, self._depth_array, self._mask_array):
                array.release()
            self._buffer.release()
            self._buffer = self.context.buffer(reserve=int(corners.nbytes * 1.3))
            self._bind_buffer()
        self._buffer.write(corners)
        return np.cumsum([0] + [len(shot.soup) for shot in shots])

    def _tile(self, index: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
        return (index % self.columns) * size[0], (index // self.columns) * size[1], *size

    def draw(self, shots: list[Shot]) -> list[Drawn]:
        """Draw up to `capacity` shots."""
        if len(shots) > self.capacity:
            raise ValueError(f"{len(shots)} shots; this renderer takes at most {self.capacity} at once")
        starts = self._upload(shots)
        shadows = [shadow_matrix(shot.light.sun_direction, shot.centre, shot.shadow_radius) for shot in shots]
        projections = [_bytes(projection_matrix(shot.camera, *self.size)) for shot in shots]

        self._shadows.use()
        self._shadows.clear(depth=1.0)
        for k, matrix in enumerate(shadows):
            self.context.viewport = self._tile(k, (self._shadow_size, self._shadow_size))
            self._depth["projection"].write(_bytes(matrix))
            self._depth_array.render(vertices=int(starts[k + 1] - starts[k]), first=int(starts[k]))

        self._alone.use()
        self._alone.clear(depth=1.0)
        for k, shot in enumerate(shots):
            self.context.viewport = self._tile(k, self.size)
            self._mask["projection"].write(projections[k])
            self._mask_array.render(vertices=shot.hand_corners, first=int(starts[k]))

        self._target.use()
        self._target.clear(depth=1.0)
        self._textures.use(0)
        self._shadow_map.use(1)
        self._colour["layers"].value, self._colour["shadows"].value = 0, 1
        tile = (1 / self.columns, 1 / self.rows)
        for k, shot in enumerate(shots):
            program = self._colour
            self.context.viewport = self._tile(k, self.size)
            program["projection"].write(projections[k])
            program["shadow"].write(_bytes(shadows[k]))
            program["shadow_tile"].value = (k % self.columns * tile[0], k // self.columns * tile[1], *tile)
            program["ambient"].write(np.ascontiguousarray(shot.light.ambient, np.float32))
            program["sun_direction"].value = tuple(float(v) for v in shot.light.sun_direction)
            program["sun"].value = tuple(float(v) for v in shot.light.sun)
            program["exposure"].value = float(shot.exposure)
            self._colour_array.render(vertices=int(starts[k + 1] - starts[k]), first=int(starts[k]))
        return self._read(len(shots))

    def depth(self) -> np.ndarray:
        """Metres along the optical axis `(N, N)` in the last `draw`'s first shot; inf where nothing is."""
        width, height = self.size
        raw = self._target.read((0, 0, width, height), 1, attachment=-1, dtype="f4")
        between = np.frombuffer(raw, np.float32).reshape(height, width).astype(np.float64) * 2 - 1
        depth = -2 * FAR * NEAR / (FAR - NEAR) / (between - (FAR + NEAR) / (FAR - NEAR))
        return np.where(between < 1, depth, np.inf)

    def _read(self, count: int) -> list[Drawn]:
        width, height = self.size
        rows = -(-count // self.columns)
        extent = (width * self.columns, height * rows)

        def tiles(raw: bytes, channels: int) -> np.ndarray:
            grid = np.frombuffer(raw, np.uint8).reshape(rows, height, self.columns, width, channels)
            return grid.transpose(0, 2, 1, 3, 4).reshape(-1, height, width, channels)

        view = (0, 0, *extent)
        image = tiles(self._target.read(view, 4), 4)
        ids = tiles(self._target.read(view, 1, attachment=1, dtype="i1"), 1)[..., 0]
        alone = tiles(self._alone.read(view, 1, dtype="i1"), 1)[..., 0] > 0
        return [Drawn(image[k], ids[k], alone[k]) for k in range(count)]

    def close(self) -> None:
        """Free the context."""
        self.context.release()


def _bytes(matrix: np.ndarray) -> bytes:
    """A matrix as OpenGL keeps it: column after column."""
    return matrix.T.astype(np.float32).tobytes()
