"""Readable names of labels: the user's file must have words for some of them."""

import pytest

from audit.errors import SourceError
from audit.sources.annotations.class_words import find_class_words
from audit.sources.base import SourceOptions
from audit.sources.storage.files import Storage


def words(tmp_path, data):
    (tmp_path / "w.txt").write_bytes(data)
    return find_class_words(Storage(str(tmp_path)), SourceOptions(class_words_file=str(tmp_path / "w.txt")), ["n1", "n2"])


@pytest.mark.parametrize("data", [b"n1\ttench, a fish\n\nn3 x\n", b'{"n1": "tench, a fish"}', b"\xef\xbb\xbfn1 tench, a fish\r\n"])
def test_reads_lines_or_a_json_object(tmp_path, data):
    assert words(tmp_path, data) == {"n1": "tench, a fish"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"w\.txt: has words for none of the 2 labels, such as 'n1'"),
        (b"n3 x\n", r"w\.txt: has words for none of the 2 labels"),
        (b"n1 x\nn2\n", r"w\.txt:2: has no words: 'n2'"),
        (b'{"n1": "x"', r"w\.txt: is not a JSON object"),
        (b'["n1"]', r"w\.txt:1: has no words"),
        (b"n1 x\nn2 caf\xe9\n", r"w\.txt:2: is not UTF-8"),
    ],
)
def test_refuses_useless_file(tmp_path, data, message):
    with pytest.raises(SourceError, match=message):
        words(tmp_path, data)
