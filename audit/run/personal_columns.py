"""Metadata columns that hold personal data: findings and explanations mask their values."""

from __future__ import annotations

import re
from itertools import pairwise

MASKED = "(masked)"

_WORD = re.compile(r"[A-Z]{2,}(?![a-z])|GPS|[A-Z]?[a-z]+|[A-Z]+")
_PERSONAL = frozenset(
    {
        *("gps", "lat", "lon", "lng", "latitude", "longitude", "coordinates", "geo", "geolocation", "location", "city", "town", "place", "venue"),
        *("locality", "county", "municipality", "village", "suburb", "neighborhood", "neighbourhood", "imei", "sn"),
        *("serial", "owner", "artist", "author", "photographer", "creator", "byline", "copyright", "credit", "patient", "person", "username", "user"),
        *("contributor", "uploader", "sender", "recipient", "account", "handle", "twitter", "instagram", "facebook", "uid", "ip", "ssn", "dob"),
        *("email", "mail", "phone", "tel", "telephone", "address", "street", "holder", "surname", "firstname", "lastname", "nickname", "birthday"),
    }
)
_PERSONAL_PAIRS = frozenset(
    {
        *("first name", "last name", "full name", "real name", "nick name", "user name", "owner name", "photographer name", "license plate"),
        *("licence plate", "number plate", "zip code", "post code", "postal code", "birth date", "of birth", "photo by", "taken by", "uploaded by"),
        *("recorded by", "identified by", "determined by", "collected by", "observed by", "labeled by", "labelled by", "annotated by", "rated by"),
    }
)
_ROLES = frozenset(
    {
        *("observer", "collector", "annotator", "labeler", "labeller", "rater", "worker", "radiologist", "physician", "doctor"),
        *("cameraman", "contact", "participant", "subject", "turker", "device"),
    }
)
_NOT_ALONE = frozenset({"subject", "device"})
"""Alone, these usually name the image's motif and the camera model, not a person or one apparatus."""
_OF_A_ROLE = frozenset({"id", "ids", "name", "names", "initials"})
"""Words that may follow a role: ``annotator_id`` is personal, ``annotator_count`` is not."""
_PERSONAL_INSIDE = re.compile(
    "gps|latitude|longitude|latl(?:o?n|ng)|l(?:o?n|ng)lat|geo(?:tag|hash|loc|point)|serial(?!i[sz])|owner(?!ship)|photographer|patient|passport"
    "|user(?:id|name|nsid)|(?:first|last|full|real|nick|sur|artist|author|creator)name|(?:artist|author)id|uploader|address|email|phonenum|telephone"
    "|(?:license|licence|number)plate|(?:zip|post|postal)code|birthda(?:te|y)|socialsec|(?:photo|taken|uploaded|recorded|identified|determined|collected|observed|labell?ed|annotated|rated)by"
    "|(?:annotator|worker|participant|subject|turker|device)(?:id|name)"
)
"""Parts of a word: many column names are lower case without separators."""


def is_personal(column: str) -> bool:
    """Return whether a column's name suggests that its values identify a person or a place.

    >>> is_personal("GPSLatitude"), is_personal("body_serial_number"), is_personal("ownername"), is_personal("camera"), is_personal("class_name")
    (True, True, True, False, False)
    """
    words = [word.lower() for word in _WORD.findall(column)]
    of_role = bool(words) and words[0] in _ROLES and set(words[1:]) <= _OF_A_ROLE and (len(words) > 1 or words[0] not in _NOT_ALONE)
    return bool(
        of_role
        or _PERSONAL.intersection(words)
        or any(f"{one} {two}" in _PERSONAL_PAIRS for one, two in pairwise(words))
        or any(map(_PERSONAL_INSIDE.search, words))
    )
