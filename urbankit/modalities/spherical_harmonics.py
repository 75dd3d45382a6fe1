"""Real spherical harmonics of any degree, by recurrences that stay exact where polynomials written out do not."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def real_spherical_harmonics(theta: Tensor, phi: Tensor, degrees: int) -> Tensor:
    """Orthonormal real spherical harmonics Y_l^m of the degrees 0 to `degrees` - 1, without the Condon-Shortley phase.

    Y_l^m is N P_l^|m|(cos θ) times √2 sin(|m| φ) for m < 0, 1 for m = 0 and √2 cos(m φ) for m > 0, where
    N² = (2l + 1) / 4π · (l - |m|)! / (l + |m|)!. The products N P come from the recurrences of normalised Legendre
    functions (Holmes and Featherstone, 2002, equations 11 and 13).

    Args:
        theta: polar angle in radians, Tensor[n], 0 to π.
        phi: azimuth in radians, Tensor[n].
        degrees: how many degrees, L.

    Returns:
        Tensor[n, L²] in the type of `theta`, ordered by degree and, within one, by m from -l to l.
    """
    cosine, sine = theta.cos(), theta.sin()
    columns = [torch.empty(0)] * degrees**2
    diagonal = torch.full_like(theta, math.sqrt(1 / (4 * math.pi)))
    for m in range(degrees):
        if m:
            diagonal = diagonal * sine * math.sqrt((2 * m + 1) / (2 * m))
        east, north = math.sqrt(2) * (m * phi).cos(), math.sqrt(2) * (m * phi).sin()
        before, legendre = torch.zeros_like(theta), diagonal
        for degree in range(m, degrees):
            if degree > m:
                a = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
                b = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
                before, legendre = legendre, a * (cosine * legendre - b * before)
            zonal = degree**2 + degree
            columns[zonal + m] = legendre * east if m else legendre
            if m:
                columns[zonal - m] = legendre * north
    return torch.stack(columns, dim=-1)
