"""The trials of one fine-tuning run or of many: in this process one after the other, or in several side by side.

In reading order:
    contexts     a recipe → what its trials need: read, checked, and kept from one trial to the next
    run          a run's folder, opened and locked: the trials that it lacks, its results
    schedule     all trials that some runs lack, done here or in processes
    processes    trials in several processes: started, watched, done again after a kill, stopped together
    worker       what such a process does
"""
