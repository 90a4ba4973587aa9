"""A batch in, losses out: collator + model + loss. Knows nothing about steps, optimizers or files.

In reading order:
    objective        what an objective is: Batch, Losses, the protocols
    masking          which positions are predicted and what stands there instead
    sampling         a token out of scores over a vocabulary
    cross_entropy    the loss over a large vocabulary, without keeping its scores
    mlm              masked-token prediction (BERT)
    generator        what replaces masked tokens
    generator_sizes  how large it is, beside a model's
    towers           a generator that knows the probability of every token
    rtd              replaced-token detection (ELECTRA)
    rtd_weights      its weights as those of two models
    electric         energies of tokens (Electric)
    kinds            the objectives there are, by their settings
    measuring        how they measure held-out text, and which one a folder's networks are measured by
    measures         what people call their measures
"""
