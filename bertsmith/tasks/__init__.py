"""A checkpoint and a labelled task in, scores and predictions out.

In reading order:
    finetune        the program: task, model, a trial a seed, results.json
    recipe          its settings
    task_spec       TaskSpec: what a task is; TaskData: its examples, read
    registry        the tasks by name
    published/      a file for each published task, or for tasks whose files are alike
    answer_kinds/   a class, any number of labels, a number: how each is learnt, decoded, written
    task            Task: a task with its examples, and how a model learns it; the base of the tasks' objectives
    dataset         its examples as rows of one model, to be trained on and scored on
    pretrained_encoder  what fine-tuning starts from: a pre-training run or a Hugging Face folder
    early_stopping  a share of training that is held out, and when to stop
    multi_task      several tasks as one: one encoder, and for each task a head and a loss
    loading         a recipe → its task, read
    trial           one seed: train, predict, score
    trials/         all trials of one run or of many: here, or side by side in processes
    cautions        cautions about a trial: outputs all alike, scores of the commonest answer
    metrics         predicted classes and numbers → scores, and scores of several trials → their spread
    texts/          classes, labels and numbers of texts and of pairs of texts
    words/          tags of words
    answering/      answers to questions, found in a text
    rows            texts as token rows, and a model's scores of rows
    quick_glue      five tasks of GLUE read in minutes, also in the middle of a pre-training
    departures      where a run of all of GLUE is not a published protocol's
    custom          how a task of one's own is described
    grade           files of predictions → scores
    runs            a run's folder → its trained model
"""
