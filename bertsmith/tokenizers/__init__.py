"""A vocabulary or a tokenizer's files in, token ids out; no torch in this room.

Read in this order:
    tokenizer          text → ids, and its files
    tokenizer_folder   a Hugging Face folder → the tokenizer that transformers makes of it
    added_tokens       the tokens that such a folder adds
    wordpiece          WordPiece tokenizers of the `tokenizers` library
    vocabulary_file    a vocab.txt → tokens in the order of their ids
    casing             whether a vocabulary is of lower-cased text
    vocabulary         texts → a trained WordPiece vocabulary, or another one with more words at its end
"""
