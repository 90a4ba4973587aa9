"""A pre-trained model → what it knows of language.

In reading order:
    rows         token ids → rows for the machine; a network held in evaluation mode
    likelihood   how likely a model finds a sentence; which of two it prefers
    blimp        BLiMP: of two sentences that differ in their grammar alone, does it prefer the right one?
    word_order   the same question of sentences with two neighbouring words swapped, which need no labels
    masks        what it puts in the place of [MASK]
    guesses      the same of fixed sentences, shown while it learns
    replaced     which tokens it takes for replaced
    held_out     its losses on held-out text
    measuring    how these are measured, which an export keeps
    evaluate     the program: BLiMP and held-out losses of whatever holds a model
"""
