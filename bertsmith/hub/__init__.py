"""Our weights ↔ other people's formats.

In reading order:
    names           heads
    family          Family: what Hugging Face calls an encoder's classes, tensors and config keys
    families        a file for each encoder; a new one is found without being registered
    registry        the families by name, and what is asked of all of them
    network         a trained network, whoever trained it
    layout          names that tensors have in a file → the family's own
    architecture    which class a folder holds
    sizes           an encoder's sizes by its tensors, held to config.json
    configuration   config.json ↔ the settings of our encoder
    huggingface     a trained model → a folder that transformers loads without us, and back
    folder_checks   what its files must agree on
    buffers         what was not learnt and is computed anew
    finite          that weights are numbers
    tensors         the tensors of such a folder, in one file or several
    replaceable     which folders may be written over
    sentence        the files by which sentence-transformers pools its vectors
    sentence_checks what these may say
    onnx            a trained model → one file that onnxruntime runs
    bundle          a TensorFlow checkpoint's files → tensors by name
    tensorflow      such tensors of Google's BERT and ELECTRA → our weights
    card            the model card in that folder
"""
