"""What the tests of training share."""

import pytest
from tiny_task import draw

from sfjax.training import Labelled


@pytest.fixture(scope="session")
def data() -> Labelled:
    return draw(24, 0)


@pytest.fixture(scope="session")
def validation() -> Labelled:
    return draw(10, 1)
