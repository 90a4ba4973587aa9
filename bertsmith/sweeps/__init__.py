"""One model and many fine-tuning runs in, one table of scores out.

In reading order:
    glue       a run for each task of GLUE, and both ways of averaging them
    search     every combination of some settings, and which did best on dev
    finished   what both say and write when a run is finished
"""
