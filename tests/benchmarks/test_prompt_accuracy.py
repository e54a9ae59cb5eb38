"""The count of captions that the bundled miniature follows."""

import re

from benchmarks import prompt_accuracy


def test_the_bundled_miniature_follows_captions_it_has_not_seen(capsys):
    assert prompt_accuracy.main(["--pictures", "3"]) == 0
    said = capsys.readouterr().out
    counts = re.search(r"(\d) of 3 pictures", said)
    assert counts and int(counts[1]) >= 2, said
