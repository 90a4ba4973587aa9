"""Tensors in, tensors out: the encoder and its heads. No text, no loss, no optimiser; torch and numpy alone.

In reading order:
    tokens      Tokens, the one batch type: packed or padded rows; the only place that knows of padding
    config      what an encoder is made of
    dropout     dropout with cheap random numbers on the CPU
    attention   `attend`: one contract, two kernels
    initialization  initial weights
    layers      one transformer layer of BERT's
    modern      one transformer layer of ModernBERT's
    encoder     embeddings and the stack of layers
    heads       masked-token prediction, replaced-token detection, classification
    answer_heads  where an answer begins and ends in a text, and whether there is one
    networks    encoders with their pre-training heads
    flops       floating-point operations, counted
    reference_flops  the same as the reference counts them, and its table of published models
    activations bytes kept for the backward pass

The shapes' legend, for the whole house: T tokens in a batch, N rows, L length of a padded row, D hidden size,
E embedding size, H heads, K head size, V vocabulary size, M masked positions, C classes.
"""
