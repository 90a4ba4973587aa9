"""Our runs ↔ other people's formats.

In reading order:
    export         a run → a Hugging Face folder, or two where it trained a generator
    all_steps      each step of a pre-training run → such a folder
    importing      another program's model → the same
    recipe_file    a recipe's text: what all of the following write
    from_electra   the settings of google-research/electra → a recipe
    from_modernbert  a YAML file of AnswerDotAI/ModernBERT → a recipe
    from_run_mlm   the command line of transformers' run_mlm.py → a recipe
"""
