"""A recipe in, what it takes out, without training; and what this machine can do.

Read in this order:
    estimate     parameters, operations, memory, time and cost of a pre-training
    incomplete   recipes whose paths need not be said
    gpus         GPUs by name: memory, peak, price
    doctor       versions, GPUs and kernels, disk
"""
