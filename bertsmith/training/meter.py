"""Tokens a second, the share of the hardware's peak, memory."""

import time

import torch

from bertsmith.memory import peak_bytes
from bertsmith.training.machine import Machine

_PEAKS: dict[tuple[str, torch.dtype], float] = {}


class Meter:
    """Rates between two readings."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.peak_flops = measured_peak_flops(machine)
        self.tokens = self.seconds = self.flops_per_token = 0.0

    def start(self, tokens: int, seconds: float, flops_per_token: float) -> None:
        """Count from these totals on; a token costs so many operations, forward and backward."""
        self.tokens, self.seconds, self.flops_per_token = tokens, seconds, flops_per_token

    def read(self, tokens: int, seconds: float) -> dict[str, float | None]:
        """Return `tokens_per_second`, `mfu` (model FLOPs utilisation, of the measured peak) and `memory_bytes` since
        the last reading, given the totals now. The rates are None where no time was counted: a single step that
        compiled."""
        rate = (tokens - self.tokens) / (seconds - self.seconds) if seconds > self.seconds else None
        self.tokens, self.seconds = tokens, seconds
        return {
            "tokens_per_second": rate,
            "mfu": None if rate is None else rate * self.flops_per_token / self.peak_flops,
            "memory_bytes": memory_bytes(self.machine.device),
        }


def measured_peak_flops(machine: Machine) -> float:
    """Measure the operations a second of a large matrix product on this machine: the peak that software can reach, as
    opposed to a data sheet's. Takes a fifth of a second, once a process."""
    key = (str(machine.device), machine.dtype)
    if key not in _PEAKS:
        size = 8192 if machine.device.type == "cuda" else 1024
        # Random numbers: a GPU multiplies ones faster, for want of heat.
        matrix = torch.randn(size, size, device=machine.device, dtype=machine.dtype)
        _PEAKS[key] = max(2 * size**3 / _seconds_of_product(matrix) for _ in range(8))
    return _PEAKS[key]


def _seconds_of_product(matrix: torch.Tensor) -> float:
    cuda = matrix.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(matrix.device)
    started_at = time.perf_counter()
    matrix @ matrix
    if cuda:
        torch.cuda.synchronize(matrix.device)
    return time.perf_counter() - started_at


def memory_bytes(device: torch.device) -> int:
    """Return the most memory used so far: torch's on a GPU, the process's on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_bytes()
