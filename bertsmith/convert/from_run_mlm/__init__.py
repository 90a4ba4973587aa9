"""The command line of transformers' run_mlm.py in, a recipe of ours out.

arguments   the command line read: its arguments with a counterpart here, and why the others have none
recipe      the recipe file: `bertsmith recipe --from-run-mlm`
"""
