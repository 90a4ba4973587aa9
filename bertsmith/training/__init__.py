"""Shards and an objective in, checkpoints out: the only training loop in the house.

In reading order:
    pretrain     the program: data, model, objective, optimizer, schedule, events, then `fit`
    recipe       what it can be told
    loop         `fit` and the State it carries
    plan         when training ends
    schedules    the learning rate
    optimizers/  AdamW as the reference has it, and others; weight-decay groups; clipping
    machine      device, number format, compilation, padding
    cuda_graphs  passes recorded as CUDA graphs
    runner       an objective on a machine, in micro-batches
    footprint    the memory of a step, counted beforehand
    batches      shards → rows → masked batches, in an order that can be resumed
    evaluation   held-out losses
    cautions     what a run is warned of
    checkpoints  whole or absent, verified when read
    folder       the run's folder: made, recognised, closed
    runs         a run's folder, read
    models       a pre-trained model, opened: a run, or a Hugging Face folder
    description  such a folder, described for people
    architecture what a recipe with init takes from such a model
    initial      such a model → the weights that a run begins with
    metrics      metrics.jsonl
    trackers/    TensorBoard and others beside it
    meter        tokens a second and the share of the hardware's peak
"""
