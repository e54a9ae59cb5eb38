import pytest

from training.engine.progress import progress_bar


def test_a_bar_shows_title_and_work_in_the_main_process_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for shown in (True, False):
        with progress_bar(4, "measuring", "batch", shown, done=1, stays=True) as bar:
            bar.update(3)
        said = capsys.readouterr().err
        assert ("measuring: 100%" in said and "4/4" in said) == shown
        assert bool(said) == shown
