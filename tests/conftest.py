"""What all tests share: strict JAX, checked shapes, small fixtures that are made once."""

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-data", help="folder with image sets as manifest.csv and images, for the tests that need them"
    )


@pytest.fixture
def rng() -> np.random.Generator:
    """Numbers that are the same in every run."""
    return np.random.default_rng(0)
