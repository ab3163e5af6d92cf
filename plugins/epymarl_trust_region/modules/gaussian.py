"""Diagonal Gaussian policies over one agent's real-valued action, beside the masked softmax and with its interface.

    pi(a | o) = prod_k N(a_k; mu_k(o), sigma_k^2)

Shape letters: A action dimensions, of which an agent with fewer has the rest as padding; a leading `...` stands for any
batch shape, such as [B, T]. A network's output is [..., 2A]: mu, then log sigma.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class DiagonalGaussian:
    """A Gaussian with independent dimensions. Padding has no part in any sum, and receives no gradient."""

    def __init__(self, outputs: Tensor, dimensions: Tensor | None) -> None:
        """
        Args:
            outputs: mu and log sigma, [..., 2A].
            dimensions: [..., A], non-zero where the agent has the dimension; None: it has all.
        """
        self.mean, self.log_std = outputs.chunk(2, dim=-1)
        self.real = None if dimensions is None else dimensions.bool()

    @staticmethod
    def of(mean: Tensor, log_std: Tensor, real: Tensor | None) -> DiagonalGaussian:
        """From mu and log sigma, each [..., A], and the dimensions that are real, [..., A] or None."""
        policy = object.__new__(DiagonalGaussian)
        policy.mean, policy.log_std, policy.real = mean, log_std, real
        return policy

    @staticmethod
    def evaluate(outputs: Tensor, dimensions: Tensor | None, actions: Tensor) -> tuple[Tensor, Tensor, Callable]:
        """`log_prob(actions)` and `entropy()` of such a policy with their vector-Jacobian product.

        With z = (a - mu) / sigma: d log pi / d mu = z / sigma, d log pi / d log sigma = z^2 - 1, dH / d log sigma = 1.

        Args:
            outputs: [..., 2A].
            dimensions: [..., A], or None.
            actions: [..., A].

        Returns:
            log pi(a) and H, each [...], and `pull(gradient of log pi(a), gradient of H)`, the gradient of the outputs.
        """
        policy = DiagonalGaussian(outputs, dimensions)
        inverse = (-policy.log_std).exp()
        z = (actions - policy.mean) * inverse

        def pull(of_log_prob: Tensor, of_entropy: Tensor) -> Tensor:
            of_log_prob = of_log_prob.unsqueeze(-1)
            of_log_std = policy._padded(z * z - 1).mul_(of_log_prob)
            of_log_std += policy._padded(of_entropy.unsqueeze(-1).expand_as(of_log_std))
            return torch.cat([policy._padded(z * inverse).mul_(of_log_prob), of_log_std], -1)

        return policy._log_prob(z), policy.entropy(), pull

    def _padded(self, x: Tensor) -> Tensor:
        """[..., A] with 0 in the padding, whatever stood there."""
        return x if self.real is None else torch.where(self.real, x, 0.0)

    def _standardised(self, actions: Tensor) -> Tensor:
        return (actions - self.mean) * (-self.log_std).exp()

    def log_prob(self, actions: Tensor) -> Tensor:
        """log pi(a) of actions [..., A], as drawn, not as played: sum_k [-z_k^2 / 2 - log sigma_k - log(2 pi) / 2]."""
        return self._log_prob(self._standardised(actions))

    def _log_prob(self, z: Tensor) -> Tensor:
        return self._padded(-0.5 * z * z - self.log_std - _HALF_LOG_2PI).sum(-1)

    def score(self, actions: Tensor) -> Tensor:
        """d log pi(a) / d outputs of actions [..., A]: [..., 2A], (z / sigma, z^2 - 1)."""
        z = self._standardised(actions)
        of_mean, of_log_std = z * (-self.log_std).exp(), z * z - 1
        return torch.cat([self._padded(of_mean), self._padded(of_log_std)], -1)

    def entropy(self) -> Tensor:
        """sum_k [log sigma_k + log(2 pi e) / 2] in nats, [...]; a density's entropy may be negative."""
        shape = self.mean.shape
        return self._padded((self.log_std + 0.5 + _HALF_LOG_2PI).expand(shape)).sum(-1)

    def kl(self, old: DiagonalGaussian) -> Tensor:
        """KL(old || self) in nats, [...]: sum_k [log s' / s + (s^2 + (m - m')^2) / (2 s'^2) - 1/2], ' for self."""
        change = self.log_std - old.log_std
        distance = (self.mean - old.mean) * (-self.log_std).exp()
        # (s / s')^2 - 1 + 2 log(s' / s), without its cancellation where the two are near.
        spread = torch.expm1(-2 * change) + 2 * change
        return 0.5 * self._padded(spread + distance * distance).sum(-1)

    def kl_slope(self, target: DiagonalGaussian) -> Tensor:
        """d KL(target || self) / d outputs of self, [..., 2A]: ((m' - m) / s'^2, 1 - (s^2 + (m - m')^2) / s'^2)."""
        precision = (-2 * self.log_std).exp()
        distance = self.mean - target.mean
        of_mean = distance * precision
        of_log_std = 1 - ((2 * target.log_std).exp() + distance * distance) * precision
        return torch.cat([self._padded(of_mean), self._padded(of_log_std)], -1)

    def fisher_product(self, tangent: Tensor) -> Tensor:
        """F u with F = diag(1 / sigma^2, 2), the Fisher matrix in (mu, log sigma).

        F is also the Hessian of KL(self || other) in the other's outputs where the two are equal.

        Args:
            tangent: u, a change of the outputs, [..., 2A].
        """
        of_mean, of_log_std = tangent.chunk(2, dim=-1)
        scaled = of_mean * (-2 * self.log_std).exp()
        return torch.cat([self._padded(scaled), self._padded(2 * of_log_std)], -1)

    def log_affinity(self, old: DiagonalGaussian) -> Tensor:
        """log of the Bhattacharyya coefficient, the integral of sqrt(self old), [...]; independent policies' add up."""
        change, distance = self.log_std - old.log_std, self.mean - old.mean
        variances = (2 * self.log_std).exp() + (2 * old.log_std).exp()
        return self._padded(-0.5 * torch.cosh(change).log() - 0.25 * distance * distance / variances).sum(-1)

    def total_variation_bounds(self, old: DiagonalGaussian) -> tuple[Tensor, Tensor]:
        """1 - BC <= TV <= sqrt(1 - BC^2), each [...]: in several dimensions there is no simple form. Equal in one."""
        if self.mean.shape[-1] == 1:
            exact = self._total_variation_in_one_dimension(old)
            return exact, exact
        log_affinity = self.log_affinity(old)
        return -torch.expm1(log_affinity), (-torch.expm1(2 * log_affinity)).clamp_min(0).sqrt()

    def total_variation(self, old: DiagonalGaussian) -> Tensor:
        """The upper one of `total_variation_bounds`, in [0, 1], [...]: exact in one dimension."""
        return self.total_variation_bounds(old)[1]

    def _total_variation_in_one_dimension(self, old: DiagonalGaussian) -> Tensor:
        """P(I) - P_old(I), I between the two points where the densities cross; in units of the old policy."""
        log_r = (self.log_std - old.log_std).double().squeeze(-1)
        d = ((self.mean - old.mean) * (-old.log_std).exp()).double().squeeze(-1)
        log_r, d = torch.broadcast_tensors(log_r, d)
        r, grown = log_r.exp(), torch.expm1(2 * log_r)
        # grown z^2 + 2 d z - (d^2 + 2 r^2 log r) = 0, by the form of its roots that does not cancel.
        root = r * (d * d + 2 * log_r * grown).clamp_min(0).sqrt()
        q = -(d + torch.where(d < 0, -root, root))
        crossings = q / grown, -(d * d + 2 * r * r * log_r) / q

        def below(z: Tensor) -> Tensor:
            return torch.special.ndtr((z - d) / r) - torch.special.ndtr(z)

        distance = (below(crossings[0]) - below(crossings[1])).abs()
        distance = torch.where(q == 0, 0.0, distance)  # the same policy
        return self._padded(distance.to(self.mean.dtype).unsqueeze(-1)).squeeze(-1)

    def mixed_with(self, other: DiagonalGaussian, weight: float) -> DiagonalGaussian:
        """The Gaussian with mean and variances of weight self + (1 - weight) other, a mixture that is no Gaussian."""
        mean = weight * self.mean + (1 - weight) * other.mean
        variance = weight * (2 * self.log_std).exp() + (1 - weight) * (2 * other.log_std).exp()
        variance = variance + weight * (1 - weight) * (self.mean - other.mean) ** 2
        return DiagonalGaussian.of(mean, 0.5 * variance.log(), self.real)

    def sample(self) -> Tensor:
        """Actions drawn from the policy with torch's global generator, [..., A]; 0 in the padding.

        Raises:
            RuntimeError: one would be no number.
        """
        drawn = self._padded(self.mean + self.log_std.exp() * torch.randn_like(self.mean))
        # A sum is finite only if all are, and is one operation; only then they are asked one by one.
        if not math.isfinite(drawn.sum().item()) and not drawn.isfinite().all():
            raise RuntimeError("a mean or a deviation is NaN or infinite")
        return drawn

    def is_finite(self) -> Tensor:
        """Whether mean and deviations are numbers, [...]."""
        return (self._padded(self.mean).isfinite() & self._padded(self.log_std.exp()).isfinite()).all(-1)

    def mode(self) -> Tensor:
        """The mean, [..., A]; 0 in the padding."""
        return self._padded(self.mean)

    def detach(self) -> DiagonalGaussian:
        """The same distribution, cut off from the graph."""
        return DiagonalGaussian.of(self.mean.detach(), self.log_std.detach(), self.real)
