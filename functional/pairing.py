"""Which noise goes with which image of a batch."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class OptimalTransport:
    """Pairs the noise of a batch with its images at the least total squared distance.

    The minibatch coupling of Tong et al. (2024) and Pooladian et al. (2023), by an exact assignment
    (SciPy). Image and noise each keep their distribution; their paths cross less, so the flow is
    straighter. Each process pairs its own share of the batch, on the CPU.
    """

    def __call__(self, images: Tensor, noise: Tensor) -> Tensor:
        """Give ``noise`` in another order, ``(N, ...)``: the i-th goes with the i-th image."""
        distance = torch.cdist(images.flatten(1).double(), noise.flatten(1).double()).square()
        _, columns = linear_sum_assignment(distance.cpu().numpy())
        return noise[torch.as_tensor(columns, device=noise.device)]
