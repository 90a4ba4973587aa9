"""A vocabulary or a tokenizer's files in, token ids out; no torch in this room.

Read in this order:
    tokenizer          text → ids, and its files
    special_tokens     which token is the mask, and so on, by role
    templates          what is put around texts
    pieces             what pieces are in a text, and where words begin
    word_bounds        a row's ids → which begin a word
    text_input         texts as str or bytes
    engines            what encodes fast
    gigatoken_engine   a BPE's ids by gigatoken
    added_search       whether an added token is in a text
    word_cache         a text's ids by those of its words
    piece_search       a Unigram's pieces of many words at once
    id_rows            ids of some texts put among those of others
    fingerprint        the hash of what decides ids
    tokenizer_folder   a Hugging Face folder → the tokenizer that transformers makes of it
    bert_folder        the same of BERT's classes, with the casing that the files say
    rebuilt            the same of RoBERTa's, XLM-R's and others
    sentencepiece_file the same of SentencePiece's model, through transformers
    added_tokens       the tokens that such a folder adds
    definition         a tokenizer.json, checked
    wordpiece          BERT's tokenizer
    vocabulary_file    a vocab.txt → tokens in the order of their ids
    casing             whether a vocabulary is of lower-cased text
    vocabulary         texts → a trained WordPiece vocabulary
    families           special tokens and normalization of a trained BPE or Unigram
    bpe, unigram       texts → a trained vocabulary of that kind
    extension          a vocabulary with more words at its end
"""
