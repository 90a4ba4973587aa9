"""Our weights ↔ Hugging Face's folders, → ONNX, ← TensorFlow's checkpoints.

In reading order:
    heads           the heads: a record each, with names, module and logits
    family          Family: Hugging Face's names for an encoder's classes, tensors and config keys
    post_norm       the base of families whose encoder has BERT's layers
    families        a file for each encoder; a new one is found without being registered
    registry        the families by name
    network         Network: a trained network, of a run or of a Hugging Face folder
    layout          the class that a folder holds; names of tensors in a file → the family's own
    configuration   config.json ↔ the settings of our encoder; its sizes are those of the tensors
    huggingface     a trained model → a folder that transformers loads without us, and back
    folder_checks   checks that the folder's files agree
    finite          the check that weights are numbers
    tensors         the tensors of such a folder, in one file or several
    replaceable     the check that a folder may be written over
    sentence        the files by which sentence-transformers pools its vectors
    sentence_checks checks of these files
    pooling         the vectors of a text's tokens → its own, by these files, as a mean or as that of [CLS]
    onnx            a trained model → one file that onnxruntime runs
    bundle          a TensorFlow checkpoint's files → tensors by name
    tensorflow      such tensors of Google's BERT and ELECTRA → our weights
    card            the model card in that folder
"""
