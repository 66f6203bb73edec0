"""A reconstruction in one file: the kept weights of every output solve the normal equations."""

import torch

from autoprune.reconstruction.base import Reconstruction


class LeastSquares(Reconstruction):
    name = "least_squares"

    def solve(self, weight, gram, keep):
        solved = torch.zeros_like(weight)
        target = weight @ gram
        for row, kept in enumerate(keep):
            own = gram[kept][:, kept]
            solved[row, kept] = torch.linalg.lstsq(own, target[row, kept, None], driver="gelsd").solution[:, 0]
        return solved
