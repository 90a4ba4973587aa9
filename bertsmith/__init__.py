"""bertsmith: pre-train your own BERT from raw text on one GPU, and know how good it is.

The rooms, in the order the data flows through them: `text`, `model`, `objectives`, `training`, `tasks`, `interop`,
`reports`. Each room's docstring says what comes in, what goes out, and which file to read first.
"""

__version__ = "0.1.0"
