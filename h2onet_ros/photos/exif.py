"""What a camera noted in the file of a photograph."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, UnidentifiedImageError

_EXIF_IFD, _FOCAL_LENGTH_IN_35MM_FILM = 0x8769, 0xA405
_FILM_DIAGONAL = math.hypot(36, 24)


def focal_length_35mm(photo: Path) -> float | None:
    """The focal length in millimetres that would show as much on 35 mm film (EXIF 2.3, tag 0xA405).

    None where the file does not tell, or cannot be read.
    """
    try:
        with Image.open(photo) as image:
            noted = image.getexif().get_ifd(_EXIF_IFD).get(_FOCAL_LENGTH_IN_35MM_FILM)
    except (OSError, SyntaxError, UnidentifiedImageError, ValueError):
        return None
    return float(noted) if isinstance(noted, int | float) and 5 <= noted <= 2000 else None


def field_of_view(focal_length: float, width: int, height: int) -> float:
    """Radians across the longer side of a picture, by the diagonals of picture and film."""
    pixels = focal_length / _FILM_DIAGONAL * math.hypot(width, height)
    return 2 * math.atan(max(width, height) / 2 / pixels)
