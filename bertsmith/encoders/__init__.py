"""Encoders and their heads: tensors in, tensors out. No text, no loss, no optimizer; torch and numpy alone.

In reading order:
    tokens      Tokens, the one batch type: packed or padded rows, with masks of the real tokens
    dropout     dropout with cheap random numbers on the CPU
    relative    attention scores of distances between tokens
    attention   `attend`, for packed and for padded rows; windows, and a bias on the scores
    linear      dense layers of one input as one product
    initialization  initial weights
    config      EncoderConfig, the base of an architecture's settings: its parts and sizes, FLOPs and bytes of memory
    heads       heads for any encoder: one dense layer; beginning and end of an answer
    bert        BERT's and ELECTRA's: settings, embeddings, layer, heads, costs
    roberta     RoBERTa's, likewise, of BERT's layers
    distilbert  DistilBERT's, likewise
    modernbert  ModernBERT's, likewise
    distances   vectors of the distances between tokens
    convolution a convolution within rows
    mask_decoder  the head of an enhanced mask decoder, and its costs
    deberta     DeBERTa's (v2 and v3), likewise
    registry    the architectures by their `kind`; each file that defines one is found
    encoder     embeddings and the stack of layers, of any architecture; encoders with their pre-training heads
    reference_flops  operations as the reference counts them, and its table of published models

Shapes, everywhere in the package: T tokens in a batch, N rows, L length of a padded row, D hidden size,
E embedding size, H heads, K head size, V vocabulary size, M masked positions, C classes.
"""
