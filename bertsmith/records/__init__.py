"""A pre-training run and its GLUE scores in, an entry of the record out that others can check; and the check.

An entry is a folder: entry.json, which is what is claimed, beside copies of the files that it follows from, so that it
can be computed anew. records/README.md has the rules.

Read in this order:
    evidence     the files of runs that an entry is made of, in the runs' folders or in an entry's
    entry        evidence → what is claimed: parameters, FLOPs, hours, scores, both averages, the curve
    rules        evidence → what of the rules it does not keep
    agreement    evidence → where its files contradict each other
    folder       an entry's folder: written, and checked
"""
