"""The settings of google-research/electra in, a recipe of ours out.

hparams       `--hparams` read; a table of the reference's settings, and how it translates them
pretraining   the table of configure_pretraining.py
finetuning    the table of configure_finetuning.py
recipe        the recipe file: `bertsmith recipe --from-electra`
"""
