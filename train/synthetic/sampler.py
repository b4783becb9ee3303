"""Random scenes: which hand, where, how it moves, what hides it or lies behind it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from train.synthetic.backgrounds import BackgroundLibrary
from train.synthetic.changes import STILL_FINGERS, Change, draw_change, draw_crossing, leave_picture
from train.synthetic.geometry import COARSE, NO_TEXTURE, Forearm, forearm_axis
from train.synthetic.grip import close_around
from train.synthetic.poses import PoseSampler
from train.synthetic.scene import LONG_TERM, SHORT_TERM, HandPlan, Held, Scene, Sensor, Thing
from train.synthetic.textures import TextureSet

_CAMERAS = ((640, 480), (640, 480), (1280, 720), (848, 480), (1920, 1080), (480, 640))


class SceneSampler:
    """Draws scenes; each comes from the generator it is given alone, so a seed repeats it."""

    def __init__(
        self, poses: PoseSampler, textures: TextureSet, backgrounds: BackgroundLibrary, triplets: float = 0.5
    ) -> None:
        self.poses, self.textures, self.backgrounds, self.triplets = poses, textures, backgrounds, triplets
        self._shape_count = poses.hand.shape_count

    def draw(self, rng: np.random.Generator) -> Scene:
        """A random scene, with three frames in a share `triplets` of the draws."""
        times: tuple[float, ...] = (0.0,)
        if rng.random() < self.triplets:
            times = (0.0, -float(rng.uniform(*SHORT_TERM)), -float(rng.uniform(*LONG_TERM)))
        width, height = _CAMERAS[int(rng.integers(len(_CAMERAS)))]
        focal = width / 2 / np.tan(np.radians(rng.uniform(45, 88)) / 2)
        situation = str(rng.choice(["free", "in_front", "held", "other_hand"], p=[0.45, 0.20, 0.21, 0.14]))
        change = draw_change(rng, times)
        held = self._held(rng) if situation == "held" else None
        hand = self._hand(rng, held, change, focal, width, height)
        backdrop = self.backgrounds.draw(rng)
        things = self._behind(rng, hand)
        other = None
        if change == "thing":
            things.append(self._passing_thing(rng, hand, times))
        elif situation == "in_front":
            things += [self._occluder(rng, hand) for _ in range(1 + int(rng.random() < 0.25))]
        if change == "other_hand" or situation == "other_hand":
            other = self._other_hand(rng, hand, times if change == "other_hand" else ())
        return Scene(
            times=times,
            hand=hand,
            width=width,
            height=height,
            focal=focal,
            backdrop=backdrop,
            exposure=float(np.exp(rng.normal(-0.05, 0.38))),
            sensor=_sensor(rng),
            shake=rng.normal(0, 0.15, 2) * (rng.random() < 0.5),
            other=other,
            held=held,
            things=things,
        )

    def _hand(
        self,
        rng: np.random.Generator,
        held: Held | None,
        change: Change,
        focal: float,
        width: int,
        height: int,
    ) -> HandPlan:
        if held is None or held.grip is None:
            angles = self.poses.draw(rng, None if held is None else "pinch")
        else:
            angles = held.grip.angles
        past = angles
        if held is None and rng.random() < 0.7:
            amount = rng.uniform(0, STILL_FINGERS if change else 0.75)
            past = (1 - amount) * angles + amount * self.poses.draw(rng)
        distance = np.exp(rng.uniform(np.log(0.25), np.log(1.15)))
        # Mostly the whole hand is in the picture; sometimes the picture's edge cuts it.
        reach = 0.085 * focal / distance
        half = np.array([width, height]) / 2
        room = np.maximum(half - reach, 0)
        if rng.random() < 0.12:
            room = room + 0.9 * reach
        pixel = rng.uniform(-1, 1, 2) * room
        # Slow enough not to have come out of the camera a moment ago.
        velocity = _no_longer(rng.normal(0, 0.14, 3) * rng.exponential(1.0), distance)
        if change == "edge":
            pixel, velocity[:2] = leave_picture(rng, half, reach)
        turning = rng.uniform(1.5, 4.5) if change == "turn" else min(rng.exponential(0.8), 4.0)
        centre = np.array([*(pixel / focal), 1.0]) * distance
        forearm = self._forearm(rng)
        for _ in range(40):
            rotation = _orientation(rng)
            offset = centre - rotation @ (0, -0.075, 0)
            along = offset + np.linspace(0, 1, 11)[:, None] * forearm_axis(forearm, rotation) * forearm.length
            # The camera is not inside the arm.
            if np.linalg.norm(along, axis=1).min() > 0.11 and offset[2] > 0.12:
                break
        tone = rng.uniform(0.7, 1.15)
        return HandPlan(
            angles=angles,
            past_angles=past,
            shape=np.clip(rng.normal(0, 1, self._shape_count), -2.5, 2.5),
            rotation=rotation,
            spin=_direction(rng) * turning,
            offset=offset,
            velocity=velocity,
            skin_layer=float(self.textures.random_skin(rng)),
            skin_colour=np.clip(tone * np.exp(rng.normal(0, 0.06, 3)), 0.3, 1.4),
            gloss=float(rng.uniform(0.05, 0.6)),
            forearm=forearm,
        )

    def _forearm(self, rng: np.random.Generator) -> Forearm:
        bare = rng.random() < 0.45
        banded = rng.random() < 0.22
        cloth = float(self.textures.random_surface(rng)) if rng.random() < 0.5 else NO_TEXTURE
        colour = rng.uniform(0.01, 0.9, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(0.01, 0.8))
        width = rng.uniform(0.033, 0.047)
        return Forearm(
            length=float(rng.uniform(0.4, 0.5)),
            wrist_flexion=float(np.radians(rng.normal(0, 22))),
            wrist_deviation=float(np.radians(rng.normal(0, 10))),
            width=width,
            thickness=width * rng.uniform(0.7, 0.95),
            sleeve_start=1.0 if bare else float(rng.uniform(0.004, 0.12)),
            sleeve_gap=float(rng.uniform(0.004, 0.02)),
            sleeve_colour=colour,
            sleeve_layer=cloth,
            band_start=float(rng.uniform(0.012, 0.05)) if banded else 2.0,
            band_width=float(rng.uniform(0.006, 0.028)),
            band_colour=rng.uniform(0.01, 0.8, 3),
        )

    def _looks(self, rng: np.random.Generator, shape: str, size: np.ndarray) -> Thing:
        textured = rng.random() < 0.65
        return Thing(
            shape=shape,
            size=size,
            rotation=Rotation.random(random_state=int(rng.integers(2**31))).as_matrix(),
            position=np.zeros(3),
            velocity=np.zeros(3),
            colour=rng.uniform(0.4, 1.0, 3) if textured else rng.uniform(0.02, 0.95, 3),
            layer=float(self.textures.random_surface(rng)) if textured else NO_TEXTURE,
            texture_scale=float(rng.uniform(0.4, 2.0)),
            gloss=float(rng.uniform(0, 1)),
        )

    def _behind(self, rng: np.random.Generator, hand: HandPlan) -> list[Thing]:
        """Table, body or clutter farther from the camera than the hand."""
        things = []
        away = hand.offset / np.linalg.norm(hand.offset)
        kind = rng.random()
        if kind < 0.14:
            size = np.array([rng.uniform(0.15, 0.6), rng.uniform(0.15, 0.6), 0.01])
            tilt = Rotation.from_euler("xyz", rng.normal(0, (35, 20, 40)), degrees=True).as_matrix()
            position = hand.offset + away * rng.uniform(0.13, 0.25)
            things.append(_moved(self._looks(rng, "box", size), position, tilt))
        elif kind < 0.30:
            size = np.array([rng.uniform(0.15, 0.3), rng.uniform(0.25, 0.45), rng.uniform(0.1, 0.16)])
            position = hand.offset + away * rng.uniform(0.36, 0.8) + rng.normal(0, 0.12, 3)
            tilt = Rotation.from_euler("xyz", rng.normal(0, 12, 3), degrees=True).as_matrix()
            things.append(_moved(self._looks(rng, "sphere", size), position, tilt))
            if rng.random() < 0.5:
                # A head upon the body: skin that is no hand.
                head = self._looks(rng, "sphere", np.array([0.075, 0.11, 0.09]))
                skin = {"layer": hand.skin_layer + COARSE, "colour": hand.skin_colour, "gloss": 0.2}
                over = position + tilt @ (0, -size[1] - 0.11, 0)
                things.append(_moved(Thing(**{**head.__dict__, **skin}), over, tilt))
        for _ in range(rng.integers(0, 3) if rng.random() < 0.3 else 0):
            shape = str(rng.choice(["box", "cylinder", "sphere"]))
            position = hand.offset + away * rng.uniform(0.25, 0.7) + rng.normal(0, 0.15, 3)
            things.append(_moved(self._looks(rng, shape, rng.uniform(0.02, 0.12, 3)), position))
        return things

    def _occluder(self, rng: np.random.Generator, hand: HandPlan) -> Thing:
        """Something between the camera and the hand, perhaps passing by."""
        kind = rng.choice(["box", "cylinder", "sphere", "stick"], p=[0.33, 0.2, 0.22, 0.25])
        if kind == "box":
            size = rng.uniform(0.01, 0.055, 3)
        elif kind == "cylinder":
            size = np.array([1, 1, 0]) * rng.uniform(0.012, 0.045) + (0, 0, rng.uniform(0.03, 0.2))
        elif kind == "sphere":
            size = np.full(3, rng.uniform(0.015, 0.055))
        else:
            size = np.array([1, 1, 0]) * rng.uniform(0.002, 0.01) + (0, 0, rng.uniform(0.08, 0.25))
        target = hand.offset + hand.rotation @ (
            rng.normal(0, 0.03),
            -rng.uniform(-0.01, 0.16),
            rng.normal(0, 0.02),
        )
        nearer = min(rng.uniform(0.05, 0.16) / float(np.linalg.norm(target)), 0.5)
        speed = rng.exponential(0.22) * (rng.random() < 0.7)
        looks = self._looks(rng, "cylinder" if kind == "stick" else str(kind), size)
        return _moved(looks, target * (1 - nearer), velocity=_direction(rng) * (1, 1, 0.3) * speed)

    def _passing_thing(self, rng: np.random.Generator, hand: HandPlan, times: tuple[float, ...]) -> Thing:
        """Something large enough to hide fingers that crosses the view of the hand."""
        kind = str(rng.choice(["box", "board", "cylinder", "sphere"], p=[0.3, 0.3, 0.22, 0.18]))
        if kind == "box":
            size = rng.uniform(0.02, 0.06, 3)
        elif kind == "board":
            size = rng.uniform((0.035, 0.05, 0.002), (0.08, 0.12, 0.01))
        elif kind == "cylinder":
            size = np.array([1, 1, 0]) * rng.uniform(0.015, 0.045) + (0, 0, rng.uniform(0.06, 0.2))
        else:
            size = np.full(3, rng.uniform(0.025, 0.06))
        target = hand.offset + hand.rotation @ (rng.normal(0, 0.025), -rng.uniform(0.03, 0.14), 0)
        nearer = min(rng.uniform(0.06, 0.16) / float(np.linalg.norm(target)), 0.5)
        crossing = draw_crossing(rng, times, target)
        looks = self._looks(rng, "box" if kind == "board" else kind, size)
        place, speed = target * (1 - nearer) + crossing.away, hand.velocity + crossing.velocity
        return _moved(looks, place, velocity=speed)

    def _held(self, rng: np.random.Generator) -> Held:
        tilt = rng.normal(0, 0.25, 3)
        if rng.random() < 0.2:
            radius, length = rng.uniform(0.003, 0.007), rng.uniform(0.05, 0.12)
            shape = str(rng.choice(["cylinder", "tool"]))
            return Held(self._looks(rng, shape, np.array([1, 1, length / radius])), radius, None, tilt)
        # Smallest and largest radius that one hand holds, and how often.
        things = {
            "cylinder": (0.006, 0.032, 0.30),
            "box": (0.010, 0.042, 0.25),
            "sphere": (0.016, 0.038, 0.15),
            "bottle": (0.020, 0.034, 0.12),
            "cup": (0.022, 0.036, 0.10),
            "tool": (0.008, 0.018, 0.08),
        }
        shape = str(rng.choice(list(things), p=[odds for *_, odds in things.values()]))
        radius = rng.uniform(*things[shape][:2])
        length = rng.uniform(0.03, 0.06) if shape == "cup" else rng.uniform(0.05, 0.14)
        size = np.ones(3) if shape == "sphere" else np.array([1, 1, length / radius])
        grip = close_around(self.poses, rng, radius, ball=shape == "sphere")
        return Held(self._looks(rng, shape, size), radius, grip, tilt)

    def _other_hand(
        self, rng: np.random.Generator, hand: HandPlan, crosses_in: tuple[float, ...]
    ) -> HandPlan:
        """A second hand beside, behind or in front of the first, of the same skin.

        Given the frames' times it crosses the view of the first one in them.
        """
        distance = float(np.linalg.norm(hand.offset))
        towards = hand.offset / distance
        side = np.cross(towards, _direction(rng))
        depth, aside = rng.uniform(-0.13, 0.13), rng.uniform(0.0, 0.14)
        if abs(depth) < 0.045:
            depth = 0.045 * np.sign(depth)
        velocity = rng.normal(0, 0.18, 3)
        away = np.zeros(3)
        if crosses_in:
            crossing = draw_crossing(rng, crosses_in, towards)
            depth, aside = -min(abs(depth), 0.4 * distance), 0.4 * aside
            away, velocity = crossing.away, hand.velocity + crossing.velocity
        target = hand.offset + hand.rotation @ (0, -0.075, 0) + side * aside + towards * depth + away
        rotation = _orientation(rng)
        return HandPlan(
            angles=self.poses.draw(rng),
            past_angles=self.poses.draw(rng),
            shape=hand.shape,
            rotation=rotation,
            spin=_direction(rng) * min(rng.exponential(0.8), 4.0),
            offset=target - rotation @ (0, -0.075, 0),
            velocity=velocity,
            skin_layer=hand.skin_layer,
            skin_colour=hand.skin_colour,
            gloss=hand.gloss,
            forearm=hand.forearm,
        )


def _orientation(rng: np.random.Generator) -> np.ndarray:
    """A global rotation `(3, 3)`: any at all, shown to the camera, or as one sees one's own hand."""
    kind = rng.random()
    if kind < 0.42:
        return Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    if kind < 0.80:
        yaw = rng.choice([0, 180, 90, -90], p=[0.36, 0.26, 0.19, 0.19]) + rng.normal(0, 28)
        angles = (rng.normal(0, 38), rng.normal(-4, 24), yaw)
    else:
        angles = (rng.normal(0, 40), -rng.uniform(15, 85), 180 + rng.normal(0, 55))
    return Rotation.from_euler("ZXY", angles, degrees=True).as_matrix()


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(0, 1, 3)
    return vector / np.linalg.norm(vector)


def _no_longer(vector: np.ndarray, limit: float) -> np.ndarray:
    return vector * min(1.0, limit / max(float(np.linalg.norm(vector)), 1e-9))


def _moved(
    thing: Thing, position: np.ndarray, rotation: np.ndarray | None = None, velocity: np.ndarray | None = None
) -> Thing:
    return Thing(
        **{
            **thing.__dict__,
            "position": np.asarray(position),
            "rotation": thing.rotation if rotation is None else rotation,
            "velocity": thing.velocity if velocity is None else velocity,
        }
    )


def _sensor(rng: np.random.Generator) -> Sensor:
    tint = rng.normal(0, 0.05)
    return Sensor(
        defocus=float(abs(rng.normal(0, 0.55)) + (rng.exponential(0.9) if rng.random() < 0.12 else 0)),
        shutter=float(rng.uniform(0.002, 0.03)),
        noise=float(rng.exponential(0.012)),
        jpeg_quality=int(rng.integers(28, 97)),
        gain=np.exp(np.array([tint, rng.normal(0, 0.02), -tint])),
        contrast=float(np.exp(rng.normal(0, 0.16))),
        sharpening=float(rng.uniform(0.2, 1.2) if rng.random() < 0.2 else 0.0),
    )
