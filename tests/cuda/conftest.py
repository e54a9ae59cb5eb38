"""What only a GPU can show. `make gpu-kit` takes these tests to one; they need few of the other tests' packages."""

import pytest
import torch

from tests.training.conftest import (  # noqa: F401
    base_file,
    fresh_accelerate,
    make_config,
    pictures,
    write_config,
)
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
