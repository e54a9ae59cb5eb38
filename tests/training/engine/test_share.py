"""What each process sees of a step."""

from training.engine.share import Share


def test_processes_together_see_what_one_with_the_whole_batch_sees() -> None:
    whole = Share(size=6, accumulate=1, rank=0, processes=1)
    parts = [Share(size=2, accumulate=1, rank=rank, processes=3) for rank in range(3)]
    for step, batch in enumerate(whole.samples(0, 4)):
        seen = [next(iter(part.samples(step, step + 1))) for part in parts]
        assert [number for part in seen for number in part] == batch


def test_accumulated_micro_batches_make_up_the_step() -> None:
    share = Share(size=2, accumulate=3, rank=0, processes=1)
    assert share.per_step == 6
    assert list(share.samples(2, 3)) == [[12, 13], [14, 15], [16, 17]]


def test_rows_and_samples_name_the_same() -> None:
    share = Share(size=2, accumulate=2, rank=1, processes=3)
    rows = [(number, list(range(6)[part])) for number, part in share.parts(1, 2)]
    assert rows == [(2, [2, 3]), (3, [2, 3])]
    assert list(share.samples(1, 2)) == [[14, 15], [20, 21]]
