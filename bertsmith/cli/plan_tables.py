"""The results of `bertsmith plan`: what a pre-training takes, and on which GPU."""

import math
from pathlib import Path

from bertsmith.cli.show import print_facts
from bertsmith.console.progress import format_count, format_seconds
from bertsmith.console.terminal import aligned, say
from bertsmith.planning.estimate import Estimate, OnGPU


def print_estimate(found: Estimate) -> list[object]:
    """Print two tables for people: what it takes, and where; return the words of the next command."""
    print_facts(f"{found.recipe}: what it takes, without training", _facts(found))
    share = f"{100 * found.utilisation:g} % of its data sheet's peak"
    say(f"\none GPU at {share} and assumed prices; --utilisation, --price")
    headings = ("", "numbers", "peak", "rows at once", "memory", "tokens/s", "tokens", "time", "USD an hour", "USD")
    for line in aligned([headings, *(_row(on) for on in found.gpus)]):
        say(f"  {line}")
    data = ["data=DATA"] if found.data is None else []
    return ["pretrain", found.recipe, *found.overrides, *data, "--out", f"runs/{Path(found.recipe).stem}"]


def _facts(found: Estimate) -> dict[str, str]:
    parts = ", ".join(f"{name} {number:,}" for name, number in found.parameters.items() if name != "total")
    memory = found.memory_on_cpu
    on_cpu = f"{_gigabytes(memory.process)} with {memory.num_rows:,} rows at once"
    return {
        "parameters": f"{found.parameters['total']:,}: {parts}",
        "vocabulary": f"{found.vocab_size:,} tokens ({found.vocab_source})",
        "plan": _plan(found),
        "FLOPs": f"{_flops(found.flops, found.flops_per_token)} (matrix products; backward = 2 × forward)",
        "as the reference counts": _reference(found),
        "memory on the CPU": f"{on_cpu}, all of the process; tensors take {_gigabytes(memory.total)} of it",
    }


def _plan(found: Estimate) -> str:
    rows = f"{found.batch_size:,} rows × {found.length:,} tokens"
    if found.tokens is None:
        return f"{found.hours:g} hours of steps of {rows}"
    passes = f", {found.tokens / found.data_tokens:,.1f} times the data's" if found.data_tokens else ""
    return f"{found.steps:,} steps × {rows} = {format_count(found.tokens)} tokens{passes}"


def _reference(found: Estimate) -> str:
    if found.reference_flops_per_token is None:
        return "it has no count of such a model"
    count = f"{_flops(found.reference_flops, found.reference_flops_per_token)} (all operations; backward = forward)"
    flops = found.reference_flops
    if flops is None:
        return count
    name = min(found.published_flops, key=lambda name: abs(math.log(found.published_flops[name] / flops)))
    return f"{count}; {name} has {_power(found.published_flops[name])}"


def _flops(total: float | None, per_token: float) -> str:
    a_token = f"{format_count(per_token)} a token"
    return a_token if total is None else f"{_power(total)}, {a_token}"


def _power(number: float) -> str:
    return f"{number:.3g}".replace("e+", "e")


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB"


def _row(on: OnGPU) -> tuple[str, ...]:
    peak = "–" if on.peak_flops is None else f"{on.peak_flops / 1e12:.3g} TFLOP/s"
    price = f"{on.price:.2f}"
    if on.memory is None:
        why = f"no {on.dtype}" if on.peak_flops is None else "none fits"
        return on.name, on.dtype, peak, why, "–", "–", "–", "–", price, "–"
    assert on.tokens_per_second is not None and on.tokens is not None and on.seconds is not None
    assert on.cost is not None
    return (
        on.name, on.dtype, peak, f"{on.memory.num_rows:,}", _gigabytes(on.memory.total),
        format_count(on.tokens_per_second), format_count(on.tokens), format_seconds(on.seconds), price,
        f"{on.cost:,.2f}" if on.cost < 10 else f"{on.cost:,.0f}",
    )  # fmt: skip
