import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sfjax.data import ManifestError, dataset_from_arrays, load_dataset
from sfjax.data.findings import REMEDIES
from tests.data.conftest import write_images
