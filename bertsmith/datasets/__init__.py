"""A data set's name in, its files out.

Read in this order:
    sources    where data sets are published
    download   transfers that can be cut and go on, checked by hash
"""
