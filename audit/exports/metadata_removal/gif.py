"""GIF (GIF89a): keep the frames, their timing and the loop count."""

from __future__ import annotations

from audit.exports.metadata_removal.refused import Refused
from audit.images.gif_blocks import APPLICATION, GRAPHIC_CONTROL, IMAGE, PLAIN_TEXT, first_block, gif_blocks, parts_of

_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def without_metadata_blocks(data: bytes) -> bytes:
    """Return the file with only its frames, their graphic controls and the loop count.

    Args:
        data: a GIF's bytes.

    Raises:
        Refused: a block contains more than its fields, or text that is drawn on the image.
        ValueError: the blocks are corrupt.
        IndexError: the file is truncated.
    """
    kept = [b"GIF89a" + data[6 : first_block(data)]]
    loops, control = b"", b""
    for label, start, end in gif_blocks(data):
        if label == PLAIN_TEXT:
            raise Refused("contains text that is drawn over the image")
        if label == IMAGE:
            kept += [control, data[start:end]]
            control = b""
        elif label == GRAPHIC_CONTROL:
            content = next(parts_of(data, start, end), b"")
            if len(content) != 4:
                raise Refused("has a graphic control extension of an invalid size")
            if control and content != control[3:7]:
                raise Refused("has two graphic control extensions for one frame")
            control = b"\x21\xf9\x04" + content + b"\0"
        elif label == APPLICATION and data[start + 3 : start + 14] in _LOOPS and not loops:
            loops = next((part[:3] for part in list(parts_of(data, start, end))[1:] if part[:1] == b"\1" and len(part) >= 3), b"")
    if loops:
        kept.insert(1, b"\x21\xff\x0b" + _LOOPS[0] + b"\x03" + loops + b"\0")
    return b"".join((*kept, b"\x3b"))
