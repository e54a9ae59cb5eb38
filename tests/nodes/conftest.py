"""What the tests of measurements inside ComfyUI share; each has a fixture `measured` of its own."""

import pytest


@pytest.fixture
def found(request):
    """The answers of one experiment (tests/comfyui/process.py, `answers_of`)."""
    answers = request.getfixturevalue("measured")[request.param]
    assert "failed" not in answers, answers["failed"]
    return answers
