"""Pre-training, and the training loop that fine-tuning uses as well: shards and an objective → checkpoints.

In reading order:
    pretrain     `pretrain`: builds data, model, objective, optimizer, schedule and events, then calls `fit`
    recipe       its settings
    beginning    what a run begins with, and its folder, opened on all ranks
    loop         `fit`, and the State that it carries
    schedules    when training ends; the learning rate
    stages       rows a step and their length, stage by stage
    branching    a run that goes on from another's checkpoint, to a learning rate of zero
    optimizers/  AdamW and others; weight-decay groups; clipping; a moving average of the weights
    machine      device, dtype, compilation, padding
    ranks        the processes that train one run together, and what they agree on
    rendezvous   how they find each other, as torchrun starts them
    joining      how they begin to work together, and how they end
    dealing      what must be the same on all ranks, and the checkpoint that they go on from
    reducer      gradients summed over ranks during the backward pass
    sharding     weights, gradients and optimizer state dealt to the ranks by rows
    runner       a rank's share of a batch, run in micro-batches; losses on held-out text
    cuda_graphs  passes recorded as CUDA graphs
    batches      shards → rows → masked batches, in a resumable order
    mixing       rows of several corpora, in shares of the tokens
    epochs       how often a plan sees each corpus
    staged_rows  the masked batches of each stage
    held_out_text  held-out rows, of each corpus apart
    train_logger lines of metrics, held-out evaluations, and the probes called at them
    run_warnings warnings about settings, and about training that stands still
    stored_tensors  a checkpoint's tensors on disk, read by rows
    checkpoints  written whole or not at all, verified when read
    averages     a run's model with averages of its weights
    folder       making, opening and finishing a run's folder
    models       opening a pre-trained model: a run, or a Hugging Face folder
    steps        opening a run at any of its steps, the first included
    description  describing a Hugging Face folder in words
    initial      architecture and weights that a recipe with `init` takes from that model
    metrics      metrics.jsonl; tokens a second, and the share of the hardware's peak
    trackers/    TensorBoard and other trackers
"""
