"""What a phantom is: a table of factors with known laws, and a pure function that draws an image from their values.

A *class* factor follows the subclass, an *acquisition* factor the domain, a *nuisance* factor neither. The last domain
is the device that training never sees.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

Factors = Mapping[str, Float[Array, ""]]
Kind = Literal["class", "nuisance", "acquisition"]


class Factor(NamedTuple):
    """The law of one cause of an image: a clipped normal, uniform or two-valued number.

    Attributes:
        kind: What it follows.
        law: `"normal"` about `center`; `"uniform"` in [low, high]; `"chance"`: 1 with probability `center`, else 0.
        center: By subclass and domain; an axis of length 1 stands for all of them.
        spread: Standard deviation before clipping.
        low: Least value.
        high: Greatest value.
        stray: Chance that the value is anywhere in [low, high] instead: the atypical case, of which every class has a
            few, and which makes confident failures without any shift.
        shared: Whether all images of a patient have the same value.
    """

    kind: Kind
    law: Literal["normal", "uniform", "chance"]
    center: Float[np.ndarray, "subclasses domains"]
    spread: float = 0.0
    low: float = 0.0
    high: float = 1.0
    stray: float = 0.0
    shared: bool = True


def by_subclass(*centers: float, spread: float, low: float = 0.0, high: float = 1.0, stray: float = 0.0) -> Factor:
    """Returns a class factor: one center a subclass, the same value in all images of a patient."""
    return Factor("class", "normal", np.asarray(centers, np.float32)[:, None], spread, low, high, stray)


def by_domain(*centers: float, spread: float, low: float = 0.0, high: float = 1.0) -> Factor:
    """Returns an acquisition factor: one center a domain, new in each image."""
    return Factor("acquisition", "normal", np.asarray(centers, np.float32)[None, :], spread, low, high, shared=False)


def mark(*chances: float) -> Factor:
    """Returns a device mark that is there or not: one chance a domain, drawn anew in each image."""
    return Factor("acquisition", "chance", np.asarray(chances, np.float32)[None, :], shared=False)


def anatomy(center: float, spread: float, low: float = 0.0, high: float = 1.0) -> Factor:
    """Returns a nuisance factor of the patient."""
    return Factor("nuisance", "normal", np.asarray([[center]], np.float32), spread, low, high)


def pose(low: float, high: float) -> Factor:
    """Returns a uniform nuisance factor of the single image."""
    return Factor("nuisance", "uniform", np.zeros((1, 1), np.float32), 0.0, low, high, shared=False)


class Subclass(NamedTuple):
    """One appearance of a class.

    Attributes:
        name: Its name.
        label: The class it belongs to.
        share: Images of it in one round of the training set; 0 is a rare one, seen in the manifestation shift alone.
    """

    name: str
    label: str
    share: int = 1


class Phantom(NamedTuple):
    """A task made of procedural images.

    Attributes:
        name: As in `PHANTOMS`.
        title: As in a heading.
        classes: Names of the classes, in the order of their indices.
        channels: Number of channels.
        subclasses: The rows of the class factors.
        domains: The columns of the acquisition factors; the last one is the acquisition shift's.
        acquisition: The name of the acquisition shift's set.
        manifestation: The name of the manifestation shift's set.
        factors: The laws of all factors by name.
        render: (key, factors, size, *, zoom) -> one image (size, size, channels) in [0, 1]; see `primitives` for zoom.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    channels: int
    subclasses: tuple[Subclass, ...]
    domains: tuple[str, ...]
    acquisition: str
    manifestation: str
    factors: Mapping[str, Factor]
    render: Callable[..., Float[Array, "h w k"]]


def sample(
    patient: Key[Array, ""],
    image: Key[Array, ""],
    subclass: Int[Array, ""],
    domain: Int[Array, ""],
    *,
    phantom: Phantom,
) -> dict[str, Float[Array, ""]]:
    """Returns the value of every factor of one image.

    Args:
        patient: The key of what all images of the patient share.
        image: The key of what is this image's own.
        subclass: Index into `phantom.subclasses`.
        domain: Index into `phantom.domains`.
        phantom: Whose factors.
    """
    laws = tuple(phantom.factors.values())
    rows, columns = len(phantom.subclasses), len(phantom.domains)
    table = jnp.asarray(np.stack([np.broadcast_to(law.center, (rows, columns)) for law in laws], -1))
    center = table[subclass, domain]
    spread, low, high, stray, shared = (
        jnp.asarray([getattr(law, name) for law in laws]) for name in ("spread", "low", "high", "stray", "shared")
    )
    # Each factor has a stream of its own, so that a new one leaves the others as they are.
    streams = jnp.asarray([zlib.crc32(name.encode()) for name in phantom.factors], jnp.uint32)

    def numbers(key: Key[Array, ""]) -> Float[Array, "f 2"]:
        own = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, streams)
        return jax.vmap(lambda key: jax.random.uniform(key, (2,), jnp.float32, 1e-6, 1.0))(own)

    uniform, chance = jnp.where(shared[:, None], numbers(patient), numbers(image)).T
    anywhere = low + (high - low) * uniform
    typical = jnp.clip(center + spread * jax.scipy.special.ndtri(uniform), low, high)
    by_law = {
        "normal": jnp.where(chance < stray, anywhere, typical),
        "uniform": anywhere,
        "chance": (uniform < center).astype(jnp.float32),
    }
    return {name: by_law[law.law][i] for i, (name, law) in enumerate(phantom.factors.items())}
