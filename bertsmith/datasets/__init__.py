"""A data set's name in, its files out.

Read in this order:
    download   URLs, sizes and hashes of published data sets; transfers that are resumed, and checked by hash
"""
