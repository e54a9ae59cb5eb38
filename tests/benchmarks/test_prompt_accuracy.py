"""The count of captions that the bundled miniature follows."""

import re

from benchmarks import prompt_accuracy


def test_the_bundled_miniature_draws_what_captions_that_it_has_not_seen_name(capsys):
    assert prompt_accuracy.main(["--pictures", "12"]) == 0
    said = capsys.readouterr().out
    shown, whole, placed, things = map(
        int, re.search(r"(\d+) of (\d+) pictures.*?(\d+) of (\d+) things", said).groups()
    )
    assert whole == 12 and shown >= 8, said
    assert placed >= 0.85 * things, said
