"""A module in, a torch optimizer over its parameters out.

In reading order:
    optimizer   OptimizerSettings, the base of an optimizer's settings; parameter groups, learning rates, clipping
    adamw       AdamW, as the reference has it
    adafactor   Adafactor
    muon        Muon for matrices inside the layers, with AdamW for all else
    registry    the optimizers by their `kind`; a new one is its file and its name there
"""
