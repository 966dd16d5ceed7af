"""CMA-ES (Hansen 2016, arXiv:1604.00772) that can be stored as the fitness it was told."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Evolution:
    """A search for parameters of the largest fitness, by the package ``cma``.

    All it draws comes from a generator of its own.  What it is after some generations is a function
    of the seed and of the fitness it was told, so these are all that a checkpoint holds: going on
    from one asks and tells again, which takes a fraction of what the episodes took.

    Args:
        start: ``(n,)`` the first mean.
        sigma: the first standard deviation.
        population: candidates of a generation.
        seed: of what is drawn.
        diagonal: whether the covariance stays diagonal.
        scales: ``(n,)`` first standard deviations in units of ``sigma``; ones when None.
    """

    def __init__(
        self,
        start: Tensor,
        sigma: float,
        population: int,
        *,
        seed: int,
        diagonal: bool = False,
        scales: Tensor | None = None,
    ) -> None:
        self.start = start.double().clone()
        self.sigma, self.population, self.seed = sigma, population, seed
        self.diagonal, self.scales = diagonal, scales
        self.told: list[np.ndarray] = []
        self._asked: list[np.ndarray] | None = None
        self._search = self._new()

    @property
    def generations(self) -> int:
        """Finished ones."""
        return len(self.told)

    @property
    def mean(self) -> Tensor:
        """``(n,)`` float64, of the distribution."""
        return torch.from_numpy(np.array(self._search.mean, np.float64))

    @property
    def spread(self) -> float:
        """Overall standard deviation."""
        return float(self._search.sigma)

    def ask(self) -> np.ndarray:
        """``(population, n)`` the candidates of this generation, always the same until told."""
        if self._asked is None:
            self._asked = [np.asarray(x, np.float64) for x in self._search.ask()]
        return np.stack(self._asked)

    def tell(self, fitness: np.ndarray) -> None:
        """Finish the generation.

        Args:
            fitness: ``(population,)`` of what `ask` gave, in its order; larger is better.

        Raises:
            ValueError: for another number of them, or numbers that are not finite.
        """
        values = np.asarray(fitness, np.float64)
        if values.shape != (self.population,) or not np.isfinite(values).all():
            raise ValueError(
                f"expected {self.population} finite numbers as fitness, got {values.tolist()}"
            )
        self.ask()
        with warnings.catch_warnings():
            # Of flat fitness, which is no error in the first generations of a hard task.
            warnings.simplefilter("ignore")
            self._search.tell(self._asked, (-values).tolist())
        self._asked = None
        self.told.append(values)

    def tensors(self) -> dict[str, Tensor]:
        """What `restore` takes."""
        told = np.array(self.told).reshape(-1, self.population)
        return {"start": self.start, "told": torch.from_numpy(told), "mean": self.mean}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Become what `tensors` saw.

        Raises:
            ValueError: where the same calls lead elsewhere, under other versions of the libraries.
        """
        self.start, self.told, self._asked = tensors["start"].clone(), [], None
        self._search = self._new()
        for fitness in tensors["told"].numpy():
            self.tell(fitness)
        if not torch.allclose(self.mean, tensors["mean"], rtol=1e-6, atol=1e-9):
            raise ValueError(
                "the search does not lead where it led when the checkpoint was written: another "
                "version of cma or numpy wrote it; finish the training with that one"
            )

    def _new(self) -> Any:
        try:
            import cma
        except ImportError as error:
            raise ImportError("the controller's search needs cma: pip install cma") from error

        draws = np.random.default_rng(self.seed)
        options = {
            "popsize": self.population,
            "CMA_diagonal": self.diagonal,
            "randn": lambda *shape: draws.standard_normal(shape),
            "seed": np.nan,  # numpy's global generator stays as it is
            "verbose": -9,
            "verb_log": 0,
            "verb_disp": 0,
        }
        if self.scales is not None:
            options["CMA_stds"] = self.scales.double().numpy()
        return cma.CMAEvolutionStrategy(self.start.numpy(), self.sigma, options)


__all__ = ["Evolution"]
