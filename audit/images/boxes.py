"""The images and boxes that reports and the dashboard show for a finding."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_EXAMPLES = 6

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as fractions of the upright image's width and height."""


def shown_images(sample_id: object, evidence: Mapping[str, Any]) -> list[str]:
    """Return the sample ids to show: a finding's image and its partner, or the ``examples`` of a finding about a class or the dataset.

    >>> shown_images("a.jpg", {"partner": "b.jpg"}), shown_images(None, {"examples": ["c.jpg", "d.jpg"]})
    (['a.jpg', 'b.jpg'], ['c.jpg', 'd.jpg'])
    """
    examples = evidence.get("examples")
    names = [sample_id, evidence.get("partner")] if isinstance(sample_id, str) else examples[:MOST_EXAMPLES] if isinstance(examples, list) else []
    return [name for name in names if isinstance(name, str)]


def boxes_of(evidence: Mapping[str, Any]) -> list[Box]:
    """Return a finding's ``boxes``, one for each example, or its single ``box``.

    >>> boxes_of({"box": [0.1, 0.2, 0.5, 0.6]}), boxes_of({"boxes": "damaged"})
    ([(0.1, 0.2, 0.5, 0.6)], [])
    """
    found = evidence.get("boxes", [evidence.get("box")])
    return [tuple(box) for box in found if _is_box(box)] if isinstance(found, list) else []


def _is_box(box: Any) -> bool:
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(edge, int | float) and 0 <= edge <= 1 for edge in box)):
        return False
    left, top, right, bottom = box
    return bool(left < right and top < bottom)


def outlined(data: bytes, boxes: Sequence[Box]) -> bytes:
    """Return a JPEG with boxes drawn on it, yellow inside black so that they are visible on any background."""
    if not boxes:
        return data
    from PIL import Image, ImageDraw

    image = Image.open(io.BytesIO(data)).convert("RGB")
    drawing = ImageDraw.Draw(image)
    width, height = image.width - 1, image.height - 1
    stroke = max(round(max(image.size) / 150), 1)
    for left, top, right, bottom in boxes:
        edges = (left * width, top * height, right * width, bottom * height)
        drawing.rectangle(edges, outline="black", width=3 * stroke)
        drawing.rectangle(tuple(edge + shift * stroke for edge, shift in zip(edges, (1, 1, -1, -1), strict=True)), outline="yellow", width=stroke)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue()
