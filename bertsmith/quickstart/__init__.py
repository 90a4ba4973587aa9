"""The whole job in minutes, on text in the installed packages: raw text in, a scored BERT out.

Read in this order:
    run       the six steps
    task      the labelled task that the text gives for free
    summary   its results in words
"""
