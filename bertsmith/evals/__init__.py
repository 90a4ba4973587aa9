"""Evaluating pre-trained models without fine-tuning.

In reading order:
    rows         token ids → rows on the device; a network held in evaluation mode
    likelihood   pseudo-log-likelihoods of sentences, and which of two is likelier; pairs that need no labels
    blimp        BLiMP: pairs of sentences that differ only in grammar
    masks        the likeliest tokens for a [MASK]; which tokens a discriminator takes for replaced
    held_out     losses on held-out text, and how they are measured
    pinned       a masked-token loss that is measured alike for every run, at each of its evaluations
"""
