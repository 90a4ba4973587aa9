"""A YAML file of ModernBERT's pre-training in, a recipe of ours out.

yaml_file   the file read safely: its keys, dotted, with what ${…} stands for
durations   its lengths of time ("3_000_000_000tok", "0.06dur") in steps, tokens and shares of the plan
network     its model → ours
training    its data, optimizer, schedule and the rest → ours
recipe      the recipe file: `bertsmith recipe --from-modernbert`
"""
