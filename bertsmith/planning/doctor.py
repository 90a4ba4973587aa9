"""A description of this machine, and of what bertsmith uses of it."""

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bertsmith import __version__
from bertsmith.cores import num_cores
from bertsmith.planning.reduction import NUM_BYTES, seconds_of_reduction
from bertsmith.storage.code_version import code_version

_PACKAGES = ("torch", "numpy", "nanotoken", "tokenizers", "safetensors", "pydantic", "scikit-learn", "transformers")


def doctor() -> tuple[list[str], bool]:
    """Return a line for each finding, and whether all is well: no GPU is present that cannot be used."""
    import torch

    free = shutil.disk_usage(Path.cwd()).free
    compiler = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    code = code_version()
    commit = "no git checkout" if code.commit is None else f"commit {code.commit}"
    lines = [
        f"bertsmith {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"code: {commit}, sha256 {code.sha256}",
        "packages: " + ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        f"processor: {num_cores()} cores, torch uses {torch.get_num_threads()} threads",
        _products(),
        f"disk: {free / 1e9:,.0f} GB free here (OpenWebText needs 12 to download and 18 prepared)",
        f"compiler: {compiler or 'none; compile=true needs g++'}",
    ]
    found, usable = _check_gpus() if torch.cuda.is_available() else _without_gpus()
    return [*lines, *found, _ranks()], usable


def _products() -> str:
    """Say how fast the processor multiplies in each format, and which of them to train in."""
    import torch

    from bertsmith.training.machine import product_rate

    whole, half = (product_rate(dtype) for dtype in (torch.float32, torch.bfloat16))
    line = f"products on the CPU: {whole / 1e9:,.3g} GFLOP/s in float32, {half / 1e9:,.3g} in bfloat16"
    return line + ("; machine.dtype=bfloat16 trains faster here" if half > 1.5 * whole else "")


def _ranks() -> str:
    """Say what several processes could train one run with."""
    import torch
    import torch.distributed as dist

    if not dist.is_available():
        return "ranks: this torch has no torch.distributed; one process trains a run"
    there = {"gloo": dist.is_gloo_available(), "NCCL": dist.is_nccl_available()}
    names = ", ".join(name for name, is_there in there.items() if is_there)
    on = "GPUs" if torch.cuda.device_count() > 1 else "processes"
    seconds = seconds_of_reduction()
    if seconds is None:
        return f"ranks: torch.distributed with {names}, but two processes here do not reach each other on 127.0.0.1"
    return (
        f"ranks: torch.distributed with {names}; two {on} here sum {NUM_BYTES / 1e6:.0f} MB in {seconds * 1e3:.3g} ms"
    )


def _without_gpus() -> tuple[list[str], bool]:
    import torch

    present = _gpu_present()
    if present is None:
        return ["GPU: none; training runs on the CPU in float32"], True
    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return [
        f"GPU: PRESENT BUT UNUSABLE ({present}); this torch {torch.__version__} is built {build}.",
        "  Install a torch that fits the driver: make TORCH_INDEX=<torch's index for your CUDA> quickstart",
    ], False


def _check_gpus() -> tuple[list[str], bool]:
    """Run a small product on each GPU: being listed is not being usable."""
    import torch

    lines, usable = [], True
    for index in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(index)
        try:
            torch.ones(64, 64, device=f"cuda:{index}").matmul(torch.ones(64, 64, device=f"cuda:{index}")).sum().item()
        except RuntimeError as error:
            lines.append(f"GPU {index}: {name}, UNUSABLE: {str(error).splitlines()[0]}")
            usable = False
            continue
        memory = torch.cuda.get_device_properties(index).total_memory
        major, minor = torch.cuda.get_device_capability(index)
        form = "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
        flash = "row-wise flash attention" if major >= 8 and form == "bfloat16" else "padded attention"
        capability = f"{memory / 1e9:.0f} GB, capability {major}.{minor}"
        lines.append(f"GPU {index}: {name}, {capability}; {form}, compiled, {flash}")
    return lines, usable


def _gpu_present() -> str | None:
    """Return what the system shows of an NVIDIA GPU, whether torch can use it or not."""
    found = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    if found:
        return f"/dev/{found[0]}"
    drivers = Path("/proc/driver/nvidia/gpus")
    return str(drivers) if drivers.is_dir() and any(drivers.iterdir()) else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
