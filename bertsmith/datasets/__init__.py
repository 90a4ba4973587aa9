"""A data set's name in, its files out.

Read in this order:
    sources    URLs, sizes and hashes of published data sets
    download   transfers that are resumed, and checked by hash
"""
