"""A recipe in, what it takes out, without training; and what this machine can do.

Read in this order:
    estimate     parameters, operations, memory, time and cost of a pre-training
    footprint    memory of a training step, and of a process that trains
    incomplete   recipes whose paths need not be said
    gpus         GPUs by name: memory, peak, price
    reduction    how fast two processes here sum gradients
    doctor       versions, GPUs and kernels, disk
"""
