"""`bertsmith prepare`: a corpus, a part of one, or parts to merge."""

from pathlib import Path

from bertsmith.cli import arguments as args
from bertsmith.console.terminal import tell
from bertsmith.storage.files import refuse_address
from bertsmith.storage.remote import is_address


def prepare_text(recipe: str, overrides: list[str], place: str, overwrite: bool) -> None:
    """Prepare a corpus, or with part=3/16 a part of it, to a folder or an address."""
    from bertsmith.config.loading import load
    from bertsmith.text.prepare import PrepareRecipe, prepare

    settings = load(PrepareRecipe, "prepare", recipe, overrides).settings
    out = place.rstrip("/") if is_address(place) else Path(place)
    with args.stopping(args.command_of("prepare", recipe, overrides, out)):
        before, is_part = args.content_of(out), settings.part is not None
        data = prepare(settings, out, overwrite)
    counts = f"{data.num_tokens('train'):,} training and {data.num_tokens('heldout'):,} held-out tokens"
    if is_part:
        tell(f"{data.path}: {counts}")
        args.say_next("prepare", "merge", "--out", out)
        return
    tell(f"{args.written(out, before)}: {counts}")
    args.say_next(*args.what_to_pretrain(out, Path(settings.vocab), data.num_tokens("train")))


def merge_parts(overrides: list[str], place: str, overwrite: bool) -> None:
    """Make a data folder of the parts in it."""
    from bertsmith.config.loading import apply_overrides
    from bertsmith.text.merging import MergeSettings, merge_shares
    from bertsmith.text.shares import share_folders

    settings = apply_overrides(MergeSettings, {}, overrides).settings
    refuse_address(place, "--out ")
    out = Path(place)
    before = args.content_of(out)
    with args.stopping(args.command_of("prepare", "merge", overrides, out)):
        data = merge_shares(settings, out, overwrite)
    counts = f"{data.num_tokens('train'):,} training and {data.num_tokens('heldout'):,} held-out tokens"
    tell(f"{args.written(out, before)}: {counts}")
    if folders := list(share_folders(out).values()):
        tell(f"{len(folders)} part{'s' * (len(folders) > 1)} in it, {folders[0].name} and so on, can be removed now")
    args.say_next(*args.what_to_pretrain(out, out, data.num_tokens("train")))
