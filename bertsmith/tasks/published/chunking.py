"""Chunking, the shared task of CoNLL-2000.

Source: Tjong Kim Sang and Buchholz 2000; the files of www.cnts.ua.ac.be/conll2000/chunking.
"""

from pathlib import Path

from bertsmith.console.terminal import say
from bertsmith.errors import FilesNotFound
from bertsmith.tasks.custom import only_file
from bertsmith.tasks.task_spec import TaskData, TaskSpec
from bertsmith.tasks.words.sentences import read_sentences, tagging_data

SPECS = (TaskSpec("chunk", input="words", read=lambda recipe: read_chunking(Path(recipe.data), recipe.skip_malformed)),)


def read_chunking(data: Path, skip_malformed: bool = False) -> TaskData:
    """Return the task of train.txt and dev.txt; where there is no dev.txt, as there is none in the shared task, of
    test.txt. Raises UserError as `read_sentences`, and as `tagging_data`."""
    dev = "test.txt" if only_file(data, ["dev.txt"]) is None else "dev.txt"
    paths = []
    for name in ("train.txt", dev):
        if (path := only_file(data, [name])) is None:
            raise FilesNotFound(f"{data / name}: no such file; data=… names the folder of CoNLL-2000")
        paths.append(path)
    if dev == "test.txt":
        say(f"{paths[1]}: the official test file is what is scored, since there is no dev.txt beside it", error=True)
    splits = (read_sentences(path, skip_malformed=skip_malformed) for path in paths)
    return tagging_data("chunk", *splits, skip_malformed=skip_malformed)._replace(scored_on=dev.removesuffix(".txt"))
