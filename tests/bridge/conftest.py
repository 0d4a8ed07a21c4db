"""Settings for the bridge's tests."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # The models are so small that threads would only wait for each other.
    torch.set_num_threads(1)
