"""Hugging Face's names for the encoders that are read and written: a file for each encoder, with its `Family` classes.

bert        BERT's and ELECTRA's classes
modernbert  ModernBERT's
deberta     DeBERTa's, of its second and third version
"""
