"""What this machine is, and what bertsmith will use of it."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bertsmith import __version__
from bertsmith.terminal import say

PACKAGES = ("torch", "numpy", "nanotoken", "tokenizers", "safetensors", "pydantic", "scikit-learn", "transformers")


def doctor() -> int:
    """Print the findings; returns the exit status: 1 when a GPU is present but cannot be used."""
    import torch

    say(f"bertsmith {__version__}, Python {platform.python_version()}, {platform.platform()}")
    say("packages: " + ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    say(f"processor: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    free = shutil.disk_usage(Path.cwd()).free
    say(f"disk: {free / 1e9:,.0f} GB free here (OpenWebText needs 12 to download and 18 prepared)")
    compiler = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    say(f"compiler: {compiler or 'none; compile=true needs g++'}")
    present = _gpu_present()
    if torch.cuda.is_available():
        return _check_gpus()
    if present:
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        say(f"GPU: PRESENT BUT UNUSABLE ({present}); this torch {torch.__version__} is built {build}.")
        say("  Install a torch that fits the driver: make TORCH_INDEX=<torch's index for your CUDA> quickstart")
        return 1
    say("GPU: none; training runs on the CPU in float32")
    return 0


def _check_gpus() -> int:
    """Run a small product on each GPU: being listed is not being usable."""
    import torch

    status = 0
    for index in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(index)
        try:
            torch.ones(64, 64, device=f"cuda:{index}").matmul(torch.ones(64, 64, device=f"cuda:{index}")).sum().item()
        except RuntimeError as error:
            say(f"GPU {index}: {name}, UNUSABLE: {str(error).splitlines()[0]}")
            status = 1
            continue
        memory = torch.cuda.get_device_properties(index).total_memory
        major, minor = torch.cuda.get_device_capability(index)
        form = "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
        flash = "row-wise flash attention" if major >= 8 and form == "bfloat16" else "padded attention"
        say(f"GPU {index}: {name}, {memory / 1e9:.0f} GB, capability {major}.{minor}; {form}, compiled, {flash}")
    return status


def _gpu_present() -> str | None:
    """What the system shows of an NVIDIA GPU, whether torch can use it or not."""
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
