"""Our runs ↔ other people's formats.

In reading order:
    export         a run → a Hugging Face folder, or two where it trained a generator
    all_steps      each step of a pre-training run → such a folder
    importing      another program's model → the same
    from_electra   the settings of google-research/electra → a recipe
"""
