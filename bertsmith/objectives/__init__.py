"""Pre-training objectives: rows → batches → losses. Nothing here knows of steps, optimizers or files.

In reading order:
    objective        Batch, Losses, Objective, and the base of an objective's settings
    masking          which tokens are masked, and their replacements
    cross_entropy    cross-entropy over a large vocabulary, a chunk of rows at a time; sampling from its scores
    mlm              masked-language modelling (BERT)
    generator        ELECTRA's generator; one of two towers, which gives every token's probability
    rtd              replaced-token detection (ELECTRA)
    rtd_networks     ELECTRA's two networks as models: settings that make networks as large; weights, joined and split
    electric         energies of tokens (Electric)
    kinds            the registry of objectives, and the one that an exported model is measured with
"""
