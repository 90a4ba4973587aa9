"""bertsmith: pre-train your own BERT from raw text on one GPU, and know how good it is.

The rooms, in the order the data flows through them: `text` and `tokenizers`, `encoders`, `objectives`, `training`,
`evals`, `tasks`, `convert`, `reports`; `cli` is the program. Each room's docstring says what comes in, what goes out,
and which file to read first.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing does nothing
    from pathlib import Path

    from bertsmith.predict.predictor import Predictor

__version__ = "0.1.0"


def load(path: "str | Path", device: str = "auto", task: str | None = None) -> "Predictor":
    """A model to be asked about text: `fill`, `score`, `replaced`, `classify`, `evaluate`.

    Args:
        path: a run of `bertsmith pretrain` or `finetune`, or a Hugging Face folder of a BERT or ELECTRA.
        device: auto, cpu, cuda or cuda:N.
        task: which one, of a run of several tasks.

    Raises:
        UserError: no model there, or no such device.
    """
    from bertsmith.predict.predictor import Predictor

    return Predictor(path, device, task)
