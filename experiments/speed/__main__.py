"""The command line: `python -m experiments.speed SUBJECT [options]`."""

import importlib
import os
import sys
from collections.abc import Sequence

import tyro

from experiments import speed
from experiments.compilation import use_compilation_cache

SUBJECTS = {
    "metrics": "areas under risk-coverage curves and their bootstrap; about two minutes on a CPU",
    "csf": "confidence scores beside NumPy and scikit-learn, and every fitted one; about ten minutes on a CPU",
    "inference": "forward and Monte Carlo passes of the networks, their memory and compilation; about ten minutes",
    "training": "training steps of the networks, their memory and compilation; about ten minutes",
    "shifts": "corruptions beside OpenCV; about three minutes on a CPU",
    "report": "embeddings beside scikit-learn, and the offline page in Chromium; about ten minutes on a CPU",
    "input": "images from disk, beside plain Pillow and torch; about fifteen minutes on a CPU",
}
"""What can be measured, each by a module here that has a dataclass `Options` and `measure(options)`, which prints."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the command line names; returns the exit status."""
    subject, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if subject in ("-h", "--help"):
        print(f"{speed.__doc__}\nSubjects, each with its own --help:\n")
        print("\n".join(f"    {name:10} {what}" for name, what in SUBJECTS.items()))
        return 0
    if subject not in SUBJECTS:
        print(f"What is measured must be one of {', '.join(SUBJECTS)}; got {subject!r}. See --help.", file=sys.stderr)
        return 2
    # Imported when it is asked for: what one subject needs, the machine of another may lack.
    module = importlib.import_module(f"experiments.speed.{subject}")
    program = f"python -m experiments.speed {subject}"
    module.measure(tyro.cli(module.Options, prog=program, description=module.__doc__, args=rest))
    return 0


if __name__ == "__main__":
    # JAX would take most of an accelerator's memory, and PyTorch beside it needs some.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    use_compilation_cache()
    sys.exit(main())
