"""What only a GPU can show. `make gpu-kit` takes these tests to one; they need none of the other tests' packages."""

from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

from tests.training.dit_fixtures import (  # noqa: F401
    base_transformer,
    davae,
    davae_cache,
    dit_config,
    write_dit_config,
)


@pytest.fixture(autouse=True)
def gpu() -> torch.device:
    """Skips the test where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("This machine has no GPU: the tests in tests/cuda wait for one.")
    return torch.device("cuda")


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its state for the process; each test starts without one."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
