"""Tensors in, tensors out: the encoder and its heads. No text, no loss, no optimizer; torch and numpy alone.

In reading order:
    tokens      Tokens, the one batch type: packed or padded rows; the only place that knows of padding
    dropout     dropout with cheap random numbers on the CPU
    attention   `attend`: one contract, two kernels; windows, and a bias on the scores
    initialization  initial weights
    costs       floating-point operations, and bytes kept for the backward pass: what is counted of every encoder
    config      EncoderConfig, the base of an architecture's settings: its parts and its costs
    bert        BERT's and ELECTRA's: settings, embeddings, layer, heads, costs
    modernbert  ModernBERT's, likewise
    registry    the architectures by their `kind`; a new one is its file and a line here
    comparison  in which sizes two encoders differ
    encoder     embeddings and the stack of layers, of any architecture
    heads       heads of no architecture's own: one dense layer; where an answer begins and ends
    networks    encoders with their pre-training heads
    reference_flops  operations as the reference counts them, and its table of published models

The shapes' legend, for the whole house: T tokens in a batch, N rows, L length of a padded row, D hidden size,
E embedding size, H heads, K head size, V vocabulary size, M masked positions, C classes.
"""
