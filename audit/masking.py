"""Which metadata columns of a dataset hold personal data: their values are masked wherever a finding or an explanation would print them."""

from __future__ import annotations

import re
from itertools import pairwise

MASKED = "(masked)"

_PERSONAL = frozenset(
    {
        *("gps", "lat", "lon", "lng", "latitude", "longitude", "coordinates", "geo", "geolocation", "serial", "owner"),
        *("artist", "author", "photographer", "creator", "byline", "copyright", "patient", "person", "username", "user", "contributor"),
        *("email", "mail", "phone", "tel", "telephone", "address", "street", "holder", "surname", "firstname", "lastname"),
    }
)
_PERSONAL_PAIRS = frozenset({"first name", "last name", "full name", "user name", "owner name", "photographer name", "photo by"})


def is_personal(column: str) -> bool:
    """Tell from a column's name whether its values lead to a person or a place.

    >>> is_personal("GPSLatitude"), is_personal("body_serial_number"), is_personal("camera"), is_personal("class_name")
    (True, True, False, False)
    """
    words = [word.lower() for word in re.findall(r"[A-Z]{2,}(?![a-z])|GPS|[A-Z]?[a-z]+|[A-Z]+", column)]
    return bool(_PERSONAL.intersection(words)) or any(f"{one} {two}" in _PERSONAL_PAIRS for one, two in pairwise(words))
