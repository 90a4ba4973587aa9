"""URLs, sizes and hashes of the published data sets, for `bertsmith.datasets.download`.

Sizes and hashes of the archives are those of huggingface/datasets, datasets/{glue,openwebtext}/dataset_infos.json
(`download_checksums`); the hub's Parquet copies are named at a fixed revision, so a file never changes half-way.
"""

from typing import Any, NamedTuple


class RemoteFile(NamedTuple):
    """One file of a source, and where it goes."""

    url: str
    path: str  # relative to the download folder
    size: int | None = None  # bytes, where published; in any case all that the server announces must arrive
    sha256: str | None = None
    members: tuple[str, ...] = ()
    """of a zip archive: what is kept of it, under the same paths; the archive itself is then removed"""

    @property
    def kept(self) -> tuple[str, ...]:
        """Paths, relative to the download folder, that are there once the file is dealt with."""
        return self.members or (self.path,)


Source = tuple[RemoteFile, ...]
"""All of an item, in one place."""


class Download(NamedTuple):
    """Something to fetch, with its sources, the preferred one first."""

    name: str
    sources: tuple[Source, ...]


# Name on the Hugging Face hub, in Parquet; then the archive in the original TSV layout: name, bytes, sha256.
_GLUE: dict[str, tuple[Any, ...]] = {
    "CoLA": ("cola", "CoLA.zip", 376971, "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff"),
    "SST-2": ("sst2", "SST-2.zip", 7439277, "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"),
    "MRPC": ("mrpc",),  # its corpus comes without the dev split, which a list of ids then cuts out of it
    "STS-B": ("stsb", "STS-B.zip", 802872, "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85"),
    "RTE": ("rte", "RTE.zip", 697150, "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee"),
    "WNLI": ("wnli", "WNLI.zip", 28999, "ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46"),
    "QNLI": ("qnli", "QNLIv2.zip", 10627589, "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5"),
    "QQP": ("qqp", "QQP-clean.zip", 41696084, "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0"),
    "MNLI": ("mnli", "MNLI.zip", 312783507, "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633"),
}

_GLUE_REVISION = "https://huggingface.co/datasets/nyu-mll/glue/resolve/bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"

_GLUE_DIAGNOSTIC = Download(
    "diagnostic",
    (
        (RemoteFile("https://dl.fbaipublicfiles.com/glue/data/AX.tsv", "diagnostic/diagnostic.tsv", 222257,
                    "0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd"),),
        (RemoteFile(f"{_GLUE_REVISION}/ax/test-00000-of-00001.parquet", "diagnostic/test-00000-of-00001.parquet"),),
    ),
)  # fmt: skip


def _glue(task: str) -> Download:
    splits = ["train", "validation", "test"]
    if task == "MNLI":
        splits = ["train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched"]
    names = [f"{split}-00000-of-00001.parquet" for split in splits]
    on_hub, *archive_of_task = _GLUE[task]
    copy = tuple(RemoteFile(f"{_GLUE_REVISION}/{on_hub}/{name}", f"{task}/{name}") for name in names)
    if not archive_of_task:
        return Download(task, (copy,))
    name, size, sha256 = archive_of_task
    members = tuple(f"{task}/{split.replace('validation', 'dev')}.tsv" for split in splits)
    archive = RemoteFile(f"https://dl.fbaipublicfiles.com/glue/data/{name}", name, size, sha256, members)
    return Download(task, ((archive,), copy))


_OPENWEBTEXT = "openwebtext.tar.xz", 12880027468, "9fe39d154c5bc67da8c359415372b79510eb1e2edb0d035fe4f7fc3a732b9336"
_OPENWEBTEXT_COPY = (
    "https://huggingface.co/datasets/Skylion007/openwebtext/resolve/b4325f019c648b1641a1784748667e8b74e5e064/plain_text"
)
_OPENWEBTEXT_COPY_NAMES = [f"train-{number:05d}-of-00080.parquet" for number in range(80)]

_VOCAB = "vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

CATALOGUE: dict[str, tuple[Download, ...]] = {
    "openwebtext": (Download("OpenWebText", (
        (RemoteFile("https://drive.google.com/uc?id=1EA5V0oetDCOke7afsktL_JDQ-ETtNOvx", *_OPENWEBTEXT),),
        tuple(RemoteFile(f"{_OPENWEBTEXT_COPY}/{name}", f"openwebtext/{name}") for name in _OPENWEBTEXT_COPY_NAMES),
        (RemoteFile("https://zenodo.org/record/3834942/files/openwebtext.tar.xz", *_OPENWEBTEXT),),
    )),),
    "glue": (*(_glue(task) for task in _GLUE), _GLUE_DIAGNOSTIC),
    "vocab": (Download("BERT's uncased vocabulary", (
        (RemoteFile("https://huggingface.co/google-bert/bert-base-uncased/resolve/main/vocab.txt", *_VOCAB),),
        (RemoteFile("https://s3.amazonaws.com/models.huggingface.co/bert/bert-base-uncased-vocab.txt", *_VOCAB),),
    )),),
}  # fmt: skip
"""Name on the command line of `bertsmith download` → downloads."""
